# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiling through the driver, with what it says about its work."""

import json
import subprocess

from lathe.compiler import driver


def compile_with_report(model, output, *options):
    """Compiles, and returns the report as `--report` writes it."""
    path = output.with_suffix(".json")
    done = subprocess.run([driver(), "compile", model, "-o", output, f"--report={path}", *options], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())


def warnings_about_code(report):
    """All warnings but that this machine cannot run it."""
    return [warning for warning in report["warnings"] if not warning.startswith("this machine cannot run code for")]


def remarks(report, name, kind):
    """The messages of one pass's remarks of one kind."""
    return [remark["message"] for remark in report["remarks"] if remark["pass"] == name and remark["kind"] == kind]
