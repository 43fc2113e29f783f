# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiles MiniLM, embeds sentences with it, and compares with ONNX Runtime.

usage: python -m lathe._demo MODELS-FOLDER [SENTENCE...]
"""

import os
import pathlib
import sys
import time
from typing import Any

import numpy as np

from . import _inputs, _peers
from .compiler import compile
from .model import Array, load
from .zoo import build_models, minilm_folder

SENTENCES = [
    "A compiler turns a program into machine code.",
    "The model is translated to native instructions ahead of time.",
    "The cat sleeps on the warm windowsill.",
    "A kitten naps in the sun.",
    "Stock markets fell sharply on Monday.",
]
TOLERANCE = 1e-4


def tokenize(sentences: list[str]) -> dict[str, Array]:
    """MiniLM's inputs for sentences, padded to the longest."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=256)
    tokenizer.enable_padding()
    encodings = tokenizer.encode_batch(sentences)
    return {"input_ids": np.array([encoding.ids for encoding in encodings], np.int64),
            "attention_mask": np.array([encoding.attention_mask for encoding in encodings], np.int64),
            "token_type_ids": np.array([encoding.type_ids for encoding in encodings], np.int64)}


def pool(hidden: Array, mask: Array) -> Array:
    """Sentence embeddings: the mean over a sentence's tokens, at length 1."""
    weights = mask[..., None].astype(hidden.dtype)
    mean = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def _similarities(console: Any, sentences: list[str], embeddings: Array) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="cosine similarity")
    table.add_column("")
    for number in range(len(sentences)):
        table.add_column(str(number + 1), justify="right")
    for number, (sentence, row) in enumerate(zip(sentences, embeddings @ embeddings.T)):
        table.add_row(Text(f"{number + 1}  {sentence}"),
                      *(Text(f"{value:.2f}", style="bold green" if value > 0.5 else "") for value in row))
    console.print(table)


def main() -> int:
    from rich.console import Console

    from ._verify import compare, run_reference

    folder = pathlib.Path(sys.argv[1])
    sentences = sys.argv[2:] or SENTENCES
    console = Console()
    model = build_models(folder)["minilm"]
    artifact = folder / "minilm.so"
    begin = time.perf_counter()
    compile(model, artifact)
    compiled = time.perf_counter()
    lathe = load(artifact)
    opened = time.perf_counter()
    console.print(f"compiled {model.name} ({model.stat().st_size / 1e6:.0f} MB) in {compiled - begin:.1f} s, "
                  f"opened the artifact in {(opened - compiled) * 1e3:.0f} ms")

    inputs = tokenize(sentences)
    hidden = lathe(inputs)["last_hidden_state"]
    _similarities(console, sentences, pool(hidden, inputs["attention_mask"]))

    difference = compare(hidden, run_reference(model, inputs)["last_hidden_state"])["max_abs"]
    passed = difference <= TOLERANCE
    console.print(f"verified against ONNX Runtime: largest difference {difference:.1e}, "
                  f"{'within' if passed else 'OUTSIDE'} {TOLERANCE:g}")
    threads = len(os.sched_getaffinity(0))
    for count in sorted({1, threads}):
        results = _peers.measure(artifact, model, inputs, ["onnxruntime"], count)
        shape = "x".join(map(str, hidden.shape[:2]))
        console.print(_peers.table(results, f"{count} thread{'s' if count > 1 else ''}, input {shape}, in turns"))
    return 0 if passed else 3


if __name__ == "__main__":
    _inputs.run_tool(main)
