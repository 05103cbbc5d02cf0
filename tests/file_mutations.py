"""Files of `fastbp.save` with faults, for the tests of `load` and for tests/fuzz.

Three kinds: bytes changed as they are, which the header or the checksum tells; bytes of the text
or of a tensor changed and the file sealed again; and the tree of the text with another value, name
or part at some place, sealed again. The last two reach the checks of every single value.
"""

import datetime
import json
import random
import struct
import warnings
from pathlib import Path

import numpy as np

import fastbp
from fastbp._files import container

FIXTURES = Path(__file__).parent / "files"
# What takes the place of a value: of the wrong type, too large, not finite, tags in wrong places.
ODD = [
    None, True, False, 0, 1, -1, 2, 3, 7, 624, 625, 10**9, 2**31, 2**62, 2**63, 10**40, -(2**63),
    0.5, -0.0, 1e308, "", "a", "t0", "t1", "<f4", "|O", "<U99999999", "global", [], [[]], {},
    {"a": 1}, [None], [1, 2], {"float": "nan"}, {"float": "inf"}, {"same": 0}, {"same": 10**6},
    {"tuple": []}, {"tuple": [1, 2]}, {"dict": []}, {"range": [0, 10**9, 1]}, {"rows": "t0"},
    {"numpy.ndarray": {"dtype": "<f4", "tensor": "t0"}}, {"numpy.dtype": "<f8"},
    {"numpy.ndarray": {"dtype": "|O", "shape": [10**9], "items": []}},
    {"numpy.ndarray": {"dtype": "<U9", "shape": [0, 10**12], "items": []}},
    {"function": "os.system"}, {"RandomState": "global"}, {"bytes": "zz"}, {"date": "2020"},
    {"numpy scalar": {"dtype": "<i8", "value": 10**30}}, {"pandas.Interval": [1, 0, "both"]},
    {"shared": [1]}, {"shared": 1}, [{"shared": []}, {"same": 0}],
    {"numpy.ndarray": {"dtype": "|O", "shape": [2], "items": [{"same": 0}, {"same": 0}]}},
    {"numpy.ndarray": {"dtype": "<U200000", "shape": [1], "items": ["a"]}},
    {"numpy.ndarray": {"dtype": "<i8", "tensor": "t0"}}, {"numpy.dtype": "<M8[0s]"},
    {"numpy scalar": {"dtype": "<M8", "value": 0}},
    {"numpy scalar": {"dtype": "<i8", "value": 2**40}},
    {"dict": [[k * (2**61 - 1), 0] for k in range(150)]},
    {"Network": {"layer_sizes": [1, 2**30], "loss": "huber"}},
    [{"Network": {"layer_sizes": [1, 2**22], "loss": "huber"}}] * 9,
]  # fmt: skip


def parsed(data):
    """The text of a file as a tree, and its tensors."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    content = json.loads(header.pop("__metadata__")["content"])
    tensors = {}
    for name, entry in header.items():
        start, end = (8 + length + place for place in entry["data_offsets"])
        array = np.frombuffer(data[start:end], container.DTYPES[entry["dtype"]])
        tensors[name] = array.reshape(entry["shape"])
    return content, tensors


def sealed(text, tensors):
    """The bytes of a file with this text and these tensors, whose checksum is right."""
    header, data = {}, b""
    for name, array in tensors.items():
        dtype = next(key for key, value in container.DTYPES.items() if value == array.dtype)
        end = len(data) + array.nbytes
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [len(data), end]}
        data += array.tobytes()
    crc = container.checksum(text, tensors)
    header["__metadata__"] = {"fastbp": "1", "content": text, "crc32": crc}
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def mutated(data, rng):
    """The bytes with one fault, or a few; `rng` is a `random.Random`."""
    kind = rng.random()
    if kind < 0.15:
        return _bytes(data, rng)
    content, tensors = parsed(data)
    if kind < 0.35:
        text = _bytes(json.dumps(content).encode(), rng).decode("utf-8", "replace")
        return sealed(text, tensors)
    if kind < 0.45 and tensors:
        _change_tensor(tensors, rng)
    else:
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            _change_tree(content, rng)
    return sealed(json.dumps(content), tensors)


def _bytes(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(len(data) + 1)
        what = rng.randrange(4)
        if what == 0 and data:
            data[place % len(data)] = rng.randrange(256)
        elif what == 1:
            del data[place : place + rng.choice((1, 8, 1000))]
        elif what == 2:
            data[place:place] = rng.choice((b"\0", b"9" * 20, b"[" * 5000, b'"', b"-", b"{}"))
        else:
            other = rng.randrange(len(data) + 1)
            data[place:place] = data[other : other + rng.randrange(64)]
    return bytes(data)


def _change_tensor(tensors, rng):
    name = rng.choice(list(tensors))
    array = tensors[name]
    what = rng.randrange(5)
    if what == 0:
        tensors[name] = array.reshape(-1)[: rng.randrange(array.size + 1)]
    elif what == 1:
        tensors[name] = array.reshape(rng.choice(((1, -1), (-1, 1), (-1,))))
    elif what == 2:
        with np.errstate(invalid="ignore", over="ignore"):
            tensors[name] = array.astype(rng.choice(list(container.DTYPES.values())))
    elif what == 3:
        del tensors[name]
    elif array.size:
        changed = array.copy()
        odd = (
            rng.choice((0, 1, 255)) if array.dtype.kind != "f" else rng.choice((np.nan, np.inf, 0))
        )
        changed.reshape(-1)[rng.randrange(array.size)] = odd
        tensors[name] = changed


def _places(tree):
    """(container, key) of every value below."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in entries:
        yield tree, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


def _change_tree(content, rng):
    places = list(_places(content))
    if not places:
        return
    tree, key = rng.choice(places)
    what = rng.randrange(7)
    if what == 6:
        tree[key] = _chain(tree[key], rng)
    elif what == 0:
        del tree[key]
    elif what == 1:
        other, at = rng.choice(places)
        tree[key] = json.loads(json.dumps(other[at]))
    elif what == 2 and isinstance(tree, list):
        tree.insert(key, json.loads(json.dumps(tree[key])))
    elif what == 3 and isinstance(tree, dict):
        tree[rng.choice(("a", "coefs_", "_params", "predict", "_skl_callbacks", "t"))] = tree.pop(
            key
        )
    elif what == 4 and type(tree[key]) in (int, float):
        tree[key] = rng.choice((tree[key] + 1, -tree[key], tree[key] * 2, float(tree[key])))
    else:
        tree[key] = json.loads(json.dumps(rng.choice(ODD)))


def _chain(value, rng):
    """The value, and lists or arrays of which each has the one before it twice, or so."""
    first, in_arrays = rng.randrange(4), rng.random() < 0.5
    links = [{"shared": [value]}]
    for number in range(rng.choice((2, 10, 60))):
        parts = [{"same": first + number}] * rng.choice((1, 2))
        link = {"dtype": "|O", "shape": [len(parts)], "items": parts}
        links.append({"numpy.ndarray": link} if in_arrays else {"shared": parts})
    return json.loads(json.dumps(links))


# ---- load ----


def anything(*arguments):
    """Takes the place of any function of a file."""
    raise ValueError("not meant to be called")


def attempt(path, after_load=lambda: None):
    """Load a file, whatever is in it: None if it was refused; what is loaded is used, too.

    `after_load` is called between the two.
    """
    try:
        made = _loaded(path)
    finally:
        after_load()
    if made is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            use(made)
        except (ValueError, MemoryError) as error:  # as for anyone who sets it so
            if "max_memory" not in str(error) and "n_threads" not in str(error):
                raise
    return made


def _loaded(path):
    """What a file holds, with functions in their places; None if it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return fastbp.load(path)
        except fastbp.io.FileError as error:
            assert str(path) in str(error) or "lacks" in str(error)
            if "which a file does not hold" not in str(error):
                return None
        try:
            return fastbp.load(path, loss=anything, learning_rate=anything, scoring=anything)
        except (fastbp.io.FileError, TypeError):
            return None


def use(made):
    """Show all that a file held; predict and train by it on a little data."""
    repr(made)
    for value in made.values() if isinstance(made, dict) else [made]:
        n_features = getattr(value, "n_features_in_", None)
        if hasattr(value, "_fitted"):
            _predict(value, rows_for(value._fitted.schema.kinds))
        elif hasattr(value, "coefs_"):
            X = np.zeros((3, n_features))
            y = _predict(value, X)
            value.history_ if hasattr(value, "_history") else None
            _train(value, X, y)
        elif hasattr(value, "state") and value.net.memory_plan.total_bytes < 1e8:
            _step(value)


def _predict(estimator, X):
    if hasattr(estimator, "predict_proba"):
        estimator.predict_proba(X)
    return estimator.predict(X)


def _train(estimator, X, y):
    if not hasattr(estimator, "partial_fit"):
        return
    try:
        estimator.partial_fit(X, y)
    except (ValueError, MemoryError):
        pass  # settings that do not go with it, or there is no room for such a batch_size


def rows_for(kinds):
    """A row of a table with columns of these kinds, and one of gaps."""
    of_kind = {"date": datetime.date(2020, 1, 1), "duration": datetime.timedelta(1)}
    X = np.empty((2, len(kinds)), dtype=object)
    X[0] = [of_kind.get(kind, 1) for kind in kinds]
    return X


def _step(optimizer):
    net = optimizer.net
    params = net.init_params(random_state=0)
    X, y = np.zeros((2, net.layer_sizes[0])), np.ones((2, net.layer_sizes[-1]))
    try:
        optimizer.step(params, X, y)
    except (ValueError, TypeError, MemoryError, OverflowError):
        pass  # y is not what the loss takes, or there is no room for such a batch_size


def fixtures():
    """The bytes of every file of tests/files, by name."""
    return {path.stem: path.read_bytes() for path in sorted(FIXTURES.glob("*.fastbp"))}


def inputs(seed):
    """Endless faulty files, the same for the same seed."""
    rng = random.Random(seed)
    files = list(fixtures().values())
    while True:
        yield mutated(rng.choice(files), rng)
