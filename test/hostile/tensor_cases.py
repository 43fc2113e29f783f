# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models whose types or values are wrong."""

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import numpy_helper as nh

from pieces import case, model, tensor, value, with_tensor


@case("E0204", "element type 77")
def unknown_element_type_of_an_input(folder):
    return model(inputs=[value("x", kind=77)]).SerializeToString()


@case("E0204", "has element type 77")
def unknown_element_type_of_a_tensor(folder):
    return with_tensor(tensor(bytes(16), kind=77))


@case("E0204", "has element type 0")
def undefined_element_type(folder):
    return with_tensor(tensor(bytes(16), kind=0))


@case("E0204", "dimension 0 is -2")
def negative_dimension_of_an_input(folder):
    return model(inputs=[value("x", [-2, 4])]).SerializeToString()


@case("E0204", "dimension 0 is -4")
def negative_dimension_of_a_tensor(folder):
    return with_tensor(tensor(bytes(16), dims=[-4]))


@case("E0204", "tensor \"w\": the product of dimensions overflows")
def dimensions_that_overflow(folder):
    return with_tensor(tensor(bytes(16), dims=[2**32, 2**32]))


@case("E0204", "overflow")
def zero_does_not_hide_an_overflow(folder):
    return with_tensor(tensor(dims=[0, 2**40, 2**40]))


@case("E0204", "dimension 0 is 9223372036854775807")
def huge_dimension(folder):
    return model(inputs=[value("x", [2**63 - 1])]).SerializeToString()


@case("E0103", "rank 2000")
def huge_rank(folder):
    return model(inputs=[value("x", [1] * 2000)]).SerializeToString()


@case("E0204", "has no type")
def input_without_a_type(folder):
    return model(inputs=[onnx.ValueInfoProto(name="x")]).SerializeToString()


@case("E0109", "has 12 bytes, its shape and element type need 16")
def initializer_too_short(folder):
    return with_tensor(tensor(bytes(12)))


@case("E0109", "has 20 bytes, its shape and element type need 16")
def initializer_too_long(folder):
    return with_tensor(tensor(bytes(20)))


@case("E0109", "need 549755813888")
def initializer_of_terabytes(folder):
    return with_tensor(tensor(bytes(16), dims=[2**37]))


@case("E0103", "140737488355328 elements, the limit is 1099511627776")
def initializer_of_too_many_elements(folder):
    return with_tensor(tensor(bytes(16), dims=[2**47]))


@case("E0103", "help: --max-elements raises the limit", "--max-elements=15")
def input_of_too_many_elements(folder):
    return model(inputs=[value("x", [4, 4])], outputs=[value("y", [4, 4])]).SerializeToString()


@case("E0103", "help: --max-rank raises the limit", "--max-rank=2")
def rank_above_the_limit(folder):
    return model(inputs=[value("x", [1, 1, 4])], outputs=[value("y", [1, 1, 4])]).SerializeToString()


@case("E0109", "has no data")
def initializer_without_data(folder):
    return with_tensor(tensor())


@case("E0109", "both raw and typed")
def raw_and_typed(folder):
    return with_tensor(tensor(bytes(16), float_data=[1.0, 2.0, 3.0, 4.0]))


@case("E0109", "in another field than float_data")
def values_in_the_wrong_field(folder):
    return with_tensor(tensor(int32_data=[1, 2, 3, 4]))


@case("E0109", "has 3 values, its shape needs 4")
def too_few_values(folder):
    return with_tensor(tensor(kind=T.INT64, int64_data=[1, 2, 3]))


@case("E0109", "cannot hold")
def value_too_large_for_its_type(folder):
    return with_tensor(tensor(kind=T.INT8, int32_data=[1, 2, 3, 300]))


@case("E0109", "need 2")
def packed_int4_of_odd_length(folder):
    return with_tensor(tensor(bytes(1), dims=[3], kind=T.INT4))


@case("E0109", "strings, which cannot be raw")
def raw_strings(folder):
    return with_tensor(tensor(bytes(16), kind=T.STRING))


def sparse(indices, dims, values=2):
    m = model()
    s = m.graph.sparse_initializer.add(dims=dims)
    s.values.CopyFrom(nh.from_array(np.ones(values, np.float32), "w"))
    s.indices.CopyFrom(nh.from_array(np.array(indices, np.int64), "i"))
    return m.SerializeToString()


@case("E0109", "must be from 0 to 9")
def sparse_index_out_of_bounds(folder):
    return sparse([0, 10], [10])


@case("E0109", "must be from 0 to 9")
def negative_sparse_index(folder):
    return sparse([-1, 2], [10])


@case("E0109", "repeats or precedes")
def sparse_index_twice(folder):
    return sparse([3, 3], [10])


@case("E0109", "do not fit each other")
def sparse_indices_of_another_count(folder):
    return sparse([1, 2, 3], [10])


@case("E0103", "help: --max-dense-bytes raises the limit")
def sparse_bomb(folder):
    return sparse([[0, 0], [1, 1]], [2**20, 2**20])
