"""NaN and infinity in X are found wherever they are, and reported as scikit-learn reports them."""

import os

import numpy as np
import pytest
import sklearn
import sklearn.neural_network
from conftest import AWKWARD
from estimator_problems import X_REG, Y_REG
from scipy import sparse
from thread_problems import most_new_threads

from fastbp import MLPClassifier, MLPRegressor, _core

LAYOUTS = {"plain": lambda a, _: a, **AWKWARD}
for not_read_in_place in ("big-endian", "one byte off"):
    LAYOUTS.pop(not_read_in_place)
SHAPES = ((1, 1), (1, 67), (67, 1), (33, 17), (5, 64))
LARGE = (1100, 1024)  # more than one thread's worth


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_place_is_looked_at(dtype, layout, shape, tmp_path):
    rng, limits = np.random.default_rng(0), np.finfo(dtype)
    good = rng.choice([0, -0.0, 1, limits.max, limits.min, limits.tiny / 4], shape).astype(dtype)
    assert _core.all_finite(LAYOUTS[layout](good, tmp_path))
    for place in range(good.size):
        bad = good.copy()
        bad.flat[place] = (np.nan, np.inf, -np.inf, -np.nan)[place % 4]
        assert not _core.all_finite(LAYOUTS[layout](bad, tmp_path)), place


def test_a_data_is_looked_at_as_its_x_is():
    X = np.zeros((5, 3))
    data = _core.Data(X, np.full((5, 1), np.nan))
    assert _core.all_finite(data)
    X[4, 2] = np.inf
    assert not _core.all_finite(data)
    with pytest.raises(TypeError, match="dense"):
        _core.all_finite(_core.Data(sparse.csr_array(X)))


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
@pytest.mark.parametrize("order", ["C", "F"])
def test_large_x_is_shared_between_threads(n_threads, order):
    X = np.zeros(LARGE, np.float32, order=order)
    assert _core.all_finite(X, n_threads)
    rows, columns = LARGE
    for i, j in ((0, 0), (rows - 1, columns - 1), (rows // 2, 1), (rows // 3, columns // 2)):
        X[i, j] = np.nan
        assert not _core.all_finite(X, n_threads), (i, j)
        assert _core.all_finite(np.delete(X, j, axis=1), n_threads)
        X[i, j] = 0


LINES = {
    "long rows": np.zeros((60, 40_001), np.float32)[:, :-1],
    "every other row of Fortran order": np.zeros((2200, 1024), np.float32, order="F")[::2],
    "backwards": np.zeros((1100, 1024))[::-1, ::-1],
    "one column of many": np.zeros((1_100_000, 2), np.float32)[:, :1],
}


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("name", LINES)
def test_large_x_that_is_not_contiguous(name, n_threads):
    X = LINES[name]
    assert _core.all_finite(X, n_threads)
    for place in (0, X.size // 3, X.size // 2 + 17, X.size - 1):
        i, j = divmod(place, X.shape[1])
        X[i, j] = np.inf
        assert not _core.all_finite(X, n_threads), (i, j)
        X[i, j] = 0


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts by /proc")
def test_more_threads_than_x_is_worth_are_not_started():
    X = np.zeros((1100, 1024), np.float32)
    most, left = most_new_threads(lambda: [_core.all_finite(X, 64) for _ in range(300)])
    assert most == 1 and left == 0


def test_nan_in_a_sparse_data_frame_is_found():
    pd = pytest.importorskip("pandas")
    model = MLPRegressor(max_iter=1, hidden_layer_sizes=(3,), random_state=0)
    good = pd.DataFrame(sparse.csr_matrix(X_REG[:, :2]).toarray()).astype(
        pd.SparseDtype("float64", 0.0)
    )
    with pytest.warns(sklearn.exceptions.ConvergenceWarning):
        model.fit(good, Y_REG)
    bad = good.copy()
    bad[1] = pd.arrays.SparseArray(np.where(np.arange(len(bad)) == 3, np.nan, 0), fill_value=0.0)
    for call in (lambda: model.predict(bad), lambda: model.fit(bad, Y_REG)):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            call()


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix, np.asfortranarray])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_messages_are_those_of_scikit_learn(name, value, convert):
    ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[name]
    theirs = getattr(sklearn.neural_network, name)
    y = Y_REG > np.median(Y_REG) if name == "MLPClassifier" else Y_REG
    X = X_REG.copy()
    X[7, 2] = value
    messages = []
    for kind in (ours, theirs):
        model = kind(max_iter=1, hidden_layer_sizes=(3,))
        with pytest.warns(sklearn.exceptions.ConvergenceWarning):
            model.fit(X_REG, y)
        for call in (lambda m=model: m.fit(convert(X), y), lambda m=model: m.predict(convert(X))):
            with pytest.raises(ValueError, match="Input X contains") as error:
                call()
            messages.append(str(error.value))
    assert messages[:2] == messages[2:]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_assume_finite_is_believed():
    model = MLPRegressor(max_iter=1, hidden_layer_sizes=(3,)).fit(X_REG, Y_REG)
    X = X_REG.copy()
    X[7, 2] = np.nan
    with sklearn.config_context(assume_finite=True):
        assert np.isnan(model.predict(X)).nonzero()[0].tolist() == [7]
