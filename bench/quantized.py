# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models of 8-bit integers against the same files in ONNX Runtime and OpenVINO, and against the model of floats that they
were made of, in one run: a table, and JSON with date and processor.

The models are products, MiniLM quantized while it runs, ResNet-50 with random weights and measured ranges, and a recognizer
of lines of text in both ways, all written by ONNX Runtime's quantizer; and, of weights of 4 bits in blocks of 32
(MatMulNBits), products and MiniLM. Files named `a8` allow that what such weights are multiplied with is rounded to 8 bits
(accuracy_level 4), which OpenVINO does in any case.
"""

import numpy as np

import common
from compression import lines, peer_files
from models import minilm_inputs

from lathe import _peers
from lathe.zoo import build_models, quantized
from lathe.zoo.vision import ocr_models, topology

PRODUCTS = [(128, 384, 384), (128, 384, 1536), (128, 1536, 384), (16, 384, 1536), (1, 768, 3072), (512, 512, 512)]
# Of weights of 4 bits, from memory and from caches, with few rows and many.
BLOCK_PRODUCTS = [(1, 4096, 4096), (1, 4096, 16384), (4, 4096, 16384), (16, 4096, 4096), (16, 384, 1536), (128, 384, 1536)]
CASES = [*(f"product_{m}x{k}x{n}" for m, k, n in PRODUCTS), "minilm_s16", "minilm_s128", "resnet50",
         "ocr_rec_static", "ocr_rec_dynamic",
         *(f"blocks{kind}_{m}x{k}x{n}" for kind in ("", "-a8") for m, k, n in BLOCK_PRODUCTS),
         *(f"minilm-int4{kind}_s{size}" for kind in ("", "-a8") for size in (16, 128))]


def picture(seed):
    return np.random.default_rng(seed).standard_normal((1, 3, 224, 224), dtype=np.float32)


def case(name, folder):
    """The files of floats (or None) and of integers, and the inputs."""
    import onnx

    level = 4 if "-a8" in name else None
    whole = name.split("_")[0] if name.startswith("minilm") else name
    path, floats = folder / f"{whole}.int8.onnx", None
    if name.startswith("product"):
        model, inputs = quantized.product(*map(int, name.removeprefix("product_").split("x")))
        onnx.save(model, path)
        return None, path, inputs
    if name.startswith("blocks"):
        model, inputs = quantized.float_product(*map(int, name.split("_")[1].split("x")))
        floats, path = folder / f"{name}.onnx", folder / f"{name}.int4.onnx"
        if not path.exists():
            onnx.save(model, floats)
            quantized.quantize_blocks(model, path, accuracy_level=level)
        return floats, path, inputs
    if name.startswith("minilm-int4"):
        floats, inputs, path = build_models(folder)["minilm"], minilm_inputs(int(name.split("_s")[1])), folder / f"{whole}.onnx"
        if not path.exists():
            quantized.quantize_blocks(floats, path, accuracy_level=level)
        return floats, path, inputs
    if name.startswith("minilm"):
        floats, inputs = build_models(folder)["minilm"], minilm_inputs(int(name.split("_s")[1]))
        if not path.exists():
            quantized.quantize_dynamic(floats, path)
        return floats, path, inputs
    if name.startswith("ocr_rec"):
        floats, peer = ocr_models()["ocr_rec"], f"onnxruntime_{name.removeprefix('ocr_rec_')}"
        return floats, peer_files("ocr_rec", floats, folder, [peer])[peer][1], {"x": lines(1)[0]}
    floats = folder / f"{name}.onnx"
    if not floats.exists():
        onnx.save(topology(name), floats)
    graph = onnx.load(floats, load_external_data=False).graph
    if not path.exists():
        quantized.quantize_static(onnx.load(floats), [{graph.input[0].name: picture(seed)} for seed in (1, 2)], path)
    return floats, path, {graph.input[0].name: picture(0)}


def prepare(names, folder):
    """The artifacts of floats (or None) and integers, the file and the inputs of each case."""
    prepared = {}
    for name in names:
        floats, path, inputs = case(name, folder)
        artifacts = [model and common.compiled(model, folder / f"{model.stem}.quantized.so") for model in (floats, path)]
        prepared[name] = (*artifacts, floats, path, inputs)
    return prepared


def measure(prepared, threads, seconds, rounds):
    for count in threads:
        for name, (float_artifact, artifact, floats, path, inputs) in prepared.items():
            options = {"threads": count, "seconds": seconds, "rounds": rounds}
            results = _peers.measure(artifact, path, inputs, **options)
            own = _peers.measure(float_artifact, floats, inputs, **options)["lathe"] if floats else None
            yield {"case": name, "threads": count, "results": results, "floats": own}


def print_table(records):
    """Of each peer, its time and how many times as long as Lathe it takes."""
    rows = []
    for record in records:
        results, own = record["results"], record["floats"]
        row = [record["case"], str(record["threads"]), f"{results['lathe']['p50_ms']:.3f}",
               f"{own['p50_ms']:.3f}" if own else ""]
        for peer in _peers.PEERS:
            row += [f"{results[peer]['p50_ms']:.3f}", common.with_spread(results[peer])]
        rows.append(row)
    common.print_rows(["case", "threads", "Lathe ms", "its f32 ms",
                       *(text for peer in _peers.PEERS for text in (f"{peer} ms", "ratio"))], rows)


if __name__ == "__main__":
    common.main(__doc__.split("\n\n")[0], CASES, "quantized", prepare, measure, print_table, seconds=1.0, rounds=6)
