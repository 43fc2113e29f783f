# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Single convolutions against ONNX Runtime and OpenVINO, interleaved in one run: a table.

A layer that keeps its shape stands several times in a row, so that what happens at the model's borders, where every
runtime changes the layout of its channels, counts as little as in a network. Lathe's share is that of its convolutions
alone, by `lathe profile`.
"""

import argparse
import os

import numpy as np

from common import build_folder, geometric_mean, processor
from models import profile

from lathe import _peers, compile

# A layer's name: channels, filters, size of the image, window, stride, groups.
LAYERS = {
    "3x3_64_56": (64, 64, 56, 3, 1, 1),
    "3x3_128_28": (128, 128, 28, 3, 1, 1),
    "3x3_256_14": (256, 256, 14, 3, 1, 1),
    "3x3_512_7": (512, 512, 7, 3, 1, 1),
    "7x7_3_224_s2": (3, 64, 224, 7, 2, 1),
    "3x3_3_640_s2": (3, 16, 640, 3, 2, 1),
    "1x1_96_192_40": (96, 192, 40, 1, 1, 1),
    "1x1_24_24_80": (24, 24, 80, 1, 1, 1),
    "3x3_128_s2_56": (128, 128, 56, 3, 2, 1),
    "dw3x3_192_40": (192, 192, 40, 3, 1, 192),
    "dw3x3_s2_192_80": (192, 192, 80, 3, 2, 192),
    "dw5x5_192_40": (192, 192, 40, 5, 1, 192),
    "dw5x5_s2_192_40": (192, 192, 40, 5, 2, 192),
    "grouped_32x4_56": (128, 128, 56, 3, 1, 32),
    "grouped_4x34_28": (136, 136, 28, 1, 1, 4),
}


def build(name, path):
    """Writes the model and returns its input and the operations of its convolutions."""
    from onnx import TensorProto, helper, numpy_helper, save

    channels, filters, size, window, stride, groups = LAYERS[name]
    count = 4 if channels == filters and stride == 1 else 1
    random = np.random.default_rng(0)
    nodes, weights, flops = [], [], 0
    for number in range(count):
        w = random.standard_normal((filters, channels // groups, window, window), np.float32)
        w /= np.sqrt(w[0].size)
        weights += [numpy_helper.from_array(w, f"w{number}"),
                    numpy_helper.from_array(random.standard_normal(filters).astype(np.float32), f"b{number}")]
        nodes += [helper.make_node("Conv", [f"x{number}", f"w{number}", f"b{number}"], [f"c{number}"],
                                   kernel_shape=[window] * 2, strides=[stride] * 2, pads=[window // 2] * 4,
                                   group=groups),
                  helper.make_node("Relu", [f"c{number}"], [f"x{number + 1}"])]
        out = (size + 2 * (window // 2) - window) // stride + 1
        flops += 2 * out * out * w.size
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, name, [value("x0", TensorProto.FLOAT, [1, channels, size, size])],
                              [value(f"x{count}", TensorProto.FLOAT, [1, filters, out, out])], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return {"x0": random.standard_normal((1, channels, size, size), np.float32)}, flops


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layer", action="append", choices=LAYERS, help="one of the layers; may be repeated")
    parser.add_argument("--threads", default="1,2", help="numbers separated by commas (default 1,2)")
    parser.add_argument("--seconds", type=float, default=1.5, help="for each runtime and layer (default 1.5)")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each runtime (default 6)")
    arguments = parser.parse_args()
    brand, family = processor()
    print(f"{brand} ({family}), {os.cpu_count()} processors\n")
    print("| layer | threads | Lathe ms | to ONNX Runtime | to OpenVINO | convolutions ms | GFLOP/s | % of roof |")
    print("|---|---|---|---|---|---|---|---|")
    folder = build_folder() / "layers"
    folder.mkdir(exist_ok=True)
    ratios = {peer: [] for peer in _peers.PEERS}
    for name in arguments.layer or LAYERS:
        model, artifact = folder / f"{name}.onnx", folder / f"{name}.so"
        inputs, flops = build(name, model)
        compile(model, artifact)
        for threads in map(int, arguments.threads.split(",")):
            results = _peers.measure(artifact, model, inputs, threads=threads, seconds=arguments.seconds,
                                     rounds=arguments.rounds)
            profiled = profile(artifact, inputs, threads, folder)
            own = sum(kernel["ms_per_run"] for kernel in profiled["kernels"] if kernel["name"].startswith(("conv", "matmul")))
            for peer in _peers.PEERS:
                ratios[peer].append(results[peer]["ratio"])
                assert results[peer]["difference"] < 1e-2, f"{name}: differs from {peer}"
            rate = flops / own / 1e6
            print(f"| {name} | {threads} | {results['lathe']['p50_ms']:.3f} | "
                  + " | ".join(f"{results[peer]['ratio']:.2f} ± {results[peer]['spread']:.2f}" for peer in _peers.PEERS)
                  + f" | {own:.3f} | {rate:.0f} | {100 * rate / profiled['roof_gflops']:.0f} |", flush=True)
    means = [f"{peer} {geometric_mean(values):.2f}, smallest {min(values):.2f}" for peer, values in ratios.items()]
    print("\nGeometric means: " + "; ".join(means) + ".")


if __name__ == "__main__":
    main()
