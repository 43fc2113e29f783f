# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The cases of onnx.backend.test, each in three modes.

static    the model as it comes
symbolic  every dimension of every input is a symbol of its own, and nothing is declared of other values
constant  the inputs are initializers: what folding computes must be what kernels compute
"""

import dataclasses
import functools
import pathlib
import warnings

import numpy as np
import onnx
from onnx import numpy_helper

MODES = ("static", "symbolic", "constant")
FOLDERS = ("simple", "pytorch-converted", "pytorch-operator")
# Outputs that are drawn at random: only their type and shape are determined.
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


@dataclasses.dataclass(frozen=True)
class Case:
    """A model with inputs and expected outputs, in the order of the graph's."""

    name: str
    suite: str
    model: onnx.ModelProto
    data: tuple  # of pairs (inputs, outputs)
    rtol: float
    atol: float

    @functools.cached_property
    def operator(self):
        """(domain, name, version) of a node case's operator; of a function's twin the function's."""
        node = self.model.graph.node[0]
        domain = "" if node.domain == "ai.onnx" else node.domain
        opset = max((entry.version for entry in self.model.opset_import if entry.domain in (domain, node.domain)),
                    default=1)
        try:
            version = onnx.defs.get_schema(node.op_type, opset, domain).since_version
        except onnx.defs.SchemaError:
            version = opset
        return domain, node.op_type, version

    @property
    def is_random(self):
        return any(node.op_type in RANDOM or self._drops(node) for node in self.model.graph.node)

    def _drops(self, node):
        """Whether a node leaves elements out: Dropout in training at a rate above 0."""
        given = dict(zip((value.name for value in self.model.graph.input), self.data[0][0]))
        ratio, training = [given.get(name) for name in (*node.input, "", "", "")[1:3]]
        return node.op_type == "Dropout" and bool(training) and (ratio is None or ratio > 0)

    @functools.cached_property
    def types(self):
        """The element types of the inputs and outputs."""
        found = set()
        for inputs, outputs in self.data:
            for value in (*inputs, *outputs):
                for array in value if isinstance(value, list) else [value]:
                    if array is not None:
                        dtype = np.asarray(array).dtype
                        found.add("string" if dtype.kind in "OUS" else dtype.name)
        return found


@functools.cache
def collect():
    """All cases by name. The package builds them, which takes a quarter of a minute."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = [Case(case.name, "node", case.model, tuple(_decode(pair) for pair in case.data_sets), case.rtol,
                      case.atol) for case in collect_testcases()]
    for suite in FOLDERS:
        cases += _read_folder(suite)
    _attribute_twins(cases)
    return {case.name: case for case in cases}


def _attribute_twins(cases):
    """`test_x_expanded` tests the function body of the operator that `test_x` tests."""
    operators = {case.name: case.operator for case in cases}
    for case in cases:
        base, found, _ = case.name.partition("_expanded")
        if found and base in operators:
            case.__dict__["operator"] = operators[base]


def _decode(pair):
    return tuple([numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
                  for value in values] for values in pair)


def _read_folder(suite):
    root = pathlib.Path(onnx.__file__).parent / "backend/test/data" / suite
    for folder in sorted(root.iterdir()):
        if not (folder / "model.onnx").exists():
            continue
        model = onnx.load(folder / "model.onnx")
        data = tuple((_read_values(inputs, "input", model.graph.input), _read_values(inputs, "output",
                      model.graph.output)) for inputs in sorted(folder.glob("test_data_set*")))
        yield Case(f"{suite}/{folder.name}", suite, model, data, 1e-3, 1e-7)


def _read_values(folder, kind, declared):
    values = []
    for number in range(len(list(folder.glob(f"{kind}_*.pb")))):
        content = (folder / f"{kind}_{number}.pb").read_bytes()
        which = declared[number].type.WhichOneof("value")
        if which == "sequence_type":
            values.append(numpy_helper.to_list(onnx.SequenceProto.FromString(content)))
        elif which == "optional_type":
            values.append(numpy_helper.to_optional(onnx.OptionalProto.FromString(content)))
        else:
            values.append(numpy_helper.to_array(onnx.TensorProto.FromString(content)))
    return values


def rewrite(case, mode, data):
    """(model, inputs by name) of a case in a mode; `data` is one of its data sets."""
    inputs = dict(zip((value.name for value in case.model.graph.input), data[0]))
    if mode == "static":
        return case.model, inputs
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    del model.graph.value_info[:]
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    if mode == "symbolic":
        initialized = {tensor.name for tensor in model.graph.initializer}
        for value in model.graph.input:
            if value.name not in initialized and value.type.HasField("tensor_type"):
                for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                    dim.dim_param = f"{value.name}.{axis}"
        return model, inputs
    kept = []
    for value in model.graph.input:
        content = inputs.get(value.name)
        if content is not None and value.type.HasField("tensor_type"):
            model.graph.initializer.append(_tensor(value, content))
            del inputs[value.name]
        else:
            kept.append(value)
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model, inputs


def _tensor(declared, content):
    array = np.asarray(content)
    if array.dtype.kind in "OUS":
        return onnx.helper.make_tensor(declared.name, onnx.TensorProto.STRING, array.shape,
                                       [str(text).encode() for text in array.reshape(-1)])
    return numpy_helper.from_array(array, declared.name)


def compare(case, expected, actual):
    """What is wrong with the outputs, or None: as onnx's own runner judges."""
    if len(expected) != len(actual):
        return f"there are {len(actual)} outputs instead of {len(expected)}"
    for number, (want, got) in enumerate(zip(expected, actual)):
        if isinstance(want, (list, tuple)) != isinstance(got, (list, tuple)):
            return f"output {number} is {type(got).__name__} instead of {type(want).__name__}"
        if isinstance(want, (list, tuple)):
            problem = compare(case, want, got)
        else:
            problem = _compare_tensors(case, want, got)
        if problem:
            return f"output {number}: {problem}"
    return None


def _compare_tensors(case, want, got):
    if want is None or got is None:
        return None if want is got else "one is empty, the other is not"
    want, got = np.asarray(want), np.asarray(got)
    if want.shape != got.shape:
        return f"shape {got.shape} instead of {want.shape}"
    if want.dtype.kind in "OUS":
        return None if (want.astype(str) == got.astype(str)).all() else "other strings"
    if want.dtype != got.dtype:
        return f"type {got.dtype} instead of {want.dtype}"
    if case.is_random:
        return None
    rtol = case.rtol
    if want.dtype.kind not in "biufc":
        # Types that numpy cannot promote; two units of bfloat16, and the same number in narrower types.
        rtol = max(rtol, 2**-6) if want.dtype.name == "bfloat16" else 0
        want, got = want.astype(np.float32), got.astype(np.float32)
    try:
        np.testing.assert_allclose(got, want, rtol=rtol, atol=case.atol)
    except AssertionError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return "; ".join(lines[1:4])
    return None
