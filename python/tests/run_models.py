# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models of a few nodes, run by Lathe and by ONNX Runtime."""

import resource
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

import lathe

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def timed(function, *arguments, **options):
    """The result, and how long it took: by the clock or in processor time of other processes, whichever is less, for the
    machine may be busy with something else."""
    def spent():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before, begin = spent(), time.monotonic()
    result = function(*arguments, **options)
    return result, min(time.monotonic() - begin, spent() - before)


def value(name, dtype, *dims):
    return helper.make_tensor_value_info(name, dtype, dims)


def graph(name, nodes, inputs, outputs, **initializers):
    """`outputs` may be names alone: their types follow."""
    outputs = [helper.make_empty_tensor_value_info(o) if isinstance(o, str) else o for o in outputs]
    return helper.make_graph(nodes, name, inputs, outputs,
                             [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in initializers.items()])


def model(nodes, inputs, outputs, opset=17, **initializers):
    return helper.make_model(graph("graph", nodes, inputs, outputs, **initializers),
                             opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def compile_model(proto, folder, **options):
    """A loaded model on one thread, or more with `threads`."""
    options = {"threads": 1, **options}
    return lathe.compile(proto, folder / "m.so", **options)


def expected(proto, inputs):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def compare(proto, compiled, inputs, rtol=1e-5):
    """Runs both and compares all outputs; returns Lathe's."""
    actual = compiled(inputs)
    for name, wanted in zip(actual, expected(proto, inputs)):
        assert actual[name].dtype == wanted.dtype
        assert actual[name].shape == wanted.shape, (name, actual[name].shape, wanted.shape)
        np.testing.assert_allclose(actual[name], wanted, rtol=rtol, atol=1e-6, err_msg=name)
    return actual
