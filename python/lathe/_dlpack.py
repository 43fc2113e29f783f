# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tensors that lie on a device, for which numpy has no arrays."""

import ctypes

from ctypes import c_char_p, c_void_p, py_object
from typing import Any

from . import _runtime as rt

_CUDA = 2  # kDLCUDA
# What is written to the tensor before we take it comes first on this stream, and with it what a run does.
_DEFAULT_STREAM = 1
_NAME = b"dltensor"
# A capsule keeps the address of its name.
_USED = c_char_p(b"used_dltensor")

_pointer = ctypes.PYFUNCTYPE(c_void_p, py_object, c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))
_set_name = ctypes.PYFUNCTYPE(ctypes.c_int, py_object, c_char_p)(("PyCapsule_SetName", ctypes.pythonapi))


def is_on_device(value: Any) -> bool:
    """Whether a tensor lies in the memory of a CUDA device."""
    device = getattr(value, "__dlpack_device__", None)
    return device is not None and int(device()[0]) == _CUDA


def bind(session: c_void_p, number: int, value: Any) -> None:
    """Binds a tensor of a device as an input, where it lies; it lives until another is bound."""
    capsule = value.__dlpack__(stream=_DEFAULT_STREAM)
    rt.check(rt.library().lathe_session_bind_input_dlpack(session, number, _pointer(capsule, _NAME)))
    _set_name(capsule, _USED)
