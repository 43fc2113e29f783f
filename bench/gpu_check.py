# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks a bundle's models on the GPU of this machine: results against ONNX Runtime's, compute-sanitizer on small cases,
and times beside torch's, where there is torch. It is a part of the bundle; numpy is all it needs.

Every case has a process of its own: a kernel that fails takes the device away from its process."""

import argparse
import ctypes
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time

import numpy as np

BUNDLE = pathlib.Path(__file__).resolve().parent


def load(name):
    os.environ["LATHE_RUNTIME"] = str(BUNDLE / "liblathe.so")
    sys.path.insert(0, str(BUNDLE / "python"))
    import lathe

    return lathe.load(BUNDLE / "cases" / name / "model.so")


def device_name():
    """Of the first device, and the CUDA version of its driver."""
    driver = ctypes.CDLL(os.environ.get("LATHE_CUDA_DRIVER", "libcuda.so.1"))
    device, version, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(100)
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0) or driver.cuDeviceGetName(name, 100, device):
        sys.exit("the CUDA driver finds no device")
    driver.cuDriverGetVersion(ctypes.byref(version))
    return name.value.decode(), f"{version.value // 1000}.{version.value % 1000 // 10}"


# -- Numbers ------------------------------------------------------------------------------------------------------------


def difference(actual, expected):
    """The largest difference relative to the largest value; infinite where one is not a number and the other is."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return float("inf")
    a, e = actual.astype(np.float64), expected.astype(np.float64)
    if not np.array_equal(np.isfinite(a), np.isfinite(e)):
        return float("inf")
    finite = np.isfinite(e)
    scale = max(1.0, float(np.abs(e[finite]).max(initial=0)))
    return float(np.abs(a - e)[finite].max(initial=0)) / scale


def check_case(name, sizes, tolerance):
    """Runs a case three times with each size: launched, recorded, replayed. One record a size."""
    model, records = load(name), []
    for number, size in enumerate(sizes):
        folder = BUNDLE / "cases" / name
        inputs = dict(np.load(folder / f"inputs{number}.npz"))
        expected = np.load(folder / f"expected{number}.npz")
        runs = [model(inputs) for _ in range(3)]
        worst = max(difference(run[key], expected[key]) for run in runs for key in expected.files)
        same = all(np.array_equal(run[key], runs[0][key], equal_nan=run[key].dtype.kind == "f")
                   for run in runs for key in expected.files)
        records.append({"case": name, "size": size, "difference": worst, "same": same,
                        "good": bool(worst <= tolerance and same)})
    return records


# -- Times --------------------------------------------------------------------------------------------------------------


def gemm_gelu(torch, inputs):
    x = inputs["x"]
    layer = torch.nn.Linear(x.shape[1], 4 * x.shape[1], device=x.device)
    return lambda: torch.nn.functional.gelu(layer(x))


def gemm_relu(torch, inputs):
    x = inputs["x"]
    layer = torch.nn.Linear(x.shape[1], x.shape[1], device=x.device)
    return lambda: torch.nn.functional.relu(layer(x))


def conv(torch, inputs):
    x = inputs["x"].to(memory_format=torch.channels_last)
    layer = torch.nn.Conv2d(x.shape[1], x.shape[1], 3, padding=1, device=x.device).to(memory_format=torch.channels_last)
    return lambda: torch.nn.functional.relu(layer(x))


def softmax(torch, inputs):
    return lambda: torch.softmax(inputs["x"], -1)


def layer_norm(torch, inputs):
    norm = torch.nn.LayerNorm(inputs["x"].shape[1], device=inputs["x"].device)
    return lambda: norm(inputs["x"])


def attention(torch, inputs, causal=False):
    q, k, v = (inputs[name] for name in "qkv")
    return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)


def shared_attention(torch, inputs):
    """Of heads that share keys."""
    q, k, v = (inputs[name] for name in "qkv")
    return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def causal_attention(torch, inputs):
    return attention(torch, inputs, causal=True)


def minilm_2(torch, inputs):
    return minilm(torch, inputs, layers=2)


def minilm_4(torch, inputs):
    return minilm(torch, inputs, layers=4)


def minilm(torch, inputs, layers):
    """Layers of BERT as PyTorch's users write them, with attention in one call."""
    hidden, heads, functional = 384, 12, torch.nn.functional
    ids, mask = inputs["input_ids"], inputs["attention_mask"]

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = torch.nn.Linear(hidden, 3 * hidden)
            self.out, self.up, self.down = (torch.nn.Linear(*size) for size in (
                (hidden, hidden), (hidden, 4 * hidden), (4 * hidden, hidden)))
            self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(hidden) for _ in range(2))

        def forward(self, x, keep):
            q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
            attended = functional.scaled_dot_product_attention(q, k, v, keep).transpose(1, 2).flatten(2)
            x = self.norms[0](x + self.out(attended))
            return self.norms[1](x + self.down(functional.gelu(self.up(x))))

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = torch.nn.Embedding(1000, hidden), torch.nn.Embedding(512, hidden)
            self.norm, self.layers = torch.nn.LayerNorm(hidden), torch.nn.ModuleList(Layer() for _ in range(layers))

        def forward(self, ids, mask):
            x = self.norm(self.words(ids) + self.places.weight[:ids.shape[1]])
            keep = (mask != 0)[:, None, None]
            for layer in self.layers:
                x = layer(x, keep)
            return x

    model = Model().to(ids.device).eval()
    return lambda: model(ids, mask)


PEERS = {function.__name__: function for function in (gemm_gelu, gemm_relu, conv, softmax, layer_norm, attention, shared_attention, causal_attention,
                                                       minilm_2, minilm_4)}


def peers_of(torch, name, inputs, math):
    """What is measured beside us, by name: torch as it is, as a CUDA graph, and compiled; its products in the same type."""
    exact = PEERS[name](torch, inputs)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = math == "tf32"

    def run():
        with torch.autocast("cuda", torch.bfloat16, enabled=math == "bf16"):
            return exact()

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    peers = {"torch": run, "torch graph": graph.replay}
    try:
        compiled = torch.compile(run, mode="max-autotune")
        for _ in range(3):
            compiled()
        torch.cuda.synchronize()
        peers["torch.compile"] = compiled
    except Exception as error:  # whatever a compiler on this machine lacks is told, and the others are measured
        print(f"torch.compile: {type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
    return peers


def bind_on_device(torch, model, tensors):
    """A run of ours with inputs and outputs on the device."""
    from lathe import _runtime as rt
    from lathe.model import _describe

    run = model.bind(tensors)
    run.kept = []
    for number, output in enumerate(model.outputs):
        described = _describe(run.outputs[output.name])
        run.kept.append(torch.from_numpy(run.outputs[output.name]).cuda())
        described.data = run.kept[-1].data_ptr()
        rt.check(rt.library().lathe_session_bind_output(run._session.handle, number, ctypes.byref(described)))
    return run


def measure_case(name, shapes, peer, seconds, math):
    """Microseconds of a run, in turns with its peers, everything on the device: the median over turns. Without torch, of
    a run that copies its inputs and outputs."""
    try:
        import torch
    except ImportError:
        torch = None
    model = load(name)
    from lathe._inputs import _random

    random = np.random.default_rng(0)
    arrays = {tensor.name: _random(tensor, tuple(shapes[tensor.name]), random) for tensor in model.inputs}
    runs = {}
    if torch is not None:
        torch.set_grad_enabled(False)
        tensors = {key: torch.from_numpy(array).cuda() for key, array in arrays.items()}
        runs["lathe"] = bind_on_device(torch, model, tensors)
        runs.update(peers_of(torch, peer, tensors, math))
    else:
        runs["lathe"] = model.bind(arrays)
    times = {key: [] for key in runs}
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(times["lathe"]) < 3:
        for key, run in runs.items():
            times[key].append(turn(run, torch, key != "lathe"))
    record = {"case": name, "shape": "x".join(map(str, next(iter(shapes.values())))),
              "us": {key: statistics.median(values) for key, values in times.items()}, "kernels": profile(model, arrays)}
    for key in times:
        if key != "lathe":
            ratios = sorted(theirs / ours for theirs, ours in zip(times[key], times["lathe"]))
            spread = (ratios[len(ratios) * 3 // 4] - ratios[len(ratios) // 4]) / 2
            record.setdefault("ratios", {})[key] = {"ratio": statistics.median(ratios), "spread": spread}
    return [record]


class Kernel(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("nodes", ctypes.c_char_p), ("layers", ctypes.c_uint32)]


class Launch(ctypes.Structure):
    _fields_ = [("kernel", ctypes.c_int32), ("parts", ctypes.c_uint32), ("run", ctypes.c_uint64), ("begin_ns", ctypes.c_int64),
                ("end_ns", ctypes.c_int64), ("flops", ctypes.c_int64), ("bytes", ctypes.c_int64), ("weight_bytes", ctypes.c_int64)]


def profile(model, arrays, runs=6, room=4096):
    """What each kernel takes of a run, launched by itself: its microseconds, the median over runs but the first, with what it
    computes and moves a second."""
    from lathe import _runtime as rt
    from lathe.model import _describe

    library, session = rt.library(), ctypes.c_void_p()
    options = rt.SessionOptions(struct_size=ctypes.sizeof(rt.SessionOptions), spin_ns=-1, profile_records=room)
    rt.check(library.lathe_session_create(model._handle, ctypes.byref(options), ctypes.byref(session)))
    described = [_describe(arrays[tensor.name]) for tensor in model.inputs]
    for number, tensor in enumerate(described):
        rt.check(library.lathe_session_bind_input(session, number, ctypes.byref(tensor)))
    for _ in range(runs):
        rt.check(library.lathe_session_run(session))
    launches = (Launch * room)()
    library.lathe_session_profile.argtypes = [ctypes.c_void_p, ctypes.POINTER(Launch), ctypes.c_size_t]
    count = min(library.lathe_session_profile(session, launches, room), room)
    kernels = {}
    for launch in launches[:count]:
        if launch.run > 1:
            kernels.setdefault(launch.kernel, {}).setdefault(launch.run, []).append(launch)
    records = []
    for number, by_run in kernels.items():
        kernel = Kernel()
        rt.check(library.lathe_model_kernel(model._handle, ctypes.c_size_t(number), ctypes.byref(kernel)))
        us = statistics.median(sum(one.end_ns - one.begin_ns for one in launched) for launched in by_run.values()) / 1e3
        first = next(iter(by_run.values()))
        flops, moved = (sum(max(0, getattr(one, name)) for one in first) for name in ("flops", "bytes"))
        records.append({"kernel": kernel.name.decode(), "launches": len(first), "us": us, "tflops": flops / us / 1e6 if us else 0,
                        "gb_s": moved / us / 1e3 if us else 0})
    library.lathe_session_close(session)
    return sorted(records, key=lambda record: -record["us"])


def turn(run, torch, waits):
    """Microseconds of one of the runs of a twentieth of a second; ours waits for its end by itself."""
    def once():
        run()
        if waits:
            torch.cuda.synchronize()

    once()
    begin, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - begin < 0.05:
        once()
        count += 1
    return (time.perf_counter() - begin) / count * 1e6


# -- Everything ---------------------------------------------------------------------------------------------------------


class Runner:
    """Runs cases in processes of their own, as long as there is time."""

    def __init__(self, minutes):
        self.end = time.monotonic() + 60 * minutes
        self.failures = 0

    def run(self, what, arguments, before=(), most=120):
        """The records of a process, or one that says why there are none."""
        left = min(most, self.end - time.monotonic())
        if left < 5:
            return [{**what, "skipped": "there is no time left"}]
        try:
            done = subprocess.run([*before, sys.executable, __file__, *arguments], capture_output=True, text=True, timeout=left)
        except subprocess.TimeoutExpired:
            self.failures += 1
            return [{**what, "failed": f"it took more than {left:.0f} seconds"}]
        lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
        if done.returncode or not lines:
            self.failures += 1
            return [{**what, "failed": (done.stdout + done.stderr)[-2000:]}]
        return json.loads(lines[-1])

    def numbers(self, cases):
        records = []
        for case in cases:
            records += self.run({"case": case["name"]}, ["--numbers", case["name"]])
        self.failures += sum(not record.get("good", True) for record in records)
        return records

    def sanitize(self, cases):
        tool = shutil.which("compute-sanitizer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/cuda/bin"]))
        if not tool:
            return [{"skipped": "there is no compute-sanitizer"}]
        records = []
        for check in ("memcheck", "racecheck"):
            for case in (case for case in cases if case["small"]):
                what = {"case": case["name"], "tool": check}
                got = self.run(what, ["--numbers", case["name"]], before=[tool, "--tool", check, "--error-exitcode", "9"])
                records.append(got[0] if "case" not in got[0] or "failed" in got[0] or "skipped" in got[0]
                               else {**what, "good": True})
        return records

    def times(self, cases, seconds):
        records = []
        for case in cases:
            for number in range(len(case["measured"])):
                records += self.run({"case": case["name"]}, ["--times", case["name"], "--number", str(number),
                                                             "--seconds", str(seconds)])
        return records


def check_glibc(needed):
    present = re.sub(r"[^\d.]", "", platform.libc_ver()[1])
    if tuple(map(int, present.split("."))) < tuple(map(int, needed.split("."))):
        sys.exit(f"the bundle needs glibc {needed}, this machine has {present}")


def print_results(results):
    print(f"{results['device']}, driver for CUDA {results['driver']}\n")
    print("| case | size | difference | |\n| --- | --- | --- | --- |")
    for record in results["numbers"]:
        verdict = record.get("failed") or record.get("skipped") or ("good" if record["good"] else "BAD")
        print(f"| {record['case']} | {record.get('size', '')} | {record.get('difference', float('nan')):.2g} | {verdict} |")
    for record in results["sanitizer"]:
        print(f"{record.get('tool', 'sanitizer')} {record.get('case', '')}: "
              f"{record.get('failed') or record.get('skipped') or 'good'}")
    print("\n| case | shape | us | us of others (ratio to ours) |\n| --- | --- | --- | --- |")
    for record in results["times"]:
        if "us" not in record:
            print(f"| {record['case']} | | | {record.get('failed') or record.get('skipped')} |")
            continue
        others = ", ".join(f"{key} {record['us'][key]:.1f} ({ratio['ratio']:.2f} ± {ratio['spread']:.2f})"
                           for key, ratio in record.get("ratios", {}).items())
        print(f"| {record['case']} | {record['shape']} | {record['us']['lathe']:.1f} | {others} |")
    print("\n| case | shape | kernel | launches | us | TFLOP/s | GB/s |\n| --- | --- | --- | --- | --- | --- | --- |")
    for record in results["times"]:
        for kernel in record.get("kernels", [])[:8]:
            print(f"| {record['case']} | {record['shape']} | {kernel['kernel']} | {kernel['launches']} | {kernel['us']:.1f} | "
                  f"{kernel['tflops']:.1f} | {kernel['gb_s']:.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, help="where the JSON goes (default gpu-DATE.json here)")
    parser.add_argument("--minutes", type=float, default=8.5, help="what has no time then is skipped (default 8.5)")
    parser.add_argument("--seconds", type=float, default=4, help="for each measurement (default 4)")
    for name in ("--numbers", "--times"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    bundle = json.loads((BUNDLE / "bundle.json").read_text())
    cases = {case["name"]: case for case in bundle["cases"]}
    if options.numbers:
        case = cases[options.numbers]
        records = check_case(case["name"], case["sizes"], case["tolerance"])
        print(json.dumps(records))
        return 0
    if options.times:
        case = cases[options.times]
        print(json.dumps(measure_case(case["name"], case["measured"][options.number], case["peer"], options.seconds,
                                       case["math"])))
        return 0
    check_glibc(bundle["glibc"])
    runner = Runner(options.minutes)
    device, driver = device_name()
    date = datetime.date.today().isoformat()
    results = {"date": date, "device": device, "driver": driver, "targets": bundle["targets"],
               "numbers": runner.numbers(bundle["cases"])}
    results["times"] = runner.times(bundle["cases"], options.seconds)
    results["sanitizer"] = runner.sanitize(bundle["cases"])
    output = options.output or pathlib.Path(f"gpu-{date}.json")
    output.write_text(json.dumps(results, indent=2) + "\n")
    print_results(results)
    print(f"\nin {output}; {runner.failures} failures")
    return 1 if runner.failures else 0


if __name__ == "__main__":
    sys.exit(main())
