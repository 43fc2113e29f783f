# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models whose external data is wrong."""

import os
import socket

from onnx import TensorProto as T

from pieces import case, external, tensor, with_tensor


@case("E0105", "absolute path")
def external_absolute(folder):
    return external(folder, "/etc/passwd")


@case("E0105", "leaves the model's folder")
def external_parent(folder):
    return external(folder, "../w.bin")


@case("E0105", "leaves the model's folder")
def external_hidden_parent(folder):
    return external(folder, "a/b/../../../w.bin")


@case("E0105", "has no name")
def external_without_a_name(folder):
    return external(folder, "")


@case("E0105", "is a folder")
def external_is_the_folder(folder):
    return external(folder, "./")


@case("E0105", "regular file")
def external_folder(folder):
    (folder / "d").mkdir()
    return external(folder, "d")


@case("E0105", "regular file")
def external_pipe(folder):
    os.mkfifo(folder / "p")
    return external(folder, "p")


@case("E0105", "regular file")
def external_socket(folder):
    before = os.getcwd()
    os.chdir(folder)  # a socket's path is short
    socket.socket(socket.AF_UNIX).bind("s")
    os.chdir(before)
    return external(folder, "s")


@case("E0105", "zero byte")
def external_with_a_zero_byte(folder):
    return external(folder, "w.bin\0.txt")


@case("E0105", "without a location")
def external_without_a_location(folder):
    t = T(name="w", data_type=T.FLOAT, dims=[4], data_location=T.EXTERNAL)
    return with_tensor(t)


@case("E0105", "unknown key \"basepath\"")
def external_with_a_foreign_key(folder):
    return external(folder, basepath="/etc")


@case("E0105", "twice")
def external_with_two_locations(folder):
    t = T(name="w", data_type=T.FLOAT, dims=[4], data_location=T.EXTERNAL)
    t.external_data.add(key="location", value="w.bin")
    t.external_data.add(key="location", value="v.bin")
    return with_tensor(t)


@case("E0106", "cannot open external data")
def external_missing(folder):
    return external(folder, write=False)


@case("E0106", "lies at 4 with 16 bytes")
def external_beyond_the_end(folder):
    return external(folder, offset="4")


@case("E0106", "lies at 0 with 16 bytes")
def external_empty_file(folder):
    return external(folder, size=0)


@case("E0103", "w.bin\" has 1000000 bytes, the limit is 999999", "--max-file-bytes=999999")
def external_file_above_the_limit(folder):
    return external(folder, size=1_000_000)


@case("E0106", "must be a decimal number")
def external_negative_offset(folder):
    return external(folder, offset="-4")


@case("E0106", "must be a decimal number")
def external_offset_that_overflows(folder):
    return external(folder, offset="18446744073709551612")


@case("E0106", "must be a decimal number")
def external_offset_with_a_space(folder):
    return external(folder, offset=" 0")


@case("E0106", "must be a decimal number")
def external_hexadecimal_offset(folder):
    return external(folder, offset="0x0")


@case("E0106", "has 12 bytes of external data")
def external_of_another_length(folder):
    return external(folder, length="12")


@case("E0109", "both external data and data in the model")
def external_and_raw(folder):
    t = tensor(bytes(16), data_location=T.EXTERNAL)
    t.external_data.add(key="location", value="w.bin")
    return with_tensor(t)


def linked(folder, make):
    (folder / "real.bin").write_bytes(bytes(16))
    make(folder / "real.bin", folder / "w.bin")
    return external(folder, write=False)


@case("E0107", "--allow-linked-data")
def external_symbolic_link(folder):
    return linked(folder, lambda to, at: at.symlink_to(to))


@case("E0107", "--allow-linked-data", "--avoid-openat2")
def external_symbolic_link_without_openat2(folder):
    return linked(folder, lambda to, at: at.symlink_to(to))


@case("E0107", "2 hard links")
def external_hard_link(folder):
    return linked(folder, lambda to, at: os.link(to, at))


def behind_a_link(folder):
    (folder / "d").mkdir()
    (folder / "d" / "w.bin").write_bytes(bytes(16))
    (folder / "e").symlink_to("d")
    return external(folder, "e/w.bin")


@case("E0107", "lies behind one")
def external_behind_a_linked_folder(folder):
    return behind_a_link(folder)


@case("E0107", "lies behind one", "--avoid-openat2")
def external_behind_a_linked_folder_without_openat2(folder):
    return behind_a_link(folder)
