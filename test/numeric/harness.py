# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiles nn ops through their reference lowerings and runs them on numpy arrays.

LATHE_OPT names lathe-opt, else the one in build/ is taken; LATHE_LLVM the folder of LLVM's tools.
"""

import ctypes
import functools
import os
import pathlib
import subprocess
import tempfile

import ml_dtypes
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
LATHE_OPT = os.environ.get("LATHE_OPT", str(ROOT / "build/tools/lathe-opt/lathe-opt"))
LLVM = os.environ.get("LATHE_LLVM", "/usr/lib/llvm-22/bin")
MARCH = os.environ.get("LATHE_MARCH", "x86-64-v3")

BF16 = np.dtype(ml_dtypes.bfloat16)
TYPES = {"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16", "bool": "i1",
         **{f"int{w}": f"i{w}" for w in (8, 16, 32, 64)}, **{f"uint{w}": f"ui{w}" for w in (8, 16, 32, 64)}}

TO_LOOPS = ["--nn-decompose", "--convert-nn-to-linalg", "--canonicalize", "--cse",
            "--eliminate-empty-tensors", "--empty-tensor-to-alloc-tensor", "--one-shot-bufferize",
            "--convert-linalg-to-loops", "--canonicalize"]
TO_LLVM = ["--expand-strided-metadata", "--lower-affine", "--convert-scf-to-cf", "--arith-expand=include-bf16=true",
           "--convert-math-to-llvm", "--finalize-memref-to-llvm", "--convert-arith-to-llvm", "--convert-index-to-llvm",
           "--convert-cf-to-llvm", "--convert-func-to-llvm", "--reconcile-unrealized-casts"]

TRAP = """#include <stdbool.h>
__attribute__((visibility("default"))) long faults = 0;
void lathe_test_trap(bool condition) { faults += condition; }
"""
# What compiled code may import: the C library's memory functions (artifacts have no heap, test programs do).
ALLOWED = {"malloc", "free", "memcpy", "memmove", "memset", "__cxa_finalize", "__gmon_start__",
           "_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable"}


def mlir_type(dtype):
    return TYPES[np.dtype(dtype).name]


def tensor_type(shape, dtype):
    """A tensor type; None stands for a dynamic size."""
    return "tensor<" + "".join(f"{'?' if d is None else d}x" for d in shape) + mlir_type(dtype) + ">"


def tool(command, text):
    result = subprocess.run(command, input=text, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{result.stderr[:4000]}\n{text[:4000]}")
    return result.stdout


@functools.cache
def compile_mlir(text, optimization="-O1"):
    """A shared object with the function `main` of a module."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lathe-numeric-"))
    loops = tool([LATHE_OPT, *TO_LOOPS], text)
    lines = []
    for line in loops.splitlines():
        if "kernel.trap_if" in line:
            condition = line.split("kernel.trap_if")[1].split(",")[0].strip()
            line = f"func.call @lathe_test_trap({condition}) : (i1) -> ()"
        lines.append(line)
    end = len(lines) - 1 - lines[::-1].index("}")
    lines.insert(end, "func.func private @lathe_test_trap(i1)")
    llvm = tool([LATHE_OPT, *TO_LLVM], "\n".join(lines))
    ir = tool([f"{LLVM}/mlir-translate", "--mlir-to-llvmir"], llvm)
    (folder / "f.ll").write_text(ir)
    (folder / "trap.c").write_text(TRAP)
    library = folder / "f.so"
    tool([f"{LLVM}/clang", optimization, f"-march={MARCH}", "-Wno-override-module", "-fPIC", "-shared",
          str(folder / "f.ll"), str(folder / "trap.c"), "-o", str(library)], "")
    imported = tool([f"{LLVM}/llvm-nm", "-D", "--undefined-only", "--format=just-symbols", str(library)], "")
    foreign = {name.split("@")[0] for name in imported.split()} - ALLOWED
    assert not foreign, f"compiled code imports {sorted(foreign)}"
    return ctypes.CDLL(str(library))


def descriptor(array):
    """The memref descriptor of an array, as the C interface of MLIR takes it."""
    rank = array.ndim

    class Descriptor(ctypes.Structure):
        _fields_ = [("allocated", ctypes.c_void_p), ("aligned", ctypes.c_void_p), ("offset", ctypes.c_int64)]
        if rank:
            _fields_ += [("sizes", ctypes.c_int64 * rank), ("strides", ctypes.c_int64 * rank)]

    result = Descriptor(array.ctypes.data, array.ctypes.data, 0)
    if rank:
        result.sizes[:] = array.shape
        strides, step = [0] * rank, 1
        for i in reversed(range(rank)):
            strides[i] = step
            step *= array.shape[i]
        result.strides[:] = strides
    return result


class Faults(Exception):
    """The code reported a fault: an index out of bounds, or a division by zero."""


def module(body, args, out, dynamic=False, sizes=0):
    """The text of a function that computes `%r` from `%a0`, `%a1`, ... and index values `%s0`, ...

    `args` are pairs of shape and dtype, `out` is one. In `body`, {0}, {1} and {out} stand for their types. With
    `dynamic` no type says a size; `dynamic` may also be a list of one bool for each argument and the result.
    """
    flags = dynamic if isinstance(dynamic, (list, tuple)) else [dynamic] * (len(args) + 1)
    types = [tensor_type([None] * len(s) if f else s, d) for (s, d), f in zip([*args, out], flags)]
    body = body.format(*types[:-1], out=types[-1])
    memrefs = [t.replace("tensor", "memref") for t in types]
    parameters = [f"%m{i}: {t}" for i, t in enumerate(memrefs)] + [f"%s{i}: index" for i in range(sizes)]
    lines = ["module {", f"func.func @main({', '.join(parameters)}) attributes {{llvm.emit_c_interface}} {{"]
    for i, (m, t) in enumerate(zip(memrefs[:-1], types[:-1])):
        lines.append(f"%a{i} = bufferization.to_tensor %m{i} restrict : {m} to {t}")
    lines.append(body)
    lines.append(f"bufferization.materialize_in_destination %r in restrict writable %m{len(args)} "
                 f": ({types[-1]}, {memrefs[-1]}) -> ()")
    lines += ["return", "}", "}"]
    return "\n".join(lines)


def call(library, arrays, out_shape, out_dtype, sizes=()):
    result = np.zeros(out_shape, out_dtype)
    arrays = [np.ascontiguousarray(a).reshape(np.shape(a)) for a in arrays]
    descriptors = [descriptor(a) for a in [*arrays, result]]
    ctypes.c_long.in_dll(library, "faults").value = 0
    library._mlir_ciface_main(*[ctypes.byref(d) for d in descriptors], *[ctypes.c_int64(s) for s in sizes])
    if ctypes.c_long.in_dll(library, "faults").value:
        raise Faults()
    return result


def run(body, arrays, out_shape, out_dtype, dynamic=False, sizes=()):
    """Computes `body` (see `module`) on numpy arrays."""
    arrays = [np.asarray(a) for a in arrays]
    text = module(body, [(a.shape, a.dtype) for a in arrays], (out_shape, out_dtype), dynamic, len(sizes))
    return call(compile_mlir(text), arrays, out_shape, out_dtype, sizes)
