# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tables of latencies: that a compilation goes by them, and that they are those of this machine and compiler."""

import json
import os
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lathe.compiler import driver
from reports import remarks
from small_models import model, value


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """This machine's own table, where compilations with the same environment look for it."""
    cache = tmp_path_factory.mktemp("cache")
    done = subprocess.run([driver(), "latencies"], capture_output=True, text=True, env={**os.environ, "XDG_CACHE_HOME": str(cache)})
    assert done.returncode == 0, done.stderr
    (path,) = cache.rglob("latencies-*.json")
    assert str(path) in done.stderr
    return cache, path, done.stdout


@pytest.fixture
def product(tmp_path):
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    w = np.random.default_rng(0).standard_normal((384, 384), np.float32)
    path = tmp_path / "m.onnx"
    onnx.save(model([node], [value("x", TensorProto.FLOAT, 128, 384)], [value("y", TensorProto.FLOAT, 128, 384)], w=w), path)
    return path


def compile(path, cache, *options):
    """The report, or the error."""
    report = path.with_name("report.json")
    done = subprocess.run([driver(), "compile", path, "-o", path.with_name("m.so"), f"--report={report}", *options],
                          capture_output=True, text=True, env={**os.environ, "XDG_CACHE_HOME": str(cache)})
    return done.stderr if done.returncode else json.loads(report.read_text())


def test_the_table_has_every_shape_in_f32(measured):
    table = json.loads(measured[1].read_text())
    shapes = [(e["rows"], e["depth"], e["columns"]) for e in table["products"] if e["format"] == "f32"]
    assert len(shapes) == len(set(shapes)) == 26
    assert (1, 2048, 8192) in shapes
    assert all(e["microseconds"] > 0 for e in table["products"])
    # A hundred times the operations take longer, whatever else the machine does.
    times = {(e["rows"], e["depth"], e["columns"]): e["microseconds"] for e in table["products"] if e["format"] == "f32"}
    assert times[512, 768, 3072] > times[1, 64, 64]
    assert "int8<dynamic>" in measured[2]
    codebooks = {e["format"] for e in table["products"] if e["format"].startswith("codebook")}
    assert codebooks == {f"codebook<{name}>" for name in ("int3, group = 32", "nf4, group = 64", "f8E4M3FN, group = 32", "f8E5M2, group = 32")}
    # Of blocks of zeros two shares, from which others follow.
    blocks = {(e["format"], e["kept"]) for e in table["products"] if "kept" in e}
    sizes = ("rows = 1, columns = 4", "rows = 1, columns = 1", "rows = 4, columns = 32")
    assert blocks == {(f"blocks<{size}>", kept) for size in sizes for kept in (0.5, 0.1)}


def with_times(measured, folder, int8, **changes):
    """The table with made up times: f32 takes 100 us everywhere."""
    table = json.loads(measured[1].read_text())
    table["products"] = [{"format": name, "rows": 128, "depth": 384, "columns": 384, "microseconds": time}
                         for name, time in (("f32", 100), ("int8<dynamic>", int8))]
    path = folder / "table.json"
    path.write_text(json.dumps({**table, **changes}))
    return path


@pytest.mark.parametrize("time,force,done", [(50, False, True), (130, False, False), (130, True, True)])
def test_what_does_not_pay_is_refused_unless_forced(measured, product, tmp_path, time, force, done):
    table = with_times(measured, tmp_path, time)
    report = compile(product, measured[0], "--quantize=int8-dynamic", f"--latencies={table}", *["--force"] * force)
    (entry,) = report["compression"]
    assert entry["done"] == done and entry["requested"] == "int8<dynamic>"
    text = "takes 1.30 of the time of f32, as measured for 128 x 384 x 384"
    kind = "passed" if force else "missed"
    assert any(text in remark for remark in remarks(report, "pack-refuse-slow", kind)) == (time > 100)
    assert (text in entry.get("reason", "")) == (not done)
    assert any(str(table) in clause for clause in report["digest"])


@pytest.mark.parametrize("time,force,done", [(101, False, True), (130, False, False), (130, True, True)])
@pytest.mark.parametrize("asked,format", [("nf4", "codebook<nf4, group = 64>"), ("codebook<nf4, group = 32>", "codebook<nf4, group = 32>")])
def test_a_codebook_that_takes_longer_is_refused(measured, product, tmp_path, asked, format, time, force, done):
    """Beside bytes that are saved, measurements may differ by 3 %. One that was not measured is like another of 4 bits."""
    table = json.loads(with_times(measured, tmp_path, 50).read_text())
    table["products"].append({**table["products"][0], "format": "codebook<nf4, group = 64>", "microseconds": time})
    (tmp_path / "table.json").write_text(json.dumps(table))
    report = compile(product, measured[0], f"--quantize={asked}", f"--latencies={tmp_path / 'table.json'}", *["--force"] * force)
    (entry,) = report["compression"]
    assert (entry["done"], entry["requested"]) == (done, format)
    text = "takes 1.30 of the time of f32, as measured for 128 x 384 x 384"
    text += " of codebook<nf4, group = 64>" * (asked != "nf4")
    assert any(text in remark for remark in remarks(report, "pack-refuse-slow", "passed" if force else "missed")) == (time > 103)
    assert (entry.get("reason") == f"not stored as {format}, which {text}") == (not done)


@pytest.mark.parametrize("time,done", [(60, True), (108, False)])
def test_zeros_that_do_not_pay_are_refused(measured, product, tmp_path, time, done):
    """A quarter of the blocks was not measured: its time lies on the line through those of a half and a tenth."""
    table = json.loads(with_times(measured, tmp_path, 50).read_text())
    table["products"] += [{**table["products"][0], "format": "blocks<rows = 1, columns = 4>", "kept": kept, "microseconds": ratio * time}
                          for kept, ratio in ((0.5, 1), (0.1, 0.8))]
    (tmp_path / "table.json").write_text(json.dumps(table))
    report = compile(product, measured[0], "--prune=block:75%", f"--latencies={tmp_path / 'table.json'}")
    (entry,) = report["compression"]
    assert entry["done"] == done
    text = f"products take {time * (0.8 + 0.2 * 0.15 / 0.4) / 100:.2f} of the time in blocks of 1 x 4, as measured for 128 x 384 x 384"
    assert any(text in remark for remark in remarks(report, "pack-prune-weights", "passed" if done else "missed"))


def test_the_cached_table_is_found(measured, product, tmp_path):
    assert any(str(measured[1]) in clause for clause in compile(product, measured[0], "--quantize=int8-dynamic")["digest"])
    for cache, options in ((measured[0], ["--latencies=none"]), (tmp_path, [])):
        assert "what pays is up to built-in rules" in compile(product, cache, "--quantize=int8-dynamic", *options)["digest"]


@pytest.mark.parametrize("changes,said", [
    ({"processor": "another"}, "measured on another processor"), ({"features": "1"}, "measured on another processor"),
    ({"compiler": "0"}, "of another compiler's kernels"), ({"version": 7}, "is not of version 1"),
    ({"products": [{"format": "f32"}]}, "products[0]: rows is no number of at least 1"), ({"features": "x"}, "lacks its processor")])
def test_other_tables_are_refused(measured, product, tmp_path, changes, said):
    table = with_times(measured, tmp_path, 50, **changes)
    error = compile(product, measured[0], "--quantize=int8-dynamic", f"--latencies={table}")
    assert error.startswith("error[E082") and said in error and str(table) in error
    assert not (tmp_path / "m.so").exists()


@pytest.mark.parametrize("content,said", [("[" * 100000, "nested deeper than 64"), ("{", "is not JSON")], ids=["deep", "text"])
def test_what_is_no_table_is_refused(measured, product, tmp_path, content, said):
    (tmp_path / "table.json").write_text(content)
    error = compile(product, measured[0], "--quantize=int8-dynamic", f"--latencies={tmp_path / 'table.json'}")
    assert error.startswith("error[E0821]") and said in error


def test_the_table_is_a_dependency(measured, product, tmp_path):
    table = with_times(measured, tmp_path, 50)
    compile(product, measured[0], "--quantize=int8-dynamic", f"--latencies={table}", f"--depfile={tmp_path / 'm.d'}")
    assert str(table) in (tmp_path / "m.d").read_text()


def test_a_target_that_the_processor_cannot_run(measured, product, tmp_path):
    table = with_times(measured, tmp_path, 50, features="0")
    error = compile(product, measured[0], "--quantize=int8-dynamic", f"--latencies={table}", "--target=x86-64-v3")
    assert error.startswith("error[E0820]") and "cannot run code for x86-64-v3" in error
