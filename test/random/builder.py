# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random graphs grow node by node, and every node is run as it is added.

The builder knows the numbers that every value holds, so a sampler need not know shape rules: a node that ONNX Runtime
refuses, or whose result is of no use (too large, not finite), is not added. Floats are *exact* while they are small
multiples of a power of two that only went through operations which do not round; where a rounding error could change
a result altogether (comparisons, roundings, positions of extrema), samplers take exact operands.
"""

import dataclasses
import functools

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

OPSET = 21
IR_VERSION = 10
FLOAT, DOUBLE, INT32, INT64, BOOL = np.float32, np.float64, np.int32, np.int64, np.bool_
DTYPES = {FLOAT: TensorProto.FLOAT, DOUBLE: TensorProto.DOUBLE, INT32: TensorProto.INT32, INT64: TensorProto.INT64,
          BOOL: TensorProto.BOOL, np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}

# Results of these are exact if their operands are (and stay small, which is looked at).
EXACT = {"Abs", "Add", "And", "ArgMax", "ArgMin", "AveragePool", "Cast", "Ceil", "Clip", "Compress", "Concat", "Conv",
         "CumSum", "DepthToSpace", "Einsum", "Equal", "Expand", "Flatten", "Floor", "Gather", "GatherElements",
         "GatherND", "Gemm", "GlobalMaxPool", "Greater", "GreaterOrEqual", "Identity", "If", "LeakyRelu", "Less",
         "LessOrEqual", "Loop", "MatMul", "Max", "MaxPool", "Min", "Mul", "Neg", "Not", "OneHot", "Or", "PRelu", "Pad",
         "ReduceMax", "ReduceMin", "ReduceSum", "Relu", "Reshape", "ReverseSequence", "Round", "Scan", "ScatterElements",
         "ScatterND", "Shape", "Sign", "Size", "Slice", "SpaceToDepth", "Split", "Squeeze", "Sub", "Sum", "Tile",
         "TopK", "Transpose", "Trilu", "Unsqueeze", "Where", "Xor"}


class Refused(Exception):
    """The node would be of no use."""


@dataclasses.dataclass
class Value:
    name: str
    array: np.ndarray
    exact: bool

    @property
    def shape(self):
        return self.array.shape

    @property
    def rank(self):
        return self.array.ndim

    @property
    def dtype(self):
        return self.array.dtype.type

    @property
    def is_float(self):
        return self.array.dtype.kind == "f"


def value_info(name, array, dims=None):
    return helper.make_tensor_value_info(name, DTYPES[array.dtype.type], array.shape if dims is None else dims)


@functools.lru_cache(1)
def session_options():
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def run_onnxruntime(model, inputs):
    """Every output by name."""
    session = ort.InferenceSession(model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def make_model(nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, "random", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def stays_exact(array):
    """Whether sums of products of such numbers do not round in f32."""
    if array.dtype.kind != "f":
        return True
    return bool(np.all(np.isfinite(array)) and np.all(np.abs(array) <= 16) and np.all(array * 16 == np.round(array * 16)))


class Builder:
    """One graph. `random` is a random.Random (of hypothesis, if failures are to shrink)."""

    def __init__(self, random, symbolic):
        self.random, self.symbolic = random, symbolic
        self.nodes, self.values, self.inputs, self.initializers = [], [], {}, {}
        self.counts = {}
        self.used, self.fixed = set(), set()
        self.counter = 0

    # -- Choices

    def chance(self, probability):
        return self.random.random() < probability

    def size(self, low=1, high=5):
        """A dimension, now and then one without elements."""
        return 0 if low > 0 and self.chance(0.01) else self.random.randint(low, high)

    def shape(self, rank=None, low=1, high=5):
        rank = self.random.randint(0, 4) if rank is None else rank
        return tuple(self.size(low, high) for _ in range(rank))

    def name(self, prefix):
        self.counter += 1
        return f"{prefix}{self.counter}"

    # -- Values

    def numbers(self, shape, dtype, low=None, high=None):
        generator = np.random.default_rng(self.random.getrandbits(32))
        if dtype is BOOL:
            return generator.integers(0, 2, shape).astype(BOOL)
        if np.dtype(dtype).kind in "iu":
            low, high = (-6 if np.dtype(dtype).kind == "i" else 0) if low is None else low, 7 if high is None else high
            return generator.integers(low, high, shape).astype(dtype)
        low, high = -3 if low is None else low, 3 if high is None else high
        return (np.round(generator.uniform(low, high, shape) * 4) / 4).astype(dtype)

    def fresh(self, shape, dtype=FLOAT, low=None, high=None, constant=None):
        """A new input or constant."""
        array = self.numbers(shape, dtype, low, high)
        return self.constant(array) if constant or (constant is None and self.chance(0.3)) else self.input(array)

    def constant(self, array):
        value = Value(self.name("c"), np.asarray(array), True)
        self.initializers[value.name] = value.array
        return value

    def input(self, array, fixed=False):
        """A new input; one that is `fixed` never has symbols for sizes (the rank of a result depends on them)."""
        value = Value(self.name("x"), array, True)
        if fixed:
            self.fixed.add(value.name)
        self.inputs[value.name] = array
        self.values.append(value)
        return value

    def find(self, condition):
        """Any value that fits, the later the likelier; None if there is none."""
        fitting = [value for value in self.values if condition(value)]
        if not fitting:
            return None
        return fitting[max(self.random.randrange(len(fitting)) for _ in range(2))]

    def pick(self, dtype=FLOAT, rank=None, min_rank=0, exact=False, condition=lambda value: True):
        """A value of that kind: often one that is there, else a new one."""
        def fits(value):
            return (value.dtype is dtype and (rank is None or value.rank == rank) and value.rank >= min_rank and
                    (value.exact or not exact) and value.array.size <= 4096 and condition(value))

        found = self.find(fits) if self.chance(0.85) else None
        if found is None:
            low = max(min_rank, 0)
            wanted = self.random.randint(low, max(low, 4)) if rank is None else rank
            found = self.fresh(self.shape(wanted), dtype)
            if not condition(found):
                raise Refused("a new value does not fit either")
        return found

    def broadcasting(self, other, dtype=None, exact=False):
        """A value that broadcasts with `other`."""
        dtype = dtype or other.dtype

        def fits(value):
            if value.dtype is not dtype or (exact and not value.exact):
                return False
            try:
                return np.broadcast_shapes(value.shape, other.shape) is not None
            except ValueError:
                return False

        found = self.find(fits) if self.chance(0.6) else None
        if found is None:
            shape = [1 if self.chance(0.25) else size for size in other.shape]
            found = self.fresh(tuple(shape[self.random.randint(0, len(shape)):]), dtype)
        return found

    # -- Nodes

    def add(self, op, inputs, count=1, **attributes):
        """Adds a node and returns its results. `inputs` are Values, arrays (constants) or None where absent."""
        operands = [self.constant(value) if isinstance(value, (np.ndarray, np.generic)) else value for value in inputs]
        names = [self.name("v") for _ in range(count)]
        node = helper.make_node(op, [value.name if value else "" for value in operands], names, name=self.name("n_"),
                                **{key: value for key, value in attributes.items() if value is not None})
        return self.finish(node, operands)

    def finish(self, node, operands, captured=()):
        arrays = {value.name: value.array for value in (*operands, *captured) if value}
        model = make_model([node], [value_info(name, array) for name, array in arrays.items()],
                           [onnx.ValueInfoProto(name=name) for name in node.output])
        try:
            outputs = run_onnxruntime(model, arrays)
        except Exception as error:  # its exceptions have no common base
            raise Refused(f"{node.op_type}: {error}") from None
        exact = node.op_type in EXACT and all(value.exact for value in (*operands, *captured) if value)
        results = []
        for name in node.output:
            array = np.asarray(outputs[name])
            array = array.astype(array.dtype.str)  # of the types with the same name, the one that has it
            if array.dtype.type not in DTYPES or array.size > 4096 or array.ndim > 6:
                raise Refused(f"{node.op_type}: a result of {array.dtype} {array.shape}")
            if array.dtype.kind == "f" and (not np.all(np.isfinite(array)) or np.any(np.abs(array) > 1e4)):
                raise Refused(f"{node.op_type}: large or not finite")
            if array.dtype.kind == "i" and np.any(np.abs(array.astype(np.float64)) > 1e6):
                raise Refused(f"{node.op_type}: large")
            results.append(Value(name, array, exact and stays_exact(array)))
        self.nodes.append(node)
        self.used.update(value.name for value in (*operands, *captured) if value)
        self.counts[node.op_type] = self.counts.get(node.op_type, 0) + 1
        self.values.extend(results)
        return results

    # -- The model

    def build(self):
        """(ModelProto, inputs by name, names of outputs that are exact). Outputs are what no node reads, and some more."""
        computed = [value for value in self.values if value.name not in self.inputs]
        outputs = [value for value in computed if value.name not in self.used or self.chance(0.1)]
        needed = set(name for node in self.nodes for name in node.input)
        needed.update(name for node in self.nodes for attribute in node.attribute for inner in attribute.g.node
                      for name in inner.input)
        inputs = {name: array for name, array in self.inputs.items() if name in needed}
        infos = [value_info(name, array, self.dims(name, array)) for name, array in inputs.items()]
        out_infos = [onnx.helper.make_tensor_value_info(value.name, DTYPES[value.dtype], [None] * value.rank)
                     if self.symbolic else value_info(value.name, value.array) for value in outputs]
        initializers = [numpy_helper.from_array(array, name) for name, array in self.initializers.items() if name in needed]
        model = make_model(self.nodes, infos, out_infos, initializers)
        return model, inputs, {value.name for value in outputs if value.exact}

    def dims(self, name, array):
        """Symbols for most dimensions: equal sizes share one, as in real models."""
        if not self.symbolic or name in self.fixed:
            return array.shape
        return [f"S{size}" if self.chance(0.6) else size for size in array.shape]
