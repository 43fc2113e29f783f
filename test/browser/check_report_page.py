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
    part = lambda name: (ROOT / "tools/lathe" / name).read_text()  # noqa: E731
    return part("report.html").replace("%STYLE%", part("report.css")).replace("%SCRIPT%", part("report.js"))


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


def with_graph(rows):
    """The same with a graph of three layers: a chain of nodes before, in and after them, of which the second layer is left out
    and the third is like the first. Sizes depend on a symbol, and a profile has run with it as 128."""
    layer = rows // 4
    nodes = [{"name": f"/node{i}", "op": "Relu" if i % 2 else "MatMul", "inputs": [i - 1] if i else [],
              "weights": [] if i % 2 else [f"weight{i}"]} for i in range(rows)]
    for i in range(layer, min(4 * layer, rows)):
        nodes[i]["layer"] = i // layer - 1
        if nodes[i]["layer"] == 2:
            nodes[i]["like"] = i - 2 * layer
    named = lambda first, last: [nodes[i]["name"] for i in range(first, last)]  # noqa: E731
    kernels = [{"name": "matmul_0", "root": "matmul", "nodes": named(0, layer)},
               {"name": "matmul_1", "root": "matmul", "nodes": named(layer, layer + 1)},
               {"name": "rows_2", "root": "rows", "nodes": named(layer + 1, 2 * layer)}]
    tensor = {"bytes": 64, "sizes": ["S"]}
    function = {"name": "layer0", "buffers": 0, "slots": [[tensor], [{"bytes": 4, "sizes": [["*", "S", ["+", "S", 1]]]}]],
                "steps": [{"kernel": "matmul_1", "inputs": []}, {"kernel": "rows_2", "inputs": [0]}],
                "tensors": [{**tensor, "slot": 0, "step": 0, "last": 1}]}
    main = {"name": "main", "buffers": 1, "slots": [[tensor], [{"layer": "layer0"}]],
            "steps": [{"kernel": "matmul_0", "inputs": []},
                      {"layer": "layer0", "row": 0, "inputs": [0], "nodes": named(layer, 2 * layer)},
                      {"layer": "layer0", "row": 1, "inputs": [1], "nodes": named(3 * layer, 4 * layer)}],
            "tensors": [{**tensor, "slot": 0, "step": 0, "last": 1}, {"layer": "layer0", "slot": 1, "step": 1, "last": 1}]}
    row = {"calls_per_run": 1, "share": 0.5, "bound": "compute", "layers": 1, "roof_share": 0.5, "ms_per_run": 2.0}
    result = report(8)
    result["compression"] = [
        {"kind": "layer", "names": ["1"], "nodes": named(2 * layer, 3 * layer), "requested": "all", "became": "left out", "done": True,
         "bytes_before": 4096, "bytes_after": 0},
        {"kind": "weight", "names": ["weight0"], "nodes": ["/node0"], "requested": "bf16", "became": "bf16", "done": True,
         "bytes_before": 4096, "bytes_after": 2048}]
    result["remarks"] = [{"kind": "missed", "pass": "nn-fuse-norm", "name": "", "node": "/node1", "message": "it is none"}]
    result["kernels"] = kernels
    result["graph"] = {
        "nodes": nodes, "layers": 3, "symbols": [{"name": "S", "min": 1, "max": 512}], "inputs": [{"name": "x", "dims": [1, "S"]}],
        "functions": [main, function],
        "weights": [{"names": ["weight0"], "type": "32x32xf32", "format": "bf16", "bytes": 2048, "dense_bytes": 4096, "zeros": 0.25,
                     "kernels": ["matmul_0"], "layers": []},
                    {"names": [f"weight{layer}"], "type": "32x32xf32", "format": "f32", "bytes": 4096, "dense_bytes": 4096,
                     "kernels": ["matmul_1"], "layers": [0]}]}
    result["profile"] = {
        "ms_per_run": 8.0, "ms_in_kernels": 7.0, "threads": 1, "inputs": {"x": [1, 128]}, "roof_gflops": 100, "roof_gb_per_second": 20,
        "kernels": [{**row, "name": "matmul_0", "nodes": kernels[0]["nodes"]},
                    {**row, "name": "matmul_1", "nodes": kernels[1]["nodes"], "ms_per_run": 4.0, "calls_per_run": 2, "layers": 2},
                    {**row, "name": "rows_2", "nodes": kernels[2]["nodes"], "ms_per_run": 1.0, "calls_per_run": 2, "layers": 2}]}
    return result


def show(template, folder, content, size, script, dark=False):
    """What `script`, which sets `found`, has found on the page of a report."""
    text = template.replace("%REPORT%", json.dumps(content).replace("<", "\\u003c"))
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
    found = show(template, tmp_path, report(8), WIDE, COUNT + """
Object.assign(found, {title: document.title, rows: rows("compression"), text: document.querySelector("main").innerText,
                      bold: document.querySelectorAll("#remarks td b").length});
""")
    assert found["title"] == "model.onnx · Lathe" and found["rows"] == 8
    for part in ["fused 6/6 attentions", "warning: a warning", "90.3 MB", "its rows are 50", "0.990000", "∞",
                 "<b>the mean</b> is of another axis"]:
        assert part in found["text"], part
    assert found["bold"] == 0, "what a model says is no markup"


def test_filters(template, tmp_path):
    found = show(template, tmp_path, report(8), WIDE, COUNT + """
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
    found = show(template, tmp_path, with_graph(16), size, """
document.querySelectorAll("details").forEach(element => { element.open = true; element.dispatchEvent(new Event("toggle")); });
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
    found = show(template, tmp_path, report(10_000), WIDE, COUNT + """
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


OPEN = """
const open = element => { element.open = true; element.dispatchEvent(new Event("toggle")); };
const titles = id => [...document.querySelectorAll(`#${id} > details`)].map(e => e.querySelector("summary").firstChild.textContent);
const sectionOf = title => [...document.querySelectorAll("section")].find(s => s.querySelector("h2").textContent === title);
"""


def test_nodes_before_and_kernels_after(template, tmp_path):
    """Every node with what became of it, layer by layer, and every kernel with its time, in the order of the run."""
    found = show(template, tmp_path, with_graph(16), WIDE, OPEN + """
found.before = titles("before");
found.after = titles("after");
document.querySelectorAll("#before > details, #after > details").forEach(open);
const rows = id => [...document.querySelectorAll(`#${id} .row`)].map(row => [row.querySelector("code").textContent, row.title,
  (row.querySelector(".time") || {textContent: ""}).textContent]);
found.nodes = rows("before");
found.kernels = rows("after");
found.marks = [...document.querySelectorAll("#before .row circle")].map(c => getComputedStyle(c).fill);
found.legend = sectionOf("The model before").querySelector(".legend").innerText;
""")
    assert found["before"] == ["outside of layers", "layer 0", "layer 1", "layer 2"]
    assert found["after"] == ["outside of layers", "layer 0, as @layer0", "layer 2, as @layer0"]
    outcomes = [outcome for _, outcome, _ in found["nodes"]]
    assert [name for name, _, _ in found["nodes"]] == [f"/node{i}" for i in range(16)]
    assert outcomes[:4] == ["its weight in another form", "asked for and refused, or not fused", *["in a kernel with others"] * 2]
    assert outcomes[4] == "a kernel of its own" and outcomes[12] == outcomes[4], "a layer is like the first"
    assert set(outcomes[8:12]) == {"left out"}
    assert [(name, time) for name, _, time in found["kernels"]] == [
        ("matmul_0", "2.00 ms"), ("matmul_1", "2.00 ms"), ("rows_2", "0.500 ms"), ("matmul_1", "2.00 ms"), ("rows_2", "0.500 ms")]
    assert len(set(found["marks"])) == len(set(outcomes)), "a color for each outcome"
    assert "left out: 4" in found["legend"]


def test_rails_lead_from_a_node_to_its_readers(template, tmp_path):
    """A chain is one straight rail; a second reader further down keeps a rail beside it."""
    content = with_graph(16)
    content["graph"]["nodes"][3]["inputs"] = [2, 0]
    found = show(template, tmp_path, content, WIDE, OPEN + """
open(document.querySelector("#before > details"));
const lines = [...document.querySelectorAll("#before .row svg")].map(svg => [...svg.querySelectorAll("line")].map(line =>
  ["x1", "x2"].map(name => Number(line.getAttribute(name)))));
found.crossing = lines.map(row => row.filter(([from, to]) => from !== to).length);
found.widest = lines.map(row => new Set(row.flat()).size);
""")
    # Node 1 reads node 0 and moves off its rail, on which node 3, too, reads.
    assert found["crossing"] == [0, 1, 0, 1] and found["widest"] == [1, 2, 2, 2]


def test_what_weights_and_layers_take(template, tmp_path):
    found = show(template, tmp_path, with_graph(16), WIDE, """
const cells = id => [...document.querySelectorAll(`#${id} tbody tr`)].map(row => [...row.cells].map(cell => cell.innerText));
Object.assign(found, {weights: cells("weights"), layers: cells("layers"), kernels: cells("kernels")});
""")
    assert found["weights"] == [["weight0", "32x32xf32", "bf16", "2.05 kB", "25 %", "", "2.00", "50 %"],
                                ["weight4", "32x32xf32", "f32", "4.10 kB", "", "0", "2.00", "50 %"]]
    assert found["layers"] == [["0", "4", "4.10 kB", "f32", "2.50", "50 %", ""], ["1", "4", "0 B", "", "", "", "all left out"],
                               ["2", "4", "0 B", "", "2.50", "50 %", ""]]
    assert found["kernels"][1][:5] == ["matmul_1", "2", "4.00", "50 %", "50 %"]


def test_the_arena_follows_the_symbols(template, tmp_path):
    """A layer has 64 S bytes and 4 S (S + 1), the model 64 S and that; S is that of the profile until somebody says otherwise."""
    found = show(template, tmp_path, with_graph(16), WIDE, """
const read = () => [...document.querySelectorAll("#arena p")].map(p => p.textContent);
const field = document.querySelector("input[type=number]");
found.measured = [field.value, ...read()];
field.value = "1000";
field.dispatchEvent(new Event("input"));
found.outside = read();
field.value = "2";
field.dispatchEvent(new Event("input"));
found.small = read();
found.rects = document.querySelectorAll("#arena rect").length;
""")
    def size(s):
        layer = 64 * s + -(-4 * s * (s + 1) // 64) * 64
        return 64 * s + layer, layer
    assert found["measured"][0] == "128" and found["outside"] == found["measured"][1:], "512 is the most"
    assert found["measured"][1] == f"the model: {size(128)[0] / 1000:.1f} kB in 2 slots, 2 tensors, and 1 buffer of sizes that depend on data"
    assert found["small"][1] == f"layer @layer0: {size(2)[1]} B in 2 slots, 1 tensors"
    assert found["rects"] == 3


def test_a_graph_of_ten_thousand_nodes(template, tmp_path):
    """Groups are drawn when they are opened, 200 rows at a time; a search shows a list."""
    begin = time.monotonic()
    found = show(template, tmp_path, with_graph(10_000), WIDE, OPEN + """
const rows = () => document.querySelectorAll("#before .row").length;
found.closed = rows();
let start = performance.now();
open(document.querySelector("#before > details"));
found.milliseconds = performance.now() - start;
found.first = rows();
document.querySelector("#before > details > button").click();
found.more = rows();
const search = sectionOf("The model before").querySelector("input[type=search]");
start = performance.now();
search.value = "node9999";
search.dispatchEvent(new Event("input", {bubbles: true}));
found.searched = performance.now() - start;
found.left = document.getElementById("nodes-count").textContent;
found.hidden = document.getElementById("before").hidden;
""")
    assert time.monotonic() - begin < 20
    assert (found["closed"], found["first"], found["more"]) == (0, 200, 400)
    assert found["left"] == "1 of 10000" and found["hidden"]
    assert found["milliseconds"] < 300 and found["searched"] < 300
