# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A language model, SmolLM2-135M, in f32 and with weights of 4 bits: words a second while it reads a prompt, and while it
writes with so many words before; against ONNX Runtime and, where it is installed, llama.cpp, in turns in one process.

Keys and values of earlier words lie in one memory for all three, which each step adds to. llama.cpp has its own 4 bits
(Q4_1, 4.5 bits a weight against MatMulNBits' 4.5) and keeps keys and values in f16. Needs scripts/requirements-language.txt.
"""

import statistics

import numpy as np

import common
from common import compiled, median_time, with_spread

from lathe import _peers, load

# Words that are read at once, and words before them.
STEPS = {"prompt_128": (128, 0), "prompt_512": (512, 0), "write_64": (1, 64), "write_512": (1, 512), "write_1500": (1, 1500)}
FORMS = ("f32", "int4")
CASES = [f"{form}/{step}" for form in FORMS for step in STEPS]
ROOM = 2048  # words that there is memory for


# Each makes a step: what runs it, and what fetches its logits.


class Lathe:
    def __init__(self, paths, threads):
        self.model = load(paths["lathe"], threads=threads)
        self.caches = {info.name: np.zeros((1, info.shape[1], ROOM, info.shape[3]), np.float32)
                       for info in self.model.inputs if info.name.startswith("past")}
        self.into = {output: self.caches[name] for output, name in self.model.shared_inputs.items()}

    def step(self, inputs):
        binding = self.model.bind({**inputs, **self.caches}, self.into)
        return binding, lambda: binding.outputs["logits"]


class OnnxRuntime:
    def __init__(self, paths, threads):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self.ort, self.session = ort, ort.InferenceSession(paths["onnx"], options, providers=["CPUExecutionProvider"])
        self.caches = {value.name: ort.OrtValue.ortvalue_from_numpy(np.zeros((1, value.shape[1], ROOM, value.shape[3]), np.float32))
                       for value in self.session.get_inputs() if value.name.startswith("past")}

    def step(self, inputs):
        binding = self.session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, self.ort.OrtValue.ortvalue_from_numpy(array))
        for name, cache in self.caches.items():
            binding.bind_ortvalue_input(name, cache)
            binding.bind_ortvalue_output(name.replace("past_key_values", "present"), cache)
        binding.bind_output("logits", "cpu")
        return lambda: self.session.run_with_iobinding(binding), lambda: binding.get_outputs()[-1].numpy()


class LlamaCpp:
    def __init__(self, paths, threads):
        import llama_cpp

        self.model = llama_cpp.Llama(str(paths["gguf"]), n_ctx=ROOM, n_batch=512, n_threads=threads, n_threads_batch=threads,
                                     verbose=False)

    def step(self, inputs):
        ids = inputs["input_ids"][0].tolist()
        before = inputs["attention_mask"].shape[1] - len(ids)

        def run():
            # What comes later is forgotten.
            self.model.n_tokens = before
            self.model.eval(ids)

        return run, None


def runtimes(form):
    found = {"lathe": Lathe, "onnxruntime": OnnxRuntime}
    if form == "int4":
        try:
            import llama_cpp  # noqa: F401
        except ImportError:
            print("llama.cpp is not installed: left out")
        else:
            found["llama.cpp"] = LlamaCpp
    return found


def prepare(names, folder):
    import onnx

    from lathe.zoo import language

    files = {"f32": folder / "smollm2.onnx", "int4": folder / "smollm2-int4.onnx"}
    if not files["f32"].exists():
        onnx.save(language.build(language.Weights(language.smollm2_file())), files["f32"])
    if not files["int4"].exists():
        language.quantize(files["f32"], files["int4"])
    return {name: {"onnx": files[form], "lathe": compiled(files[form], folder / f"smollm2-{form}.so"),
                   "gguf": language.smollm2_file()} for name in names for form in [name.split("/")[0]]}


def measure(prepared, threads, seconds, rounds):
    for count in threads:
        for form in FORMS:
            own = {name: paths for name, paths in prepared.items() if name.startswith(f"{form}/")}
            if not own:
                continue
            loaded = {name: make(next(iter(own.values())), count) for name, make in runtimes(form).items()}
            for name in own:
                yield measure_case(name, loaded, count, seconds, rounds)


def measure_case(name, loaded, threads, seconds, rounds):
    words, before = STEPS[name.split("/")[1]]
    rng = np.random.default_rng(0)
    texts = rng.integers(0, 49000, (1, before + words))
    steps = {}
    for runtime, model in loaded.items():
        mask = np.ones((1, before + words), np.int64)
        if before:
            # What comes before is read once, so that keys and values are those of a text.
            run, _ = model.step({"input_ids": texts[:, :before], "attention_mask": mask[:, :before]})
            run()
        steps[runtime] = model.step({"input_ids": texts[:, before:], "attention_mask": mask})
    for run, _ in steps.values():
        run()
    reference = steps["onnxruntime"][1]()
    record = {"case": name, "threads": threads, "largest": float(np.abs(reference).max()),
              "difference": float(np.abs(steps["lathe"][1]() - reference).max()), "results": {}}
    times = {runtime: [] for runtime in steps}
    for _ in range(rounds):
        for runtime, (run, _) in steps.items():
            times[runtime].append(median_time(run, seconds / rounds))
    for runtime, own in times.items():
        median, spread = _peers.ratio(own, times["lathe"])
        record["results"][runtime] = {"words_per_second": words / statistics.median(own), "ratio": median, "spread": spread}
    return record


def print_table(records):
    peers = ["onnxruntime", "llama.cpp"]
    rows = []
    for record in records:
        results = record["results"]
        row = [record["case"], str(record["threads"]), f"{results['lathe']['words_per_second']:.0f}"]
        for peer in peers:
            row += [f"{results[peer]['words_per_second']:.0f}", with_spread(results[peer])] if peer in results else ["", ""]
        rows.append([*row, f"{record['difference']:.1e} of {record['largest']:.0f}"])
    common.print_rows(["case", "threads", "Lathe words/s", *(text for peer in peers for text in (f"{peer} words/s", "ratio")),
                       "largest difference of logits to ONNX Runtime's"], rows)


if __name__ == "__main__":
    common.main(__doc__.split("\n\n")[0], CASES, "language", prepare, measure, print_table)
