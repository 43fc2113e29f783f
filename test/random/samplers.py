# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How nodes of every operator are made: what operands they get, and which attributes."""

import numpy as np

from builder import BOOL, FLOAT, INT32, INT64, Refused

SAMPLERS = {}


def sampler(*operators, **settings):
    """Registers a function of the builder, the operator and `settings` for some operators."""
    def register(function):
        for operator in operators:
            SAMPLERS[operator] = lambda b, operator=operator: function(b, operator, **settings)
        return function
    return register


def axis_of(b, rank):
    axis = b.random.randrange(rank)
    return axis - rank if b.chance(0.3) else axis


def axes_of(b, rank):
    axes = b.random.sample(range(rank), b.random.randint(1, rank))
    return [axis - rank if b.chance(0.3) else axis for axis in axes]


def ints(*values):
    return np.array(values, np.int64)


def between(b, low, high, **kind):
    """A float within bounds, by a Clip of any."""
    x = b.pick(**kind)
    if x.array.size and (x.array.min() < low or x.array.max() > high):
        x, = b.add("Clip", [x, np.array(low, x.dtype), np.array(high, x.dtype)])
    return x


# -- Pointwise ---------------------------------------------------------------------------------------------------------


@sampler("Abs", "Elu", "Erf", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Mish", "Neg", "Relu", "Selu",
         "Sigmoid", "Softplus", "Softsign", "Tanh", "Celu", "Gelu", "Sin", "Cos", "Atan", "Asinh")
def unary(b, op):
    b.add(op, [b.pick()])


@sampler("Exp", "Sinh", "Cosh")
def growing(b, op):
    b.add(op, [between(b, -4, 4)])


@sampler("Tan", "Acos", "Asin", "Atanh")
def on_unit_interval(b, op):
    b.add(op, [between(b, -0.75, 0.75)])


@sampler("Log", "Sqrt", "Reciprocal", "Acosh")
def of_positive(b, op):
    b.add(op, [between(b, 1.25, 16)])


@sampler("Ceil", "Floor", "Round", "Sign", "ThresholdedRelu", "Shrink", "Hardmax", "IsNaN", "IsInf")
def of_exact(b, op):
    b.add(op, [b.pick(exact=True, min_rank=1 if op == "Hardmax" else 0)])


@sampler("Not")
def of_bool(b, op):
    b.add(op, [b.pick(BOOL)])


@sampler("BitwiseNot")
def of_integer(b, op):
    b.add(op, [b.pick(INT32)])


@sampler("Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean")
def binary(b, op):
    x = b.pick(b.random.choice([FLOAT, FLOAT, INT32, INT64]) if op not in ("Sum", "Mean") else FLOAT)
    b.add(op, [x, b.broadcasting(x)])


@sampler("Div")
def division(b, op):
    x = b.pick(b.random.choice([FLOAT, INT64]))
    if x.is_float:
        b.add(op, [x, b.fresh(x.shape, x.dtype, 1, 3)])
    else:
        b.add(op, [x, b.fresh(x.shape[-1:], x.dtype, 1, 5)])


@sampler("Mod")
def modulo(b, op):
    x = b.pick(b.random.choice([INT32, INT64]))
    b.add(op, [x, b.fresh(x.shape[-1:], x.dtype, 1, 5)], fmod=b.random.randint(0, 1))


@sampler("Pow")
def power(b, op):
    x = between(b, 0.5, 3)
    b.add(op, [x, b.fresh((), FLOAT, -2, 3)])


@sampler("PRelu")
def prelu(b, op):
    x = b.pick(min_rank=1)
    b.add(op, [x, b.fresh(x.shape[-1:], FLOAT)])


@sampler("Clip")
def clip(b, op):
    x = b.pick(b.random.choice([FLOAT, INT64]))
    b.add(op, [x, np.array(-1, x.dtype) if b.chance(0.7) else None, np.array(2, x.dtype)])


@sampler("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
def comparison(b, op):
    x = b.pick(b.random.choice([FLOAT, INT32, INT64]), exact=True)
    b.add(op, [x, b.broadcasting(x, exact=True)])


@sampler("And", "Or", "Xor")
def logic(b, op):
    x = b.pick(BOOL)
    b.add(op, [x, b.broadcasting(x)])


@sampler("BitwiseAnd", "BitwiseOr", "BitwiseXor")
def bitwise(b, op):
    x = b.pick(INT32)
    b.add(op, [x, b.broadcasting(x)])


@sampler("Where")
def where(b, op):
    x = b.pick(b.random.choice([FLOAT, INT64]))
    b.add(op, [b.broadcasting(x, BOOL), x, b.broadcasting(x)])


@sampler("Cast")
def cast(b, op):
    x = b.pick(b.random.choice([FLOAT, INT32, INT64, BOOL]), exact=True)
    b.add(op, [x], to=b.random.choice([1, 6, 7, 9, 11]))


@sampler("CastLike")
def cast_like(b, op):
    b.add(op, [b.pick(INT64), b.pick(FLOAT)])


# -- Reductions and normalizations -------------------------------------------------------------------------------------


@sampler("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare",
         "ReduceLogSumExp")
def reduction(b, op):
    x = b.pick(min_rank=1, condition=lambda value: value.array.size > 0)
    axes = ints(*axes_of(b, x.rank)) if b.chance(0.8) else None
    b.add(op, [x, axes], keepdims=b.random.randint(0, 1))


@sampler("ReduceProd")
def product(b, op):
    x = between(b, -1, 1, min_rank=1)
    b.add(op, [x, ints(axis_of(b, x.rank))], keepdims=b.random.randint(0, 1))


@sampler("ReduceLogSum")
def log_sum(b, op):
    x = between(b, 1.25, 16, min_rank=1, condition=lambda value: value.array.size > 0)
    b.add(op, [x, ints(axis_of(b, x.rank))], keepdims=b.random.randint(0, 1))


@sampler("ArgMax", "ArgMin")
def position(b, op):
    x = b.pick(exact=True, min_rank=1, condition=lambda value: value.array.size > 0)
    b.add(op, [x], axis=axis_of(b, x.rank), keepdims=b.random.randint(0, 1), select_last_index=b.random.randint(0, 1))


@sampler("Softmax", "LogSoftmax")
def softmax(b, op):
    x = b.pick(min_rank=1)
    b.add(op, [x], axis=axis_of(b, x.rank))


@sampler("CumSum")
def cumulative(b, op):
    x = b.pick(min_rank=1)
    b.add(op, [x, np.array(axis_of(b, x.rank), np.int64)], exclusive=b.random.randint(0, 1),
          reverse=b.random.randint(0, 1))


@sampler("LayerNormalization")
def layer_norm(b, op):
    x = b.pick(min_rank=1, condition=lambda value: value.shape[-1] > 1 and value.array.std(-1).min(initial=1) > 0.1)
    scale = b.fresh(x.shape[-1:], FLOAT, 1, 2)
    b.add(op, [x, scale, b.fresh(x.shape[-1:]) if b.chance(0.7) else None], axis=-1)


@sampler("LpNormalization")
def lp_norm(b, op):
    x = between(b, 0.5, 3, min_rank=1)
    b.add(op, [x], axis=axis_of(b, x.rank), p=b.random.randint(1, 2))


@sampler("BatchNormalization")
def batch_norm(b, op):
    x = b.pick(min_rank=2)
    count = x.shape[1:2]
    b.add(op, [x, b.fresh(count, constant=True), b.fresh(count, constant=True), b.fresh(count, constant=True),
               b.fresh(count, FLOAT, 1, 2, constant=True)])


@sampler("InstanceNormalization")
def instance_norm(b, op):
    x = b.pick(min_rank=3, condition=lambda value: value.array.size > 0 and
               value.array.reshape(*value.shape[:2], -1).std(-1).min() > 0.1)
    b.add(op, [x, b.fresh(x.shape[1:2]), b.fresh(x.shape[1:2])])


@sampler("GroupNormalization")
def group_norm(b, op):
    x = b.fresh((b.size(1, 2), 4, b.size(2, 4), b.size(2, 4)))
    b.add(op, [x, b.fresh((4,)), b.fresh((4,))], num_groups=b.random.choice([1, 2, 4]))


@sampler("MeanVarianceNormalization")
def mean_variance(b, op):
    b.add(op, [b.fresh((2, 3, b.size(2, 4), 3))])


@sampler("LRN")
def local_response(b, op):
    b.add(op, [b.pick(rank=4)], size=b.random.choice([1, 3]))


# -- Products ----------------------------------------------------------------------------------------------------------


@sampler("MatMul")
def matmul(b, op):
    x = b.pick(min_rank=1)
    rank = b.random.randint(1, 3)
    batch = x.shape[:-2][-(rank - 2):] if rank > 2 else ()
    shape = (x.shape[-1],) if rank == 1 else (*batch, x.shape[-1], b.size(1, 40))
    b.add(op, [x, b.fresh(shape)])


@sampler("Gemm")
def gemm(b, op):
    x = b.pick(rank=2)
    trans_a, trans_b = b.random.randint(0, 1), b.random.randint(0, 1)
    inner, columns = x.shape[0 if trans_a else 1], b.size(1, 40)
    y = b.fresh((columns, inner) if trans_b else (inner, columns))
    bias = b.fresh((columns,)) if b.chance(0.6) else None
    b.add(op, [x, y, bias], transA=trans_a, transB=trans_b, alpha=b.random.choice([1.0, 0.5]),
          beta=b.random.choice([1.0, 2.0]))


@sampler("Einsum")
def einsum(b, op):
    # ONNX Runtime 1.32 dies of a product without elements.
    batch, rows, inner, columns = (b.random.randint(1, 4) for _ in range(4))
    equation, left, right = b.random.choice([
        ("ij,jk->ik", (rows, inner), (inner, columns)), ("bij,bjk->bik", (batch, rows, inner), (batch, inner, columns)),
        ("bij,bkj->bik", (batch, rows, inner), (batch, columns, inner)), ("ij,j->i", (rows, inner), (inner,)),
        ("bhid,bhjd->bhij", (batch, 2, rows, inner), (batch, 2, columns, inner)), ("i,j->ij", (rows,), (columns,))])
    b.add(op, [b.fresh(left), b.fresh(right)], equation=equation)


@sampler("Conv")
def conv(b, op):
    spatial, groups = b.random.randint(1, 2), b.random.choice([1, 1, 2])
    depth, maps = b.random.randint(1, 3), groups * b.random.randint(1, 4)
    window = [b.random.randint(1, 3) for _ in range(spatial)]
    x = b.fresh((b.size(1, 2), groups * depth, *(b.random.randint(5, 9) for _ in range(spatial))))
    bias = b.fresh((maps,), constant=True) if b.chance(0.6) else None
    b.add(op, [x, b.fresh((maps, depth, *window), constant=True), bias], group=groups,
          strides=[b.random.randint(1, 2) for _ in range(spatial)],
          dilations=[b.random.randint(1, 2) for _ in range(spatial)],
          pads=[b.random.randint(0, 1) for _ in range(2 * spatial)])


@sampler("ConvTranspose")
def conv_transpose(b, op):
    x = b.fresh((1, 2, b.random.randint(3, 5), b.random.randint(3, 5)))
    b.add(op, [x, b.fresh((2, b.random.randint(1, 3), 3, 2), constant=True)],
          strides=[b.random.randint(1, 2), b.random.randint(1, 2)], pads=[b.random.randint(0, 1) for _ in range(4)])


@sampler("MaxPool", "AveragePool", "LpPool")
def pool(b, op):
    x = b.fresh((b.size(1, 2), b.size(1, 3), b.random.randint(5, 8), b.random.randint(5, 8)))
    window = [b.random.randint(1, 3), b.random.randint(1, 3)]
    # Where steps are longer than windows, the last one may begin behind the end: ONNX Runtime leaves it out when it
    # computes and not when it infers shapes.
    b.add(op, [x], kernel_shape=window, strides=[b.random.randint(1, min(2, size)) for size in window],
          ceil_mode=b.random.randint(0, 1))


@sampler("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(b, op):
    b.add(op, [b.pick(rank=4, condition=lambda value: value.array.size > 0)])


# -- Data movement -----------------------------------------------------------------------------------------------------


@sampler("Transpose")
def transpose(b, op):
    x = b.pick(b.random.choice([FLOAT, INT64]), min_rank=1)
    b.add(op, [x], perm=b.random.sample(range(x.rank), x.rank))


@sampler("Reshape")
def reshape(b, op):
    x = b.pick(b.random.choice([FLOAT, INT64]), min_rank=1, condition=lambda value: value.array.size > 0)
    cut = b.random.randint(0, x.rank)
    head = [0 if b.chance(0.5) else size for size in x.shape[:cut]]
    b.add(op, [x, ints(*head, -1)])


@sampler("Flatten")
def flatten(b, op):
    x = b.pick()
    b.add(op, [x], axis=b.random.randint(0, x.rank))


@sampler("Squeeze")
def squeeze(b, op):
    x = b.pick(condition=lambda value: 1 in value.shape)
    ones = [axis for axis, size in enumerate(x.shape) if size == 1]
    b.add(op, [x, ints(b.random.choice(ones))])


@sampler("Unsqueeze")
def unsqueeze(b, op):
    x = b.pick(condition=lambda value: value.rank < 5)
    b.add(op, [x, ints(b.random.randint(-x.rank - 1, x.rank))])


@sampler("Expand")
def expand(b, op):
    x = b.pick(condition=lambda value: value.rank < 5)
    shape = [b.size(1, 3) if size == 1 else size for size in x.shape]
    b.add(op, [x, ints(*([b.size(1, 2)] if b.chance(0.3) else []), *shape)])


@sampler("Tile")
def tile(b, op):
    x = b.pick(min_rank=1)
    b.add(op, [x, ints(*(b.random.randint(1, 2) for _ in x.shape))])


@sampler("Concat")
def concat(b, op):
    x = b.pick(min_rank=1)
    axis = axis_of(b, x.rank)
    shape = list(x.shape)
    shape[axis] = b.size(1, 3)
    b.add(op, [x, b.fresh(tuple(shape), x.dtype), *([x] if b.chance(0.3) else [])], axis=axis)


@sampler("Split")
def split(b, op):
    x = b.pick(min_rank=1, condition=lambda value: max(value.shape) > 1)
    axis = b.random.choice([i for i, size in enumerate(x.shape) if size > 1])
    first = b.random.randint(1, x.shape[axis] - 1)
    b.add(op, [x, ints(first, x.shape[axis] - first)], count=2, axis=axis)


@sampler("Slice")
def slicing(b, op):
    x = b.pick(b.random.choice([FLOAT, INT64]), min_rank=1)
    axis = axis_of(b, x.rank)
    size = x.shape[axis]
    if b.chance(0.3):
        start, end, step = -1, -size - 1, -b.random.randint(1, 2)
    else:
        start, end, step = b.random.randint(-size, size), b.random.choice([size, -1, 2 ** 31]), b.random.randint(1, 2)
    b.add(op, [x, ints(start), ints(end), ints(axis), ints(step)])


@sampler("Pad")
def pad(b, op):
    x = b.pick(min_rank=1, condition=lambda value: min(value.shape) > 1)
    mode = b.random.choice(["constant", "constant", "reflect", "edge"])
    b.add(op, [x, ints(*(b.random.randint(0, 1) for _ in range(2 * x.rank)))], mode=mode)


@sampler("Gather")
def gather(b, op):
    x = b.pick(min_rank=1, condition=lambda value: min(value.shape) > 0)
    axis = axis_of(b, x.rank)
    size = x.shape[axis]
    b.add(op, [x, b.fresh(b.shape(b.random.randint(0, 2)), INT64, -size, size)], axis=axis)


@sampler("GatherElements")
def gather_elements(b, op):
    x = b.pick(min_rank=1, condition=lambda value: min(value.shape) > 0)
    axis = axis_of(b, x.rank)
    b.add(op, [x, b.fresh(x.shape, INT64, -x.shape[axis], x.shape[axis])], axis=axis)


@sampler("GatherND")
def gather_nd(b, op):
    x = b.pick(min_rank=1, condition=lambda value: min(value.shape) > 0)
    depth = b.random.randint(1, x.rank)
    rows = b.size(1, 4)
    columns = [b.numbers((rows, 1), INT64, -size, size) for size in x.shape[:depth]]
    b.add(op, [x, b.input(np.concatenate(columns, axis=1), fixed=True)])


@sampler("ScatterElements")
def scatter_elements(b, op):
    x = b.pick(min_rank=1, condition=lambda value: min(value.shape) > 0)
    axis = axis_of(b, x.rank)
    order = np.argsort(b.numbers(x.shape, FLOAT), axis=axis).astype(np.int64)
    b.add(op, [x, b.input(order), b.fresh(x.shape)], axis=axis, reduction=b.random.choice(["none", "add", "max"]))


@sampler("ScatterND")
def scatter_nd(b, op):
    x = b.pick(min_rank=1, condition=lambda value: value.shape[0] > 1)
    rows = b.random.sample(range(x.shape[0]), 2)
    b.add(op, [x, b.input(np.array(rows, np.int64).reshape(2, 1)), b.fresh((2, *x.shape[1:]))],
          reduction=b.random.choice(["none", "add"]))


@sampler("OneHot")
def one_hot(b, op):
    depth = b.random.randint(2, 5)
    b.add(op, [b.fresh(b.shape(b.random.randint(1, 2)), INT64, -depth, depth), np.array(depth, np.int64),
               np.array([0, 1], FLOAT)], axis=b.random.choice([-1, 0, 1]))


@sampler("Trilu")
def trilu(b, op):
    b.add(op, [b.pick(min_rank=2), np.array(b.random.randint(-1, 1), np.int64)], upper=b.random.randint(0, 1))


@sampler("TopK")
def top_k(b, op):
    x = b.pick(exact=True, min_rank=1, condition=lambda value: min(value.shape) > 0)
    axis = axis_of(b, x.rank)
    b.add(op, [x, ints(b.random.randint(1, x.shape[axis]))], count=2, axis=axis, largest=b.random.randint(0, 1))


@sampler("DepthToSpace")
def depth_to_space(b, op):
    b.add(op, [b.fresh((b.size(1, 2), 4, b.size(1, 3), b.size(1, 3)))], blocksize=2, mode=b.random.choice(["DCR", "CRD"]))


@sampler("SpaceToDepth")
def space_to_depth(b, op):
    b.add(op, [b.fresh((b.size(1, 2), b.size(1, 3), 4, 2))], blocksize=2)


@sampler("ReverseSequence")
def reverse_sequence(b, op):
    x = b.fresh((b.random.randint(1, 4), b.random.randint(1, 4), 2))
    b.add(op, [x, b.fresh((x.shape[1],), INT64, 1, x.shape[0] + 1)], batch_axis=1, time_axis=0)


@sampler("EyeLike")
def eye_like(b, op):
    b.add(op, [b.pick(rank=2)], k=b.random.randint(-1, 1))


# -- Shapes as values --------------------------------------------------------------------------------------------------


@sampler("Shape")
def shape_of(b, op):
    b.add(op, [b.pick()])


@sampler("Size")
def size_of(b, op):
    b.add(op, [b.pick()])


@sampler("ConstantOfShape")
def constant_of_shape(b, op):
    shape, = b.add("Shape", [b.pick(min_rank=1)])
    b.add(op, [shape])


@sampler("Range")
def number_range(b, op):
    size, = b.add("Size", [b.pick(condition=lambda value: value.array.size < 40)])
    b.add(op, [np.array(0, np.int64), size, np.array(b.random.randint(1, 2), np.int64)])


@sampler("Dropout")
def dropout(b, op):
    b.add(op, [b.pick()])


@sampler("NonZero")
def non_zero(b, op):
    b.add(op, [b.pick(exact=True, min_rank=1)])


@sampler("Compress")
def compress(b, op):
    x = b.pick(min_rank=1)
    axis = axis_of(b, x.rank)
    b.add(op, [x, b.fresh((x.shape[axis],), BOOL)], axis=axis)


# -- Quantization ------------------------------------------------------------------------------------------------------


@sampler("QuantizeLinear")
def quantize(b, op):
    b.add(op, [b.pick(exact=True), np.array(0.125, FLOAT), np.array(b.random.randint(0, 9), np.uint8)])


@sampler("DequantizeLinear")
def dequantize(b, op):
    x = b.fresh(b.shape(2), np.uint8, 0, 200)
    b.add(op, [x, np.array(0.0625, FLOAT), np.array(b.random.randint(0, 9), np.uint8)])


@sampler("MatMulInteger")
def matmul_integer(b, op):
    inner = b.size(1, 8)
    b.add(op, [b.fresh((b.size(), inner), np.uint8, 0, 255), b.fresh((inner, b.size()), np.int8, -127, 127),
               np.array(3, np.uint8)])


def sample(b, operators=None):
    """Adds one node of any operator, or one of some, and what it needs; False if that came to nothing."""
    operator = b.random.choice(sorted(SAMPLERS) if operators is None else operators)
    try:
        SAMPLERS[operator](b)
        return True
    except Refused:
        return False
