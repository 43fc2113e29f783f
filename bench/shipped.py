# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models that see and hear against ONNX Runtime and OpenVINO, interleaved in one run: a table, and JSON with date and
processor. The models are an OCR program's, a detector of speech, magika, and well-known topologies with random weights,
each for one input. Everyone computes in f32.
"""

import sys

import numpy as np

import common
from common import geometric_mean
from models import magika_inputs

from lathe import ModelError, _peers
from lathe.zoo import package_folder
from lathe.zoo.sound import SHAPES, chunks, sound, vad_models
from lathe.zoo.vision import OCR, TOPOLOGIES, ocr_models, topology

# A picture, its text's direction, and a line of text.
OCR_SHAPES = {"ocr_det": (1, 3, 320, 320), "ocr_cls": (1, 3, 48, 192), "ocr_rec": (1, 3, 48, 320)}
CASES = (*OCR, "vad", "magika", *TOPOLOGIES)


def vad_inputs():
    chunk = list(chunks(sound(4)))[-1]
    return {"input": chunk, "state": np.zeros((2, 1, 128), np.float32)}


def case(name, folder):
    """The path of the model, the inputs, and the shapes that it is compiled for."""
    rng = np.random.default_rng(0)
    if name in OCR:
        return ocr_models()[name], {"x": rng.random(OCR_SHAPES[name], dtype=np.float32) * 2 - 1}, None
    if name == "vad":
        # OpenVINO converts no other of them.
        return vad_models()["vad_openvino"], vad_inputs(), SHAPES
    if name == "magika":
        return package_folder("magika") / "models" / "standard_v3_3" / "model.onnx", magika_inputs(), None
    import onnx

    path = folder / f"{name}.onnx"
    if not path.exists():
        onnx.save(topology(name), path)
    graph = onnx.load(path, load_external_data=False).graph
    return path, {graph.input[0].name: rng.standard_normal((1, 3, 224, 224), dtype=np.float32)}, None


def prepare(names, folder):
    """The artifact, the model and the inputs of each case whose model compiles."""
    prepared = {}
    for name in names:
        path, inputs, shapes = case(name, folder)
        try:
            artifact = common.compiled(path, folder / f"{name}.shipped.so", shapes=shapes)
            prepared[name] = (artifact, path, inputs)
        except ModelError as error:
            print(f"{name} is left out: {str(error).splitlines()[0]}", file=sys.stderr)
    return prepared


def measure(prepared, threads, seconds, rounds):
    for count in threads:
        for name, (artifact, path, inputs) in prepared.items():
            results = _peers.measure(artifact, path, inputs, threads=count, seconds=seconds, rounds=rounds)
            yield {"case": name, "threads": count, "results": results}


def print_table(records):
    """Of each peer, its time and how many times as long as Lathe it takes."""
    rows = []
    for record in records:
        results = record["results"]
        row = [record["case"], str(record["threads"]), f"{results['lathe']['p50_ms']:.3f}"]
        for peer in _peers.PEERS:
            row += [f"{results[peer]['p50_ms']:.3f}", common.with_spread(results[peer])]
        rows.append(row)
    common.print_rows(["case", "threads", "Lathe ms",
                       *(text for peer in _peers.PEERS for text in (f"{peer} ms", "ratio"))], rows)
    for peer in _peers.PEERS:
        ratios = [record["results"][peer]["ratio"] for record in records]
        print(f"against {peer}: geometric mean {geometric_mean(ratios):.2f}, smallest {min(ratios):.2f}")


if __name__ == "__main__":
    common.main(__doc__.split("\n\n")[0], CASES, "shipped", prepare, measure, print_table)
