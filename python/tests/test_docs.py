# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs what the documentation says: every `sh`, `python`, `c` and `cmake` block, in order, in one folder a document.

`console` blocks show commands that install, build or measure; they may only name scripts that exist.
"""

import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import time

import onnx
import pytest

from small_models import ROOT, build_folder, scale_add_relu
from lathe.compiler import driver

DOCUMENTS = ["README.md", "docs/guide.md"]
BLOCK = re.compile(r"(?:<!-- file: (\S+) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)


def blocks(document):
    """(file name or None, language, text) of every fenced block."""
    return [match.groups() for match in BLOCK.finditer((ROOT / document).read_text())]


def call(command, folder, environment):
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prefix")
    subprocess.run(["cmake", "--install", build_folder(), "--prefix", folder], check=True, stdout=subprocess.DEVNULL)
    return folder


def run_cmake(text, folder, prefix, environment):
    """A project of the block; its main.c only has to link."""
    project = folder / "cmake"
    project.mkdir()
    (project / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.25)\nproject(Docs C)\n" + text)
    (project / "main.c").write_text('#include "classifier.h"\n'
                                    "int main(void) { lathe_model_t *m; return classifier_open(NULL, &m); }\n")
    shutil.copy(folder / "model.onnx", project)
    call(["cmake", "-G", "Ninja", "-B", "build", f"-DCMAKE_PREFIX_PATH={prefix}"], project, environment)
    call(["ninja", "-C", "build"], project, environment)
    call(["build/main"], project, environment)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_the_documents_say(document, prefix, tmp_path):
    onnx.save(scale_add_relu(), tmp_path / "model.onnx")
    tools = [str(pathlib.Path(driver()).parent), str(build_folder() / "tools/lathe-opt"),
             str(pathlib.Path(sys.executable).parent)]
    environment = {**os.environ, "PATH": os.pathsep.join([*tools, os.environ["PATH"]]), "PREFIX": str(prefix),
                   "LATHE_PYTHON": sys.executable, "LATHE_DRIVER": driver(), "PYTHONPATH": str(ROOT / "python"),
                   "LATHE_BUILD_DIR": str(build_folder())}
    ran = 0
    for name, language, text in blocks(document):
        if name:
            (tmp_path / name).write_text(text)
        elif language == "sh":
            call(["bash", "-euc", text], tmp_path, environment)
        elif language == "python":
            call([sys.executable, "-c", text], tmp_path, environment)
        elif language == "cmake":
            run_cmake(text, tmp_path, prefix, environment)
        else:
            assert language == "console", f"a block of {language} that nothing runs"
            continue
        ran += 1
    assert ran >= 4


@pytest.mark.parametrize("document", ["README.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))])
def test_names_that_documents_mention_exist(document):
    text = (ROOT / document).read_text()
    for name in re.findall(r"\bscripts/[\w-]+", text):
        assert os.access(ROOT / name, os.X_OK), name
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / document).parent / link).exists(), link
    for language, block in re.findall(r"```(console)\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            assert line.startswith("$ scripts/"), f"only scripts may be shown without being run: {line}"


def in_namespace(script, **options):
    """Runs a script whose mounts only it sees."""
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    return subprocess.run([*unshare, "bash", "-euc", script], capture_output=True, text=True, **options)


def shadow(folder, upper):
    """The command that lets what is written to `folder` go to `upper`: an overlay, or where there is none a copy."""
    overlay = f"mount -t overlay overlay -o lowerdir={folder},upperdir={upper}/new,workdir={upper}/work {folder}"
    for name in ("new", "work"):
        (upper / name).mkdir(parents=True)
    if not os.environ.get("LATHE_TEST_COPIES") and in_namespace(overlay).returncode == 0:
        return overlay
    # What is built is as new as its sources: times have to stay.
    (upper / "copy").mkdir()
    pack = ["tar", "-C", folder, "--exclude=./build-*", "-cf", "-", "."]
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
        subprocess.run(["tar", "-C", upper / "copy", "-xf", "-"], stdin=packing.stdout, check=True)
    return f"mount --bind {upper}/copy {folder}"


def test_adding_a_pass(tmp_path):
    """Runs docs/developing.md's commands literally, over the sources and the build, which stay as they are.

    A newcomer has three minutes. Processor time counts if it is less: what else the machine does is not the pass's.
    """
    build = build_folder()
    commands = "".join(text for _, language, text in blocks("docs/developing.md") if language == "sh")
    folders = [folder for number, folder in enumerate(dict.fromkeys([ROOT, build.resolve()]))
               if number == 0 or not folder.is_relative_to(ROOT)]
    mounts = [shadow(folder, tmp_path / str(number)) for number, folder in enumerate(folders)]
    script = "\n".join([*mounts, f"cd {ROOT}",
                        f"[ -e build/build.ninja ] || {{ rm -rf build; ln -s {build} build; }}", commands])
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = in_namespace(script, timeout=1200)
    elapsed, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(r"Passed *: *1\b", done.stdout), done.stdout[-2000:]
    assert not (ROOT / "lib/Dialect/NN/Transforms/DropRepeated.cpp").exists()
    assert min(elapsed, busy) <= 180, f"{elapsed:.0f} s, {busy:.0f} s of processor time"
    shutil.rmtree(tmp_path, ignore_errors=True)  # perhaps gigabytes
