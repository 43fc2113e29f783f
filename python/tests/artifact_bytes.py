# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads and spoils artifacts: where sections lie, and headers with a right checksum and wrong contents."""

import struct

NOTE_PREFIX, HEADER_BYTES = 20, 1088
CONTAINER_VERSION, FIRST_TARGET_FEATURES, SECTIONS, SECTION_BYTES = 8, 120 + 16, 312, 24
KIND_CONSTANTS = 4


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def file_offset(artifact, address):
    """Where a byte of the image lies in the file, from the program headers."""
    start, = struct.unpack_from("<Q", artifact, 32)
    count, = struct.unpack_from("<H", artifact, 56)
    for i in range(count):
        kind, _, offset, virtual, _, size = struct.unpack_from("<IIQQQQ", artifact, start + 56 * i)
        if kind == 1 and virtual <= address < virtual + size:
            return offset + address - virtual
    raise ValueError(f"no segment has address {address:#x}")


def with_flipped_byte(artifact, address):
    changed = bytearray(artifact)
    changed[file_offset(artifact, address)] ^= 0x10
    return bytes(changed)


def seal_header(changed, header):
    end = header + HEADER_BYTES - 4
    struct.pack_into("<I", changed, end, crc32c(changed[header:end]))
    return bytes(changed)


def with_container_version(artifact, note_address, version):
    """As if a sealer of another version had written it."""
    changed = bytearray(artifact)
    header = file_offset(artifact, note_address) + NOTE_PREFIX
    struct.pack_into("<I", changed, header + CONTAINER_VERSION, version)
    return seal_header(changed, header)


def with_cpu_features(artifact, note_address, features):
    """As if compiled for a processor with these features: in the header and in the table among the constants."""
    changed = bytearray(artifact)
    header = file_offset(artifact, note_address) + NOTE_PREFIX
    before = changed[header + FIRST_TARGET_FEATURES:][:8]
    struct.pack_into("<Q", changed, header + FIRST_TARGET_FEATURES, features)
    for entry in range(header + SECTIONS, header + HEADER_BYTES - 8, SECTION_BYTES):
        kind, _, address, size = struct.unpack_from("<IIQQ", changed, entry)
        if kind != KIND_CONSTANTS:
            continue
        start = file_offset(artifact, address)
        found = changed.find(before, start, start + size)
        if found >= 0:
            struct.pack_into("<Q", changed, found, features)
            struct.pack_into("<I", changed, entry + 4, crc32c(changed[start:start + size]))
    return seal_header(changed, header)
