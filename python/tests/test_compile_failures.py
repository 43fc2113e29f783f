# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compilations that cannot end well: a worker that dies or is stopped, outputs that cannot be written, files that
change. Always one error, its documented status, and no file left but what was there before."""

import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import time

import numpy as np
import onnx
import pytest

import lathe
from lathe.compiler import driver
from small_models import model, value

FLOAT = onnx.TensorProto.FLOAT


def chain_of_products(path, layers, width=1024):
    """y = x W0 W1 ... with external weights of zeros, a hole each but for some ones."""
    nodes, tensors = [], []
    with open(path.with_suffix(".bin"), "wb") as data:
        data.truncate(layers * width * width * 4)
    for i in range(layers):
        nodes.append(onnx.helper.make_node("MatMul", [f"v{i}" if i else "x", f"w{i}"],
                                           [f"v{i + 1}" if i + 1 < layers else "y"], name=f"/product{i}"))
        tensor = onnx.TensorProto(name=f"w{i}", data_type=FLOAT, dims=[width, width],
                                  data_location=onnx.TensorProto.EXTERNAL)
        for key, text in (("location", path.with_suffix(".bin").name), ("offset", str(i * width * width * 4)),
                          ("length", str(width * width * 4))):
            tensor.external_data.add(key=key, value=text)
        tensors.append(tensor)
    result = model(nodes, [value("x", FLOAT, "N", width)], [value("y", FLOAT, "N", width)])
    result.graph.initializer.extend(tensors)
    onnx.save(result, path)


@pytest.fixture(scope="module")
def slow_onnx(tmp_path_factory):
    """A model whose compilation takes long enough to be met on the way."""
    path = tmp_path_factory.mktemp("slow") / "slow.onnx"
    chain_of_products(path, layers=12)
    return path


def children_of(process):
    return [int(child) for child in
            pathlib.Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def worker_that_reads(process, name):
    """Waits until the worker has mapped the file, and returns the worker's number."""
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        for child in children_of(process.pid):
            try:
                if name in pathlib.Path(f"/proc/{child}/maps").read_text():
                    return child
            except OSError:
                pass  # it ended just now
        time.sleep(0.001)
    pytest.fail("no worker was seen at work")


def start(model_path, output, *options, **keywords):
    environment = {**os.environ, "TMPDIR": str(output.parent)}
    return subprocess.Popen([driver(), "compile", model_path, "-o", output, "--quiet", *options],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **keywords)


def finish(process):
    out, err = process.communicate(timeout=120)
    assert out == ""
    assert err.count("error[") == 1, err
    return process.returncode, err


def left_in(folder):
    """All but the reproducer's folder."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("lathe-reproducer"))


@pytest.mark.parametrize("number,code,text", [
    (signal.SIGKILL, "E0904", "the compiler process was killed"),
    (signal.SIGSEGV, "E0902", "the compiler process was ended by signal 11 (Segmentation fault)"),
])
def test_a_worker_that_dies(tmp_path, slow_onnx, number, code, text):
    (tmp_path / "m.so").write_text("what was there before")
    process = start(slow_onnx, tmp_path / "m.so")
    os.kill(worker_that_reads(process, "slow.bin"), number)
    status, err = finish(process)
    assert status == 4
    assert err.startswith(f"error[{code}]: {text}"), err
    assert left_in(tmp_path) == ["m.so"]
    assert (tmp_path / "m.so").read_text() == "what was there before"
    folder = pathlib.Path(re.search(r"without weights, is in (\S+)", err).group(1))
    assert sorted(path.name for path in folder.iterdir()) == ["failure.json", "structure.onnx"]
    assert (folder / "structure.onnx").stat().st_size < 10_000


def test_out_of_time(tmp_path, slow_onnx):
    begin = time.monotonic()
    status, err = finish(start(slow_onnx, tmp_path / "m.so", "--time-limit=0.05"))
    assert status == 4
    assert err.startswith("error[E0903]: not done after 0.1 s"), err
    assert "help: give it more time: --time-limit=SECONDS" in err
    assert time.monotonic() - begin < 20
    assert left_in(tmp_path) == []


def test_out_of_memory_by_the_limit(tmp_path, slow_onnx):
    status, err = finish(start(slow_onnx, tmp_path / "m.so", "--memory-limit=4M"))
    assert status == 4
    assert err.startswith("error[E0904]: more than 4.19 MB of memory used"), err
    assert "help: give it more memory: --memory-limit=BYTES" in err
    assert left_in(tmp_path) == []


def test_out_of_memory_by_the_system(tmp_path):
    """The IR of so many nodes takes several times what the process may have."""
    count = 20_000
    nodes = [onnx.helper.make_node("Neg", [f"v{i}" if i else "x"], [f"v{i + 1}" if i + 1 < count else "y"])
             for i in range(count)]
    onnx.save(model(nodes, [value("x", FLOAT, 4)], [value("y", FLOAT, 4)]), tmp_path / "m.onnx")
    status, err = finish(start(tmp_path / "m.onnx", tmp_path / "m.so",
                               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (12 << 20, 12 << 20))))
    assert status == 4
    assert err.startswith("error[E0904]: out of memory\n"), err
    assert "help: free some, or raise the limit of this process" in err
    assert left_in(tmp_path) == ["m.onnx"]


def test_an_interrupt_ends_both(tmp_path, slow_onnx):
    # A shell's background commands ignore interrupts, and so would theirs.
    process = start(slow_onnx, tmp_path / "m.so", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    worker = worker_that_reads(process, "slow.bin")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert not pathlib.Path(f"/proc/{worker}").exists()
    assert left_in(tmp_path) == []


def test_a_worker_does_not_outlive_its_supervisor(tmp_path, slow_onnx):
    process = start(slow_onnx, tmp_path / "m.so")
    worker = worker_that_reads(process, "slow.bin")
    process.kill()
    process.communicate(timeout=60)
    for _ in range(2000):
        if not pathlib.Path(f"/proc/{worker}").exists() or "\nState:\tZ" in \
                pathlib.Path(f"/proc/{worker}/status").read_text():
            break
        time.sleep(0.005)
    else:
        pytest.fail("the worker goes on")
    assert not (tmp_path / "m.so").exists()


def test_killed_at_any_time_it_leaves_no_file_that_loads(tmp_path, slow_onnx):
    """Supervisor and worker at once, as by a machine that goes down; the file of before stays until the new one is whole."""
    begin = time.monotonic()
    process = start(slow_onnx, tmp_path / "whole.so")
    assert process.communicate(timeout=120) == ("", "") and process.returncode == 0
    whole, duration = (tmp_path / "whole.so").read_bytes(), time.monotonic() - begin
    random = np.random.default_rng(1)
    unfinished = 0
    for i in range(16):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / "m.so").write_text("what was there before")
        process = start(slow_onnx, folder / "m.so", start_new_session=True)
        time.sleep(random.uniform(0, duration))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        for path in folder.iterdir():
            data = path.read_bytes()
            if path.name == "m.so" and data == whole:
                continue
            unfinished += 1
            assert path.name != "m.so" or data == b"what was there before"
            with pytest.raises(lathe.ModelError) as error:
                lathe.load(path)
            assert error.value.code == "E0601"
        shutil.rmtree(folder)
    assert unfinished > 4


@pytest.mark.parametrize("what", ["slow.bin", "slow.onnx"])
def test_a_file_that_is_cut_while_it_is_read(tmp_path, slow_onnx, what):
    for name in ("slow.onnx", "slow.bin"):
        shutil.copy(slow_onnx.with_name(name), tmp_path / name)
    (tmp_path / "out").mkdir()
    process = start(tmp_path / "slow.onnx", tmp_path / "out" / "m.so")
    worker = worker_that_reads(process, "slow.bin")
    # It stands still while its file shrinks, so that what it reads next is gone.
    os.kill(worker, signal.SIGSTOP)
    os.truncate(tmp_path / what, 4096 if what == "slow.bin" else 0)
    os.kill(worker, signal.SIGCONT)
    status, err = finish(process)
    assert status == 3, err
    assert err.startswith("error[E0108]: "), err
    assert left_in(tmp_path / "out") == []


def small(tmp_path):
    path = tmp_path / "small.onnx"
    onnx.save(model([onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", FLOAT, "N", 256)],
                    [value("y", FLOAT, "N", 256)], w=np.ones((256, 256), np.float32)), path)
    return path


def test_a_file_that_may_not_grow(tmp_path):
    """A full disk, for a user without the right to mount one."""
    (tmp_path / "out").mkdir()
    path = small(tmp_path)
    process = start(path, tmp_path / "out/m.so",
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    status, err = finish(process)
    assert status == 1, err
    assert err.startswith(f'error[E0003]: cannot write "{tmp_path}/out/m.so": '), err
    assert left_in(tmp_path / "out") == []


def test_a_full_disk(tmp_path):
    path = small(tmp_path)
    (tmp_path / "disk").mkdir()
    script = 'mount -t tmpfs -o size=12k none "$1/disk" || exit 77; "$2" compile "$3" -o "$1/disk/m.so" --quiet; ' \
             'status=$?; ls -A "$1/disk"; exit $status'
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", tmp_path, driver(), path], capture_output=True,
                          text=True)
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("needs the right to mount")
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f'error[E0003]: cannot write "{tmp_path}/disk/m.so": no space left'), done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("output,text", [
    ("no/m.so", "no such file or directory"), ("folder.so", "it exists and is not a regular file"),
    ("file/m.so", "not a directory"),
])
def test_outputs_that_cannot_be(tmp_path, output, text):
    path = small(tmp_path)
    (tmp_path / "folder.so").mkdir()
    (tmp_path / "file").write_text("")
    before = left_in(tmp_path)
    done = subprocess.run([driver(), "compile", path, "-o", tmp_path / output], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[0] == f'error[E0003]: cannot write "{tmp_path / output}": {text}'
    assert left_in(tmp_path) == before


@pytest.mark.parametrize("command", [
    ["compile", "--to=nn"], ["compile", "--to=llvm-ir"], ["inspect"], ["inspect", "--json"],
])
def test_standard_output_on_a_full_disk(tmp_path, command):
    path = small(tmp_path)
    with open("/dev/full", "w") as full:
        done = subprocess.run([driver(), command[0], path, *command[1:]], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("error[") == 1
    assert done.stderr.startswith("error[E0003]: cannot write "), done.stderr
    assert "no space left on device" in done.stderr


def test_outputs_of_a_run_on_a_full_disk(tmp_path, tiny):
    done = subprocess.run([driver(), "run", tiny, "--random", "--shape=N=1000", "--outputs", tmp_path / "out.npz"],
                          capture_output=True, text=True,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)))
    assert done.returncode == 1, done.stderr
    assert f'error[E0003]: cannot write "{tmp_path}/out.npz": ' in done.stderr
    assert left_in(tmp_path) == []
