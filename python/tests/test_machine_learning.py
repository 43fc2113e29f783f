# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The operators of ai.onnx.ml, compared with ONNX Runtime."""

import numpy as np
import onnx
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
            # Sums whose terms are as large as the largest result are rounded a few times at that size.
            size = np.abs(wanted[np.isfinite(wanted)]).max(initial=0) if wanted.dtype.kind == "f" else 0
            np.testing.assert_allclose(result, wanted, rtol=rtol, atol=max(atol, size * 2**-20), err_msg=name)
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


@pytest.mark.parametrize("transform", TRANSFORMS[:-1])
@pytest.mark.parametrize("counts", [[4, 3], [2, 5, 3], [2] * 6])
def test_svm_classifier_with_probabilities(tmp_path, transform, counts):
    """Both stop coupling where the error is small, which rounding moves by a round."""
    classes, vectors = len(counts), sum(counts)
    pairs = classes * (classes - 1) // 2
    svm = node("SVMClassifier", ["x"], ["label", "scores"], post_transform=transform, kernel_type="RBF",
               kernel_params=[0.3, 0.0, 0.0], vectors_per_class=counts, support_vectors=floats(4 * vectors),
               coefficients=floats((classes - 1) * vectors), rho=floats(pairs), prob_a=[-1.5] * pairs, prob_b=floats(pairs),
               classlabels_ints=list(range(classes)))
    check(model(svm, [value("x", FLOAT, "N", 4)], ["label", "scores"]), tmp_path, *many(4), rtol=1e-4,
          atol=0.005 / classes)


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


WORDS = ["red", "green", "blue", "öl", "", "other", "unknown"]


def words(*shape):
    return RANDOM.choice(np.array(WORDS, object), shape)


@pytest.mark.parametrize("values", [{"values_int64s": [3, 1, 2]}, {"values_floats": [0.5, 1.5, 2.5]},
                                    {"values_strings": ["r", "öl", "blue"], "default_string": "?"}])
def test_strings_as_inputs(tmp_path, values):
    encoder = node("LabelEncoder", ["x"], ["y"], keys_strings=["red", "öl", ""], **values)
    check(model(encoder, [value("x", STRING, "N", 2)], ["y"], version=2), tmp_path, {"x": words(30, 2)}, {"x": words(1, 2)})


def test_columns_of_strings(tmp_path):
    """As pipelines have them: columns are joined, chosen, and encoded."""
    nodes = [helper.make_node("Concat", ["a", "b"], ["ab"], axis=1), node("ArrayFeatureExtractor", ["ab", "i"], ["c"]),
             node("OneHotEncoder", ["c"], ["hot"], cats_strings=["green", "blue", "öl"]),
             helper.make_node("Equal", ["a", "constant"], ["same"])]
    proto = model(nodes, [value("a", STRING, "N", 1), value("b", STRING, "N", 2)], ["hot", "same"], i=np.array([2, 0]))
    proto.opset_import[0].version = 19
    proto.graph.initializer.append(helper.make_tensor("constant", STRING, [2], ["red", "unheard"]))
    check(proto, tmp_path, {"a": words(40, 1), "b": words(40, 2)})


def test_lists_of_strings(tmp_path):
    encoder = node("LabelEncoder", ["x"], ["y"], keys_strings=["a", "b"], values_int64s=[1, 2])
    compiled = compile_model(model(encoder, [value("x", STRING, "N")], ["y"], version=2), tmp_path)
    for x in [["b", "?", "a"], np.array(["b", "?", "a"]), np.array([b"b", b"?", b"a"])]:
        assert compiled(x=x)["y"].tolist() == [2, -1, 1]
    assert compiled.inputs[0].dtype == object



GRAMS = [[2, 3, 5, 4], [5, 6, 7, 8, 6, 7], [2, 3, 5, 5, 6, 4]]


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize("shortest, longest, skips", [(1, 1, 0), (2, 2, 0), (1, 2, 5), (1, 3, 2), (3, 3, 1), (2, 3, 0)])
@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize("rank", [1, 2])
def test_ngrams(tmp_path, mode, shortest, longest, skips, strings, rank):
    pool = sum(GRAMS, [])
    indexes = RANDOM.permutation(4 + 3 + 2)
    vectorizer = helper.make_node(
        "TfIdfVectorizer", ["x"], ["y"], mode=mode, min_gram_length=shortest, max_gram_length=longest, max_skip_count=skips,
        ngram_counts=[0, 4, 10], ngram_indexes=indexes, weights=floats(len(indexes)),
        **({"pool_strings": list(map(str, pool))} if strings else {"pool_int64s": pool}))
    proto = model(vectorizer, [value("x", STRING if strings else INT64, *["N", "C"][2 - rank:])], ["y"])
    batches = [RANDOM.integers(1, 9, (rows, length)[2 - rank:]) for rows, length in [(1, 12), (7, 30), (3, 2), (2, 5), (4, 1)]]
    check(proto, tmp_path, *[{"x": x.astype(str).astype(object) if strings else x} for x in batches])


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


MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]


class Trees:
    """Random trees, as the attributes of TreeEnsembleRegressor and TreeEnsembleClassifier."""

    def __init__(self, count, depth, features, modes, targets, seed=3):
        self.random = np.random.default_rng(seed)
        self.features, self.modes, self.targets = features, modes, targets
        self.nodes = {key: [] for key in ["treeids", "nodeids", "featureids", "values", "modes", "truenodeids",
                                          "falsenodeids", "missing_value_tracks_true"]}
        self.weights = {key: [] for key in ["treeids", "nodeids", "ids", "weights"]}
        for tree in range(count):
            self.next = 0
            self.grow(tree, depth)

    def grow(self, tree, depth):
        """Adds a node and what is below it, leaves earlier than at `depth` here and there; returns its number."""
        number, position = self.next, len(self.nodes["nodeids"])
        self.next += 1
        is_leaf = depth == 0 or (self.random.random() < 0.15 and number > 0)
        row = {"treeids": tree, "nodeids": number, "featureids": int(self.random.integers(self.features)),
               # Few different values, which features hit.
               "values": float(self.random.integers(-3, 4)), "modes": "LEAF" if is_leaf else str(self.random.choice(self.modes)),
               "truenodeids": 0, "falsenodeids": 0, "missing_value_tracks_true": int(self.random.integers(2))}
        for key, entry in row.items():
            self.nodes[key].append(entry)
        if is_leaf:
            for target in self.targets(self.random):
                for key, entry in zip(self.weights, [tree, number, int(target), float(self.random.standard_normal())]):
                    self.weights[key].append(entry)
        else:
            self.nodes["truenodeids"][position] = self.grow(tree, depth - 1)
            self.nodes["falsenodeids"][position] = self.grow(tree, depth - 1)
        return number

    def attributes(self, prefix):
        return {**{f"nodes_{key}": entries for key, entries in self.nodes.items()},
                **{f"{prefix}_{key}": entries for key, entries in self.weights.items()}}


def hits(count, features, dtype=np.float32):
    """Rows of small integers, some of them NaN."""
    x = RANDOM.integers(-4, 5, (count, features)).astype(dtype)
    x[RANDOM.random(x.shape) < 0.1] = np.nan
    return {"x": x}


def all_of(count):
    return lambda random: range(count)


def one_of(count):
    return lambda random: [random.integers(count)]


@pytest.mark.parametrize("modes", [["BRANCH_LEQ"], ["BRANCH_LT"], MODES], ids=["leq", "lt", "all"])
@pytest.mark.parametrize("targets, name", [(all_of(1), 1), (all_of(3), 3), (one_of(3), 3)], ids=["1", "all3", "one3"])
@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_tree_regressor(tmp_path, modes, targets, name, aggregate):
    trees = Trees(50, 6, 7, modes, targets)
    regressor = node("TreeEnsembleRegressor", ["x"], ["y"], n_targets=name, aggregate_function=aggregate,
                     base_values=floats(name), **trees.attributes("target"))
    proto = model(regressor, [value("x", FLOAT, "N", 7)], ["y"])
    check(proto, tmp_path, hits(1, 7), hits(3, 7), hits(1000, 7), hits(0, 7), rtol=1e-4, atol=1e-4, threads=2)


@pytest.mark.parametrize("transform", ["LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
def test_tree_regressor_transforms(tmp_path, transform):
    regressor = node("TreeEnsembleRegressor", ["x"], ["y"], n_targets=3, post_transform=transform,
                     **Trees(10, 4, 5, ["BRANCH_LEQ"], all_of(3)).attributes("target"))
    check(model(regressor, [value("x", FLOAT, "N", 5)], ["y"]), tmp_path, hits(1, 5), hits(100, 5), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype, kind", [(np.int64, INT64), (np.int32, INT32)])
def test_tree_regressor_of_integers(tmp_path, dtype, kind):
    """ONNX Runtime has floats only: the same numbers as such must give the same."""
    regressor = node("TreeEnsembleRegressor", ["x"], ["y"], n_targets=1,
                     **Trees(40, 5, 5, ["BRANCH_LEQ"], all_of(1)).attributes("target"))
    x = RANDOM.integers(-4, 5, (200, 5)).astype(dtype)
    y = compile_model(model(regressor, [value("x", kind, "N", 5)], ["y"]), tmp_path)(x=x)["y"]
    wanted = expected(model(regressor, [value("x", FLOAT, "N", 5)], ["y"]), {"x": x.astype(np.float32)})[0]
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)


def test_tree_regressor_of_doubles(tmp_path):
    """Thresholds between two numbers of single precision."""
    trees = Trees(30, 5, 4, ["BRANCH_LEQ", "BRANCH_LT"], all_of(1)).attributes("target")
    splits = np.array(trees.pop("nodes_values")) + 1e-12 * RANDOM.integers(-1, 2, len(trees["nodes_modes"]))
    weights = np.array(trees.pop("target_weights"))
    tensors = {"nodes_values_as_tensor": onnx.numpy_helper.from_array(splits, "s"),
               "target_weights_as_tensor": onnx.numpy_helper.from_array(weights, "w")}
    regressor = node("TreeEnsembleRegressor", ["x"], ["y"], n_targets=1, **trees, **tensors)
    x = RANDOM.integers(-4, 5, (200, 4)) + 1e-12 * RANDOM.integers(-1, 2, (200, 4))
    proto = model(regressor, [value("x", DOUBLE, "N", 4)], ["y"])
    check(proto, tmp_path, {"x": x}, {"x": x[:2]}, rtol=1e-6)


def tree_classifier(labels, trees, **attributes):
    name = "classlabels_strings" if isinstance(labels[0], str) else "classlabels_int64s"
    classifier = node("TreeEnsembleClassifier", ["x"], ["label", "scores"], **{name: labels},
                      **trees.attributes("class"), **attributes)
    return model(classifier, [value("x", FLOAT, "N", trees.features)], ["label", "scores"])


@pytest.mark.parametrize("labels", [[7, 8, 9], ["cat", "dog", "mouse", "ox"]])
@pytest.mark.parametrize("transform", TRANSFORMS[:-1])
@pytest.mark.parametrize("sparse", [False, True])
def test_tree_classifier(tmp_path, labels, transform, sparse):
    count = len(labels)
    trees = Trees(40, 5, 6, ["BRANCH_LEQ"], one_of(count) if sparse else all_of(count))
    proto = tree_classifier(labels, trees, post_transform=transform, base_values=floats(count))
    check(proto, tmp_path, hits(1, 6), hits(500, 6), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("transform", TRANSFORMS[:-1])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("only, base", [(0, []), (0, [0.25]), (1, [])])
def test_tree_classifier_of_two_classes(tmp_path, transform, positive, only, base):
    trees = Trees(10, 4, 6, ["BRANCH_LEQ"], lambda random: [only])
    if positive:
        trees.weights["weights"] = [abs(weight) / 10 for weight in trees.weights["weights"]]
    proto = tree_classifier([5, 9], trees, post_transform=transform, **({"base_values": base} if base else {}))
    check(proto, tmp_path, hits(1, 6), hits(200, 6), rtol=1e-4, atol=1e-5)


def test_largest_score_of_two_classes_that_both_have_weights(tmp_path):
    """ONNX Runtime gives 0 and 1 here, whatever the labels are, by the sign of the second score."""
    trees = Trees(9, 4, 6, ["BRANCH_LEQ"], all_of(2))
    result = compile_model(tree_classifier([5, 9], trees), tmp_path)(hits(100, 6))
    np.testing.assert_array_equal(result["label"], np.where(result["scores"][:, 1] > result["scores"][:, 0], 9, 5))


def test_trees_of_one_leaf(tmp_path):
    trees = Trees(3, 0, 2, ["BRANCH_LEQ"], all_of(1))
    regressor = node("TreeEnsembleRegressor", ["x"], ["y"], n_targets=1, **trees.attributes("target"))
    check(model(regressor, [value("x", FLOAT, "N", 2)], ["y"]), tmp_path, hits(1, 2), hits(50, 2))


def test_equal_splits_of_many_nodes(tmp_path):
    """A table whose elements are all equal is a table still."""
    trees = Trees(40, 5, 6, ["BRANCH_LEQ"], all_of(1))
    trees.nodes["values"] = [0.5] * len(trees.nodes["values"])
    regressor = node("TreeEnsembleRegressor", ["x"], ["y"], n_targets=1, **trees.attributes("target"))
    check(model(regressor, [value("x", FLOAT, "N", 6)], ["y"]), tmp_path, hits(1, 6), hits(64, 6), rtol=1e-4, atol=1e-5)


def tree_ensemble(members, missing=(0, 0, 0)):
    """x0 <= 11 asks for members of x1 or of x0."""
    tensor = onnx.numpy_helper.from_array
    return node("TreeEnsemble", ["x"], ["y"], n_targets=2, aggregate_function=1, tree_roots=[0], nodes_featureids=[0, 1, 0],
                nodes_modes=tensor(np.array([0, 6, 6], np.uint8)), nodes_splits=tensor(np.array([11, 0, 0], np.float32)),
                nodes_truenodeids=[1, 0, 1], nodes_trueleafs=[0, 1, 1], nodes_falsenodeids=[2, 2, 3],
                nodes_falseleafs=[0, 1, 1], leaf_targetids=[0, 1, 0, 1], nodes_missing_value_tracks_true=list(missing),
                leaf_weights=tensor(np.array([1, 10, 100, 1000], np.float32)),
                membership_values=tensor(np.array(members, np.float32)))


def test_tree_ensemble_of_members(tmp_path):
    members = [[3, -1, 8, 2, 5], [12, 14, 20, 13]]
    flat = [*members[0], np.nan, *members[1], np.nan]
    x = np.array([[first, second] for first in range(-2, 24) for second in range(-3, 12)] + [[np.nan, 1]], np.float32)
    proto = model(tree_ensemble(flat), [value("x", FLOAT, "N", 2)], ["y"], version=5)
    y = compile_model(proto, tmp_path)(x=x)["y"]
    for (first, second), row in zip(x, y):
        low = first <= 11
        found = (second in members[0]) if low else (first in members[1])
        leaf = (0 if found else 2) if low else (1 if found else 3)
        wanted = [0.0, 0.0]
        wanted[leaf % 2] = [1.0, 10.0, 100.0, 1000.0][leaf]
        assert row.tolist() == wanted, (first, second)


def broken(**changes):
    trees = Trees(1, 1, 2, ["BRANCH_LEQ"], all_of(1))
    attributes = {**trees.attributes("target"), "n_targets": 1, **changes}
    return model(node("TreeEnsembleRegressor", ["x"], ["y"], **attributes), [value("x", FLOAT, "N", 2)], ["y"])


@pytest.mark.parametrize("changes, message", [
    ({"nodes_truenodeids": [0, 0, 0]}, "node 0 is a child of one below it"),
    ({"nodes_falsenodeids": [9, 0, 0]}, "has a child 9, which does not exist"),
    ({"nodes_modes": ["BRANCH_SIDEWAYS", "LEAF", "LEAF"]}, 'nodes_modes holds "BRANCH_SIDEWAYS"'),
    ({"nodes_featureids": [2, 0, 0]}, "the trees ask for 3 features, but X has 2"),
    ({"nodes_featureids": [-1, 0, 0]}, "asks for feature -1"),
    ({"nodes_values": [1.0]}, "nodes_values has 1 elements, must have 3"),
    ({"target_ids": [0, 1]}, "a leaf has a weight for target 1, but there are 1"),
    ({"target_nodeids": [0, 1]}, "there is a weight for node 0 of tree 0, which is no leaf"),
    ({"nodes_nodeids": [0, 1, 1]}, "tree 0 has two nodes 1")])
def test_broken_trees(tmp_path, changes, message):
    with pytest.raises(lathe.ModelError, match=message):
        compile_model(broken(**changes), tmp_path)
