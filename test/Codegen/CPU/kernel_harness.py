# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiles one kernel, written as nn ops, to a shared library and calls it on numpy arrays.

LATHE_OPT names lathe-opt, else the one in LATHE_BUILD_DIR (build of this checkout) is taken; LLVM_BIN names the
folder of LLVM's tools.
"""

import ctypes
import os
import pathlib
import subprocess
import tempfile

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("LATHE_BUILD_DIR", ROOT / "build"))
LATHE_OPT = os.environ.get("LATHE_OPT", str(BUILD / "tools/lathe-opt/lathe-opt"))
LLVM_BIN = os.environ.get("LLVM_BIN", "/usr/lib/llvm-22/bin")

LOWERING = """--canonicalize --cse --convert-vector-to-scf --convert-scf-to-cf --expand-strided-metadata
  --lower-affine --convert-vector-to-llvm --expand-strided-metadata --lower-affine --finalize-memref-to-llvm
  --convert-func-to-llvm --convert-math-to-llvm --convert-arith-to-llvm --convert-index-to-llvm
  --convert-cf-to-llvm --convert-ub-to-llvm --reconcile-unrealized-casts --canonicalize --cse"""


def run(command, text):
    result = subprocess.run(command, input=text, capture_output=True, text=True)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stderr[:4000]}"
    return result.stdout


def build(source, target="native", keep=None):
    """`source` as a loaded library."""
    base, *extensions = target.split("+")
    needed = [{"vnni": "avx512_vnni", "bf16": "avx512_bf16", "amx": "amx_tile"}[name] for name in extensions]
    for feature in ["avx512vl", *needed] if base == "x86-64-v4" else []:
        if feature not in pathlib.Path("/proc/cpuinfo").read_text().split():
            pytest.skip(f"this processor has no {feature}")
    if "amx" in extensions:
        # ARCH_REQ_XCOMP_PERM of XFEATURE_XTILEDATA, as the runtime asks for it.
        assert ctypes.CDLL(None).syscall(158, 0x1023, 18) == 0
    emitted = run([LATHE_OPT, f"--emit-cpu-kernels=target={target}"], source)
    lowered = run([LATHE_OPT, *LOWERING.split()], emitted)
    ir = run([f"{LLVM_BIN}/mlir-translate", "--mlir-to-llvmir"], lowered)
    # Full width registers, as the compiler asks for.
    added = {"vnni": "+avx512vnni", "bf16": "+avx512bf16",
             "amx": "+avx512vnni,+avx512bf16,+amx-tile,+amx-int8,+amx-bf16"}
    attributes = ["-prefer-256-bit", *(added[name] for name in extensions)]
    flags = [f"-mcpu={base}", "-mtriple=x86_64-linux-gnu", f"-mattr={','.join(attributes)}"]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(keep or folder)
        (folder / "kernel.ll").write_text(ir)
        run([f"{LLVM_BIN}/opt", "-O2", *flags, f"{folder}/kernel.ll", "-o", f"{folder}/kernel.bc"], "")
        for kind in ("obj", "asm") if keep else ("obj",):
            run([f"{LLVM_BIN}/llc", "-O2", *flags, "-relocation-model=pic", f"-filetype={kind}",
                 f"{folder}/kernel.bc", "-o", f"{folder}/kernel.{kind[0]}"], "")
        run([f"{LLVM_BIN}/ld.lld", "-shared", f"{folder}/kernel.o", "-o", f"{folder}/kernel.so"], "")
        return ctypes.CDLL(f"{folder}/kernel.so")


class Kernel:
    """The function `name` of `source` (or of a library that `build` made), whose last buffers are its results;
    buffers come before sizes."""

    def __init__(self, source, name, target="native", keep=None):
        self.library = build(source, target, keep) if isinstance(source, str) else source
        self.function = getattr(self.library, name)
        self.function.restype = ctypes.c_int32
        self.tasks_function = getattr(self.library, name + ".tasks")

    def tasks(self, sizes):
        """The number of tasks, and the grain."""
        class Pair(ctypes.Structure):
            _fields_ = [("count", ctypes.c_int64), ("grain", ctypes.c_int64)]
        self.tasks_function.restype = Pair
        pair = self.tasks_function(*[ctypes.c_int64(size) for size in sizes])
        return pair.count, pair.grain

    def arguments(self, arrays, sizes, begin, end):
        arguments = []
        for array in arrays:
            assert array.flags["C_CONTIGUOUS"]
            pointer = ctypes.c_void_p(array.ctypes.data)
            arguments += [pointer, pointer, ctypes.c_int64(0), ctypes.c_int64(array.nbytes), ctypes.c_int64(1)]
        return arguments + [ctypes.c_int64(value) for value in (*sizes, begin, end, 0)]

    def __call__(self, inputs, output_shape, sizes=(), dtype=np.float32, pieces=1):
        """Runs all tasks, in `pieces` calls, into a result that is surrounded by a guard."""
        return self.run(inputs, [(output_shape, dtype)], sizes, pieces)[0]

    def run(self, inputs, outputs, sizes=(), pieces=1, fault=0):
        """The same for any number of outputs, given by shape and type, and an expected fault."""
        guard = 64
        buffers = [np.full(int(np.prod(shape)) + 2 * guard, 123, dtype) for shape, dtype in outputs]
        results = [buffer[guard:len(buffer) - guard] for buffer in buffers]
        tasks, grain = self.tasks(sizes)
        assert grain >= 1
        bounds = [tasks * i // pieces for i in range(pieces + 1)]
        faults = [self.function(*self.arguments([*inputs, *results], sizes, begin, end))
                  for begin, end in zip(bounds, bounds[1:])]
        assert max(faults) == fault
        for buffer in buffers:
            assert np.all(buffer[:guard] == buffer[0]) and np.all(buffer[-guard:] == buffer[0]), "wrote out of bounds"
            assert buffer[0] == np.array(123).astype(buffer.dtype)
        return [result.reshape(shape) for result, (shape, _) in zip(results, outputs)]


def to_panels(matrix, width=32, interleave=1):
    """A [K, N] matrix as [ceil(N / width)][K / interleave][width][interleave], padded with zeros."""
    depth, columns = matrix.shape
    panels, groups = -(-columns // width), -(-depth // interleave)
    padded = np.zeros((groups * interleave, panels * width), matrix.dtype)
    padded[:depth, :columns] = matrix
    return np.ascontiguousarray(padded.reshape(groups, interleave, panels, width).transpose(2, 0, 3, 1))


def to_bf16(values):
    """Floats as the bits of bf16, rounded to nearest even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + np.uint32(0x7fff) + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7fc0), rounded)


def from_bf16(bits):
    """The same back, as f32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def function(name, root, inputs, outputs, body, sizes=()):
    """The text of a kernel. `inputs` and `outputs` map values to (shape, element type); a dimension of a shape is a
    number or the name of one of `sizes`."""
    def tensor(shape, element):
        return "tensor<" + "".join(f"{d if isinstance(d, int) else '?'}x" for d in shape) + element + ">"

    def dynamic(shape):
        return ", ".join(f"%{d}" for d in shape if not isinstance(d, int))

    buffers = [f"%{value}.bytes: memref<?xi8>" for value in (*inputs, *outputs)]
    lines = [f"func.func @{name}({', '.join([*buffers, *(f'%{size}: index' for size in sizes)])}) "
             f'attributes {{kernel.root = "{root}"}} {{']
    lines += [f"  %{value} = kernel.input %{value}.bytes[{dynamic(shape)}] : memref<?xi8> -> {tensor(shape, element)}"
              for value, (shape, element) in inputs.items()]
    lines.append(body)
    lines += [f"  kernel.output %{value}, %{value}.bytes[{dynamic(shape)}] : {tensor(shape, element)}, memref<?xi8>"
              for value, (shape, element) in outputs.items()]
    return "\n".join([*lines, "  return", "}", ""])
