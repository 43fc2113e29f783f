# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How far requests for quantization move the embeddings that MiniLM makes of texts: see compression.py, which has the texts,
and measures speed, too. `--write` puts the table into docs/techniques.md.
"""

import argparse

import common
from compression import quality, statistics
from techniques import DOCUMENT

from lathe.zoo import build_models

# As a user writes it, and the arguments of lathe.compile.
REQUESTS = [
    ("`--math bf16`", {"math": "bf16"}),
    ("`--quantize int8-dynamic`", {"quantize": "int8-dynamic"}),
    ("the same, `--migrate 0.5`", {"quantize": "int8-dynamic", "migrate": 0.5}),
    ("the same, `--rounding compensated`", {"quantize": "int8-dynamic", "rounding": "compensated"}),
    ("`--quantize int8-static --ranges minmax`", {"quantize": "int8-static", "ranges": "minmax"}),
    ("`--quantize int8-static`, which is `--ranges mse`", {"quantize": "int8-static"}),
    ("`--quantize int8-static --ranges percentile:99.99`", {"quantize": "int8-static", "ranges": "percentile:99.99"}),
    ("`--quantize int8-static --migrate 0.5`", {"quantize": "int8-static", "migrate": 0.5}),
    ("`--quantize int8-static --migrate 0.75`", {"quantize": "int8-static", "migrate": 0.75}),
    ("`--quantize int8-static --migrate 1`", {"quantize": "int8-static", "migrate": 1}),
    ("`--quantize fp8`", {"quantize": "fp8"}),
    ("`--quantize int4`", {"quantize": "int4"}),
    ("the same, `--rounding compensated`", {"quantize": "int4", "rounding": "compensated"}),
    ("`--quantize nf4`", {"quantize": "nf4"}),
    ("the same, `--rounding compensated`", {"quantize": "nf4", "rounding": "compensated"}),
    ("`--quantize int3`", {"quantize": "int3"}),
    ("the same, `--rounding compensated`", {"quantize": "int3", "rounding": "compensated"}),
]
BEGIN, END = "<!-- quality -->\n", "<!-- /quality -->\n"


def table(folder):
    model = build_models(folder)["minilm"]
    floats = common.compiled(model, folder / "minilm.bench.so")
    stats = statistics("minilm", model, folder, gram=True)
    yield "| request | Spearman | cosine |"
    yield "|---|---|---|"
    for text, options in REQUESTS:
        needs = {"migrate", "rounding"}.intersection(options) or options.get("quantize") == "int8-static"
        name = "-".join(str(value).replace(":", "") for value in options.values())
        # What does not pay is as good, or bad, as what does.
        artifact = common.compiled(model, folder / f"minilm.quality-{name}.so", force=True, latencies="none",
                                   **options, **({"stats": stats} if needs else {}))
        found = quality("minilm", artifact, floats, folder)
        yield f"| {text} | {found['spearman']:.4f} | {found['cosine']:.4f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/techniques.md")
    arguments = parser.parse_args()
    folder = common.build_folder() / "models"
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in table(folder))
    print(text, end="")
    if arguments.write:
        before, rest = DOCUMENT.read_text().split(BEGIN)
        DOCUMENT.write_text(before + BEGIN + text + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
