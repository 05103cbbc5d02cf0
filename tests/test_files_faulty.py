"""`load` of files that are damaged, foreign, of the future, or made to do harm: errors only."""

import json
import os
import pickle
import random
import struct
import time
import tracemalloc
from itertools import islice

import file_mutations
import numpy as np
import pytest
from file_mutations import fixtures, parsed, sealed

import fastbp
from fastbp._files import container
from fastbp.io import FileError

FIXTURES = fixtures()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "f.fastbp"


@pytest.fixture
def message(path):
    """What `load` says of a file with these bytes."""

    def load(data):
        path.write_bytes(data)
        with pytest.raises(FileError) as caught:
            fastbp.load(path)
        assert str(path) in str(caught.value)
        return str(caught.value)

    return load


# ---- the file as a whole ----


def test_every_damaged_bit_is_noticed(path):
    rng = random.Random(0)
    data = FIXTURES["of_two_classes"]
    for _ in range(400):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(FileError):
            fastbp.load(path)


def test_every_cut_is_noticed(message):
    data = FIXTURES["network"]
    for length in (*range(0, 20), *range(20, len(data), 97), len(data) - 1):
        message(data[:length])
    assert "cut short" in message(data[:-1])
    assert "it is empty" in message(b"")
    message(data + b"\0")


def test_files_of_other_programs_are_named(message, path):
    save = pytest.importorskip("safetensors.numpy").save
    assert "another program" in message(save({"W": np.ones(3)}, {"format": "pt"}))
    assert "no file of fastbp.save at all" in message(pickle.dumps(fastbp.MLPClassifier()))
    assert "no file of fastbp.save at all" in message(b"size,color\n1,red\n" * 20)


def test_what_is_no_file_is_an_error_of_the_system_too(tmp_path):
    with pytest.raises(FileError, match="a.fastbp") as caught:
        fastbp.load(tmp_path / "a.fastbp")
    assert isinstance(caught.value, FileNotFoundError) and isinstance(caught.value, ValueError)
    with pytest.raises(FileError, match=str(tmp_path)) as caught:
        fastbp.load(tmp_path)
    assert isinstance(caught.value, OSError)
    with pytest.raises(FileError, match="device"):
        fastbp.load("/dev/null")


def with_metadata(data, **changes):
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] |= changes
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def test_a_file_of_the_future_says_what_to_do(message):
    text = message(with_metadata(FIXTURES["values"], fastbp="2"))
    assert "format 2" in text and "up to 1" in text and "--upgrade fastbp" in text
    for version in ("0", "x", "-1", "1.5", "9" * 50):
        assert "its format is" in message(with_metadata(FIXTURES["values"], fastbp=version))
    assert "checksum" in message(with_metadata(FIXTURES["values"], crc32="00000000"))


def test_the_checksum_is_of_names_and_dtypes_too():
    a = np.arange(4, dtype="f4")
    every = {
        container.checksum("", {name: array})
        for name, array in (("a", a), ("b", a), ("a", a.view("i4")), ("a", a.reshape(2, 2)))
    }
    assert len(every) == 4


def with_header(change):
    """The bytes of a file with one tensor of eight bytes, and its header as `change` leaves it."""
    data = sealed('{"value":{"floats":"t0"},"versions":{}}', {"t0": np.ones(1)})
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header = change(header) or header
    text = header if type(header) is bytes else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def entry(**changes):
    return lambda header: header["t0"].update(changes)


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda header: b"[]", "no JSON object"),
        (lambda header: b"{}{}", "no JSON text"),
        (lambda header: b"\xff{}", "no JSON text"),
        (lambda header: b'{"a":' * 100_000, "no JSON text"),
        (lambda header: b'{"a":' + b"9" * 10_000 + b"}", "no JSON text"),
        (lambda header: b'{"a":1,"a":1}', "a name twice"),
        (lambda header: header.update(__metadata__={"fastbp": 1}), "metadata are not texts"),
        (lambda header: header.update(__metadata__={"fastbp": "1"}), "no content"),
        (lambda header: header["__metadata__"].update(content="\ud800"), "no JSON text"),
        (lambda header: header.update({"\ud800": header.pop("t0")}), "no JSON text"),
        (lambda header: header.update(t0=3), "no dtype, shape and offsets"),
        (entry(other=1), "no dtype, shape and offsets"),
        (entry(data_offsets=[0, True]), "no place"),
        (entry(data_offsets=[0, 8, 8]), "no place"),
        (entry(data_offsets=[-8, 0]), "no place"),
        (entry(data_offsets=[8, 0]), "not at the bytes of its size"),
        (entry(data_offsets=[8, 16]), "not at the bytes of its size"),
        (entry(data_offsets=[0, 4], dtype="F32"), "4 bytes, and 8 are there"),
        (entry(data_offsets=[0, 16], shape=[2]), "16 bytes, and 8 are there"),
        (entry(shape=[2]), "not at the bytes of its size"),
        (lambda header: header.update(t1=header["t0"]), "not at the bytes of its size"),
        (entry(dtype="F8_E4M3"), "dtype 'F8_E4M3'"),
        (entry(dtype=["F64"]), "dtype"),
        (entry(shape=[1] * 9), "8 dimensions at most"),
        (entry(shape=[1.0]), "and shape"),
        (entry(shape=[0, 2**62], data_offsets=[0, 0]), "and shape"),
        (entry(shape=[0, 2**32, 2**32], data_offsets=[0, 0]), "and shape"),
        (entry(shape=[0, 2**70], data_offsets=[0, 0]), "and shape"),
        (entry(dtype="BOOL", shape=[8]), "neither 0 nor 1"),
    ],
    ids=lambda value: value if type(value) is str else "",
)
def test_headers_that_do_not_fit_the_file_are_refused(change, says, message):
    assert says in message(with_header(change))


def test_headers_of_which_the_lengths_are_not_there(message):
    for length in (3, 2**20, 2**63, 2**64 - 1):
        assert "no file of fastbp.save at all" in message(struct.pack("<Q", length) + b"{}")


def test_a_file_that_is_cut_while_it_is_read_is_an_error(path, message, monkeypatch):
    fastbp.save(np.ones(1000), path)
    data = path.read_bytes()

    def cut(count, dtype):
        os.truncate(path, len(data) - 4000)
        return np.zeros(count, dtype)

    monkeypatch.setattr(container, "zeros", cut)
    assert "it ends before its tensors do" in message(data)


def test_a_path_of_bytes(path):
    path.write_bytes(FIXTURES["values"])
    assert type(fastbp.load(os.fsencode(path))) is dict
    path.write_bytes(b"x")
    with pytest.raises(FileError, match="f.fastbp cannot be loaded"):
        fastbp.load(os.fsencode(path))


def test_a_path_that_is_none():
    with pytest.raises(FileError, match="zero character"):
        fastbp.load("a\0b")


# ---- single values ----


def with_text(text, name="values"):
    return sealed(text, parsed(FIXTURES[name])[1])


def test_text_that_save_never_writes_is_refused(message):
    for text, says in (
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('{"a":' * 100_000, "no JSON"),
        ("9" * 10_000, "no JSON"),
        ('{"value":NaN,"versions":{}}', "the number NaN"),
        ('{"value":1e999,"versions":{}}', "the number 1e999"),
        ('{"value":1,"value":2,"versions":{}}', "a name twice"),
        ('{"value":1}', "not that of fastbp.save"),
        ("[]", "not that of fastbp.save"),
        ('{"value":1,"versions":[]}', "nothing says what the tensor"),
        ('{"value":' + "[" * 60 + "]" * 60 + ',"versions":{}}', "nested too deeply"),
    ):
        assert says in message(with_text(text)), text[:40]
    data = sealed('{"value":1,"versions":[]}', {})
    assert "which versions" in message(data)


def value(payload):
    return sealed(
        json.dumps({"value": payload, "versions": {}}), {"t0": np.arange(4.0), "t1": np.arange(2)}
    )


def network(layer_sizes):
    return {"Network": {"layer_sizes": layer_sizes, "loss": "quantile"}}


def text(dtype, items):
    return {"numpy.ndarray": {"dtype": dtype, "shape": [len(items)], "items": items}}


def binarizer(**wrong):
    right = {"neg_label": 0, "pos_label": 1, "sparse_output": False, "sparse_input_": False}
    classes = {"numpy.ndarray": {"dtype": "<U1", "shape": [2], "items": ["a", "b"]}}
    return {"LabelBinarizer": right | {"y_type_": "binary", "classes_": classes} | wrong}


def chain(length, link):
    """Shared values, of which each has the one before it as a part."""
    return [{"shared": ["a"]}, *({"shared": link(n)} for n in range(length))]


def arrays_in_arrays(length, items):
    """Arrays of objects, of which each has the one before it as a part."""
    return [
        {"numpy.ndarray": {"dtype": "|O", "shape": [len(part)], "items": part}}
        for part in (["a"], *(items(n) for n in range(length)))
    ]


def test_a_chain_of_arrays_is_as_deep_as_it_is(message):
    """NumPy frees them by recursion, which a long chain would end in a crash."""
    assert "nested too deeply" in message(value(arrays_in_arrays(1000, lambda n: [{"same": n}])))


def test_messages_take_no_time_for_what_is_in_arrays(message):
    parts = arrays_in_arrays(13, lambda n: [{"same": n}, {"same": n}])
    began = time.perf_counter()
    text = message(value([*parts, {"dict": [[{"same": 13}, 1]]}]))
    assert "unhashable" in text
    text = message(value([*parts, {"Adam": {"net": {"same": 13}, "t": 1, "state": 1, "ema": 1}}]))
    assert "net is an array of dtype object and shape (2,): it takes a Network" in text
    assert time.perf_counter() - began < 2
    parts = arrays_in_arrays(22, lambda n: [{"same": n}, {"same": n}])
    assert "more than 1,048,576 values" in message(value(parts))


@pytest.mark.parametrize(
    "payload, says",
    [
        ({"os.system": "true"}, "the tag 'os.system', which is unknown"),
        ({"tuple": [], "list": []}, "one entry"),
        ({}, "one entry"),
        ({"same": 0}, "the number of something before it"),
        ({"same": -1}, "the number of something before it"),
        ([{"floats": "t0"}, {"floats": "t0"}], "a tensor that is not used yet"),
        ({"floats": "t9"}, "the name of a tensor"),
        ({"rows": "t0"}, "2 dimensions"),
        ({"float": "1"}, "'nan', 'inf' or '-inf'"),
        ({"dict": [[[1], 2]]}, "unhashable"),
        ({"dict": [[1, 2], [1, 3]]}, "each once"),
        ({"range": [0, 10**12, 1]}, "a range of 1000 numbers at most"),
        ({"numpy.dtype": "f8,(10000000,)f8"}, "the name of a dtype"),
        ({"numpy.ndarray": {"dtype": "<f4", "tensor": "t0"}}, "a tensor of float32"),
        ({"numpy.ndarray": {"dtype": "|O", "tensor": "t0"}}, "a tensor of object"),
        ({"numpy.ndarray": {"dtype": "|O", "shape": [10**9], "items": []}}, "a shape of 0 items"),
        ({"numpy.ndarray": {"dtype": "<U99999999", "shape": [1], "items": ["a"]}}, "width"),
        ({"numpy.ndarray": {"dtype": "<U1", "shape": [1], "items": [1]}}, "texts"),
        ({"numpy.ndarray": {"dtype": "<i8", "shape": [1], "items": [1]}}, "of texts or objects"),
        ({"numpy scalar": {"dtype": "|i1", "value": 1000}}, "a number that int8 has"),
        ({"numpy scalar": {"dtype": "<f4", "value": True}}, "a number of dtype float32"),
        ({"date": "2020-13-01"}, "month"),
        ({"timedelta": [10**12, 0, 0]}, "timedelta"),
        ({"bytes": "zz"}, "hexadecimal"),
        ({"RandomState": {"key": "t0", "pos": 0, "has_gauss": 0, "gauss": 0.0}}, "624 numbers"),
        ({"pandas.Timestamp": [2**70, "ns", None]}, "64 bits"),
        (binarizer(pos_label=10**40), "LabelBinarizer.pos_label is 100"),
        (binarizer(neg_label=-1), "LabelBinarizer.neg_label is -1: it takes 0"),
        ({"pandas.Period": [2**62, "D"]}, "in the years 1 to 9999"),
        ({"pandas.Period": [-(2**63), "s"]}, "in the years 1 to 9999"),
        ([1, 2**14_001], "[1] is an integer of 14,002 bits: it takes 14,000"),
        ({"MLPClassifier": {}}, "has no 'parameters'"),
        ([network([1, 2**22]) for _ in range(20)], "takes 33,558,432 bytes of memory"),
        (network([1, {"numpy scalar": {"dtype": "<i8", "value": 2**28}}]), "bytes of memory"),
        ([network({"range": [1, 1000, 1]})] * 40, "bytes of memory"),
        ([text("<U200000", ["a"])] * 1000, "bytes of memory"),
        ({"numpy.ndarray": {"dtype": "<M8", "tensor": "t1"}}, "a unit, such as"),
        ({"numpy scalar": {"dtype": "<M8", "value": 5}}, "a unit, such as"),
        ({"numpy scalar": {"dtype": "<M8[0s]", "value": 5}}, "the name of a dtype"),
        ({"numpy scalar": {"dtype": "<f2", "value": 1e300}}, "a number that float16 has"),
        ({"numpy.dtype": "<M8[0Y]"}, "the name of a dtype"),
        ([{"shared": {"range": [0, 1, 1]}}, {"shared": 1}], "a list, tuple or dict"),
        (chain(60, lambda n: {"tuple": [{"same": n}]}), "nested too deeply"),
        (chain(40, lambda n: [{"same": n}, {"same": n}]), "more than 1,048,576 values"),
        ([k * (2**61 - 1) for k in range(1000)], "integers of one remainder"),
    ],
    ids=lambda payload: str(payload)[:60],
)
def test_a_value_that_is_none_is_named(payload, says, message):
    assert says in message(value(payload))


def changed(name, place, new):
    """The file of this name with another value at a place of its text."""
    content, tensors = parsed(FIXTURES[name])
    tree = content["value"]
    for key in place[:-1]:
        tree = tree[key]
    assert place[-1] in tree or type(tree) is list or new == "added"
    tree[place[-1]] = new
    return sealed(json.dumps(content), tensors)


MLP, TABULAR = ("MLPClassifier",), ("TabularClassifier",)
PARAMETERS, ATTRIBUTES = (*MLP, "parameters"), (*MLP, "attributes")
NET = (*TABULAR, "fitted", "net")


@pytest.mark.parametrize(
    "name, place, new, says",
    [
        ("with_early_stopping", (*PARAMETERS, "alpha"), -1.0, "The 'alpha' parameter"),
        ("with_early_stopping", (*PARAMETERS, "alpha"), {"tuple": []}, "The 'alpha' parameter"),
        ("with_early_stopping", (*PARAMETERS, "other"), "added", "'other', which is unknown"),
        ("with_early_stopping", (*PARAMETERS, "activation"), ["tanh"] * 2, "2 entries"),
        (
            "with_early_stopping",
            (*PARAMETERS, "class_weight"),
            {"function": "os.system"},
            "function",
        ),
        ("with_early_stopping", (*ATTRIBUTES, "predict"), "added", "'predict', which is unknown"),
        ("with_early_stopping", (*ATTRIBUTES, "_params"), "added", "'_params', which is unknown"),
        ("with_early_stopping", (*ATTRIBUTES, "t_"), -1, "t_ is -1: it takes an integer"),
        ("with_early_stopping", (*ATTRIBUTES, "t_"), True, "t_ is True: it takes an integer"),
        ("with_early_stopping", (*ATTRIBUTES, "loss_curve_"), [1], "a list of which each"),
        ("with_early_stopping", (*ATTRIBUTES, "_history"), [[1.0]], "a row of five floats"),
        (
            "with_early_stopping",
            (*ATTRIBUTES, "out_activation_"),
            "tanh",
            "one of 'exp', 'identity'",
        ),
        ("with_early_stopping", (*ATTRIBUTES, "n_features_in_"), 5, "4, by the widths"),
        ("with_early_stopping", (*MLP, "layer_sizes"), [4, 6, 3], "of 51 numbers"),
        ("with_early_stopping", (*MLP, "layer_sizes"), [10**9, 10**9, 3], "vector"),
        ("with_early_stopping", (*MLP, "layer_sizes"), [2**31, 3], "from 1 to 2147483647"),
        ("with_early_stopping", (*MLP, "layer_sizes"), [43], "two widths"),
        ("with_early_stopping", (*MLP, "layer_sizes"), {}, "one entry"),
        ("with_early_stopping", (*MLP, "weights"), None, "has no weights, but the sizes"),
        ("with_early_stopping", (*MLP, "optimizer", "Adam", "t"), -1, "t is -1"),
        ("with_early_stopping", (*MLP, "optimizer"), {"LBFGS": {}}, "one of Adam, AdamW, SGD"),
        (
            "with_early_stopping",
            (*ATTRIBUTES, "classes_", "numpy.ndarray"),
            {"dtype": "<U1", "shape": [2], "items": ["a", "b"]},
            "3 labels",
        ),
        (
            "of_quantiles",
            ("MLPRegressor", "attributes", "_quantiles"),
            {"tuple": [0.5]},
            "3 of them",
        ),
        ("of_table_with_classes", (*NET, "hidden_layer_sizes"), [7], "members"),
        ("of_table_with_classes", (*NET, "hidden_layer_sizes"), [10**9], "members"),
        ("of_table_with_classes", (*NET, "members"), [], "one or more"),
        ("of_table_with_classes", (*NET, "dtype"), "float64", "one or more of float64"),
        ("of_table_with_classes", (*NET, "columns"), [], "does not encode the 4 columns"),
        ("of_table_with_classes", (*NET, "columns", 0, "scale"), 0.0, "scale is 0.0"),
        ("of_table_with_classes", (*NET, "columns", 0, "when_missing"), 99, "a position"),
        ("of_table_with_classes", (*NET, "columns", 0, "raw"), [0.0], "a finite number for each"),
        ("of_table_with_classes", (*NET, "columns", 1, "kind"), "number", "empty in a column"),
        (
            "of_table_with_classes",
            (*NET, "columns", 1, "labels"),
            ["a", "a", "b"],
            "each label once",
        ),
        ("of_table_with_classes", (*NET, "columns", 1, "labels"), [[], [1], [2]], "unhashable"),
        (
            "of_table_with_classes",
            (*TABULAR, "fitted", "schema", "kinds", 1),
            "number",
            "encoded as one of another kind",
        ),
        ("of_table_with_classes", (*TABULAR, "fitted", "temperature"), 0.0, "above 0"),
        ("of_table_with_classes", (*TABULAR, "fitted", "net"), None, "several answers"),
        (
            "of_table_with_several_labels",
            (*TABULAR, "fitted", "target", "binarizer"),
            None,
            "no Lab",
        ),
        ("network", ("dict", 0, 1, "Network", "dtype"), "float16", "dtype='float16'"),
        ("network", ("dict", 2, 1, "SGD", "learning_rate"), -1.0, "learning_rate=-1.0"),
        ("network", ("dict", 2, 1, "SGD", "net"), 3, "a Network"),
        ("network", ("dict", 0, 1, "Network", "layer_sizes"), {"dict": [[4, 1]]}, "of widths"),
        ("network", ("dict", 0, 1, "Network", "activation"), {"dict": [["tanh", 1]]}, "a text, or"),
        ("network", ("dict", 0, 1, "Network", "n_threads"), 2**31, "n_threads is 2147483648"),
        (
            "network",
            ("dict", 0, 1, "Network", "layer_sizes"),
            {"tuple": [4, 7, 2]},
            "as its net has",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_named(name, place, new, says, message):
    assert says in message(changed(name, place, new))


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda t: t.update(t2=t["t2"][:-1]), "vector"),
        (lambda t: t.update(t2=t["t2"].astype("f2")), "a tensor of float64"),
        (lambda t: t.update(t2=t["t2"].astype("i8")), "a tensor of float64"),
        (lambda t: t.update(t2=t["t2"].reshape(1, -1)), "vector"),
        (lambda t: t.update(t9=np.ones(1)), "nothing says what the tensor 't9' is"),
        (lambda t: t.pop("t1"), "the name of a tensor"),
    ],
    ids=range(6),
)
def test_tensors_that_do_not_fit_are_named(change, says, message):
    content, tensors = parsed(FIXTURES["with_early_stopping"])
    change(tensors)
    assert says in message(sealed(json.dumps(content), tensors))


@pytest.mark.parametrize(
    "change", [{"pos": 625}, {"pos": -1}, {"has_gauss": 2}, {"gauss": 1}, {"key": None}], ids=str
)
def test_generators_are_checked(change, message):
    content, tensors = parsed(FIXTURES["with_early_stopping"])
    state = content["value"]["MLPClassifier"]["attributes"]["_random_state"]["RandomState"]
    state |= change
    assert "it takes" in message(sealed(json.dumps(content), tensors))


def test_a_generator_that_gives_zeros_only_is_refused(message):
    """Its normal() would draw for ever."""
    state = {"key": "key", "pos": 624, "has_gauss": 0, "gauss": 0.0}
    text = json.dumps({"value": {"RandomState": state}, "versions": {}})
    key = np.zeros(624, np.uint32)
    key[0] = 2**31 - 1
    assert "a key with which normal() comes to an end" in message(sealed(text, {"key": key}))


@pytest.mark.parametrize(
    "place, new, says",
    [
        (("_binarizer", "LabelBinarizer", "y_type_"), "none", "one of 'binary'"),
        (("_binarizer", "LabelBinarizer", "neg_label"), "a", "it takes 0"),
        (("_binarizer", "LabelBinarizer", "classes_"), None, "a vector of labels"),
        (("memory_plan_", "MemoryPlan", 0, 0, 0), 5, "text"),
        (("memory_plan_", "MemoryPlan", 0, 0, 1), [-1], "a list of which each"),
        (("memory_plan_", "MemoryPlan", 0, 0, 2), -5, "offset is -5"),
        (("memory_plan_", "MemoryPlan", 0, 0, 3), None, "bytes is None"),
        (("memory_plan_", "MemoryPlan", 1), "a", "arena_bytes is 'a'"),
        (("memory_plan_", "MemoryPlan", 5), ["gpu"], "'blas', 'packed'"),
    ],
    ids=str,
)
def test_parts_are_checked(place, new, says, message):
    assert says in message(changed("of_several_labels", (*ATTRIBUTES, *place), new))


def test_knots_rise(message):
    content, tensors = parsed(FIXTURES["of_table_with_classes"])
    knots = content["value"]["TabularClassifier"]["fitted"]["net"]["columns"][0]["knots"]
    name = knots["numpy.ndarray"]["tensor"]
    whole = tensors[name]
    for bad in (whole[::-1], whole * np.inf, whole * 0, np.array([-1.7e308, 1.7e308]), whole[:1]):
        changed = sealed(json.dumps(content), tensors | {name: bad.copy()})
        assert "rising finite numbers" in message(changed)


def test_no_memory_is_taken_that_the_file_has_no_bytes_for(message, path):
    sizes = [10**9, 2 * 10**9, 3]
    files = [
        changed("with_early_stopping", (*MLP, "layer_sizes"), sizes),
        changed("of_table_with_classes", (*NET, "hidden_layer_sizes"), [10**9] * 3),
        changed("network", ("dict", 0, 1, "Network", "layer_sizes"), sizes),
        value({"numpy.ndarray": {"dtype": "<U99999999", "shape": [1], "items": ["a"]}}),
        value({"range": [0, 10**12, 1]}),
        with_text("[" * 90_000),
        with_text('{"a":1,' * 1000),
    ]
    huge = {"W": {"dtype": "F64", "shape": [10**9], "data_offsets": [0, 8 * 10**9]}}
    text = json.dumps(huge).encode()
    files.append(struct.pack("<Q", len(text)) + text)
    files.append(struct.pack("<Q", 90_000_000) + b"{}")
    for data in files:
        tracemalloc.start()
        message(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 40 * len(data) + 2_000_000


def test_thousands_of_faulty_files_are_errors_or_harmless(path):
    loaded = 0
    for data in islice(file_mutations.inputs(seed=20), 2000):
        path.write_bytes(data)
        loaded += file_mutations.attempt(path) is not None
    assert 50 < loaded < 500  # changed numbers that mean something else
