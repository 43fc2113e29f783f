# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Inputs that are maps."""

import pytest
from onnx import TensorProto, helper

import lathe
from run_models import FLOAT, INT64, compile_model
from test_machine_learning import check, model, node

DOUBLE, STRING = TensorProto.DOUBLE, TensorProto.STRING


def map_value(name, key, kind):
    return helper.make_value_info(name, helper.make_map_type_proto(key, helper.make_tensor_type_proto(kind, [])))


@pytest.mark.parametrize("kind", [FLOAT, INT64, DOUBLE])
def test_dictionary_of_strings(tmp_path, kind):
    """ONNX Runtime's Python interface makes maps of floats alone."""
    vocabulary = ["b", "a", "öl", "?"]
    proto = model(node("DictVectorizer", ["x"], ["y"], string_vocabulary=vocabulary), [map_value("x", STRING, kind)], ["y"])
    compiled = compile_model(proto, tmp_path)
    for x in ({"a": 1, "öl": 3}, {"?": -2, "unheard": 5}, {}):
        y = compiled(x=x)["y"]
        assert y.dtype == helper.tensor_dtype_to_np_dtype(kind) and y.tolist() == [[x.get(word, 0) for word in vocabulary]]
    if kind == FLOAT:
        check(proto, tmp_path, {"x": {"a": 1.5, "öl": 3.0}})


@pytest.mark.parametrize("kind", [FLOAT, STRING])
def test_dictionary_of_integers(tmp_path, kind):
    vocabulary = [9, -3, 5]
    proto = model(node("DictVectorizer", ["x"], ["y"], int64_vocabulary=vocabulary), [map_value("x", INT64, kind)], ["y"])
    x = {5: "u", -3: "v"} if kind == STRING else {5: 1.5, -3: 2.5}
    assert compile_model(proto, tmp_path)(x=x)["y"].tolist() == [[x.get(key, "" if kind == STRING else 0) for key in vocabulary]]


@pytest.mark.parametrize("kind", [FLOAT, STRING])
@pytest.mark.parametrize("to", ["TO_FLOAT", "TO_INT64", "TO_STRING"])
@pytest.mark.parametrize("form", ["DENSE", "SPARSE"])
def test_cast_map(tmp_path, kind, to, form):
    proto = model(node("CastMap", ["x"], ["y"], cast_to=to, map_form=form, max_map=8), [map_value("x", INT64, kind)], ["y"])
    numbers = {7: 2, 0: 3, 4: -1}
    cast = {"TO_FLOAT": float, "TO_INT64": int, "TO_STRING": str}[to]
    wanted = [cast(number) for _, number in sorted(numbers.items())]
    if form == "SPARSE":
        wanted = [cast(numbers[i]) if i in numbers else cast() for i in range(8)]
    compiled = compile_model(proto, tmp_path)
    assert compiled(x={key: str(number) if kind == STRING else float(number) for key, number in numbers.items()})["y"].tolist() == [wanted]
    if form == "SPARSE":
        for key in (8, -1):
            with pytest.raises(lathe.ModelError, match="an index is out of bounds"):
                compiled(x={key: "1" if kind == STRING else 1.0})
