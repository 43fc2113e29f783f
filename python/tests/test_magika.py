# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""magika's model as shipped: the same labels as with ONNX Runtime on files of many kinds, cut by magika's own code."""

import bz2
import gzip
import io
import json
import lzma
import pathlib
import struct
import sys
import tarfile
import wave
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib

import numpy as np
import pytest

import lathe
from small_models import ROOT
from lathe.compiler import driver
from reports import compile_with_report, warnings_about_code

TOLERANCE = 1e-4

SOURCES = {
    "c": "#include <stdio.h>\n\nint main(int argc, char **argv) {\n  printf(\"%d\\n\", argc);\n  return 0;\n}\n",
    "java": "package a.b;\n\npublic class Main {\n  public static void main(String[] args) {\n"
            "    System.out.println(args.length);\n  }\n}\n",
    "go": "package main\n\nimport \"fmt\"\n\nfunc main() {\n\tfmt.Println(\"hello\")\n}\n",
    "rust": "use std::collections::HashMap;\n\nfn main() {\n    let mut m: HashMap<u32, String> = HashMap::new();\n"
            "    m.insert(1, \"a\".to_string());\n    println!(\"{:?}\", m);\n}\n",
    "javascript": "'use strict';\nconst fs = require('fs');\nfunction f(x) { return x.map((y) => y * 2); }\n"
                  "module.exports = { f };\nconsole.log(f([1, 2, 3]));\n",
    "shell": "#!/bin/sh\nset -eu\nfor f in *.txt; do\n  echo \"$f\" | sed 's/a/b/'\ndone\n",
    "html": "<!DOCTYPE html>\n<html><head><title>t</title></head><body><p>text</p><a href=\"x\">x</a></body></html>\n",
    "css": "body { margin: 0; color: #333; }\n.a > .b:hover { display: flex; }\n@media print { p { color: black; } }\n",
    "sql": "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT);\nINSERT INTO t VALUES (1, 'a');\nSELECT * FROM t;\n",
    "yaml": "version: 2\njobs:\n  build:\n    steps:\n      - run: make\n      - run: make test\n",
    "toml": "[package]\nname = \"a\"\nversion = \"0.1.0\"\n\n[dependencies]\nserde = \"1\"\n",
    "ini": "[core]\neditor = vi\n\n[user]\nname = someone\nemail = a@b.c\n",
    "csv": "name,age,city\nann,31,oslo\nbob,42,rome\ncid,27,bern\n" * 4,
    "markdown": "# Title\n\nSome *text* with [a link](http://example.org).\n\n- one\n- two\n\n```sh\nls\n```\n",
    "latex": "\\documentclass{article}\n\\begin{document}\n\\section{A}\nText $x^2$.\n\\end{document}\n",
    "makefile": "CC = cc\n\nall: prog\n\nprog: main.o\n\t$(CC) -o $@ $^\n\n.PHONY: all\n",
    "dockerfile": "FROM debian:12\nRUN apt-get update && apt-get install -y gcc\nCOPY . /src\nCMD [\"make\"]\n",
    "diff": "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-old\n+new\n same\n",
    "text": "It was a bright cold day in April, and the clocks were striking thirteen.\n" * 5,
    "email": "From: a@example.org\nTo: b@example.org\nSubject: hello\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\nHello.\n",
}


def png():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(range(96)) for _ in range(32))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def bmp():
    pixels = bytes(range(256)) * 12
    return (b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) +
            struct.pack("<IiiHHIIiiII", 40, 32, 32, 1, 24, 0, len(pixels), 2835, 2835, 0, 0) + pixels)


def gif():
    return (b"GIF89a" + struct.pack("<HHBBB", 16, 16, 0x91, 0, 0) + bytes(12) + b"\x2c" +
            struct.pack("<HHHHB", 0, 0, 16, 16, 0) + b"\x02\x03\x04\x05\x06\x00\x3b")


def wav():
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((np.sin(np.arange(4000) / 7) * 9000).astype("<i2").tobytes())
    return out.getvalue()


def tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        entry = tarfile.TarInfo("a.txt")
        entry.size = 5
        file.addfile(entry, io.BytesIO(b"hello"))
    return out.getvalue()


def archive():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.txt", "hello " * 100)
        file.writestr("b/c.txt", "world")
    return out.getvalue()


def npy():
    out = io.BytesIO()
    np.save(out, np.arange(300.0))
    return out.getvalue()


def pdf():
    return (b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [3 0 R] "
            b"/Count 1 >>\nendobj\n3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>\nendobj\nxref\n0 4\n"
            b"0000000000 65535 f \ntrailer\n<< /Size 4 /Root 1 0 R >>\nstartxref\n180\n%%EOF\n")


def make_files(folder):
    """At least 30 files of different kinds: paths."""
    prose = b"".join(f"line {i} of some prose\n".encode() for i in range(400))
    data = json.dumps({"items": [{"id": i, "name": f"n{i}"} for i in range(20)]}, indent=1)
    root = ElementTree.Element("catalog")
    for i in range(20):
        ElementTree.SubElement(root, "book", id=str(i)).text = "title"
    contents = {**{name: text.encode() for name, text in SOURCES.items()},
                "json": data.encode(), "jsonl": "\n".join(json.dumps({"id": i}) for i in range(40)).encode(),
                "xml": ElementTree.tostring(root, xml_declaration=True, encoding="utf-8"),
                "png": png(), "bmp": bmp(), "gif": gif(), "wav": wav(), "tar": tar(), "zip": archive(), "npy": npy(),
                "pdf": pdf(), "gz": gzip.compress(prose, mtime=0), "bz2": bz2.compress(prose), "xz": lzma.compress(prose),
                "random": np.random.default_rng(1).bytes(5000), "zeros": bytes(3000), "short": b"0123456789"}
    paths = [pathlib.Path(__file__), ROOT / "CMakeLists.txt", pathlib.Path(driver()), pathlib.Path(sys.executable)]
    for name, content in contents.items():
        path = folder / name
        path.write_bytes(content)
        paths.append(path)
    return paths


class Session:
    """What magika calls of an ONNX Runtime session, by Lathe."""

    def __init__(self, path):
        self.model = lathe.load(path)

    def run(self, names, inputs):
        outputs = self.model({"bytes": np.asarray(inputs["bytes"], np.int32)})
        return [outputs[name] for name in names]


@pytest.fixture(scope="module")
def identifiers(compiled):
    from magika import Magika

    theirs, ours = Magika(), Magika()
    ours._onnx_session = Session(compiled("magika"))
    return ours, theirs


def test_same_labels_on_files_of_many_kinds(identifiers, tmp_path):
    ours, theirs = identifiers
    paths = make_files(tmp_path)
    assert len(paths) >= 30
    labels = set()
    for path in paths:
        mine, reference = ours.identify_path(path), theirs.identify_path(path)
        assert mine.output.label == reference.output.label, path
        assert mine.dl.label == reference.dl.label, path
        assert abs(mine.score - reference.score) <= TOLERANCE, path
        labels.add(reference.output.label)
    assert len(labels) >= 20, f"the files are of only {len(labels)} kinds: {sorted(labels)}"


def test_all_scores_in_one_batch(identifiers, tmp_path):
    ours, theirs = identifiers
    batch = []
    for path in make_files(tmp_path):
        content = path.read_bytes()[:1 << 20]
        beginning = list(content.lstrip()[:1024])
        end = list(content.rstrip()[-1024:])
        batch.append(beginning + [256] * (1024 - len(beginning)) + [256] * (1024 - len(end)) + end)
    scores = ours._onnx_session.run(["target_label"], {"bytes": batch})[0]
    # One file at a time: the variance is a difference of large numbers, and in a batch ONNX Runtime's own scores
    # move by 3e-3.
    expected = [theirs._onnx_session.run(["target_label"], {"bytes": [one]})[0][0] for one in batch]
    np.testing.assert_allclose(scores, expected, atol=TOLERANCE, rtol=0)


def test_code_for_both_targets_has_no_fault(zoo, tmp_path):
    """The checks of kernels are errors with --verify-each, not only warnings."""
    report = compile_with_report(zoo["magika"], tmp_path / "magika.so", "--target=x86-64-v4,x86-64-v3", "--verify-each")
    assert report["targets"] == ["x86-64-v4", "x86-64-v3"]
    assert warnings_about_code(report) == []
