# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Configuration of the lit tests."""

import os

import lit.formats

config.name = "Lathe"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "unit"]
config.test_source_root = os.path.join(config.lathe_src_root, "test")
config.test_exec_root = os.path.join(config.lathe_obj_root, "test")

# The tools under test come before those of LLVM (FileCheck, not, split-file).
paths = [os.path.join(config.lathe_obj_root, "tools", tool)
         for tool in sorted(os.listdir(os.path.join(config.lathe_obj_root, "tools")))]
paths.append(config.llvm_tools_dir)
config.environment["PATH"] = os.pathsep.join(paths + [config.environment.get("PATH", "")])
config.substitutions += [("%lathe_src_root", config.lathe_src_root), ("%lathe_obj_root", config.lathe_obj_root)]
