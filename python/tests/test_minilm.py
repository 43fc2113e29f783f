# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""all-MiniLM-L6-v2 against ONNX Runtime: one artifact for every batch and length."""

import functools
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import lathe
from small_models import ROOT
from lathe import _demo
from lathe._verify import compare, run_reference
from reports import compile_with_report, remarks, warnings_about_code

TOLERANCE = 1e-4


def make_inputs(batch, sequence, seed=0):
    """Token numbers of the whole vocabulary; rows of different lengths."""
    random = np.random.default_rng(seed)
    mask = np.ones((batch, sequence), np.int64)
    for row in range(1, batch):
        mask[row, max(1, sequence * row // batch):] = 0
    return {"input_ids": random.integers(0, 30522, (batch, sequence)), "attention_mask": mask,
            "token_type_ids": random.integers(0, 2, (batch, sequence))}


@pytest.fixture(scope="module")
def load(compiled):
    """A function from a model's name and a number of threads to the loaded model."""
    return functools.cache(lambda name, threads: lathe.load(compiled(name), threads=threads))


@pytest.fixture(scope="module")
def reference(zoo):
    """ONNX Runtime's hidden states for a batch and a length."""
    return functools.cache(
        lambda batch, sequence: run_reference(zoo["minilm"], make_inputs(batch, sequence))["last_hidden_state"])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sequence", [1, 7, 16, 128, 512])
@pytest.mark.parametrize("batch", [1, 3])
def test_any_batch_and_length(load, reference, batch, sequence, threads):
    result = load("minilm", threads)(make_inputs(batch, sequence))["last_hidden_state"]
    assert compare(result, reference(batch, sequence))["max_abs"] <= TOLERANCE


@pytest.mark.parametrize("batch,sequence", [(1, 1), (3, 16), (1, 128)])
def test_the_mask_read_by_index(load, reference, batch, sequence):
    result = load("minilm_gather_nd", 1)(make_inputs(batch, sequence))["last_hidden_state"]
    assert compare(result, reference(batch, sequence))["max_abs"] <= TOLERANCE


@pytest.mark.parametrize("batch,sequence", [(1, 1), (3, 16), (1, 128), (2, 512)])
def test_the_operators_of_onnx_runtimes_optimizer(load, reference, batch, sequence):
    result = load("minilm_fused", 1)(make_inputs(batch, sequence))["last_hidden_state"]
    assert compare(result, reference(batch, sequence))["max_abs"] <= TOLERANCE


@pytest.fixture(scope="module")
def for_both_targets(zoo, tmp_path_factory):
    """A function from a model's name to an artifact for both targets, the IR verified after every pass, and the report."""
    folder = tmp_path_factory.mktemp("targets")

    @functools.cache
    def compile_once(name):
        path = folder / f"{name}.so"
        return path, compile_with_report(zoo[name], path, "--target=x86-64-v4,x86-64-v3", "--verify-each")

    return compile_once


@pytest.mark.parametrize("name", ["minilm", "minilm_gather_nd"])
def test_all_attention_is_fused_and_one_layer_compiled(for_both_targets, name):
    _, report = for_both_targets(name)
    assert any(clause.startswith("fused 6/6 attentions") for clause in report["digest"]), report["digest"]
    assert remarks(report, "nn-fuse-attention", "missed") == []
    (layers,) = remarks(report, "nn-outline-layers", "passed")
    assert layers.startswith("6 equal layers compiled once")


def test_fused_operators_become_the_same_layers(zoo, tmp_path):
    """What is there beside them: the mask is made of the number of words, which are counted, by two kernels more."""
    plain, fused = (compile_with_report(zoo[name], tmp_path / f"{name}.so") for name in ("minilm", "minilm_fused"))
    (layers,) = remarks(fused, "nn-outline-layers", "passed")
    assert layers.startswith("6 equal layers compiled once")
    assert warnings_about_code(fused) == []
    assert fused["numbers"]["kernels"] <= plain["numbers"]["kernels"] + 2


@pytest.mark.parametrize("name", ["minilm", "minilm_gather_nd"])
def test_code_for_both_targets_has_no_fault(for_both_targets, name):
    """The checks of kernels are errors with --verify-each, not only warnings."""
    _, report = for_both_targets(name)
    assert report["targets"] == ["x86-64-v4", "x86-64-v3"]
    assert warnings_about_code(report) == []


def test_an_artifact_for_both_targets(for_both_targets, reference):
    path, _ = for_both_targets("minilm")
    result = lathe.load(path, threads=1)(make_inputs(1, 16))["last_hidden_state"]
    assert compare(result, reference(1, 16))["max_abs"] <= TOLERANCE


@pytest.mark.parametrize("options", [{"target": "x86-64-v3"}, {"opt_level": 0}], ids=["v3", "O0"])
def test_other_ways_to_compile(zoo, reference, options):
    result = lathe.compile(zoo["minilm"], threads=1, **options)(make_inputs(1, 16))["last_hidden_state"]
    assert compare(result, reference(1, 16))["max_abs"] <= TOLERANCE


def test_runs_repeat_bit_by_bit(load):
    model, inputs = load("minilm", 2), make_inputs(2, 33)
    first = model(inputs)["last_hidden_state"]
    for _ in range(5):
        np.testing.assert_array_equal(model(inputs)["last_hidden_state"], first)


def test_a_token_out_of_the_vocabulary_is_an_error(load):
    inputs = make_inputs(1, 4)
    inputs["input_ids"][0, 2] = 30522
    with pytest.raises(lathe.ModelError) as caught:
        load("minilm", 1)(inputs)
    assert caught.value.code == "E0704"
    assert "word_embeddings" in caught.value.node


def test_the_artifact_is_little_more_than_the_weights(compiled, zoo):
    weights = zoo["minilm"].stat().st_size
    assert pathlib.Path(compiled("minilm")).stat().st_size <= weights + 1.5e6


def test_similar_sentences_are_similar(load):
    inputs = _demo.tokenize(_demo.SENTENCES)
    hidden = load("minilm", 0)(inputs)["last_hidden_state"]
    embeddings = _demo.pool(hidden, inputs["attention_mask"])
    similarity = embeddings @ embeddings.T
    np.testing.assert_allclose(np.diag(similarity), 1, atol=1e-5)
    np.fill_diagonal(similarity, 0)
    assert similarity[2].argmax() == 3 and similarity[0].argmax() == 1


def test_demo(zoo):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    done = subprocess.run([sys.executable, "-m", "lathe._demo", zoo["minilm"].parent, "One sentence.", "Another one."],
                          capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "cosine similarity" in done.stdout and "within 0.0001" in done.stdout
