# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Convolutions of every kind against numpy, in memory that faults when it is read beyond its end or before its
begin."""

import ctypes
import itertools
import mmap

import numpy as np
import pytest

from kernel_harness import Kernel, from_bf16, to_bf16, to_panels

rng = np.random.default_rng(11)
TARGETS = ["x86-64-v4", "x86-64-v3"]


def normal(*shape):
    return rng.standard_normal(shape, np.float32)


def guarded(array, at_end=True):
    """A copy of `array` that ends, or begins, right at a page that cannot be read."""
    page = mmap.PAGESIZE
    size = -(-max(array.nbytes, 1) // page) * page
    memory = mmap.mmap(-1, size + 2 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for guard in (address, address + page + size):
        assert libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
    offset = page + (size - array.nbytes if at_end else 0)
    copy = np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy


def reference(x, w, strides, pads, dilations, groups):
    """Channels last, in double precision."""
    rank = len(strides)
    x = np.pad(x.astype(np.float64), [(0, 0), *zip(pads[:rank], pads[rank:]), (0, 0)])
    sizes = [(x.shape[i + 1] - (w.shape[i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(rank)]
    depth, filters = w.shape[-2], w.shape[-1] // groups
    result = np.zeros((x.shape[0], *sizes, w.shape[-1]))
    for place in itertools.product(*map(range, w.shape[:rank])):
        window = tuple(slice(place[i] * dilations[i], place[i] * dilations[i] + (sizes[i] - 1) * strides[i] + 1,
                             strides[i]) for i in range(rank))
        part = x[(slice(None), *window)]
        for group in range(groups):
            result[..., group * filters:(group + 1) * filters] += (
                part[..., group * depth:(group + 1) * depth] @ w[place][:, group * filters:(group + 1) * filters])
    return result


def filter_panels(w, groups, joined, interleave=1):
    """One matrix after the other; see #nn.panel."""
    depth, filters = -(-w.shape[-2] // interleave) * interleave, w.shape[-1] // groups
    places = np.zeros((w[..., 0, 0].size, depth, w.shape[-1]), w.dtype)
    places[:, :w.shape[-2]] = w.reshape(-1, w.shape[-2], w.shape[-1])
    matrices = []
    for first in range(0, groups, joined):
        matrix = np.zeros((len(places), joined, depth, joined, filters), w.dtype)
        for own in range(joined):
            group = first + own
            matrix[:, own, :, own] = places[:, :, group * filters:(group + 1) * filters]
        matrices.append(to_panels(matrix.reshape(-1, joined * filters), interleave=interleave).ravel())
    return np.concatenate(matrices)


class Conv:
    """A convolution of symbolic spatial sizes with an epilogue that adds a bias and a residual."""

    def __init__(self, rank, window, depth, groups, filters, strides=None, pads=None, dilations=None, joined=1,
                 panel=True, target="x86-64-v3", sizes=None, epilogue="all", element="f32"):
        self.strides, self.dilations = strides or [1] * rank, dilations or [1] * rank
        self.pads, self.groups, self.joined = pads or [0] * 2 * rank, groups, joined
        self.window, self.depth, self.filters, self.rank = window, depth, filters, rank
        self.panel, self.sizes, self.element = panel, sizes, element
        names = [f"%I{i}" for i in range(rank)]
        outs = [f"%O{i}" for i in range(rank)]
        size = (lambda i: "?") if sizes is None else (lambda i: str(sizes[i]))
        out = (lambda i: "?") if sizes is None else (lambda i: str(self.out_sizes(sizes)[i]))
        x = "x".join(["?", *map(size, range(rank)), f"{depth * groups}x{element}"])
        y = f"tensor<{'x'.join(['?', *map(out, range(rank)), f'{filters * groups}xf32'])}>"
        f = "x".join(map(str, [*window, depth, filters * groups])) + f"x{element}"
        dynamic = ", ".join(["%N", *(names if sizes is None else [])])
        dynamic_out = ", ".join(["%N", *(outs if sizes is None else [])])
        attribute = ""
        if panel:
            suffix = f", groups {groups} joined {joined}" if groups > 1 else ""
            attribute = f"{{kernel.panel = #nn.panel<32 x {self.interleave()}{suffix}>}}"
        b = f"tensor<{filters * groups}xf32>"
        tail = {"all": f"""%3 = nn.binary add %2, %bias : {y}, {b} -> {y}
  %4 = nn.binary add %3, %residual : {y}, {y} -> {y}
  %r = nn.unary relu %4 : {y} -> {y}""", "none": f"%r = nn.unary neg %2 : {y} -> {y}"}[epilogue]
        self.kernel = Kernel(f"""
func.func @f(%x: memref<?xi8>, %w: memref<?xi8> {attribute}, %b: memref<?xi8>, %z: memref<?xi8>, %y: memref<?xi8>,
             %N: index, {', '.join(f'{name}: index' for name in names + outs)}) attributes {{kernel.root = "conv"}} {{
  %0 = kernel.input %x[{dynamic}] : memref<?xi8> -> tensor<{x}>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<{f}>
  %bias = kernel.input %b[] : memref<?xi8> -> {b}
  %residual = kernel.input %z[{dynamic_out}] : memref<?xi8> -> {y}
  %2 = nn.conv %0, %1 strides([{list(self.strides)}]) pads([{list(self.pads)}]) dilations([{list(self.dilations)}])
    groups({groups}) : tensor<{x}>, tensor<{f}> -> {y}
  {tail}
  kernel.output %r, %y[{dynamic_out}] : {y}, memref<?xi8>
  return
}}""".replace("[[", "[").replace("]]", "]"), "f", target)
        self.epilogue = epilogue

    def interleave(self):
        return 2 if self.element == "bf16" else 1

    def store(self, values):
        """Numbers as the kernel reads them, and as what it multiplies."""
        if self.element == "f32":
            return values, values
        return to_bf16(values), from_bf16(to_bf16(values))

    def out_sizes(self, sizes):
        return [(size + self.pads[i] + self.pads[self.rank + i] - (self.window[i] - 1) * self.dilations[i] - 1)
                // self.strides[i] + 1 for i, size in enumerate(sizes)]

    def check(self, images, sizes, pieces=1, at_end=True):
        outs = self.out_sizes(sizes)
        stored, x = self.store(normal(images, *sizes, self.depth * self.groups))
        stored = guarded(stored, at_end)
        filters, w = self.store(normal(*self.window, self.depth, self.filters * self.groups))
        if self.panel:
            filters = filter_panels(filters, self.groups, self.joined, self.interleave())
        weights = guarded(filters, at_end)
        b, z = normal(self.filters * self.groups), normal(images, *outs, self.filters * self.groups)
        expected = reference(x, w, self.strides, self.pads, self.dilations, self.groups)
        expected = np.maximum(expected + b + z, 0) if self.epilogue == "all" else -expected
        actual = self.kernel([stored, weights, guarded(b, at_end), guarded(z, at_end)], expected.shape,
                             (images, *sizes, *outs), pieces=pieces)
        bound = 3e-7 * self.depth * np.prod(self.window) * 4
        assert np.allclose(actual, expected, rtol=1e-5, atol=bound), np.abs(actual - expected).max()


# Windows, strides, pads, dilations of two dimensions.
SHAPES = {
    "3x3": ([3, 3], [1, 1], [1, 1, 1, 1], [1, 1]),
    "3x3 stride 2": ([3, 3], [2, 2], [1, 1, 1, 1], [1, 1]),
    "3x3 no pads": ([3, 3], [1, 1], [0, 0, 0, 0], [1, 1]),
    "5x3 uneven pads": ([5, 3], [2, 1], [3, 0, 1, 2], [1, 1]),
    "2x4 dilated": ([2, 4], [1, 2], [1, 2, 0, 3], [3, 2]),
    "7x7 stride 2": ([7, 7], [2, 2], [3, 3, 3, 3], [1, 1]),
    "1x1 stride 2": ([1, 1], [2, 3], [0, 0, 0, 0], [1, 1]),
    "1x1 padded": ([1, 1], [1, 1], [2, 1, 0, 3], [1, 1]),
    "pads wider than the input": ([3, 3], [1, 1], [6, 5, 4, 7], [1, 1]),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("depth,filters", [(3, 20), (16, 32), (5, 7), (8, 45)])
def test_dense(target, shape, depth, filters):
    window, strides, pads, dilations = SHAPES[shape]
    conv = Conv(2, window, depth, 1, filters, strides, pads, dilations, target=target)
    for number, sizes in enumerate([(9, 7), (8, 6), (13, 13), (20, 131), (40, 9), (7, 12)]):
        if min(conv.out_sizes(sizes)) > 0:
            conv.check(1 + number % 2, sizes, pieces=1 + number % 3, at_end=number % 2 == 0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("depth,filters,groups,panel,target",
                         [*((*size, True, target) for target in ("x86-64-v4+bf16", "x86-64-v3")
                            for size in ((3, 20, 1), (64, 32, 1), (5, 7, 1), (8, 45, 2), (3, 12, 2))),
                          (5, 20, 1, False, "x86-64-v4+bf16"), (300, 8, 1, False, "x86-64-v4+bf16")])
def test_dense_of_bf16(shape, depth, filters, groups, panel, target):
    """Pairs of channels, the last of which may be half of one. Products are exact, and summed up as those of f32."""
    window, strides, pads, dilations = SHAPES[shape]
    conv = Conv(2, window, depth, groups, filters, strides, pads, dilations, panel=panel, target=target, element="bf16")
    for number, sizes in enumerate([(9, 7), (13, 13), (7, 40)]):
        if min(conv.out_sizes(sizes)) > 0:
            conv.check(1 + number % 2, sizes, pieces=1 + number % 3, at_end=number % 2 == 0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("width", [1, 2, 5, 6, 7, 8, 11, 12, 13, 14, 28, 56, 112, 113, 224, 230])
def test_dense_of_known_width(target, width):
    """Every remainder of a row of pixels, in code that knows it."""
    conv = Conv(2, [3, 3], 4, 1, 24, pads=[1, 1, 1, 1], target=target, sizes=(5, width))
    conv.check(2, (5, width), pieces=3)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("groups,depth,filters,joined",
                         [(2, 16, 16, 1), (3, 5, 34, 1), (4, 4, 4, 2), (8, 2, 1, 8), (6, 1, 2, 3), (2, 8, 8, 1)])
def test_groups(target, groups, depth, filters, joined):
    conv = Conv(2, [3, 2], depth, groups, filters, [1, 2], [1, 0, 1, 1], target=target, joined=joined)
    for sizes in ((9, 7), (4, 30)):
        conv.check(2, sizes, pieces=4)
    conv = Conv(2, [1, 1], depth, groups, filters, target=target, joined=joined)
    conv.check(1, (5, 9))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [1, 8, 21, 48])
def test_depthwise(target, shape, channels):
    window, strides, pads, dilations = SHAPES[shape]
    conv = Conv(2, window, 1, channels, 1, strides, pads, dilations, panel=False, target=target)
    for number, sizes in enumerate([(9, 7), (8, 6), (13, 13), (10, 131), (3, 40), (7, 12)]):
        if min(conv.out_sizes(sizes)) > 0:
            conv.check(1 + number % 2, sizes, pieces=1 + number % 3, at_end=number % 2 == 0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("width", [1, 3, 7, 14, 28, 40, 65, 112])
@pytest.mark.parametrize("window,stride", [(3, 1), (3, 2), (5, 1)])
def test_depthwise_of_known_width(target, width, window, stride):
    conv = Conv(2, [window] * 2, 1, 19, 1, [stride] * 2, [window // 2] * 4, panel=False, target=target,
                sizes=(6, width))
    conv.check(2, (6, width), pieces=3)


def test_depthwise_of_a_wide_window():
    conv = Conv(1, [40], 1, 12, 1, pads=[10, 3], panel=False)
    conv.check(2, (50,))
    conv.check(1, (31,))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("groups,depth,filters", [(1, 12, 40), (20, 1, 1), (2, 8, 24)])
def test_other_ranks(target, rank, groups, depth, filters):
    window, strides, pads, dilations = [3, 2, 3][:rank], [1, 2, 1][:rank], [1, 0, 2][:rank] + [0, 1, 2][:rank], \
        [2, 1, 1][:rank]
    is_depthwise = depth == filters == 1
    conv = Conv(rank, window, depth, groups, filters, strides, pads, dilations, panel=not is_depthwise, target=target)
    for sizes in ((9, 6, 8), (5, 7, 13), (130, 4, 5)):
        conv.check(2, sizes[:rank], pieces=2)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("groups,depth,filters", [(1, 20, 33), (2, 5, 9), (1, 300, 16), (1, 1, 8)])
def test_computed_filter(target, groups, depth, filters):
    """A filter that no panels hold."""
    conv = Conv(2, [3, 3], depth, groups, filters, pads=[1, 1, 1, 1], panel=False, target=target)
    for sizes in ((6, 7), (3, 20)):
        conv.check(2, sizes, pieces=3)


@pytest.mark.parametrize("groups,depth,filters,panel", [(1, 4, 12, True), (8, 1, 1, False)])
def test_no_pixels(groups, depth, filters, panel):
    conv = Conv(2, [3, 3], depth, groups, filters, pads=[1, 1, 1, 1], panel=panel)
    assert conv.kernel.tasks((0, 5, 5, 5, 5))[0] == 0
    assert conv.kernel.tasks((1, 5, 0, 5, 0))[0] == 0


def test_input_of_nothing_but_border():
    """No element lies inside: the result is the epilogue of zero."""
    conv = Conv(2, [3, 3], 4, 1, 12, pads=[2, 2, 2, 2])
    conv.check(1, (0, 3))
    conv = Conv(2, [3, 3], 1, 12, 1, pads=[2, 2, 2, 2], panel=False)
    conv.check(1, (0, 3))


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("target", TARGETS)
def test_channels_that_come_first(target, padding):
    """The input is transposed: no memory holds rows of channels."""
    size = 9 + 2 * padding
    kernel = Kernel(f"""
func.func @f(%x: memref<?xi8>, %w: memref<?xi8> {{kernel.panel = #nn.panel<32 x 1>}}, %y: memref<?xi8>, %B: index)
    attributes {{kernel.root = "conv"}} {{
  %0 = kernel.input %x[%B] : memref<?xi8> -> tensor<?x3x11x11xf32>
  %1 = nn.transpose %0 perm([0, 2, 3, 1]) : tensor<?x3x11x11xf32> -> tensor<?x11x11x3xf32>
  %2 = kernel.input %w[] : memref<?xi8> -> tensor<3x3x3x40xf32>
  %3 = nn.conv %1, %2 strides([1, 1]) pads([{', '.join([str(padding)] * 4)}]) dilations([1, 1]) groups(1)
    : tensor<?x11x11x3xf32>, tensor<3x3x3x40xf32> -> tensor<?x{size}x{size}x40xf32>
  kernel.output %3, %y[%B] : tensor<?x{size}x{size}x40xf32>, memref<?xi8>
  return
}}""", "f", target)
    x, w = normal(2, 3, 11, 11), normal(3, 3, 3, 40)
    expected = reference(x.transpose(0, 2, 3, 1), w, [1, 1], [padding] * 4, [1, 1], 1)
    actual = kernel([guarded(x), guarded(filter_panels(w, 1, 1))], expected.shape, (2,), pieces=2)
    assert np.allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_transposed_filter():
    """A filter as ONNX has it, [M, C, window], computed: it is read through its strides."""
    kernel = Kernel("""
func.func @f(%x: memref<?xi8>, %w: memref<?xi8>, %y: memref<?xi8>, %B: index) attributes {kernel.root = "conv"} {
  %0 = kernel.input %x[%B] : memref<?xi8> -> tensor<?x50x12xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<40x12x5xf32>
  %2 = nn.transpose %1 perm([2, 1, 0]) : tensor<40x12x5xf32> -> tensor<5x12x40xf32>
  %3 = nn.conv %0, %2 strides([1]) pads([0, 0]) dilations([1]) groups(1)
    : tensor<?x50x12xf32>, tensor<5x12x40xf32> -> tensor<?x46x40xf32>
  kernel.output %3, %y[%B] : tensor<?x46x40xf32>, memref<?xi8>
  return
}""", "f")
    x, w = normal(3, 50, 12), normal(40, 12, 5)
    expected = reference(x, w.transpose(2, 1, 0), [1], [0, 0], [1], 1)
    actual = kernel([guarded(x), guarded(w)], expected.shape, (3,))
    assert np.allclose(actual, expected, rtol=1e-5, atol=1e-4)


def test_tasks_are_small_and_of_one_block():
    """Enough tasks for several threads, and a grain of some of them."""
    conv = Conv(2, [3, 3], 64, 1, 64, pads=[1, 1, 1, 1])
    tasks, grain = conv.kernel.tasks((1, 56, 56, 56, 56))
    assert tasks == 28 * 4 and 1 <= grain <= 2
    conv = Conv(2, [3, 3], 1, 192, 1, pads=[1, 1, 1, 1], panel=False)
    tasks, grain = conv.kernel.tasks((1, 40, 40, 40, 40))
    assert tasks == 40 and 1 <= grain <= 4
