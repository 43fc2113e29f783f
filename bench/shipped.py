# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models that see and hear against ONNX Runtime and OpenVINO, interleaved in one run: a table, and JSON with date and
processor. The models are an OCR program's, a detector of speech, magika, and well-known topologies with random weights,
each for one input. Everyone computes in f32.

`--prepare` only compiles, so that a run that must not be disturbed does nothing but measure.
"""

import argparse
import datetime
import json
import os
import pathlib
import sys

import numpy as np

from models import ROOT, geometric_mean, magika_inputs, processor

sys.path.insert(0, str(ROOT / "python"))

from lathe import ModelError, _peers, compile  # noqa: E402
from lathe.zoo import package_folder  # noqa: E402
from lathe.zoo.sound import SHAPES, chunks, sound, vad_models  # noqa: E402
from lathe.zoo.vision import OCR, TOPOLOGIES, ocr_models, topology  # noqa: E402

RESULTS = pathlib.Path(__file__).parent / "results"
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
    """What is measured, by case; None for a model that does not compile."""
    folder.mkdir(parents=True, exist_ok=True)
    prepared = {}
    for name in names:
        path, inputs, shapes = case(name, folder)
        artifact = folder / f"{name}.shipped.so"
        try:
            compile(path, artifact, shapes=shapes)
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
    """As markdown: of each peer, its time and how many times as long as Lathe it takes."""
    rows = [["case", "threads", "Lathe ms", *(text for peer in _peers.PEERS for text in (f"{peer} ms", "ratio"))]]
    rows.append(["---"] * len(rows[0]))
    for record in records:
        results = record["results"]
        row = [record["case"], str(record["threads"]), f"{results['lathe']['p50_ms']:.3f}"]
        for peer in _peers.PEERS:
            row += [f"{results[peer]['p50_ms']:.3f}", f"{results[peer]['ratio']:.2f} ± {results[peer]['spread']:.2f}"]
        rows.append(row)
    print("\n".join("| " + " | ".join(row) + " |" for row in rows))
    for peer in _peers.PEERS:
        ratios = [record["results"][peer]["ratio"] for record in records]
        print(f"against {peer}: geometric mean {geometric_mean(ratios):.2f}, smallest {min(ratios):.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--case", action="append", choices=CASES, help="one of the cases; may be repeated")
    parser.add_argument("--threads", default="1,2", help="numbers separated by commas (default 1,2)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each runtime and case (default 2)")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each runtime (default 8)")
    parser.add_argument("--output", type=pathlib.Path, help="where the JSON goes (default bench/results)")
    parser.add_argument("--prepare", action="store_true", help="compile, and end")
    parser.add_argument("--prepared", action="store_true", help="measure what --prepare has compiled")
    parser.add_argument("--show", type=pathlib.Path, action="append", help="print the table of earlier runs and end")
    arguments = parser.parse_args()
    if arguments.show:
        print_table([record for path in arguments.show for record in json.loads(path.read_text())["records"]])
        return
    folder = pathlib.Path(os.environ.get("LATHE_BUILD_DIR", ROOT / "build")) / "models"
    names = arguments.case or CASES
    if arguments.prepared:
        artifacts = {name: folder / f"{name}.shipped.so" for name in names}
        prepared = {name: (path, *case(name, folder)[:2]) for name, path in artifacts.items() if path.exists()}
    else:
        prepared = prepare(names, folder)
    if arguments.prepare:
        return
    brand, family = processor()
    date = datetime.datetime.now(datetime.timezone.utc)
    print(f"{brand} ({family}), {os.cpu_count()} processors, {date:%Y-%m-%d %H:%M} UTC")
    records = list(measure(prepared, [int(text) for text in arguments.threads.split(",")], arguments.seconds,
                           arguments.rounds))
    output = arguments.output or RESULTS / f"{date:%Y-%m-%d-%H%M}-shipped-{family}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"date": date.isoformat(timespec="seconds"), "processor": brand, "family": family,
                                  "cores": os.cpu_count(), "records": records}, indent=1) + "\n")
    print_table(records)
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
