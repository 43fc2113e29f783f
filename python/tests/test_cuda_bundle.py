# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The bundle for machines with a GPU, rehearsed on the mock driver."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from small_models import ROOT, build_folder

MOCK = build_folder() / "test/cuda/libcuda.so.1"

pytestmark = pytest.mark.skipif(not MOCK.exists(), reason="this build has no mock driver: it is for a sanitizer")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu") / "bundle"
    names = ("pointwise", "gather", "gemm_odd", "layer_norm_384", "gemm_384x1536", "gemm_odd_bf16", "attention_odd_f16",
             "attention_64_tf32", "conv_odd_bf16", "decoding_odd_f32", "bytes_odd", "gemm_odd_int4")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'python'}:{ROOT / 'bench'}", "LATHE_BUILD_DIR": str(build_folder())}
    done = subprocess.run([sys.executable, ROOT / "bench/gpu_bundle.py", folder, "--target=cuda-sm_80,cuda-emulator",
                           "--first-size", *(f"--case={name}" for name in names)],
                          capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "for glibc 2." in done.stdout
    return folder


def check(bundle, folder, **environment):
    """Runs everything; the exit status, what is printed, and the JSON."""
    environment = {"LATHE_CUDA_DRIVER": str(MOCK), "PATH": os.environ["PATH"], "PYTHON": sys.executable, **environment}
    done = subprocess.run([ROOT / "scripts/gpu-check", bundle, "--output", folder / "r.json", "--seconds=0.1"],
                          capture_output=True, text=True, env=environment)
    results = json.loads((folder / "r.json").read_text()) if (folder / "r.json").exists() else None
    return done, results


def test_rehearsal(bundle, tmp_path):
    done, results = check(bundle, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert results["device"] == "emulator" and len(results["numbers"]) == 12
    assert all(record["good"] for record in results["numbers"])
    (measured,) = results["times"]
    assert measured["shape"] == "128x384" and measured["us"]["lathe"] > 0
    (kernel,) = measured["kernels"]
    assert kernel["kernel"].startswith("matmul") and kernel["launches"] == 1 and kernel["tflops"] > 0 and kernel["gb_s"] > 0
    assert "| gemm_odd | 1 |" in done.stdout


def test_a_wrong_result_is_a_failure(bundle, tmp_path):
    path = bundle / "cases/pointwise/expected0.npz"
    before = path.read_bytes()
    results = dict(np.load(path))
    results["z"][0, 5] += 1e-3
    np.savez_compressed(path, **results)
    done, results = check(bundle, tmp_path)
    path.write_bytes(before)
    assert done.returncode == 1
    assert [record["case"] for record in results["numbers"] if not record["good"]] == ["pointwise"]


def test_a_kernel_that_cannot_run_fails_its_case_alone(bundle, tmp_path):
    done, results = check(bundle, tmp_path, LATHE_MOCK_FAIL="cuGraphLaunch:2:700")
    assert done.returncode == 1
    assert len(results["numbers"]) == 12
    assert all("CUDA_ERROR_ILLEGAL_ADDRESS" in record["failed"] for record in results["numbers"])


def test_without_a_device_it_says_so(bundle, tmp_path):
    done, results = check(bundle, tmp_path, LATHE_MOCK_DEVICES="0")
    assert done.returncode == 1 and results is None
    assert done.stderr == "the CUDA driver finds no device\n"


def test_an_old_c_library_is_refused(bundle, tmp_path):
    manifest = bundle / "bundle.json"
    before = manifest.read_text()
    manifest.write_text(json.dumps({**json.loads(before), "glibc": "9.9"}))
    done, results = check(bundle, tmp_path)
    manifest.write_text(before)
    assert done.returncode == 1 and done.stderr.startswith("the bundle needs glibc 9.9, this machine has 2.")
