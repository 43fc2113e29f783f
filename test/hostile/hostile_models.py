# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models with one thing wrong each, and the error that each must give: all cases, in the order of the modules."""

# ruff: noqa: F401
import file_cases
import graph_cases
import tensor_cases
import external_cases
from pieces import CASES, good
