# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Loaded artifacts."""

import dataclasses
import json
import os
import threading
import weakref

from ctypes import POINTER, byref, c_char_p, c_int64, c_size_t, c_void_p, cast, memmove, sizeof, string_at
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _dlpack
from . import _runtime as rt
from .errors import ModelError

# ONNX's numbers of element types. Strings are numbers of texts.
_DTYPES: dict[int, type[np.generic]] = {1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_,
           10: np.float16, 11: np.float64, 12: np.uint32, 13: np.uint64, 14: np.complex64, 15: np.complex128}
# Those that numpy has no type for: they travel as bits, and have the names that ml_dtypes gives them.
_BITS = {16: "bfloat16", 17: "float8_e4m3fn", 18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz", 21: "uint4",
         22: "int4", 23: "float4_e2m1fn", 24: "float8_e8m0fnu", 25: "uint2", 26: "int2", 27: "float6_e2m3fn",
         28: "float6_e3m2fn"}
_COMPUTED = -(1 << 63)
_STRING = 8

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """An input or output.

    Attributes
    ----------
    name : str
        Its ONNX name.
    dtype : numpy.dtype
        The type of its arrays. What numpy has no type for travels as bits: bfloat16 as uint16, floats of 8 bits as uint8,
        and one element a byte, in the low bits, what is narrower. Arrays of the package ml_dtypes are taken, too. Strings
        are objects.
    shape : tuple of (int or str)
        Sizes; a symbol is given by its name, a size that only a run tells as "?".
    element : str
        The name of the element type, "float32" or "int4". With ml_dtypes imported, `array.view(element)` has its numbers.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str, ...]
    element: str = ""

    @property
    def _storage(self) -> np.dtype[Any]:
        """The type of what lies in memory: of strings, numbers of texts."""
        return np.dtype(np.int64) if self.dtype == object else self.dtype


class _Session:
    """One thread's state; owned by that thread."""

    def __init__(self, model: c_void_p, threads: int, memory_limit: int, loop_limit: int) -> None:
        self.handle = c_void_p()
        options = rt.SessionOptions(struct_size=sizeof(rt.SessionOptions), threads=threads, spin_ns=-1,
                                    memory_limit=memory_limit, loop_limit=loop_limit)
        rt.check(rt.library().lathe_session_create(model, byref(options), byref(self.handle)))
        weakref.finalize(self, rt.library().lathe_session_close, self.handle)
        #: The arrays that inputs are read from, by the input's number.
        self.bound: dict[int, Array] = {}
        #: The numbers of the outputs whose shape a run decides.
        self.computed: list[int] = []

    def add_texts(self, value: Any) -> Any:
        """Strings as numbers of texts; numbers stay."""
        array = np.asarray(value)
        if array.dtype.kind not in "OUS":
            return value
        number, numbers = c_int64(), {}
        for text in array.ravel().tolist():
            if text not in numbers:
                data = text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogateescape")
                rt.check(rt.library().lathe_session_add_text(self.handle, data, len(data), byref(number)))
                numbers[text] = number.value
        return np.fromiter((numbers[text] for text in array.ravel().tolist()), np.int64, array.size).reshape(array.shape)

    def texts(self, numbers: Array) -> Array:
        """The texts of an array of numbers."""
        found, which = np.unique(numbers, return_inverse=True)
        texts, data, size = np.empty(found.size, object), c_void_p(), c_size_t()
        for i, number in enumerate(found.tolist()):
            rt.check(rt.library().lathe_session_text(self.handle, number, byref(data), byref(size)))
            texts[i] = string_at(data, size.value).decode("utf-8", "surrogateescape")
        return texts[np.ravel(which)].reshape(numbers.shape)


class Model:
    """An artifact, ready to run. Any number of threads may call it at once; each gets a session of its own.

    Parameters
    ----------
    path : str or os.PathLike
        The artifact. It is a program: load only what you trust.
    threads : int, default 0
        How many threads one call uses; 0 is one per core.
    check : {"full", "lazy", "off"}, default "full"
        When the weights' checksums are compared: when loading, in the first run, or never. All else always is.
    memory_limit : int, default 0
        The most bytes that one thread's state may hold; 0 is the machine's memory. Matters where sizes depend on data.
    loop_limit : int, default 0
        The most iterations of a loop in the model; 0 is 100 million.
    device : int, optional
        The CUDA device to run on; by default the first, if the artifact's code is for one.

    Raises
    ------
    ModelError
        If the file is no artifact, is damaged, or holds no code for this processor, or none for the device.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int = 0, check: str = "full", memory_limit: int = 0,
                 loop_limit: int = 0, device: int | None = None) -> None:
        self.path = str(path)
        self.threads, self._limits = threads, (memory_limit, loop_limit)
        if check not in rt.LAZY_CHECK:
            raise ValueError(f"check is {check!r}, expects one of {', '.join(rt.LAZY_CHECK)}")
        library = rt.library()
        self._handle = c_void_p()
        options = rt.OpenOptions(struct_size=sizeof(rt.OpenOptions), check=rt.LAZY_CHECK[check], device=device or 0)
        rt.check(library.lathe_open(self.path.encode(), byref(options), byref(self._handle)))
        weakref.finalize(self, library.lathe_close, self._handle)
        self._sessions = threading.local()
        info = rt.ModelInfo()
        rt.check(library.lathe_model_get_info(self._handle, byref(info)))
        #: The code that was chosen: "x86-64-v3" for this processor, "cuda" for a device.
        self.variant: str = info.variant.decode()
        if device is not None and self.variant != "cuda":
            raise ModelError("E0604", f"{self.path}: device is {device}, but the variant {self.variant} runs on the processor")
        symbols = [rt.describe(library.lathe_model_symbol, self._handle, i, rt.Symbol())
                   for i in range(info.symbol_count)]
        names = [symbol.name.decode() for symbol in symbols]
        #: Bounds of the symbols: name to (smallest, largest).
        self.symbols: dict[str, tuple[int, int]] = {name: (symbol.min, symbol.max) for name, symbol in zip(names, symbols)}
        self.inputs = [self._tensor(library.lathe_model_input, i, names) for i in range(info.input_count)]
        self.outputs = [self._tensor(library.lathe_model_output, i, names) for i in range(info.output_count)]
        #: Outputs that may lie in the memory of an input: that input's name.
        self.shared_inputs: dict[str, str] = {}
        for number, value in enumerate(self.outputs):
            shared = library.lathe_model_shared_input(self._handle, number)
            if shared < len(self.inputs):
                self.shared_inputs[value.name] = self.inputs[shared].name
        #: What the model's file and the compiler say about the model.
        self.metadata: dict[str, str] = {}
        for i in range(info.metadata_count):
            key, text = c_char_p(), c_char_p()
            rt.check(library.lathe_model_metadata(self._handle, i, byref(key), byref(text)))
            self.metadata[(key.value or b"").decode()] = (text.value or b"").decode()
        #: The names of an output's columns, where the model gives maps with these keys.
        self.labels: dict[str, list[str]] = self._lists("lathe.labels.")
        self._strings = [value.name for value in self.outputs if value.dtype == object]
        # Outputs that are sequences are given as tensors "name[0]", "name[1]" ...
        # or, where the run tells how many there are, as what they hold one behind the other, "name[]", and their shapes.
        prefix = "lathe.sequence."
        lengths = {key[len(prefix):]: text for key, text in self.metadata.items() if key.startswith(prefix)}
        self._sequences = {name: int(text) for name, text in lengths.items() if text != "*"}
        self._open_sequences = {f"{name}[]": name for name, text in lengths.items() if text == "*"}
        # Whether an optional holds something is "name?".
        self._optionals = [key.removeprefix("lathe.optional.") for key in self.metadata if key.startswith("lathe.optional.")]
        # The same for inputs; "name" for an optional has no element if it must be absent.
        prefix = "lathe.elements."
        self._elements = {key[len(prefix):]: int(text) for key, text in self.metadata.items() if key.startswith(prefix)}
        # Inputs that are maps are "name.keys" and "name.values".
        self._maps = [key.removeprefix("lathe.map.") for key in self.metadata if key.startswith("lathe.map.")]
        self._numbers = {value.name: i for i, value in enumerate(self.inputs)}
        self._output_numbers = {value.name: i for i, value in enumerate(self.outputs)}
        # Types that numpy lacks have the arrays of another one.
        self._types = [rt.describe(library.lathe_model_input, self._handle, i, rt.Value()).dtype
                       for i in range(info.input_count)]

    def _tensor(self, function: Any, index: int, symbols: list[str]) -> TensorInfo:
        value = rt.describe(function, self._handle, index, rt.Value())
        shape = tuple("?" if size == _COMPUTED else size if size >= 0 else symbols[~size]
                      for size in value.dims[:value.rank])
        element = "string" if value.dtype == _STRING else _BITS.get(value.dtype, "")
        bits = object if value.dtype == _STRING else np.uint16 if element == "bfloat16" else np.uint8
        dtype = np.dtype(_DTYPES.get(value.dtype, bits))
        return TensorInfo(value.name.decode(), dtype, shape, element or dtype.name)

    def _lists(self, prefix: str) -> dict[str, list[str]]:
        """The lists that metadata holds for outputs."""
        names = {value.name for value in self.outputs}
        return {key[len(prefix):]: json.loads(text) for key, text in self.metadata.items()
                if key.startswith(prefix) and key[len(prefix):] in names}

    def _split_sequences(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The same with each element of a sequence as an input of its own."""
        split: dict[str, Any] = {}
        for name, value in inputs.items():
            count = self._elements.get(name)
            if count is None:
                split[name] = value
                continue
            elements = [] if value is None else list(value)
            if len(elements) != count:
                raise ModelError("E0702", f"input {name!r} has {len(elements)} elements, expects {count}")
            split.update({f"{name}[{i}]": element for i, element in enumerate(elements)})
        return split

    def _split_maps(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The same with the keys and the values of a map as inputs of their own."""
        split = dict(inputs)
        for name in self._maps:
            if isinstance(content := split.pop(name, None), Mapping):
                for part, values in (("keys", content.keys()), ("values", content.values())):
                    info = self.inputs[self._numbers[f"{name}.{part}"]]
                    split[f"{name}.{part}"] = np.array(list(values), info.dtype)
        return split

    def _join_sequences(self, results: dict[str, Array]) -> dict[str, Any]:
        """The same with the elements of a sequence as one list."""
        joined: dict[str, Any] = {}
        for name, array in results.items():
            sequence, bracket, _ = name.rpartition("[")
            if name in self._open_sequences:
                joined[self._open_sequences[name]] = _split(array, results[f"{name}.shape"])
            elif name.removesuffix(".shape") in self._open_sequences:
                continue
            elif bracket and sequence in self._sequences:
                joined.setdefault(sequence, []).append(array)
            else:
                joined[name] = array
        for name in self._optionals:
            if not joined.pop(f"{name}?"):
                joined[name] = None
        return {**joined, **{name: [] for name, count in self._sequences.items() if not count}}

    def _session(self) -> _Session:
        session: _Session | None = getattr(self._sessions, "session", None)
        if session is None:
            session = self._sessions.session = _Session(self._handle, self.threads, *self._limits)
        return session

    def __call__(self, *arguments: Mapping[str, Any], **inputs: Any) -> dict[str, Any]:
        """Runs the model.

        Parameters
        ----------
        *arguments : mapping, optional
            One mapping from names to tensors, for names that are no Python identifiers.
        **inputs : array_like
            A tensor for every input: numpy arrays and anything with ``__dlpack__`` are read in place, on a CUDA device,
            too, where the model's code is for one. Strings may be arrays of any string type, or lists; maps are
            dictionaries.

        Returns
        -------
        dict of str to numpy.ndarray
            The outputs by name, in the model's order. The arrays are the caller's; strings are arrays of objects, and
            sequences are lists of arrays.

        Raises
        ------
        ModelError
            If an input is missing, unknown, or of the wrong type or shape, or the run fails.
        """
        session = self._session()
        results = self._bind(session, arguments, inputs)
        rt.check(rt.library().lathe_session_run(session.handle))
        self._collect(session, results)
        for name in self._strings:
            results[name] = session.texts(results[name])
        return self._join_sequences(results) if self._sequences or self._open_sequences or self._optionals else results

    def bind(self, *arguments: Mapping[str, Any], **inputs: Any) -> "Binding":
        """Binds inputs once, to run again and again: what is written into the arrays is read by the next run.

        Takes what a call of the model takes, and raises what it raises. A second mapping may give arrays that outputs
        are written to, C-contiguous and of the type and shape that the run gives. The array of an output in
        `shared_inputs` may be that of the input it names: the run then updates it in place, as the keys and values of
        a language model that writes word by word.

        Returns
        -------
        Binding
        """
        session = _Session(self._handle, self.threads, *self._limits)
        into: Mapping[str, Any] = {}
        if len(arguments) == 2:
            *arguments, into = arguments
            if not isinstance(into, Mapping):
                raise TypeError("expects a mapping of outputs")
        return Binding(self, session, self._bind(session, arguments, inputs, into))

    def _bind(self, session: _Session, arguments: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any],
              into: Mapping[str, Any] = {}) -> dict[str, Array]:
        """Binds all inputs, and outputs to arrays, which are returned. An output whose shape depends on data stays in
        the session's memory, and is empty here."""
        if arguments:
            if len(arguments) > 1 or not isinstance(arguments[0], Mapping):
                raise TypeError("expects inputs by name, or one mapping of them")
            inputs = {**arguments[0], **inputs}
        rt.check(rt.library().lathe_session_clear_texts(session.handle))
        if self._elements:
            inputs = self._split_sequences(inputs)
        if self._maps:
            inputs = self._split_maps(inputs)
        _check_names("input", inputs, self._numbers)
        missing = [name for name in self._numbers if name not in inputs]
        if missing:
            raise ModelError("E0701", f"input {missing[0]!r} is missing")
        self._bind_inputs(session, inputs)
        return self._bind_outputs(session, into)

    def _bind_inputs(self, session: _Session, inputs: Mapping[str, Any]) -> None:
        library = rt.library()
        _check_names("input", inputs, self._numbers)
        for name, value in inputs.items():
            number = self._numbers[name]
            if _dlpack.is_on_device(value):
                _dlpack.bind(session.handle, number, value)
                session.bound.pop(number, None)
                continue
            if self._types[number] == _STRING:
                value = session.add_texts(value)
            array = _to_array(value, self.inputs[number])
            session.bound[number] = array  # read by the run, so it has to live
            described = _describe(array, self._types[number])
            rt.check(library.lathe_session_bind_input(session.handle, number, byref(described)))

    def _bind_outputs(self, session: _Session, into: Mapping[str, Any],
                      before: Mapping[str, Array] = {}) -> dict[str, Array]:
        """Binds outputs to the arrays `into`, or to those from `before` that have the shape."""
        library = rt.library()
        _check_names("output", into, self._output_numbers)
        rt.check(library.lathe_session_prepare(session.handle))
        results, tensor = {}, rt.Tensor()
        session.computed = []
        for number, info in enumerate(self.outputs):
            rt.check(library.lathe_session_output(session.handle, number, byref(tensor)))
            shape = tuple(tensor.dims[:tensor.rank])
            if _COMPUTED in shape:
                if info.name in into:
                    raise ModelError("E0702", f"the shape of output {info.name!r} depends on data: no array can be given")
                rt.check(library.lathe_session_unbind_output(session.handle, number))
                session.computed.append(number)
                results[info.name] = np.empty(0, info._storage)
                continue
            result = before.get(info.name)
            if info.name in into:
                result = _check_result(into[info.name], info, shape)
            elif result is None or result.shape != shape:
                result = np.empty(shape, info._storage)
            rt.check(library.lathe_session_bind_output(session.handle, number, byref(_describe(result, tensor.dtype))))
            results[info.name] = result
        return results

    def _collect(self, session: _Session, results: dict[str, Array]) -> None:
        """Copies what lies in the session's memory after a run."""
        tensor = rt.Tensor()
        for number in session.computed:
            rt.check(rt.library().lathe_session_output(session.handle, number, byref(tensor)))
            info = self.outputs[number]
            result = np.empty(tuple(tensor.dims[:tensor.rank]), info._storage)
            if result.nbytes:
                memmove(result.ctypes.data, tensor.data, result.nbytes)
            results[info.name] = result

    def __repr__(self) -> str:
        return f"lathe.Model({self.path!r}, variant={self.variant!r})"


class Binding:
    """Inputs and outputs bound to a session of their own. One thread at a time may call it.

    Attributes
    ----------
    outputs : dict of str to numpy.ndarray
        The outputs, written by each call. One whose shape depends on data, or of strings, is a new array after each.
    """

    def __init__(self, model: Model, session: _Session, outputs: dict[str, Array]) -> None:
        self._model, self._session, self.outputs = model, session, outputs
        self._run, self._handle = rt.library().lathe_session_run, session.handle
        # What a run writes for those of strings.
        self._numbers = {name: outputs[name] for name in model._strings}

    def rebind(self, *arguments: Mapping[str, Any], **inputs: Any) -> None:
        """Binds some inputs to other arrays, of other shapes, too; the others stay. `outputs` keep their arrays where
        the run gives the same shape as before, and are new arrays elsewhere.

        Raises
        ------
        ModelError
            If an input is unknown or of the wrong type or shape.
        """
        if len(arguments) > 1:
            raise TypeError("expects inputs by name, or one mapping of them")
        self._model._bind_inputs(self._session, {**(arguments[0] if arguments else {}), **inputs})
        self.outputs = self._model._bind_outputs(self._session, {}, self.outputs)

    def __call__(self) -> dict[str, Array]:
        """Runs the model and returns `outputs`."""
        code = self._run(self._handle)
        if code:
            rt.check(code)
        if self._session.computed:
            self._model._collect(self._session, self.outputs)
        for name, numbers in self._numbers.items():
            is_computed = self._model._output_numbers[name] in self._session.computed
            self.outputs[name] = self._session.texts(self.outputs[name] if is_computed else numbers)
        return self.outputs


_NUMBERS = {np.dtype(dtype): number for number, dtype in _DTYPES.items()}


def _split(contents: Array, shapes: Array) -> list[Array]:
    """What lies one behind the other as arrays of these shapes, which end with -1 where there are fewer dimensions."""
    arrays, at = [], 0
    for row in shapes:
        shape = row[row >= 0]
        size = int(np.prod(shape))
        arrays.append(contents[at:at + size].reshape(shape))
        at += size
    return arrays


def _to_array(value: Any, info: TensorInfo, kind: str = "input") -> Array:
    """Views `value` as a numpy array of the input's type, copying only what is no array."""
    if not isinstance(value, np.ndarray):
        value = np.from_dlpack(value) if hasattr(value, "__dlpack__") else np.asarray(value, info._storage)
    if value.dtype != info._storage:
        if value.dtype.name == info.element:
            return value.view(info.dtype)
        bits = "" if info.element in ("", "string", info.dtype.name) else f", the bits of {info.element}"
        raise ModelError("E0702", f"{kind} {info.name!r} has type {value.dtype}, expects {info.dtype}{bits}")
    return value


def _check_names(kind: str, given: Mapping[str, Any], known: Mapping[str, int]) -> None:
    for name in given:
        if name not in known:
            raise ModelError("E0701", f"the model has no {kind} {name!r}; its {kind}s are {', '.join(known)}")


def _check_result(array: Any, info: TensorInfo, shape: tuple[int, ...]) -> Array:
    """An array that an output can be written to."""
    if not isinstance(array, np.ndarray) or not array.flags.c_contiguous or not array.flags.writeable:
        raise ModelError("E0702", f"output {info.name!r} needs a writable C-contiguous numpy array")
    view = _to_array(array, info, "output")
    if view.shape != shape:
        raise ModelError("E0702", f"output {info.name!r} is given an array of shape {view.shape}, the run gives {shape}")
    return view


def _describe(array: Array, dtype: int | None = None) -> rt.Tensor:
    """A lathe_tensor over an array's memory. The dims live as long as the record."""
    rank = array.ndim
    dims = (c_int64 * max(rank, 1))(*array.shape)
    strides = (c_int64 * max(rank, 1))(*(stride // array.itemsize for stride in array.strides))
    tensor = rt.Tensor(data=array.ctypes.data, dtype=dtype or _NUMBERS[array.dtype], rank=rank,
                       dims=cast(dims, POINTER(c_int64)), strides=cast(strides, POINTER(c_int64)))
    tensor.keep = (dims, strides)
    return tensor


def load(path: str | os.PathLike[str], threads: int = 0, check: str = "full", memory_limit: int = 0,
         loop_limit: int = 0, device: int | None = None) -> Model:
    """Opens an artifact; see `Model`."""
    return Model(path, threads, check, memory_limit, loop_limit, device)
