# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The runtime's C interface (runtime/include/lathe.h) through ctypes, which releases the GIL in every call."""

import ctypes
import functools
import os
import pathlib

from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

from typing import Any, TypeVar

from .errors import ModelError

Record = TypeVar("Record", bound=ctypes.Structure)


class OpenOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("check", c_int), ("check_threads", c_uint32), ("allocator", c_void_p),
                ("log", c_void_p), ("log_context", c_void_p), ("variant", c_char_p), ("weights_path", c_char_p),
                ("inspect_only", c_uint32), ("device", c_uint64)]


class SessionOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("threads", c_uint32), ("profile_records", c_uint32),
                ("timeout_ns", c_int64), ("spin_ns", c_int64), ("allocator", c_void_p), ("parallel_for", c_void_p),
                ("parallel_for_context", c_void_p), ("memory_limit", c_uint64), ("loop_limit", c_int64),
                ("device_flags", c_uint64)]


class ModelInfo(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("variant", c_char_p), ("compiler", c_char_p), ("triple", c_char_p),
                ("fingerprint", c_uint64), ("weight_bytes", c_uint64), ("abi_major", c_uint32),
                ("abi_minor", c_uint32), ("input_count", c_uint32), ("output_count", c_uint32),
                ("symbol_count", c_uint32), ("kernel_count", c_uint32), ("variant_count", c_uint32),
                ("metadata_count", c_uint32)]


class Value(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("dtype", c_uint32), ("rank", c_uint32), ("dims", POINTER(c_int64))]


class Symbol(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("min", c_int64), ("max", c_int64)]


class Tensor(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("dtype", c_uint32), ("rank", c_uint32), ("dims", POINTER(c_int64)),
                ("strides", POINTER(c_int64))]


LAZY_CHECK = {"full": 0, "lazy": 1, "off": 2}

_PROTOTYPES = {
    "lathe_open": [c_char_p, POINTER(OpenOptions), POINTER(c_void_p)],
    "lathe_model_get_info": [c_void_p, POINTER(ModelInfo)],
    "lathe_model_input": [c_void_p, c_size_t, POINTER(Value)],
    "lathe_model_output": [c_void_p, c_size_t, POINTER(Value)],
    "lathe_model_shared_input": [c_void_p, c_size_t],
    "lathe_model_symbol": [c_void_p, c_size_t, POINTER(Symbol)],
    "lathe_model_metadata": [c_void_p, c_size_t, POINTER(c_char_p), POINTER(c_char_p)],
    "lathe_session_create": [c_void_p, POINTER(SessionOptions), POINTER(c_void_p)],
    "lathe_session_bind_input": [c_void_p, c_size_t, POINTER(Tensor)],
    "lathe_session_bind_input_dlpack": [c_void_p, c_size_t, c_void_p],
    "lathe_session_bind_output": [c_void_p, c_size_t, POINTER(Tensor)],
    "lathe_session_unbind_output": [c_void_p, c_size_t],
    "lathe_session_prepare": [c_void_p],
    "lathe_session_run": [c_void_p],
    "lathe_session_output": [c_void_p, c_size_t, POINTER(Tensor)],
    "lathe_session_add_text": [c_void_p, c_char_p, c_size_t, POINTER(c_int64)],
    "lathe_session_text": [c_void_p, c_int64, POINTER(c_void_p), POINTER(c_size_t)],
    "lathe_session_clear_texts": [c_void_p],
}


def _find_library() -> str:
    """$LATHE_RUNTIME, the library inside the package, or that of the build folder."""
    candidates: list[str | os.PathLike[str] | None] = [os.environ.get("LATHE_RUNTIME")]
    here = pathlib.Path(__file__).resolve().parent
    candidates += [here / "lib" / "liblathe.so"]
    build = os.environ.get("LATHE_BUILD_DIR", here.parents[1] / "build")
    candidates += [pathlib.Path(build) / "runtime" / "liblathe.so"]
    for candidate in candidates:
        if candidate and os.path.exists(candidate):
            return str(candidate)
    raise ModelError("E0005", "the runtime library liblathe.so is not installed; set LATHE_RUNTIME to its path")


@functools.cache
def library() -> ctypes.CDLL:
    """Loads the runtime once."""
    loaded = ctypes.CDLL(_find_library())
    for name, arguments in _PROTOTYPES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, c_int
    for name in ("lathe_last_error", "lathe_last_error_node", "lathe_error_name", "lathe_version"):
        getattr(loaded, name).restype = c_char_p
    loaded.lathe_error_name.argtypes = [c_int]
    loaded.lathe_model_shared_input.restype = c_size_t
    for name in ("lathe_close", "lathe_session_close"):
        function = getattr(loaded, name)
        function.argtypes, function.restype = [c_void_p], None
    return loaded


# The runtime's error codes as those of the compiler's messages (`lathe check --explain CODE`).
_CODES = {2: "E0002", 3: "E0705", 4: "E0601", 5: "E0601", 6: "E0601", 7: "E0602", 8: "E0603", 10: "E0702",
          11: "E0702", 12: "E0701", 13: "E0704", 14: "E0704", 15: "E0704", 16: "E0704", 18: "E0704", 19: "E0704",
          20: "E0005", 21: "E0604"}


def check(code: int) -> None:
    """Raises what the runtime says went wrong."""
    if code:
        text = library().lathe_last_error().decode("utf-8", "backslashreplace")
        node = library().lathe_last_error_node().decode("utf-8", "backslashreplace")
        raise ModelError(_CODES.get(code, "E0900"), text, node or None)


def describe(function: Any, model: c_void_p, index: int, record: Record) -> Record:
    """Calls one of the inspection functions and returns the record it fills."""
    check(function(model, index, byref(record)))
    return record


__all__ = ["OpenOptions", "SessionOptions", "ModelInfo", "Value", "Symbol", "Tensor", "LAZY_CHECK", "library",
           "check", "describe", "c_int32"]
