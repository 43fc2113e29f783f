# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The report as a page: the same data as the report in JSON, in one file that loads nothing and runs nothing of the model."""

import html.parser
import json
import re
import subprocess

import onnx
import pytest

from lathe.compiler import driver
from small_models import scale_add_relu

HOSTILE = '</script><script>alert(1)</script><!-- "\\ \u2028'


class Page(html.parser.HTMLParser):
    """Elements, and the text of the data."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.data, self.inside = [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = dict(attributes).get("id") == "data"

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.data += data


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    model = scale_add_relu()
    model.graph.node[0].name = HOSTILE
    onnx.save(model, folder / "m.onnx")
    done = subprocess.run([driver(), "compile", "m.onnx", "-O0", "-o", "m.so", "--report=r.json", "--report=r.html"],
                          cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "r.json").read_text()), (folder / "r.html").read_text()


def test_the_page_holds_the_report(reports):
    report, text = reports
    page = Page(text)
    assert json.loads(page.data) == report
    # What the names of the model hold has become no element.
    assert [tag for tag, _ in page.tags if tag == "script"] == ["script", "script"]


def test_the_page_loads_nothing(reports):
    """Nothing that it holds refers to anything outside, and it forbids itself to."""
    _, text = reports
    page = Page(text)
    assert not [(tag, name) for tag, attributes in page.tags for name in attributes if name in ("src", "href")]
    assert not re.search(r"https?://|@import|url\(|fetch\(|innerHTML|eval\(", text)
    policies = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies and policies[0].startswith("default-src 'none'")


def test_the_page_of_a_failure(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no model")
    done = subprocess.run([driver(), "compile", "m.onnx", "-o", "m.so", "--report=r.html"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 3
    assert json.loads(Page((tmp_path / "r.html").read_text()).data)["errors"][0]["code"] == "E0101"
