# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What can go wrong."""


class ModelError(Exception):
    """A model, an artifact or a run that failed.

    Attributes
    ----------
    code : str
        A stable code such as "E0304"; ``lathe check --explain E0304`` says more.
    node : str or None
        The ONNX node at fault, where one is.
    """

    def __init__(self, code: str, message: str, node: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.node = node
