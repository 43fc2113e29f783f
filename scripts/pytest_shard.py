# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A pytest plugin: where LATHE_TEST_SHARD is I/N, only every N-th test runs, from the I-th."""

import os


def pytest_collection_modifyitems(config, items):
    index, count = map(int, os.environ.get("LATHE_TEST_SHARD", "1/1").split("/"))
    others = [item for number, item in enumerate(items) if number % count != index - 1]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = items[index - 1::count]
