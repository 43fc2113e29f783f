# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Lathe compiles ONNX models ahead of time and runs what it compiled.

>>> import lathe
>>> model = lathe.compile("model.onnx")        # or lathe.load("model.so")
>>> model(x=numpy.zeros((1, 128), "float32"))  # a dictionary of outputs
"""

from .calibration import calibrate
from .compiler import compile
from .errors import ModelError
from .model import Binding, Model, TensorInfo, load

__all__ = ["Binding", "Model", "ModelError", "TensorInfo", "calibrate", "compile", "load"]
__version__ = "0.1.0"
