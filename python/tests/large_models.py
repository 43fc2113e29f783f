# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models of gigabytes that take a few pages of the disk: weights of zeros, a hole, with one value here and there."""

import struct

import onnx

from small_models import model, value

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


class Sparse:
    """A table of `rows`, looked up by index, then `layers` products, `width` wide. Row `row` of the table has a 3
    in column row % width; every layer moves what it gets from that row one column on, and doubles it."""

    def __init__(self, rows, width, layers, row):
        self.rows, self.width, self.layers, self.row = rows, width, layers, row

    @property
    def weight_bytes(self):
        return 4 * self.width * (self.rows + self.layers * self.width)

    @property
    def largest_repacked(self):
        return 4 * self.width * self.width

    @property
    def expected(self):
        """The column of the result that is not zero, and its value."""
        return (self.row + self.layers) % self.width, 3.0 * 2.0 ** self.layers

    def places(self):
        """(tensor's name, dims, offset in the data, [(offset in the tensor, value)])."""
        column = self.row % self.width
        yield "table", [self.rows, self.width], 0, [(4 * (self.row * self.width + column), 3.0)]
        start = 4 * self.rows * self.width
        for i in range(self.layers):
            at = (column + i) % self.width * self.width + (column + i + 1) % self.width
            yield f"w{i}", [self.width, self.width], start + i * self.largest_repacked, [(4 * at, 2.0)]

    def graph(self):
        nodes = [onnx.helper.make_node("Gather", ["table", "i"], ["v0"], name="/look")]
        nodes += [onnx.helper.make_node("MatMul", [f"v{i}", f"w{i}"], [f"v{i + 1}"], name=f"/product{i}")
                  for i in range(self.layers)]
        return model(nodes, [value("i", INT64, "N")], [value(f"v{self.layers}", FLOAT, "N", self.width)])

    def write_data(self, file, start, places):
        for _, dims, offset, values in places:
            for at, number in values:
                file.seek(start + offset + at)
                file.write(struct.pack("<f", number))

    def save_external(self, path):
        """All weights in one file beside the model."""
        result, places = self.graph(), list(self.places())
        with open(path.with_suffix(".bin"), "wb") as file:
            file.truncate(self.weight_bytes)
            self.write_data(file, 0, places)
        for name, dims, offset, _ in places:
            tensor = result.graph.initializer.add(name=name, data_type=FLOAT, dims=dims,
                                                  data_location=onnx.TensorProto.EXTERNAL)
            for key, text in (("location", path.with_suffix(".bin").name), ("offset", offset),
                              ("length", 4 * dims[0] * dims[1])):
                tensor.external_data.add(key=key, value=str(text))
        path.write_bytes(result.SerializeToString())

    def save_raw(self, path):
        """All weights in the model's own message, which the protobuf library could not write."""
        result, places = self.graph(), list(self.places())
        graph = result.graph.SerializeToString()
        result.ClearField("graph")
        heads = [onnx.TensorProto(name=name, data_type=FLOAT, dims=dims).SerializeToString() +
                 varint(9 << 3 | 2) + varint(4 * dims[0] * dims[1]) for name, dims, *_ in places]
        sizes = [len(head) + 4 * dims[0] * dims[1] for head, (_, dims, *_) in zip(heads, places)]
        fields = [varint(5 << 3 | 2) + varint(size) + head for head, size in zip(heads, sizes)]
        size = len(graph) + sum(len(field) + 4 * dims[0] * dims[1] for field, (_, dims, *_) in zip(fields, places))
        with open(path, "wb") as file:
            file.write(result.SerializeToString() + varint(7 << 3 | 2) + varint(size) + graph)
            for field, (_, dims, _, values) in zip(fields, places):
                file.write(field)
                start = file.tell()
                self.write_data(file, start, [(None, dims, 0, values)])
                file.seek(start + 4 * dims[0] * dims[1])
            file.truncate()


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])
