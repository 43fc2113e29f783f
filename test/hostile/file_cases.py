# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Files that are no model: their bytes, their size, and what stands where the file should be."""

import os

import numpy as np

from pieces import case, field, good, model, node, vint


@case("E0101", "empty")
def empty(folder):
    return b""


@case("E0102", "ends in the middle")
def truncated_to_half(folder):
    return good()[: len(good()) // 2]


@case("E0102", "ends in the middle")
def truncated_by_one_byte(folder):
    return good()[:-1]


@case("E0101", "no ONNX model")
def random_bytes(folder):
    return np.random.default_rng(1).bytes(4096)


@case("E0101", "no ONNX model")
def zeros(folder):
    return bytes(4096)


@case("E0101", "no ONNX model")
def text(folder):
    return b"This is a text file, and not a model.\n" * 100


@case("E0101", "text form")
def text_of_a_model(folder):
    return b"ir_version: 8\ngraph { name: \"g\" }\n"


@case("E0101", "text form")
def json(folder):
    return b'{"irVersion": "8"}'


@case("E0101", "git lfs pull")
def lfs_pointer(folder):
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@case("E0102", "behind the end")
def trailing_field(folder):
    return good() + field(99, b"junk")


@case("E0102", "field")
def trailing_text(folder):
    return good() + b"junk that is no field"


@case("E0102", "number 0")
def trailing_zeros(folder):
    return good() + bytes(16)


@case("E0102", "second graph")
def two_models(folder):
    return good() + good()


@case("E0102", "longer than 64 bits")
def endless_number(folder):
    return b"\x08\x08" + b"\x08" + b"\xff" * 20


@case("E0102", "wire type 3")
def group(folder):
    return b"\x08\x08" + vint(9 << 3 | 3) + vint(9 << 3 | 4)


@case("E0102", "wire type")
def number_in_place_of_text(folder):
    return b"\x08\x08" + field(7, field(1, vint(1 << 3) + b"\x05"))


@case("E0102", "beyond the end of its message")
def length_beyond_the_message(folder):
    graph = field(1, vint(1 << 3 | 2) + b"\x7f") + field(2, b"x" * 200)
    return b"\x08\x08" + field(7, graph)


@case("E0102", "middle of a field")
def length_beyond_64_bits(folder):
    return b"\x08\x08" + vint(7 << 3 | 2) + vint(2**64 - 1)


@case("E0103", "deep inside each other")
def nested_messages(folder):
    body = b""
    for _ in range(3000):
        body = field(1, field(5, field(6, body)))
    return b"\x08\x08" + field(7, body)


@case("E0103", "deep inside each other")
def nested_types(folder):
    kind = b""
    for _ in range(2000):
        kind = field(4, field(1, kind))
    return b"\x08\x08" + field(7, field(11, field(1, b"x") + field(2, kind)))


@case("E0103", "messages and strings")
def too_many_messages(folder):
    return b"\x08\x08" + field(7, b"\x6a\x00" * 5_000_000)


@case("E0103", "help: --max-depth raises the limit", "--max-depth=5")
def deeper_than_asked_for(folder):
    return b"\x08\x08" + field(7, field(1, field(5, field(6, field(1, field(5, field(6, b"")))))))


@case("E0103", "help: --max-messages raises the limit", "--max-messages=5")
def more_messages_than_asked_for(folder):
    return good()


@case("E0103", "help: --max-structure-bytes raises the limit", "--max-structure-bytes=50")
def more_structure_than_asked_for(folder):
    return good()


@case("E0103", "help: --max-file-bytes raises the limit", "--max-file-bytes=50")
def larger_than_asked_for(folder):
    return good()


@case("E0103", "bytes, the limit is 68719476736")
def file_of_a_terabyte_of_holes(folder):
    with open(folder / "model.onnx", "wb") as f:
        f.truncate(1 << 40)


@case("E0103", "structure")
def too_much_structure(folder):
    return b"\x08\x08" + field(7, field(2, b"x" * (65 << 20)))


@case("E0206", "more than 200000 nodes")
def a_million_nodes(folder):
    chain = b"".join(field(1, field(1, b"v%d" % i) + field(2, b"v%d" % (i + 1)) + field(4, b"Relu"))
                     for i in range(1_000_000))
    return b"\x08\x08" + field(7, chain)


@case("E0206", "more than 3 nodes", "--max-nodes=3")
def more_nodes_than_asked_for(folder):
    return model([node("Relu", [f"{i}" if i else "x"], [f"{i + 1}" if i < 3 else "y"]) for i in range(4)]).SerializeToString()


@case("E0206", "more than 200000 nodes")
def empty_nodes(folder):
    return b"\x08\x08" + field(7, b"\x0a\x00" * 5_000_000)


@case("E0002", "regular file")
def model_is_a_folder(folder):
    (folder / "model.onnx").mkdir()


@case("E0002", "regular file")
def model_is_a_pipe(folder):
    os.mkfifo(folder / "model.onnx")


@case("E0002", "cannot open")
def no_file(folder):
    return None
