# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What compression gains and loses: compressed artifacts against the same model in f32 and against other runtimes with
their own compressed models, interleaved in one run: a table, and JSON with date and processor.

The models are MiniLM at 128 tokens, batches of 1 and 8, and a recognizer of lines of text. Quality is that of MiniLM's
embeddings of texts from Debian's package fortunes: the correlation (Spearman's) of all pairs' similarities with those of
f32, and the mean cosine of an embedding to that of f32. The texts that ranges are measured with are others.
"""

import json
import os

import numpy as np

import common
from models import minilm_inputs

from lathe import _peers, calibrate, load
from lathe._demo import pool, tokenize
from lathe.compiler import driver
from lathe.zoo import build_models, quantized
from lathe.zoo.texts import fortunes
from lathe.zoo.vision import ocr_models

# A request's name: the options of lathe.compile, and what peers run against it.
REQUESTS = {
    "bf16": ({"math": "bf16"}, ("openvino_default",)),
    # The error that was allowed of it from the start.
    "bf16-held": ({"math": "bf16", "max_error": 0.02}, ("bf16", "openvino_default")),
    "int8-dynamic": ({"quantize": "int8-dynamic"}, ("onnxruntime_dynamic", "onnxruntime_static", "openvino_static")),
    "int8-dynamic+bf16": ({"quantize": "int8-dynamic", "math": "bf16"},
                          ("onnxruntime_dynamic", "onnxruntime_static", "openvino_static")),
    "int8-static": ({"quantize": "int8-static", "migrate": 0.75},
                    ("int8-dynamic", "onnxruntime_dynamic", "onnxruntime_static", "openvino_static")),
    "int4": ({"quantize": "int4"}, ()),
    "int4-dynamic": ({"quantize": "int4-dynamic"}, ()),
    # Slower than f32, maybe: measured all the same.
    "nf4": ({"quantize": "nf4", "force": True}, ()),
    "int3": ({"quantize": "int3", "force": True}, ()),
    "fp8": ({"quantize": "fp8", "force": True}, ()),
    "block75": ({"prune": "block:75%"}, ()),
    "unstructured90": ({"prune": "unstructured:90%"}, ()),
    # Without matrix registers, which multiply the dense matrices in less time than vectors a quarter of their blocks.
    "int8-block75-vnni": ({"quantize": "int8-dynamic", "prune": "block:75%", "target": "x86-64-v4+vnni"},
                          ("int8-vnni", "int8-dynamic")),
}
# What other artifacts of ours requests are compared with.
OTHERS = {"bf16": {"math": "bf16"}, "int8-dynamic": {"quantize": "int8-dynamic"}, "int8-vnni": {"quantize": "int8-dynamic", "target": "x86-64-v4+vnni"}}
MODELS = {"minilm_s128_b1": ("minilm", 1), "minilm_s128_b8": ("minilm", 8), "ocr_rec": ("ocr_rec", 1)}
CASES = [f"{model}/{request}" for model in MODELS for request in REQUESTS]
TEXTS, CALIBRATION_TEXTS = 500, 64
# Models whose first and last products stay in f32.
KEPT_ENDS = ("ocr_rec",)
TOKENS = 128


def inputs_of(model):
    whole, batch = MODELS[model]
    if whole == "minilm":
        return {name: np.repeat(array, batch, axis=0) for name, array in minilm_inputs(TOKENS).items()}
    return {"x": lines(1)[0]}


def lines(count):
    """Pictures of lines: random strokes on a plain ground, as no font is at hand."""
    rng = np.random.default_rng(count)
    pictures = []
    for _ in range(count):
        picture = np.full((1, 3, 48, 320), 0.9, np.float32)
        for x in range(8, 312, 12):
            for _ in range(4):
                top, left = rng.integers(6, 36), x + rng.integers(0, 8)
                height, width = (rng.integers(4, 12), 2) if rng.random() < 0.5 else (2, rng.integers(3, 8))
                picture[:, :, top:top + height, left:left + width] = -0.9
        pictures.append(picture)
    return pictures


def calibration_data(whole, folder):
    if whole == "minilm":
        return [tokenize([text]) for text in fortunes(folder)[TEXTS:TEXTS + CALIBRATION_TEXTS]]
    return [{"x": picture} for picture in lines(16)]


def statistics(whole, path, folder, gram=False, errors=False):
    """The file of statistics, made anew if the model or the compiler is newer."""
    stats = folder / f"{whole}.{'gram.' * gram}{'errors.' * errors}stats.npz"
    newest = max(os.path.getmtime(file) for file in (path, driver()))
    if not (stats.exists() and stats.stat().st_mtime > newest):
        calibrate(path, calibration_data(whole, folder), stats, gram=gram, errors=errors)
    return stats


def calibrated(whole, path, folder, options):
    """The options with the statistics that they need."""
    if "max_error" in options:
        return {**options, "stats": statistics(whole, path, folder, errors=True)}
    if options.get("quantize") != "int8-static":
        return options
    stats = statistics(whole, path, folder)
    tensors = json.loads(np.load(stats)["lathe"].tobytes())["tensors"]
    kept = [*tensors[0]["weights"], *tensors[-1]["weights"]] if whole in KEPT_ENDS else []
    return {**options, "stats": stats, "plan": {"version": 1, "weights": {name: {"format": "none"} for name in kept}}}


def peer_files(whole, path, folder, peers):
    """What the peers run: the model, or what ONNX Runtime's quantizer makes of it."""
    import onnx

    dynamic, static = folder / f"{whole}.dynamic.onnx", folder / f"{whole}.static.onnx"
    if any(peer.endswith("_dynamic") for peer in peers) and not dynamic.exists():
        quantized.quantize_dynamic(path, dynamic)
    if any(peer.endswith("_static") for peer in peers) and not static.exists():
        quantized.quantize_static(onnx.load(path), calibration_data(whole, folder), static)
    # OpenVINO computes what is not quantized in the precision that it chooses.
    return {"onnxruntime_dynamic": ("onnxruntime", dynamic), "onnxruntime_static": ("onnxruntime", static),
            "openvino_static": ("openvino_default", static), "openvino_default": ("openvino_default", path)}


def embeddings(artifact, texts):
    model, result = load(artifact), []
    for first in range(0, len(texts), 20):
        inputs = tokenize(texts[first:first + 20])
        result.append(pool(model(inputs)["last_hidden_state"], inputs["attention_mask"]))
    return np.concatenate(result)


def ranks(values):
    order = np.empty(len(values))
    order[np.argsort(values, kind="stable")] = np.arange(len(values))
    return order


def quality(whole, artifact, floats, folder):
    """How close results are to those of f32, and the bytes of both artifacts."""
    record = {"bytes": artifact.stat().st_size, "f32_bytes": floats.stat().st_size}
    if whole == "minilm":
        texts = fortunes(folder)[:TEXTS]
        ours, theirs = embeddings(artifact, texts), embeddings(floats, texts)
        pairs = np.triu_indices(len(texts), 1)
        similar = [ranks((array @ array.T)[pairs]) for array in (ours, theirs)]
        record["spearman"] = float(np.corrcoef(*similar)[0, 1])
        record["cosine"] = float((ours * theirs).sum(axis=1).mean())
        return record
    results = [[next(iter(model({"x": picture}).values())) for picture in lines(16)] for model in (load(artifact), load(floats))]
    ours, theirs = (np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays]) for arrays in results)
    record["same_letters"] = float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())
    record["max_difference"] = float(np.abs(ours - theirs).max())
    # Of the probabilities of a step, in the mean: one picture decides about the largest.
    record["moved"] = float(np.abs(ours - theirs).sum(axis=1).mean())
    return record


def prepare(names, folder):
    prepared = {}
    for name in names:
        model, request = name.split("/")
        whole = MODELS[model][0]
        path = build_models(folder)["minilm"] if whole == "minilm" else ocr_models()[whole]
        options, peers = REQUESTS[request]
        artifact = common.compiled(path, folder / f"{whole}.{request}.so", **calibrated(whole, path, folder, options))
        floats = common.compiled(path, folder / f"{whole}.bench.so")
        files = peer_files(whole, path, folder, peers)
        for other in set(OTHERS).intersection(peers):
            files[other] = ("lathe", common.compiled(path, folder / f"{whole}.{other}.so", **OTHERS[other]))
        entries = {"lathe": ("lathe", artifact), "f32": ("lathe", floats), **{peer: files[peer] for peer in peers}}
        prepared[name] = (entries, inputs_of(model), lambda w=whole, a=artifact, f=floats: quality(w, a, f, folder))
    return prepared


def measure(prepared, threads, seconds, rounds):
    for count in threads:
        for name, (entries, inputs, judge) in prepared.items():
            results = _peers.measure_all(entries, inputs, threads=count, seconds=seconds, rounds=rounds, exact="f32")
            yield {"case": name, "threads": count, "results": results, "quality": judge()}


def print_table(records):
    """How many times as long as Lathe's compressed artifact the others take."""
    peers = list(dict.fromkeys(peer for record in records for peer in record["results"] if peer != "lathe"))
    rows = []
    for record in records:
        results = record["results"]
        row = [record["case"], str(record["threads"]), f"{results['lathe']['p50_ms']:.3f}"]
        for peer in peers:
            row += [f"{results[peer]['p50_ms']:.3f}", common.with_spread(results[peer])] if peer in results else ["", ""]
        row.append(", ".join(f"{name} {results[name]['difference']:.1e}" for name in ("lathe", "openvino_default")
                             if name in results))
        judged = record["quality"]
        row += [", ".join(f"{key.replace('_', ' ')} {judged[key]:.4f}" for key in judged if not key.endswith("bytes")),
                f"{judged['bytes'] / judged['f32_bytes']:.2f}"]
        rows.append(row)
    common.print_rows(["case", "threads", "Lathe ms", *(text for peer in peers for text in (f"{peer} ms", "ratio")),
                       "largest difference to f32", "quality", "bytes of f32"], rows)


if __name__ == "__main__":
    common.main(__doc__.split("\n\n")[0], CASES, "compression", prepare, measure, print_table)
