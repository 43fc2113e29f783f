# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Equations of Einsum, against numpy."""

import numpy as np
import pytest
from onnx import helper

import lathe
from run_models import FLOAT, compile_model, model, value


def build(folder, equation, ranks, symbolic=True, shapes=None):
    names = [f"x{i}" for i in range(len(ranks))]
    node = helper.make_node("Einsum", names, ["y"], name="/einsum", equation=equation)
    dims = [[f"{name}.{i}" for i in range(rank)] if symbolic else shape
            for name, rank, shape in zip(names, ranks, shapes or ranks)]
    proto = model([node], [value(name, FLOAT, *own) for name, own in zip(names, dims)],
                  [helper.make_empty_tensor_value_info("y")])
    return compile_model(proto, folder)


@pytest.mark.parametrize("symbolic", [True, False])
@pytest.mark.parametrize("equation, shapes", [
    ("...ij,...jk->...ik", [(2, 3, 4, 5), (2, 3, 5, 6)]), ("...ij,...jk", [(3, 4, 5), (5, 6)]),
    ("...ij,...jk->...ik", [(2, 1, 4, 5), (3, 5, 6)]), ("b...->...b", [(2, 3, 4)]), ("...->...", [(2, 3)]),
    ("i...,i->...", [(3, 4, 2), (3,)]), ("ii->i", [(4, 4)]), ("ii", [(4, 4)]), ("...ii->...i", [(2, 3, 3)]),
    ("iij,j->i", [(3, 3, 4), (4,)]), ("iii->i", [(3, 3, 3)]), ("iijj->ij", [(2, 2, 3, 3)]),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]), ("bi,bj,bk->bijk", [(2, 2), (2, 3), (2, 4)]),
    ("i,i,i", [(5,), (5,), (5,)]), ("ij,jk,ik,l->l", [(2, 3), (3, 4), (2, 4), (5,)])])
def test_equation(tmp_path, equation, shapes, symbolic):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    got = build(tmp_path, equation, [len(shape) for shape in shapes], symbolic, shapes)(
        {f"x{i}": array for i, array in enumerate(arrays)})["y"]
    want = np.einsum(equation, *[array.astype(np.float64) for array in arrays])
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("equation, ranks, code", [
    ("ij->", [3], "E0307"), ("...ijk->i", [2], "E0307"), ("i1->i", [2], "E0304"), ("ij->ii", [2], "E0304"), ("ij->k", [2], "E0304"),
    ("ij,jk->ik", [2], "E0304"), ("i..j->ij", [2], "E0304")])
def test_what_is_no_equation(tmp_path, equation, ranks, code):
    with pytest.raises(lathe.ModelError) as error:
        build(tmp_path, equation, ranks)
    assert error.value.code == code


def test_a_diagonal_of_what_is_not_square(tmp_path):
    compiled = build(tmp_path, "ii->i", [2])
    with pytest.raises(lathe.ModelError, match="/einsum"):
        compiled(x0=np.ones((2, 3), np.float32))
