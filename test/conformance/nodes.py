# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models of one node, compiled and compared with ONNX Runtime or with what is expected."""

import pathlib
import sys

import ml_dtypes
import numpy as np
import onnx
from onnx import helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))

import lathe  # noqa: E402


def build(op, inputs, outputs, opset=21, domain="", symbolic=False, constants=(), **attributes):
    """A model of one node. `inputs` are arrays by name, None for one left out; `outputs` are names, "" likewise.
    Dimensions are symbols if `symbolic`; the inputs named in `constants` are initializers."""
    names = [name if array is not None else "" for name, array in inputs.items()]
    node = helper.make_node(op, names, outputs, name="/node", domain=domain, **attributes)
    infos, initializers = [], []
    for name, array in inputs.items():
        if array is None:
            continue
        if name in constants:
            initializers.append(onnx.numpy_helper.from_array(array, name))
            continue
        dims = [f"{name}{i}" for i in range(array.ndim)] if symbolic else array.shape
        infos.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), dims))
    results = [helper.make_empty_tensor_value_info(name) for name in outputs if name]
    graph = helper.make_graph([node], "graph", infos, results, initializers)
    imports = [helper.make_opsetid("", opset)]
    if domain:
        imports.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


HAS_VNNI = any(flag in pathlib.Path("/proc/cpuinfo").read_text().split() for flag in ("avx512_vnni", "avx_vnni"))


def integer_weights(rng, kind, shape):
    """Integers of 8 bits whose products ONNX Runtime sums up exactly: without VNNI it adds two of them in 16 bits, where
    signed weights of more than 7 bits overflow."""
    info = np.iinfo(kind)
    part = 2 if info.min < 0 and not HAS_VNNI else 1
    return np.asarray(rng.integers(info.min // part, info.max // part, shape, kind, endpoint=True))


def feeds_of(inputs, constants=()):
    return {name: array for name, array in inputs.items() if array is not None and name not in constants}


def run(op, inputs, outputs, **options):
    """The results of the compiled node, by name."""
    feeds = {name: array.view(np.uint16) if array.dtype == ml_dtypes.bfloat16 else array
             for name, array in feeds_of(inputs, options.get("constants", ())).items()}
    return lathe.compile(build(op, inputs, outputs, **options))(**feeds)


def runtime(op, inputs, outputs, **options):
    """What ONNX Runtime gives."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    model = build(op, inputs, outputs, **options).SerializeToString()
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    present = [name for name in outputs if name]
    return dict(zip(present, session.run(present, feeds_of(inputs, options.get("constants", ())))))


def compare(got, want, rtol=1e-4, atol=1e-5):
    """`want` holds what must be there, by name; integers may differ by `atol` if that is at least 1."""
    for name, expected in want.items():
        expected, actual = np.asarray(expected), got[name]
        if expected.dtype == ml_dtypes.bfloat16:
            actual = actual.view(ml_dtypes.bfloat16)
        assert actual.dtype == expected.dtype, name
        assert actual.shape == expected.shape, name
        wide = expected.dtype.kind in "biu" and "i8" or "f8"
        exact = expected.dtype.kind in "biu" and atol < 1
        np.testing.assert_allclose(actual.astype(wide), expected.astype(wide), rtol=0 if exact else rtol,
                                   atol=0 if exact else atol, err_msg=name)


def check(op, inputs, outputs, rtol=1e-4, atol=1e-5, **options):
    """Compares a compiled node with ONNX Runtime."""
    compare(run(op, inputs, outputs, **options), runtime(op, inputs, outputs, **options), rtol, atol)
