# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The report's page in a headless browser, for `scripts/test --all --suite browser`: what it shows, filters and fits into.

Each test adds a script to the page that acts like its reader and leaves what it found as JSON in an attribute.
"""

import html
import json
import os
import pathlib
import re
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BROWSER = os.environ.get("LATHE_TEST_BROWSER", "chromium")
WIDE, PHONE = "1200,900", "500,900"


@pytest.fixture(scope="module")
def template():
    return (ROOT / "tools/lathe/report.html").read_text()


def report(rows):
    return {
        "lathe": "1", "command": "compile", "seconds": 1.5, "targets": ["native"], "options": {"input": "model.onnx"},
        "digest": ["fused 6/6 attentions"], "warnings": ["a warning"], "errors": [], "numbers": {"weight_bytes": 90_300_000},
        "phases": [{"name": "optimize", "ms": 12.0}],
        "loss": [{"output": "y", "max_abs": 0.5, "max_rel": None, "cosine": 0.99}],
        "compression": [{"kind": "weight", "names": [f"weight{i}"], "nodes": [f"/node{i}"], "requested": "int4<group = 32>",
                         "became": "f32" if i % 4 == 0 else "int4<group = 32>", "done": i % 4 != 0, "bytes_before": 4096,
                         "bytes_after": 576, "reason": "its rows are 50" if i % 4 == 0 else ""} for i in range(rows)],
        "remarks": [{"kind": "missed" if i % 2 else "passed", "pass": "nn-fuse-norm", "name": "", "node": f"/a/long/name/of/node{i}",
                     "message": "<b>the mean</b> is of another axis" if i == 1 else "fused"} for i in range(rows)],
    }


def show(template, folder, rows, size, script, dark=False):
    """What `script`, which sets `found`, has found on the page."""
    text = template.replace("%REPORT%", json.dumps(report(rows)).replace("<", "\\u003c"))
    end = f"<script>const found = {{}};\n{script}\ndocument.body.dataset.found = JSON.stringify(found);</script></body>"
    page = folder / "page.html"
    page.write_text(text.replace("</body>", end))
    done = subprocess.run([BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={size}",
                           *(["--blink-settings=preferredColorScheme=0"] if dark else []), "--dump-dom", page.as_uri()],
                          capture_output=True, text=True, timeout=120)
    dom = re.search(r'<body data-found="([^"]*)"', done.stdout)
    assert dom, done.stderr[-2000:]
    return json.loads(html.unescape(dom.group(1)))


COUNT = """
const rows = id => document.querySelectorAll(`#${id} tbody tr`).length;
const count = id => document.getElementById(`${id}-count`).textContent;
"""


def test_what_stands_there(template, tmp_path):
    found = show(template, tmp_path, 8, WIDE, COUNT + """
Object.assign(found, {title: document.title, rows: rows("compression"), text: document.querySelector("main").innerText,
                      bold: document.querySelectorAll("#remarks td b").length});
""")
    assert found["title"] == "model.onnx · Lathe" and found["rows"] == 8
    for part in ["fused 6/6 attentions", "warning: a warning", "90.3 MB", "its rows are 50", "0.990000", "∞",
                 "<b>the mean</b> is of another axis"]:
        assert part in found["text"], part
    assert found["bold"] == 0, "what a model says is no markup"


def test_filters(template, tmp_path):
    found = show(template, tmp_path, 8, WIDE, COUNT + """
function choose(section, number, value) {
  const element = section.querySelectorAll(".filters select, .filters input")[number];
  element.value = value;
  element.dispatchEvent(new Event("input"));
}
const sections = document.querySelectorAll("section");
choose(sections[1], 1, "refused");
found.refused = rows("compression");
choose(sections[1], 2, "weight4");
found.one = count("compression");
choose(sections[2], 0, "missed");
found.missed = count("remarks");
choose(sections[2], 2, "no such thing");
found.none = rows("remarks");
""")
    assert found == {"refused": 2, "one": "1 of 8", "missed": "4 of 8", "none": 0}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_it_fits_and_can_be_read(template, tmp_path, size, dark):
    """Nothing sticks out, and text stands out from what is behind it as WCAG asks: 4.5 to 1."""
    found = show(template, tmp_path, 8, size, """
const numbers = color => color.match(/[0-9.]+/g).slice(0, 3).map(Number);
const luminance = color => numbers(color).map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
function behind(element) {
  for (; element; element = element.parentElement) {
    const color = getComputedStyle(element).backgroundColor;
    if (!color.endsWith(", 0)")) {
      return color;
    }
  }
}
found.sticksOut = document.documentElement.scrollWidth - document.documentElement.clientWidth;
found.background = luminance(getComputedStyle(document.body).backgroundColor);
found.least = Math.min(...[...document.querySelectorAll("main *")].filter(e => e.innerText && !e.children.length).map(e => {
  const [a, b] = [luminance(getComputedStyle(e).color), luminance(behind(e))].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}));
""", dark)
    assert found["sticksOut"] == 0
    assert (found["background"] < 0.2) == dark
    assert found["least"] >= 4.5


def test_ten_thousand_nodes(template, tmp_path):
    """Rows are made as they are asked for; filtering all takes less than a blink, browser's start and page included 20 s."""
    begin = time.monotonic()
    found = show(template, tmp_path, 10_000, WIDE, COUNT + """
found.first = rows("remarks");
document.querySelector("#remarks").closest("section").querySelector("button").click();
found.more = rows("remarks");
const search = document.querySelectorAll("input[type=search]")[1];
const start = performance.now();
search.value = "node9999";
search.dispatchEvent(new Event("input"));
found.milliseconds = performance.now() - start;
found.left = count("remarks");
""")
    assert time.monotonic() - begin < 20
    assert (found["first"], found["more"], found["left"]) == (200, 400, "1 of 10000")
    assert found["milliseconds"] < 300
