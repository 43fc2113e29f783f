# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Inputs of the command line tools: from files, or random ones as the driver makes them."""

import argparse
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from .errors import ModelError
from .model import Array, TensorInfo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every tool with inputs has; the driver has checked and documented them."""
    parser.add_argument("--inputs")
    parser.add_argument("--input", action="append", default=[])
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shape", action="append", default=[])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")


def gather(arguments: argparse.Namespace, tensors: list[TensorInfo],
           symbols: dict[str, tuple[int, int]], open_size: int = 16) -> dict[str, Array]:
    """Every input's array by name.

    tensors: TensorInfo of each input; symbols: bounds by name. What no file gives is random: floats in [-1, 1),
    integers 0 or 1, and 1 where the name says mask. Dimensions that nothing gives are 1 if they are the first or called
    batch, else `open_size`, within their bounds.
    """
    arrays = {}
    if arguments.inputs:
        arrays.update(_read(arguments.inputs))
    for text in arguments.input:
        name, _, path = text.partition("=")
        arrays[name] = _read(path)
    known = {tensor.name for tensor in tensors}
    for name in arrays:
        if name not in known:
            raise ModelError("E0701", f"the model has no input {name!r}; its inputs are {', '.join(sorted(known))}")
    sizes = _sizes(arguments.shape, tensors, symbols, open_size)
    random = np.random.default_rng(arguments.seed)
    for tensor in tensors:
        if tensor.name not in arrays:
            shape = tuple(sizes.get((tensor.name, i), sizes.get(size, size)) if isinstance(size, str) else size
                          for i, size in enumerate(tensor.shape))
            arrays[tensor.name] = _random(tensor, shape, random)
    return {tensor.name: arrays[tensor.name] for tensor in tensors}


def declared(model: Any) -> tuple[list[TensorInfo], dict[str, tuple[int, int]]]:
    """(TensorInfo of each input, bounds by symbol) as an ONNX model's own file declares them."""
    from onnx import helper

    weights = {tensor.name for tensor in model.graph.initializer}
    tensors: list[TensorInfo] = []
    symbols: dict[str, tuple[int, int]] = {}
    for value in model.graph.input:
        if value.name not in weights:
            kind = value.type.tensor_type
            shape = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in kind.shape.dim)
            symbols.update({size: (0, sys.maxsize) for size in shape if isinstance(size, str)})
            tensors.append(TensorInfo(value.name, np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)), shape))
    return tensors, symbols


def _read(path: str) -> Any:
    try:
        content = np.load(path, allow_pickle=False)
        return dict(content) if isinstance(content, np.lib.npyio.NpzFile) else content
    except OSError as error:
        raise ModelError("E0002", f"cannot read {path!r}: {error.strerror or error}") from None
    except ValueError as error:
        raise ModelError("E0703", f"{path!r} is no .npy or .npz file: {error}") from None


def _sizes(options: list[str], tensors: list[TensorInfo],
           symbols: dict[str, tuple[int, int]], open_size: int) -> dict[Any, int]:
    """Sizes of symbols by name, and of unnamed dimensions by (input, axis): what --shape gives, or 1 or `open_size`."""
    sizes = {}
    for tensor in tensors:
        for axis, size in enumerate(tensor.shape):
            if isinstance(size, str):
                low, high = symbols.get(size, (1, sys.maxsize))
                key = (tensor.name, axis) if size == "?" else size
                sizes[key] = min(max(1 if axis == 0 or "batch" in size.lower() else open_size, low), high)
    by_name = {tensor.name: tensor for tensor in tensors}
    for option in options:
        name, _, text = option.partition("=")
        if not re.fullmatch(r"\d+(x\d+)*", text):
            raise ModelError("E0001", f"--shape={option}: expects sizes")
        dims = [int(size) for size in text.split("x")]
        if name in sizes and len(dims) == 1:
            sizes[name] = dims[0]
        elif name in by_name and len(dims) == len(by_name[name].shape):
            for axis, (size, value) in enumerate(zip(by_name[name].shape, dims)):
                if isinstance(size, str):
                    sizes[(name, axis) if size == "?" else size] = value
                elif size != value:
                    raise ModelError("E0004", f"--shape={option}: a dimension is fixed to {size}, not {value}")
        else:
            raise ModelError("E0004", f"--shape={option}: the model has no symbol, or input of that rank, {name!r}")
    return sizes


def _random(tensor: TensorInfo, shape: tuple[Any, ...], random: np.random.Generator) -> Array:
    if tensor.dtype == object:
        return random.choice(np.array(["a", "b", ""], object), shape)
    if tensor.dtype.kind == "f":
        return random.uniform(-1, 1, shape).astype(tensor.dtype)
    if "mask" in tensor.name.lower():
        return np.ones(shape, tensor.dtype)
    return random.integers(0, 2, shape).astype(tensor.dtype)


def run_tool(main: Callable[[], int | None]) -> NoReturn:
    """Runs a tool's main; a ModelError becomes the driver's kind of message and exit status."""
    try:
        sys.exit(main())
    except ModelError as error:
        text = str(error)
        print(text if text.startswith("error[") else f"error[{error.code}]: {text}", file=sys.stderr)
        unsupported = {"E0103", "E0104", "E0206", "E0301", "E0308", "E0401", "E0502", "E0503", "E0705", "E0602", "E0603",
                       "E0604", "E0802"}
        usage = error.code.startswith(("E00", "E0501", "E0504", "E0701", "E0702", "E0703", "E08"))
        sys.exit(4 if error.code.startswith("E09") else 2 if error.code in unsupported else 1 if usage else 3)
