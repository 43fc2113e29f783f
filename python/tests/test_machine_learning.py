# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The operators of ai.onnx.ml, compared with ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import lathe
from run_models import FLOAT, INT64, compile_model, expected, graph, value

DOUBLE, INT32, STRING = TensorProto.DOUBLE, TensorProto.INT32, TensorProto.STRING
RANDOM = np.random.default_rng(7)
TRANSFORMS = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT"]
# The inverse error function near 0 is the root of a difference of numbers of about 4, each rounded twice.
PROBIT_NOISE = (4 * 4 * 2.0**-23) ** 0.5


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, domain="ai.onnx.ml", name=f"/{op.lower()}/{outputs[0]}", **attributes)


def model(nodes, inputs, outputs, version=3, **initializers):
    nodes = nodes if isinstance(nodes, list) else [nodes]
    return helper.make_model(graph("graph", nodes, inputs, outputs, **initializers), ir_version=8,
                             opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", version)])


def check(proto, folder, *batches, rtol=1e-5, atol=1e-6, threads=1):
    """Compares all outputs for each of some sets of inputs."""
    compiled = compile_model(proto, folder, threads=threads)
    for inputs in batches:
        actual = compiled(inputs)
        for (name, result), wanted in zip(actual.items(), expected(proto, inputs)):
            wanted = np.asarray(wanted)
            assert result.shape == wanted.shape, name
            if wanted.dtype.kind in "OU":
                assert result.tolist() == wanted.tolist(), name
                continue
            assert result.dtype == wanted.dtype, name
            np.testing.assert_allclose(result, wanted, rtol=rtol, atol=atol, err_msg=name)
    return compiled


def rows(count, features, dtype=np.float32):
    numbers = RANDOM.standard_normal((count, features)) * 3
    return {"x": numbers.astype(dtype)}


def many(features, dtype=np.float32):
    return rows(1, features, dtype), rows(1000, features, dtype)


def floats(count):
    return RANDOM.standard_normal(count).astype(np.float32).tolist()


@pytest.mark.parametrize("kind, dtype", [(FLOAT, np.float32), (DOUBLE, np.float64), (INT64, np.int64)])
@pytest.mark.parametrize("single", [False, True])
def test_scaler(tmp_path, kind, dtype, single):
    count = 1 if single else 5
    scaler = node("Scaler", ["x"], ["y"], offset=floats(count), scale=floats(count))
    check(model(scaler, [value("x", kind, "N", 5)], ["y"]), tmp_path, *many(5, dtype))


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_normalizer(tmp_path, norm):
    proto = model(node("Normalizer", ["x"], ["y"], norm=norm), [value("x", FLOAT, "N", 5)], ["y"])
    check(proto, tmp_path, *many(5), {"x": np.zeros((2, 5), np.float32)})


@pytest.mark.parametrize("replaced", [np.nan, -1.0])
@pytest.mark.parametrize("count", [1, 4])
def test_imputer_of_floats(tmp_path, replaced, count):
    imputer = node("Imputer", ["x"], ["y"], imputed_value_floats=floats(count), replaced_value_float=replaced)
    inputs = rows(50, 4)
    inputs["x"][RANDOM.random((50, 4)) < 0.3] = replaced
    check(model(imputer, [value("x", FLOAT, "N", 4)], ["y"]), tmp_path, inputs)


def test_imputer_of_integers(tmp_path):
    imputer = node("Imputer", ["x"], ["y"], imputed_value_int64s=[5, 6, 1 << 40], replaced_value_int64=-1)
    x = RANDOM.integers(-2, 2, (50, 3))
    check(model(imputer, [value("x", INT64, "N", 3)], ["y"]), tmp_path, {"x": x})


def test_binarizer(tmp_path):
    check(model(node("Binarizer", ["x"], ["y"], threshold=0.5), [value("x", FLOAT, "N", 3)], ["y"]), tmp_path, *many(3))


def test_array_feature_extractor(tmp_path):
    extractor = node("ArrayFeatureExtractor", ["x", "i"], ["y"])
    proto = model(extractor, [value("x", FLOAT, "N", 6)], ["y"], i=np.array([[4, 0, 4]]))
    check(proto, tmp_path, *many(6))


def test_feature_vectorizer(tmp_path):
    vectorizer = node("FeatureVectorizer", ["x", "z"], ["y"], inputdimensions=[2, 3])
    proto = model(vectorizer, [value("x", FLOAT, "N", 2), value("z", FLOAT, "N", 3)], ["y"])
    x, z = rows(7, 2)["x"], rows(7, 3)["x"]
    check(proto, tmp_path, {"x": x, "z": z})


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("targets", [1, 3])
def test_linear_regressor(tmp_path, transform, targets):
    if targets == 1 and transform not in ("NONE", "PROBIT"):
        pytest.skip("ONNX Runtime leaves single scores as they are")
    regressor = node("LinearRegressor", ["x"], ["y"], coefficients=floats(4 * targets), intercepts=floats(targets),
                     targets=targets, post_transform=transform)
    proto = model(regressor, [value("x", FLOAT, "N", 4)], ["y"])
    # What is scaled down lies in (0, 1), where the inverse of a distribution is defined, about half of the time.
    batches = [{"x": batch["x"] / 10} for batch in many(4)]
    check(proto, tmp_path, *batches, rtol=1e-4, atol=PROBIT_NOISE if transform == "PROBIT" else 2e-5)


def test_logistic_of_one_score(tmp_path):
    regressor = node("LinearRegressor", ["x"], ["y"], coefficients=[2.0], intercepts=[1.0], post_transform="LOGISTIC")
    compiled = compile_model(model(regressor, [value("x", FLOAT, "N", 1)], ["y"]), tmp_path)
    x = np.array([[-3], [0], [4]], np.float32)
    np.testing.assert_allclose(compiled(x=x)["y"], 1 / (1 + np.exp(-2 * x - 1)), rtol=1e-6)


def classifier(op, folder, labels, features, transform, **attributes):
    name = "classlabels_strings" if isinstance(labels[0], str) else "classlabels_ints"
    nodes = node(op, ["x"], ["label", "scores"], post_transform=transform, **{name: labels}, **attributes)
    proto = model(nodes, [value("x", FLOAT, "N", features)], ["label", "scores"])
    check(proto, folder, *[{"x": batch["x"] / 10} for batch in many(features)], rtol=1e-4,
          atol=PROBIT_NOISE if transform == "PROBIT" else 2e-5)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("labels", [[5, 7], [0, 1, 2], ["cat", "dog", "mouse", "élan"]])
def test_linear_classifier(tmp_path, transform, labels):
    classifier("LinearClassifier", tmp_path, labels, 4, transform, coefficients=floats(4 * len(labels)),
               intercepts=floats(len(labels)))


@pytest.mark.parametrize("transform", TRANSFORMS[:-1])
@pytest.mark.parametrize("labels", [[5, 7], ["no", "yes"]])
def test_linear_classifier_with_one_score(tmp_path, transform, labels):
    classifier("LinearClassifier", tmp_path, labels, 4, transform, coefficients=floats(4), intercepts=floats(1))


KERNELS = [("LINEAR", [0.0, 0.0, 0.0]), ("RBF", [0.3, 0.0, 0.0]), ("POLY", [0.1, 4.0, 3.0]), ("SIGMOID", [0.2, 0.1, 0.0])]


@pytest.mark.parametrize("kernel, parameters", KERNELS)
@pytest.mark.parametrize("transform", TRANSFORMS[:-1])
@pytest.mark.parametrize("counts", [[4, 3], [2, 5, 3]])
def test_svm_classifier(tmp_path, kernel, parameters, transform, counts):
    classes, vectors = len(counts), sum(counts)
    classifier("SVMClassifier", tmp_path, list(range(10, 10 + classes)), 4, transform, kernel_type=kernel,
               kernel_params=parameters, vectors_per_class=counts, support_vectors=floats(4 * vectors),
               coefficients=floats((classes - 1) * vectors), rho=floats(classes * (classes - 1) // 2))


@pytest.mark.parametrize("kernel, parameters", KERNELS)
@pytest.mark.parametrize("one_class", [0, 1])
def test_svm_regressor(tmp_path, kernel, parameters, one_class):
    svm = node("SVMRegressor", ["x"], ["y"], kernel_type=kernel, kernel_params=parameters, n_supports=5,
               support_vectors=floats(20), coefficients=floats(5), rho=floats(1), one_class=one_class)
    check(model(svm, [value("x", FLOAT, "N", 4)], ["y"]), tmp_path, *many(4), rtol=1e-4, atol=2e-4)


def test_svm_regressor_without_vectors(tmp_path):
    svm = node("SVMRegressor", ["x"], ["y"], coefficients=floats(4), rho=floats(1), kernel_params=[0.0, 0.0, 0.0])
    check(model(svm, [value("x", FLOAT, "N", 4)], ["y"]), tmp_path, *many(4))


@pytest.mark.parametrize("values", [{"values_int64s": [70, 60, 50], "default_int64": -9},
                                    {"values_floats": [0.5, np.nan, 2.5], "default_float": -9.5},
                                    {"values_strings": ["a", "", "ö"], "default_string": "none"}])
@pytest.mark.parametrize("keys", [[3, -1 << 50, 7], [0.5, np.nan, -3.0]])
def test_label_encoder(tmp_path, keys, values):
    is_float = isinstance(keys[0], float)
    encoder = node("LabelEncoder", ["x"], ["y"], **{"keys_floats" if is_float else "keys_int64s": keys}, **values)
    proto = model(encoder, [value("x", FLOAT if is_float else INT64, "N", 4)], ["y"], version=4)
    x = RANDOM.choice(np.array(keys + [9]), (60, 4)).astype(np.float32 if is_float else np.int64)
    check(proto, tmp_path, {"x": x}, {"x": x[:1]})


def test_label_encoder_with_many_keys(tmp_path):
    keys = RANDOM.permutation(100000)[:3000] - 50000
    encoder = node("LabelEncoder", ["x"], ["y"], keys_int64s=keys, values_int64s=RANDOM.integers(0, 99, 3000))
    proto = model(encoder, [value("x", INT64, "N")], ["y"], version=2)
    x = np.concatenate([keys[::3], RANDOM.integers(-60000, 60000, 1000)])
    check(proto, tmp_path, {"x": x}, threads=2)


def test_label_encoder_takes_the_last_of_equal_keys(tmp_path):
    encoder = node("LabelEncoder", ["x"], ["y"], keys_int64s=[1, 2, 1], values_int64s=[10, 20, 30])
    compiled = compile_model(model(encoder, [value("x", INT64, "N")], ["y"], version=4), tmp_path)
    np.testing.assert_array_equal(compiled(x=np.array([1, 2, 3]))["y"], [30, 20, -1])


def test_labels_to_numbers_again(tmp_path):
    """Strings that a model makes are known words: mapping them on costs a table."""
    nodes = [node("LabelEncoder", ["x"], ["words"], keys_int64s=[1, 2, 3], values_strings=["a", "b", "c"]),
             node("LabelEncoder", ["words"], ["y"], keys_strings=["c", "a"], values_floats=[0.5, 1.5], default_float=9.0)]
    check(model(nodes, [value("x", INT64, "N")], ["y"], version=2), tmp_path, {"x": np.array([3, 1, 2, 7])})


def test_category_mapper(tmp_path):
    mapper = node("CategoryMapper", ["x"], ["y"], cats_int64s=[4, 2], cats_strings=["four", "two"], default_string="?")
    check(model(mapper, [value("x", INT64, "N")], ["y"]), tmp_path, {"x": np.array([2, 3, 4])})


@pytest.mark.parametrize("kind, dtype", [(FLOAT, np.float32), (INT64, np.int64)])
def test_one_hot_encoder(tmp_path, kind, dtype):
    encoder = node("OneHotEncoder", ["x"], ["y"], cats_int64s=[5, 0, 3])
    proto = model(encoder, [value("x", kind, "N", 2)], ["y"])
    check(proto, tmp_path, {"x": RANDOM.integers(0, 7, (20, 2)).astype(dtype)})


def test_one_hot_encoder_refuses_what_is_no_category(tmp_path):
    encoder = node("OneHotEncoder", ["x"], ["y"], cats_int64s=[5, 0, 3], zeros=0)
    compiled = compile_model(model(encoder, [value("x", INT64, "N", 2)], ["y"]), tmp_path)
    np.testing.assert_array_equal(compiled(x=np.array([[0, 5]]))["y"], [[[0, 1, 0], [1, 0, 0]]])
    with pytest.raises(lathe.ModelError):
        compiled(x=np.array([[0, 4]]))


@pytest.mark.parametrize("labels", [[3, 4, 5], ["cat", "dog", "mouse"]])
def test_zip_map_is_a_tensor_with_named_columns(tmp_path, labels):
    words = isinstance(labels[0], str)
    nodes = [node("LinearClassifier", ["x"], ["label", "scores"], coefficients=floats(12), intercepts=floats(3),
                  post_transform="SOFTMAX", **{"classlabels_strings" if words else "classlabels_ints": labels}),
             node("ZipMap", ["scores"], ["maps"], **{"classlabels_strings" if words else "classlabels_int64s": labels})]
    proto = model(nodes, [value("x", FLOAT, "N", 4)], ["label", "maps"])
    compiled = compile_model(proto, tmp_path)
    inputs = rows(10, 4)
    label, maps = expected(proto, inputs)
    actual = compiled(inputs)
    assert actual["label"].tolist() == list(label)
    assert compiled.labels == {"maps": [str(label) for label in labels]}
    np.testing.assert_allclose(actual["maps"], [[row[key] for key in labels] for row in maps], rtol=1e-5)


@pytest.mark.parametrize("attributes, message", [
    ({"coefficients": [1.0, 2.0, 3.0], "intercepts": [0.0]}, "there are 3 coefficients"),
    ({"coefficients": [1.0] * 4, "intercepts": [0.0, 1.0]}, "there are 2 intercepts, must be 1"),
    ({"coefficients": [1.0] * 4, "post_transform": "CUBE"}, 'post_transform is "CUBE"')])
def test_wrong_attributes(tmp_path, attributes, message):
    proto = model(node("LinearRegressor", ["x"], ["y"], **attributes), [value("x", FLOAT, "N", 4)], ["y"])
    with pytest.raises(lathe.ModelError, match=message):
        compile_model(proto, tmp_path)
