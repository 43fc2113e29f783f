# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What ONNX's cases leave open of random numbers, transforms and determinants."""

import sys

import numpy as np
import pytest

sys.path.insert(0, __file__.rsplit("/", 1)[0])

from nodes import build, run  # noqa: E402

import lathe  # noqa: E402

rng = np.random.default_rng(6)
SYMBOLIC = pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])


def draw(op, inputs=None, opset=21, **attributes):
    return run(op, inputs or {}, ["y"], opset=opset, **attributes)["y"]


# -- Random numbers ----------------------------------------------------------------------------------------------------

COUNT = 200_000
# Five standard deviations of a mean of COUNT numbers of variance 1.
NEAR = 5 / np.sqrt(COUNT)


@pytest.mark.parametrize("dtype", [1, 11])
def test_uniform_numbers_fill_their_interval_evenly(dtype):
    x = draw("RandomUniform", shape=[COUNT], low=-1.0, high=3.0, seed=7.0, dtype=dtype).astype(np.float64)
    assert x.min() >= -1 and x.max() < 3
    counts, _ = np.histogram(x, 50, (-1, 3))
    expected = COUNT / 50
    # Chi-squared of 49 degrees of freedom: above 100 once in 10^5 seeds, and this seed is fixed.
    assert ((counts - expected) ** 2 / expected).sum() < 100
    # Neighbours are not correlated.
    unit = (x - x.mean()) / x.std()
    assert abs((unit[1:] * unit[:-1]).mean()) < NEAR


@pytest.mark.parametrize("dtype", [1, 11])
def test_normal_numbers_have_the_moments_of_the_distribution(dtype):
    x = draw("RandomNormal", shape=[COUNT // 8, 8], mean=2.0, scale=0.5, seed=3.0, dtype=dtype).astype(np.float64)
    unit = (x - 2) / 0.5
    assert abs(unit.mean()) < NEAR
    assert abs((unit**2).mean() - 1) < NEAR * np.sqrt(2)
    assert abs((unit**3).mean()) < NEAR * np.sqrt(15)
    assert abs((unit**4).mean() - 3) < NEAR * np.sqrt(96)
    assert np.isfinite(x).all()


def test_a_seed_determines_the_numbers_and_another_gives_others():
    first, again, other = (draw("RandomUniform", shape=[100], seed=seed) for seed in (1.0, 1.0, 2.0))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_numbers_do_not_depend_on_threads():
    model = lathe.compile(build("RandomNormal", {}, ["y"], shape=[100_003], seed=1.0))
    one = draw("RandomNormal", shape=[100_003], seed=1.0)
    np.testing.assert_array_equal(model()["y"], one)


@SYMBOLIC
def test_numbers_like_a_tensor_have_its_shape_and_type(symbolic):
    like = np.zeros((3, 5), np.float64)
    x = draw("RandomUniformLike", {"x": like}, symbolic=symbolic)
    assert x.shape == (3, 5) and x.dtype == np.float64
    assert len(np.unique(x)) == 15
    assert draw("RandomNormalLike", {"x": like}, symbolic=symbolic, dtype=10).dtype == np.float16


def test_bernoulli_draws_with_the_probability_of_each_element():
    p = np.repeat(np.array([0, 0.25, 0.9, 1], np.float32), COUNT // 4)
    x = draw("Bernoulli", {"p": p}, seed=5.0, dtype=6).reshape(4, -1)
    np.testing.assert_allclose(x.mean(1), [0, 0.25, 0.9, 1], atol=2 * NEAR)
    assert (x[0] == 0).all() and (x[3] == 1).all()


def test_multinomial_draws_with_the_probability_of_each_class():
    p = np.array([[0.1, 0.2, 0.7], [0, 1, 0]])
    with np.errstate(divide="ignore"):
        logits = np.log(p).astype(np.float32) + 3
    x = draw("Multinomial", {"x": logits}, seed=5.0, sample_size=50_000)
    assert x.shape == (2, 50_000) and x.dtype == np.int32
    found = [[(row == k).mean() for k in range(3)] for row in x]
    np.testing.assert_allclose(found, p, atol=5 * np.sqrt(0.25 / 50_000))
    assert (x[1] == 1).all()


# -- Transforms --------------------------------------------------------------------------------------------------------


def parts(x):
    return np.stack([x.real, x.imag], -1)


@pytest.mark.parametrize("length", [1, 2, 8, 30, 49, 97, 400, 512, 1022])
def test_transforms_of_lengths_with_large_and_small_factors(length):
    x = rng.standard_normal((2, length, 3, 2))
    got = run("DFT", {"x": x, "n": None, "axis": np.array(1)}, ["y"], opset=20, constants=["axis"])["y"]
    want = parts(np.fft.fft(x[..., 0] + 1j * x[..., 1], axis=1))
    # The error of a sum of `length` products in f64, generously.
    np.testing.assert_allclose(got, want, atol=length * 1e-15 * 10)


@SYMBOLIC
@pytest.mark.parametrize("axis", [0, 1, -2, -3])
def test_a_transform_along_an_axis_that_only_the_run_tells(symbolic, axis):
    x = rng.standard_normal((4, 6, 5, 1)).astype(np.float32)
    got = run("DFT", {"x": x, "n": None, "axis": np.array(axis)}, ["y"], opset=20, symbolic=symbolic, onesided=1)["y"]
    np.testing.assert_allclose(got, parts(np.fft.rfft(x[..., 0], axis=axis if axis >= 0 else axis + 1)), atol=1e-5)


@pytest.mark.parametrize("length", [5, 12])
def test_a_length_cuts_off_or_pads_with_zeros(length):
    x = rng.standard_normal((3, 8, 1)).astype(np.float32)
    got = run("DFT", {"x": x, "n": np.array(length)}, ["y"], opset=17, axis=1)["y"]
    np.testing.assert_allclose(got, parts(np.fft.fft(x[..., 0], length, axis=1)), atol=1e-5)


@pytest.mark.parametrize("length", [9, 10])
def test_half_a_spectrum_gives_back_its_signal(length):
    signal = rng.standard_normal((3, length)).astype(np.float32)
    half = parts(np.fft.rfft(signal, axis=1)).astype(np.float32)
    got = run("DFT", {"x": half, "n": np.array(length)}, ["y"], opset=17, axis=1, inverse=1, onesided=1)["y"]
    np.testing.assert_allclose(got[..., 0], signal, atol=1e-5)


@SYMBOLIC
def test_a_transform_of_nothing_is_nothing(symbolic):
    x = np.zeros((3, 0, 1), np.float32)
    assert run("DFT", {"x": x}, ["y"], opset=17, axis=1, symbolic=symbolic)["y"].shape == (3, 0, 2)
    with pytest.raises(lathe.ModelError):
        run("DFT", {"x": x}, ["y"], opset=17, axis=1, onesided=1, symbolic=symbolic)


def test_a_transform_of_the_parts_is_an_error():
    x = np.zeros((3, 8, 1), np.float32)
    with pytest.raises(lathe.ModelError, match="the axis is that of real and imaginary parts"):
        run("DFT", {"x": x}, ["y"], opset=17, axis=2)


@SYMBOLIC
def test_frames_overlap_by_a_step_that_the_run_tells(symbolic):
    signal, window = rng.standard_normal((2, 50, 1)).astype(np.float32), rng.standard_normal(16).astype(np.float32)
    got = run("STFT", {"x": signal, "step": np.array(7), "window": window}, ["y"], opset=17, symbolic=symbolic)["y"]
    frames = np.stack([signal[:, start:start + 16, 0] * window for start in range(0, 35, 7)], 1)
    np.testing.assert_allclose(got, parts(np.fft.rfft(frames)), atol=1e-4)


# -- Determinants ------------------------------------------------------------------------------------------------------


@SYMBOLIC
@pytest.mark.parametrize("n", [0, 1, 2, 5, 20])
def test_determinants_of_any_size(symbolic, n):
    x = rng.standard_normal((2, 3, n, n))
    got = run("Det", {"x": x}, ["y"], opset=22, symbolic=symbolic)["y"]
    np.testing.assert_allclose(got, np.linalg.det(x), rtol=1e-9)


def test_a_matrix_that_needs_its_rows_swapped_and_one_without_full_rank():
    x = np.array([[[0, 1], [1, 0]], [[1, 2], [2, 4]]], np.float32)
    np.testing.assert_array_equal(run("Det", {"x": x}, ["y"], opset=22)["y"], [-1, 0])
