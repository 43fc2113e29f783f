# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models of 8-bit integers against the same files in ONNX Runtime and OpenVINO, and against the model of floats that they
were made of, in one run: a table, and JSON with date and processor.

The models are products, MiniLM quantized while it runs, and ResNet-50 with random weights and measured ranges, both
written by ONNX Runtime's quantizer; and, of weights of 4 bits in blocks of 32 (MatMulNBits), products and MiniLM.
`--prepare` only makes and compiles them.
"""

import argparse
import datetime
import json
import os
import pathlib
import sys

import numpy as np

from models import RESULTS, ROOT, minilm_inputs, processor

sys.path.insert(0, str(ROOT / "python"))

from lathe import _peers, compile  # noqa: E402
from lathe.zoo import build_models, quantized  # noqa: E402
from lathe.zoo.vision import topology  # noqa: E402

PRODUCTS = [(128, 384, 384), (128, 384, 1536), (128, 1536, 384), (16, 384, 1536), (1, 768, 3072), (512, 512, 512)]
# Of weights of 4 bits, from memory and from caches, with few rows and many.
BLOCK_PRODUCTS = [(1, 4096, 4096), (1, 4096, 16384), (4, 4096, 16384), (16, 4096, 4096), (16, 384, 1536), (128, 384, 1536)]
CASES = [*(f"product_{m}x{k}x{n}" for m, k, n in PRODUCTS), "minilm_s16", "minilm_s128", "resnet50",
         *(f"blocks_{m}x{k}x{n}" for m, k, n in BLOCK_PRODUCTS), "minilm-int4_s16", "minilm-int4_s128"]


def picture(seed):
    return np.random.default_rng(seed).standard_normal((1, 3, 224, 224), dtype=np.float32)


def case(name, folder):
    """The files of floats (or None) and of integers, and the inputs."""
    import onnx

    whole = name.split("_")[0] if name.startswith("minilm") else name
    path, floats = folder / f"{whole}.int8.onnx", None
    if name.startswith("product"):
        model, inputs = quantized.product(*map(int, name.removeprefix("product_").split("x")))
        onnx.save(model, path)
        return None, path, inputs
    if name.startswith("blocks"):
        model, inputs = quantized.float_product(*map(int, name.removeprefix("blocks_").split("x")))
        floats, path = folder / f"{name}.onnx", folder / f"{name}.int4.onnx"
        if not path.exists():
            onnx.save(model, floats)
            quantized.quantize_blocks(model, path)
        return floats, path, inputs
    if name.startswith("minilm-int4"):
        floats, inputs, path = build_models(folder)["minilm"], minilm_inputs(int(name.split("_s")[1])), folder / "minilm.int4.onnx"
        if not path.exists():
            quantized.quantize_blocks(floats, path)
        return floats, path, inputs
    if name.startswith("minilm"):
        floats, inputs = build_models(folder)["minilm"], minilm_inputs(int(name.split("_s")[1]))
        if not path.exists():
            quantized.quantize_dynamic(floats, path)
        return floats, path, inputs
    floats = folder / f"{name}.onnx"
    if not floats.exists():
        onnx.save(topology(name), floats)
    graph = onnx.load(floats, load_external_data=False).graph
    if not path.exists():
        quantized.quantize_static(onnx.load(floats), [{graph.input[0].name: picture(seed)} for seed in (1, 2)], path)
    return floats, path, {graph.input[0].name: picture(0)}


def prepare(names, folder):
    """The artifacts of floats (or None) and integers, the file and the inputs of each case."""
    folder.mkdir(parents=True, exist_ok=True)
    prepared = {}
    for name in names:
        floats, path, inputs = case(name, folder)
        artifacts = []
        for model in (floats, path):
            artifacts.append(model and folder / f"{model.stem}.quantized.so")
            if model and not (artifacts[-1].exists() and artifacts[-1].stat().st_mtime > model.stat().st_mtime):
                compile(model, artifacts[-1])
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
    """As markdown: of each peer, its time and how many times as long as Lathe it takes."""
    rows = [["case", "threads", "Lathe ms", "its f32 ms", *(text for peer in _peers.PEERS for text in (f"{peer} ms", "ratio"))]]
    rows.append(["---"] * len(rows[0]))
    for record in records:
        results, own = record["results"], record["floats"]
        row = [record["case"], str(record["threads"]), f"{results['lathe']['p50_ms']:.3f}",
               f"{own['p50_ms']:.3f}" if own else ""]
        for peer in _peers.PEERS:
            row += [f"{results[peer]['p50_ms']:.3f}", f"{results[peer]['ratio']:.2f} ± {results[peer]['spread']:.2f}"]
        rows.append(row)
    print("\n".join("| " + " | ".join(row) + " |" for row in rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--case", action="append", choices=CASES, help="one of the cases; may be repeated")
    parser.add_argument("--threads", default="1,2", help="numbers separated by commas (default 1,2)")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each runtime and case (default 1)")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each runtime (default 6)")
    parser.add_argument("--output", type=pathlib.Path, help="where the JSON goes (default bench/results)")
    parser.add_argument("--prepare", action="store_true", help="make and compile, and end")
    arguments = parser.parse_args()
    folder = pathlib.Path(os.environ.get("LATHE_BUILD_DIR", ROOT / "build")) / "models"
    prepared = prepare(arguments.case or CASES, folder)
    if arguments.prepare:
        return
    brand, family = processor()
    date = datetime.datetime.now(datetime.timezone.utc)
    print(f"{brand} ({family}), {os.cpu_count()} processors, {date:%Y-%m-%d %H:%M} UTC")
    threads = [int(text) for text in arguments.threads.split(",")]
    records = list(measure(prepared, threads, arguments.seconds, arguments.rounds))
    output = arguments.output or RESULTS / f"{date:%Y-%m-%d-%H%M}-quantized-{family}.json"
    output.write_text(json.dumps({"date": date.isoformat(timespec="seconds"), "processor": brand, "family": family,
                                  "cores": os.cpu_count(), "records": records}, indent=1) + "\n")
    print_table(records)
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
