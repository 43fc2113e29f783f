# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Files that are no artifact of this machine: the same words from `lathe run`, Python and C."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

import artifact_bytes
import lathe
from lathe.compiler import driver
from small_models import build_folder

PROBE = build_folder() / "runtime/test/lathe_artifact_probe"
NAMES = {"E0002": ("file", 1), "E0601": (("not-artifact", "truncated", "corrupt"), 3), "E0602": ("version", 2),
         "E0603": ("cpu", 2)}


def run_tool(*arguments):
    return subprocess.run([*map(str, arguments)], capture_output=True, text=True)


def assert_refused(path, code, text):
    """By all three ways in, without a word on standard output, and without a crash."""
    done = run_tool(driver(), "run", path, "--random")
    names, status = NAMES[code]
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert done.stderr == f'error[{code}]: "{path}" {text}\n  --> {path}\n'
    with pytest.raises(lathe.ModelError) as caught:
        lathe.load(path)
    assert caught.value.code == code
    assert f'"{path}" {text}' in str(caught.value)
    opened = run_tool(PROBE, "open", path)
    assert opened.returncode == 0
    name, message = opened.stdout.split(": ", 1)
    assert name in names
    assert message == f'"{path}" {text}\n'


@pytest.fixture(scope="module")
def sections(tiny):
    """All tiles of the artifact: [(kind, address, bytes)]."""
    listed = json.loads(run_tool(driver(), "inspect", tiny, "--json").stdout)["sections"]
    return [(section["kind"], section["address"], section["bytes"]) for section in listed]


@pytest.fixture
def spoil(tmp_path, tiny):
    """A function that writes other bytes and returns their path."""
    def write(data):
        path = tmp_path / "bad.so"
        path.write_bytes(data)
        return path

    return write


def test_the_artifact_itself_opens(tiny):
    assert run_tool(PROBE, "open", tiny).stdout == "opened\n"


@pytest.mark.parametrize("data,text", [
    (b"", "is empty"),
    (b"#!/bin/sh\necho owned > owned\n", "is not a Lathe artifact: it is not an ELF file"),
    (b"\x08\x08\x3a\x02\x12\x00", "is not a Lathe artifact: it is not an ELF file"),
    (bytes(5000), "is not a Lathe artifact: it is not an ELF file"),
], ids=["empty", "shell script", "onnx", "zeros"])
def test_files_of_other_kinds(spoil, data, text):
    assert_refused(spoil(data), "E0601", text)


@pytest.mark.parametrize("program", [sys.executable, "/bin/sh"])
def test_elf_files_of_others(spoil, program):
    assert_refused(spoil(pathlib.Path(program).resolve().read_bytes()), "E0601",
                   "is not a Lathe artifact: it has no header note")


def test_no_file_and_a_folder(tmp_path):
    assert_refused(tmp_path / "none.so", "E0002", "cannot be opened: No such file or directory")
    assert_refused(tmp_path, "E0002", "is not a regular file")


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.so")
    assert_refused(tmp_path / "pipe.so", "E0002", "is not a regular file")


def test_every_section_is_checked(spoil, tiny, sections):
    artifact = tiny.read_bytes()
    words = {kind: f'error[E0601]: "{{}}" is corrupt: the checksum of its {kind} is ' for kind, *_ in sections}
    words["headers"] = 'error[E0601]: "{}" is corrupt: the checksum of its ELF headers is wrong'
    words["note"] = 'error[E0601]: "{}" is corrupt: the checksum of its header is wrong'
    words["weights"] = 'error[E0601]: the weights of model "graph" are corrupt in chunk 0 of 4 MiB'
    assert set(words) == {"headers", "note", "linkage", "constants", "code", "chunk sums", "weights"}
    for kind, address, size in sections:
        path = spoil(artifact_bytes.with_flipped_byte(artifact, address + size // 2))
        done = run_tool(driver(), "run", path, "--random")
        assert done.returncode == 3, (kind, done.stderr)
        assert done.stderr.startswith(words[kind].format(path)), (kind, done.stderr)
        with pytest.raises(lathe.ModelError) as caught:
            lathe.load(path)
        assert caught.value.code == "E0601"
        opened = run_tool(PROBE, "open", path)
        assert opened.stdout.startswith(("corrupt: ", "truncated: ", "not-artifact: ")), (kind, opened.stdout)


@pytest.mark.parametrize("keep", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_truncated(spoil, tiny, keep):
    artifact = tiny.read_bytes()
    size = int(len(artifact) * keep)
    path = spoil(artifact[:size])
    done = run_tool(driver(), "run", path, "--random")
    assert done.returncode == 3
    assert done.stderr.startswith("error[E0601]: ")
    assert "truncated" in done.stderr or "not an ELF" in done.stderr, done.stderr
    with pytest.raises(lathe.ModelError) as caught:
        lathe.load(path)
    assert caught.value.code == "E0601"
    assert run_tool(PROBE, "open", path).stdout.startswith("truncated: ")


def note_of(sections):
    return next(address for kind, address, _ in sections if kind == "note")


def test_for_another_processor(spoil, tiny, sections):
    missing = 1 << 40  # a feature that no runtime of today knows
    path = spoil(artifact_bytes.with_cpu_features(tiny.read_bytes(), note_of(sections), missing))
    assert_refused(path, "E0603", "does not run on this processor: native needs a feature this runtime does not know, "
                                  "which is not there")


def test_of_another_version(spoil, tiny, sections):
    path = spoil(artifact_bytes.with_container_version(tiny.read_bytes(), note_of(sections), 99))
    done = run_tool(driver(), "run", path, "--random")
    assert done.returncode == 2
    assert done.stderr.startswith(f'error[E0602]: "{path}" ') and "99" in done.stderr
    with pytest.raises(lathe.ModelError) as caught:
        lathe.load(path)
    assert caught.value.code == "E0602"
    assert run_tool(PROBE, "open", path).stdout.startswith("version: ")


def test_c_misuse_is_told(tiny):
    done = run_tool(PROBE, "misuse", tiny)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        'nothing bound: input "x" is not bound',
        'another type: input "x" is bound as i64, but the model has f32',
        'no type at all: input "x" is bound as an unknown element type, but the model has f32',
        'another rank: input "x" is bound with 1 dimensions, but the model has 2',
        'another size: input "x": dimension 1 is 5, but the model has 4',
        'sizes that differ: input "y": dimension 0 is 3, but the symbol N is already 2 (input "x")',
        'a negative size: input "x": dimension 0 is -2',
        'a huge size: input "x": 4611686018427387903x4 elements fit no memory',
        'no memory: input "x": data is null',
        "no such input: there is no input -1, the model has 2",
        "what fits: accepted"]
