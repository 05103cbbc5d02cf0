"""NaN and infinity in X are found wherever they are, and reported as scikit-learn reports them."""

import numpy as np
import pytest
import sklearn
import sklearn.neural_network
from conftest import AWKWARD
from estimator_problems import X_REG, Y_REG
from scipy import sparse

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
