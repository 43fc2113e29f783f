# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Plans: what is read, what is refused and why, and that options mean the plan that --emit-plan prints."""

import json
import re
import subprocess

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import lathe
from lathe.compiler import driver
from reports import compile_with_report
from small_models import ROOT, model, value

SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "docs/plan.schema.json").read_text()))
HASH = "0123456789abcdef"


def two_products():
    """z = relu(x @ first) @ second; 50 rows are no multiple of a group of 32."""
    nodes = [helper.make_node("MatMul", ["x", "first.weight"], ["t"], name="/first"),
             helper.make_node("Relu", ["t"], ["u"], name="/relu"),
             helper.make_node("MatMul", ["u", "second.weight"], ["z"], name="/second")]
    random = np.random.default_rng(0)
    return model(nodes, [value("x", TensorProto.FLOAT, "N", 64)], [value("z", TensorProto.FLOAT, "N", 96)],
                 **{"first.weight": random.standard_normal((64, 50), np.float32),
                    "second.weight": random.standard_normal((50, 96), np.float32)})


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "two.onnx"
    onnx.save(two_products(), path)
    return path


def run(path, *options, cwd=None):
    return subprocess.run([driver(), "compile", path, *options], capture_output=True, text=True, cwd=cwd)


def plan(**fields):
    return json.dumps({"version": 1, **fields}, indent=1)


def entry(**fields):
    return plan(weights={"first.weight": {"format": "int4<group = 32>", **fields}})


#: What the schema refuses as well: a plan, and where and how the reader refuses it.
MALFORMED = {
    "no object": ("[]", "expects an object, found a list"),
    "no version": ("{}", "a plan has to have a version"),
    "version of another type": ('{"version": "1"}', "version: expects a whole number, found a string"),
    "unknown field": (plan(weigths={}), 'weigths: this field is unknown, did you mean "weights"\\?\n.*:3:2'),
    "a field of another type": (plan(weights=[]), "weights: expects an object, found a list"),
    "no hash": (plan(model="abc"), 'model: expects 16 hexadecimal digits, found "abc"'),
    "a hash of another type": (plan(calibration=1), "calibration: expects a string, found a number"),
    "unknown default": (plan(defaults={"formt": "int8"}), 'defaults.formt: this field is unknown, did you mean "format"?'),
    "default of another type": (plan(defaults={"format": 8}), "defaults.format: expects a string, found a number"),
    "another type": (plan(defaults={"math": "f64"}), 'defaults.math: expects "bf16" or "tf32", found "f64"'),
    "math of another type": (plan(defaults={"math": 16}), "defaults.math: expects a string, found a number"),
    "another way to ranges": (plan(defaults={"ranges": "max"}), 'defaults.ranges: expects "minmax", "mse" or "percentile:P"'),
    "ranges of another type": (plan(defaults={"ranges": 1}), "defaults.ranges: expects a string, found a number"),
    "a range of another type": (entry(range="all"), "weights.first.weight.range: expects a list, found a string"),
    "a range of three": (entry(range=[1, 2, 3]), "weights.first.weight.range: expects two numbers, the lesser first"),
    "a range of texts": (entry(range=["1", "2"]), "weights.first.weight.range: expects two numbers, the lesser first"),
    "a node with a range": (plan(nodes={"/first": {"format": "bf16", "range": [0, 1]}}),
                            "nodes./first.range: this field is unknown"),
    "another rounding": (entry(rounding="up"), 'rounding: expects "nearest" or "compensated", found "up"'),
    "rounding of another type": (plan(defaults={"rounding": 1}), "defaults.rounding: expects a string, found a number"),
    "too far": (plan(defaults={"migrate": 1.5}), "defaults.migrate: expects a number from 0 to 1"),
    "migration of another type": (entry(migrate="half"), "migrate: expects a number, found a string"),
    "empty format": (plan(defaults={"format": ""}), "defaults.format: expects a format, found an empty string"),
    "slower": (plan(defaults={"speedup": 1}), "defaults.speedup: expects a number above 1"),
    "speed-up of another type": (plan(defaults={"speedup": "2"}), "defaults.speedup: expects a number, found a string"),
    "an entry of another type": (plan(weights={"first.weight": "int4"}),
                                 "weights.first.weight: expects an object, found a string"),
    "an entry without a format": (plan(nodes={"/first": {}}), "nodes./first: an entry has to have a format"),
    "unknown field of an entry": (entry(bits=4), "weights.first.weight.bits: this field is unknown"),
    "a node with a fingerprint": (plan(nodes={"/first": {"format": "bf16", "fingerprint": HASH}}),
                                  "nodes./first.fingerprint: this field is unknown"),
    "a reason of another type": (entry(why=None), "weights.first.weight.why: expects a string, found null"),
    "layers of another type": (plan(layers={"1": "all"}), "layers: expects a list, found an object"),
    "a layer of another type": (plan(layers=[3]), r"layers\[0\]: expects an object, found a number"),
    "a layer without a number": (plan(layers=[{"skip": "all"}]), r"layers\[0\]: expects the number of a layer"),
    "a negative layer": (plan(layers=[{"layer": -1, "skip": "all"}]), r"layers\[0\]: expects the number of a layer"),
    "nothing skipped": (plan(layers=[{"layer": 1}]), 'expects "skip" to be "all", "attention" or "ffn"'),
    "another part skipped": (plan(layers=[{"layer": 1, "skip": "norm"}]),
                             r'layers\[0\]: expects "skip" to be .*found "norm"'),
    "nodes of another type": (plan(layers=[{"layer": 1, "skip": "all", "nodes": "/first"}]),
                              r"layers\[0\].nodes: expects a list, found a string"),
    "a node of another type": (plan(layers=[{"layer": 1, "skip": "all", "nodes": [1]}]),
                               r"layers\[0\].nodes: expects a list of strings, found a number"),
}
#: What only the reader, or only the compiler, can refuse: a plan, the code, and how it is refused.
REFUSED = {
    "no JSON": ('{"version": 1,\n', "E0801", "this is no JSON"),
    "too deep": ("[" * 10000, "E0801", "values are nested deeper than 64"),
    "another version": ('{"version": 2, "speed": 3}', "E0802", "the plan is of version 2, this release reads version 1"),
    "a key twice": ('{"version": 1,\n "weights": {"first.weight": {"format": "int4<group = 32>"},\n'
                    '  "first.weight": {"format": "none"}}}', "E0805", '"first.weight" stands twice in one object\n.*:3:3'),
    "a layer twice": (plan(layers=[{"layer": 1, "skip": "all"}, {"layer": 1, "skip": "ffn"}]), "E0805",
                      r"layers\[1\]: layer 1 has two entries"),
    "layers twice": (plan(defaults={"speedup": 2}, layers=[{"layer": 1, "skip": "all"}]), "E0805",
                     "both by this list and for defaults.speedup"),
    "another model": (plan(model=HASH, defaults={"format": "int4<group = 32>"}), "E0803",
                      f"the plan is for a model of fingerprint {HASH}, this one's is [0-9a-f]{{16}}"),
    "another weight": (entry(fingerprint=HASH), "E0803",
                       f'the plan is for a weight "first.weight" of fingerprint {HASH}, the model\'s is [0-9a-f]{{16}}'),
    "an unknown weight": (plan(weights={"frist.weight": {"format": "none"}}), "E0804",
                          'the model has no weight "frist.weight", did you mean "first.weight"\\?\n.*:4:'),
    "an unknown node": (plan(nodes={"/frist": {"format": "none"}}), "E0804",
                        'the model has no node "/frist", did you mean "/first"?'),
    "an unknown node of a layer": (plan(layers=[{"layer": 0, "skip": "all", "nodes": ["/third"]}]), "E0804",
                                   'the model has no node "/third"'),
    "an unknown layer": (plan(layers=[{"layer": 3, "skip": "all"}]), "E0804", "the model has no layer 3, it has 0"),
    "weight and node": (plan(weights={"first.weight": {"format": "int4<group = 32>"}},
                             nodes={"/first": {"format": "int4<group = 64>"}}), "E0805",
                        'the weight "first.weight" of node "/first" is to be stored as both int4<group = 32> and '
                        'int4<group = 64>'),
    "an unknown format": (entry(format="int5<group = 32>"), "E0806", 'there is no format "int5<group = 32>"\n.*:4:'),
    "a format without its parameters": (entry(format="int4"), "E0806", 'there is no format "int4"'),
    "an unknown parameter": (entry(format="int4<groups = 32>"), "E0806", 'there is no format "int4<groups = 32>"'),
    "something else than a format": (entry(format='bf16, "x"'), "E0806", "there is no format"),
    "a long format": (entry(format="int4<scales = " + "tuple<" * 10000), "E0806", "it has more than 200 characters"),
    "a range the other way round": (entry(range=[2, 1]), "E0801", "range: expects two numbers, the lesser first"),
    "groups that do not divide": (plan(weights={"second.weight": {"format": "int4<group = 32>"}}), "E0807",
                                  'the weight "second.weight" cannot be stored as int4<group = 32>: .*50'),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_plans(path, tmp_path, name):
    text, message = MALFORMED[name]
    (tmp_path / "p.json").write_text(text)
    done = run(path, "-o", "m.so", "--plan=p.json", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("error[E0801]: "), done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert "--> p.json" in done.stderr
    assert list(SCHEMA.iter_errors(json.loads(text)))
    assert not (tmp_path / "m.so").exists()


@pytest.mark.parametrize("name", REFUSED)
def test_refused_plans(path, tmp_path, name):
    text, code, message = REFUSED[name]
    (tmp_path / "p.json").write_text(text)
    done = run(path, "-o", "m.so", "--plan=p.json", cwd=tmp_path)
    assert done.returncode == (2 if code == "E0802" else 1) and done.stderr.startswith(f"error[{code}]: "), done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert "--> p.json" in done.stderr
    assert not (tmp_path / "m.so").exists()


def test_a_plan_that_is_not_there(path, tmp_path):
    done = run(path, "-o", "m.so", "--plan=p.json", cwd=tmp_path)
    assert done.stderr.startswith('error[E0002]: cannot read "p.json": ')


def test_options_and_plan_together(path, tmp_path):
    (tmp_path / "p.json").write_text(plan(layers=[{"layer": 1, "skip": "all"}]))
    for options, message in [(["--skip-layers=1:ffn"], "of layer 1 both all and ffn are to be left out"),
                             (["--skip-to-speedup=2"], "both by a list and for a speed-up")]:
        done = run(path, "-o", "m.so", "--plan=p.json", *options, cwd=tmp_path)
        assert done.stderr.startswith("error[E0805]: ") and message in done.stderr, done.stderr


@pytest.mark.parametrize("option,message", [
    ("--skip-layers=3,x", '"x" is no number of a layer'), ("--skip-layers=3,3", "layer 3 stands there twice"),
    ("--skip-layers=3:norm", '"norm" is no part of a layer'), ("--skip-to-speedup=0.5", "expects a number above 1"),
    ("--math=f64", "--math=f64: expects bf16 or tf32"),
    ("--migrate=2", "--migrate=2: expects a number from 0 to 1"),
    ("--rounding=up", "--rounding=up: expects nearest or compensated"), ("--ranges=all", "--ranges=all: expects minmax, mse or percentile:P"), ("--quantize=", "--quantize expects a format")])
def test_bad_options(path, option, message):
    done = run(path, "-o", "m.so", option)
    assert done.stderr.startswith("error[E0001]: ") and message in done.stderr, done.stderr


@pytest.mark.parametrize("options", [["--to=nn"], ["--from=kernel", "--to=llvm"], ["--emit-plan", "--to=onnx"]])
def test_stages_that_no_plan_changes(path, tmp_path, options):
    """Rather than to leave the plan out in silence."""
    done = run(path, *options, "--skip-layers=1", cwd=tmp_path)
    assert done.stderr.startswith("error[E0001]: a plan changes nothing from "), done.stderr


def test_the_plan_is_a_dependency(zoo, tmp_path):
    (tmp_path / "my plan.json").write_text(plan(layers=[{"layer": 1, "skip": "all"}]))
    done = run(zoo["minilm"], "-o", "m.so", "--plan=my plan.json", "--depfile=m.d", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m.d").read_text().splitlines()[1].strip() == r"my\ plan.json"


@pytest.fixture
def emitted(path):
    """A function to the plan that options mean."""
    def emit(*options):
        done = run(path, "--emit-plan", *options)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert not list(SCHEMA.iter_errors(result))
        return result

    return emit


def test_an_empty_plan_is_emitted_for_no_options(emitted):
    assert set(emitted()) == {"version", "model"}


def test_what_a_plan_means_is_emitted_by_weight(path, tmp_path, emitted):
    """The default for both products, one of which it does not fit; the entry for the other takes its place."""
    (tmp_path / "p.json").write_text(plan(defaults={"format": "int4<group = 32>"}, why="smaller"))
    whole = emitted(f"--plan={tmp_path / 'p.json'}")
    assert whole["why"] == "smaller" and set(whole["weights"]) == {"first.weight"}
    weight = whole["weights"]["first.weight"]
    assert weight["format"] == "int4<group = 32>" and re.fullmatch("[0-9a-f]{16}", weight["fingerprint"])
    (tmp_path / "p.json").write_text(plan(defaults={"format": "int4<group = 32>"},
                                          nodes={"/first": {"format": "int4<group = 64>"}}))
    assert emitted(f"--plan={tmp_path / 'p.json'}")["weights"]["first.weight"]["format"] == "int4<group = 64>"
    (tmp_path / "p.json").write_text(plan(defaults={"format": "int4<group = 32>"},
                                          weights={"first.weight": {"format": "none"}}))
    assert "weights" not in emitted(f"--plan={tmp_path / 'p.json'}")


def test_what_was_refused_is_in_the_report(tmp_path):
    """By a default, which is no error: the weight stays, and beside what was asked for stands why."""
    product = helper.make_node("MatMul", ["x", "w"], ["z"], name="/product")
    onnx.save(model([product], [value("x", TensorProto.FLOAT, "N", 50)], [value("z", TensorProto.FLOAT, "N", 96)],
                    w=np.ones((50, 96), np.float32)), tmp_path / "m.onnx")
    report = compile_with_report(tmp_path / "m.onnx", tmp_path / "m.so", "--quantize=int4")
    (asked,) = report["compression"]
    reason = asked.pop("reason")
    assert asked == {"kind": "weight", "names": ["w"], "nodes": ["/product"], "requested": "int4<group = 32>", "became": "f32",
                     "done": False, "bytes_before": 4 * 50 * 96, "bytes_after": 4 * 50 * 96}
    assert "multiple of 32 rows" in reason and "there are 50" in reason
    assert any(clause.startswith("0/1 products' weights as int4<group = 32>") for clause in report["digest"])


@pytest.mark.parametrize("options,formats", [
    (["--quantize=int8-dynamic"], ["int8<dynamic>", "int8<dynamic>"]), (["--math=bf16"], ["bf16", "bf16"]),
    (["--quantize=int4<group = 16>", "--math=bf16"], ["int4<group = 16>", "bf16"]),
    (["--quantize=int3", "--math=bf16"], ["codebook<int3, group = 32>", "bf16"]),
    (["--quantize=fp8", "--math=bf16"], ["codebook<f8E4M3FN, group = 32>", "bf16"])])
def test_formats_on_the_command_line(emitted, options, formats):
    """What does not fit the format is computed in the other type."""
    weights = emitted(*options)["weights"]
    assert [weights[name]["format"] for name in ("first.weight", "second.weight")] == formats


def test_python_takes_plans(path, zoo, tmp_path):
    options = {"version": 1, "layers": [{"layer": 1, "skip": "all"}, {"layer": 2, "skip": "ffn"}]}
    (tmp_path / "p.json").write_text(json.dumps(options))
    lathe.compile(zoo["minilm"], tmp_path / "a.so", plan=options)
    lathe.compile(zoo["minilm"], tmp_path / "b.so", plan=tmp_path / "p.json")
    lathe.compile(zoo["minilm"], tmp_path / "c.so", skip_layers="1,2:ffn")
    assert (tmp_path / "a.so").read_bytes() == (tmp_path / "b.so").read_bytes() == (tmp_path / "c.so").read_bytes()
    with pytest.raises(lathe.ModelError, match="formt"):
        lathe.compile(path, tmp_path / "d.so", plan={"version": 1, "defaults": {"formt": ""}})


def test_what_was_done_is_in_the_report(path, tmp_path, emitted):
    """Of 64 x 50 weights, codes of 4 bits and a scale of 16 bits for each 32 rows; and the emitted plan gives the same."""
    (tmp_path / "p.json").write_text(json.dumps(emitted("--quantize=int4")))
    report = compile_with_report(path, tmp_path / "a.so", "--quantize=int4")
    first, second = sorted(report["compression"], key=lambda entry: entry["names"])
    assert (first["requested"], first["became"], first["done"]) == ("int4<group = 32>", "int4<group = 32>", True)
    assert first["bytes_before"] == 4 * 64 * 50
    # A panel may be padded to 32 columns.
    assert 64 * 50 // 2 + 2 * 2 * 50 <= first["bytes_after"] <= 64 * 64 // 2 + 2 * 2 * 64
    assert (second["became"], second["done"]) == ("f32", False) and "50" in second["reason"]
    lathe.compile(path, tmp_path / "b.so", plan=tmp_path / "p.json")
    assert (tmp_path / "a.so").read_bytes() == (tmp_path / "b.so").read_bytes()


def test_the_emitted_plan_gives_the_same_artifact(zoo, tmp_path):
    options = ["--skip-to-speedup=1.2"]
    assert run(zoo["minilm"], *options, "--emit-plan", "-o", "p.json", cwd=tmp_path).returncode == 0
    for name, options in [("p", ["--plan=p.json"]), ("q", options)]:
        assert run(zoo["minilm"], "-o", f"{name}.so", *options, cwd=tmp_path).returncode == 0
    assert (tmp_path / "p.so").read_bytes() == (tmp_path / "q.so").read_bytes()
