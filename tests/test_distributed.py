"""Data parallel training: ranks that are threads of this process, see ranks.py.

What several processes do is tested in test_cluster.py.
"""

import contextvars
import copy
import hashlib
import os
import signal
import threading
import time
import warnings

import numpy as np
import pytest
from ranks import Communicator, Ended, _Group, communicators, on_ranks
from scipy import sparse
from sklearn.metrics import accuracy_score, r2_score

import fastbp
from fastbp import _base, _core, _data_parallel, _loops, _threads
from fastbp._checkpoints import keeper
from fastbp._checkpoints.files import read
from fastbp._distributed import Ranks, active, alike, quick_digest
from fastbp._loops import Ending

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BATCH = 10


def rows(n=120, seed=0, n_targets=1):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6))
    y = X @ rng.normal(size=(6, n_targets)) + 0.1 * rng.normal(size=(n, n_targets))
    return X, y[:, 0] if n_targets == 1 else y


def labels(X):
    return (X[:, 0] > 0.3).astype(int) + (X[:, 1] > 0.2)


def make(kind=fastbp.MLPRegressor, **settings):
    settings = {
        "hidden_layer_sizes": (9, 7),
        "activation": "tanh",
        "dtype": "float64",
        "batch_size": BATCH,
        "shuffle": False,
        "random_state": 0,
        "max_iter": 4,
        "n_threads": 1,
    } | settings
    return kind(**settings)


def joined(parts, n=BATCH):
    """The rows of all ranks, in the order of one process that takes mini-batches of all."""
    longest = max(map(len, parts))
    return np.concatenate([part[i : i + n] for i in range(0, longest, n) for part in parts])


def weights_of(estimator):
    return estimator._params.flat


def all_well(found):
    """What the ranks gave; raises if one of them has raised."""
    for error in found:
        if isinstance(error, BaseException):
            raise error
    return found


def assert_same_bits(estimators):
    first = estimators[0]
    for other in estimators[1:]:
        assert weights_of(other).tobytes() == weights_of(first).tobytes()
        assert other.loss_curve_ == first.loss_curve_
        assert (other.n_iter_, other.t_) == (first.n_iter_, first.t_)


# ---- equal to one process ----

SETTINGS = {
    "adam": {},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05, "learning_rate": "invscaling"},
    "adamw": {"solver": "adamw", "max_grad_norm": 0.1, "ema_decay": 0.9, "learning_rate": "cosine"},
    "lbfgs": {"solver": "lbfgs", "max_iter": 20},
    "passes": {"max_memory": 16000},
}


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", SETTINGS)
def test_ranks_equal_one_process_with_the_joined_batches(size, name):
    X, y = rows(40 * size, n_targets=2)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X))
    weight[BATCH : 2 * BATCH] = weight[-BATCH:] = 0  # of some ranks whole mini-batches
    parts = [np.split(a, size) for a in (X, y, weight)]

    def work(rank):
        return make(**SETTINGS[name]).fit(*(part[rank] for part in parts))

    found = all_well(on_ranks(size, work))
    one = make(**SETTINGS[name] | {"batch_size": size * BATCH}).fit(*map(joined, parts))
    assert_same_bits(found)
    assert (found[0].memory_plan_.batch_rows < BATCH) == (name == "passes")
    np.testing.assert_allclose(weights_of(found[0]), weights_of(one), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[0].loss_curve_, one.loss_curve_, rtol=1e-12)
    assert found[0].t_ == one.t_
    assert found[0].learning_rates_ == one.learning_rates_


def test_a_step_has_a_share_of_every_shard():
    """Where there are too few rows for full mini-batches they are spread, which rows without
    weight make one process do."""
    counts = (47, 23, 3)
    X, y = rows(sum(counts))
    parts = [np.split(a, np.cumsum(counts)[:-1]) for a in (X, y)]
    found = all_well(on_ranks(3, lambda r: make().fit(parts[0][r], parts[1][r])))
    n_steps = 5
    padded = [], [], []
    for step in range(n_steps):
        for rank, n in enumerate(counts):
            ends = _data_parallel.step_ends(n, n_steps, BATCH)
            mine = slice(ends[step - 1] if step else 0, ends[step])
            n_own = mine.stop - mine.start
            assert n_own in (n // n_steps, n // n_steps + 1) or n == 47
            for to, some in zip(padded, (parts[0][rank][mine], parts[1][rank][mine]), strict=False):
                to.append(np.resize(some, (BATCH, *some.shape[1:])) if n_own else X[:BATCH] * 0)
            padded[2].append(np.arange(BATCH) < n_own)
    padded[1][:] = [a if a.ndim == 1 else a[:, 0] for a in padded[1]]
    one = make(batch_size=3 * BATCH)
    one.fit(*(np.concatenate(a).astype(float) for a in padded))
    assert_same_bits(found)
    np.testing.assert_allclose(weights_of(found[0]), weights_of(one), rtol=0, atol=1e-12)
    assert found[0].t_ == 4 * sum(counts)


def test_one_rank_is_the_ordinary_fit():
    X, y = rows()
    comm = Communicator(_Group(1), 0)
    with fastbp.distributed(comm):
        assert active() is None
        found = make(shuffle=True, early_stopping=True).fit(X, y)
    assert comm._group.calls == [[]]
    one = make(shuffle=True, early_stopping=True).fit(X, y)
    assert_same_bits([found, one])


def test_bits_do_not_depend_on_threads_and_float32_ranks_have_the_same():
    X, y = rows(600)

    def fitted(n_threads):
        settings = {"hidden_layer_sizes": (128, 96), "batch_size": 100, "dtype": "float32"}
        settings |= {"shuffle": True, "max_iter": 2, "max_grad_norm": 0.1, "early_stopping": True}
        parts = np.split(X, 3), np.split(y, 3)
        return all_well(
            on_ranks(
                3,
                lambda rank: make(n_threads=n_threads[rank], **settings).fit(
                    parts[0][rank], parts[1][rank]
                ),
            )
        )

    mixed = fitted((1, 2, 3))
    assert [e.memory_plan_.n_threads for e in mixed] == [1, 2, 3]
    assert_same_bits([*mixed, *fitted((2, 1, 1))])


def test_partial_fit_equals_one_process():
    X, y = rows()
    classes = np.unique(labels(X))

    def work(rank):
        est = make(fastbp.MLPClassifier, solver="adam")
        for i in range(0, 60, 20):
            mine = slice(60 * rank + i, 60 * rank + i + 20)
            est.partial_fit(X[mine], labels(X)[mine], classes=classes)
        return est

    found = all_well(on_ranks(2, work))
    one = make(fastbp.MLPClassifier, batch_size=2 * BATCH)
    for i in range(0, 60, 20):
        both = joined([X[i : i + 20], X[60 + i : 80 + i]])
        one.partial_fit(both, labels(both), classes=classes)
    np.testing.assert_allclose(weights_of(found[0]), weights_of(one), rtol=0, atol=1e-12)
    assert found[0]._optimizer.t == found[1]._optimizer.t == 6
    alone = found[0].partial_fit(X, labels(X))  # outside: as ever
    assert alone._optimizer.t == 18


def test_warm_start_goes_on_from_weights_that_all_ranks_have():
    X, y = rows()
    parts = np.split(X, 2), np.split(y, 2)

    def work(rank):
        est = make(warm_start=True)
        for _ in range(2):
            est.fit(parts[0][rank], parts[1][rank])
        if rank == 1:
            est.coefs_[0][0, 0] += 1e-9
        with pytest.raises(ValueError, match="the digest of the weights is .* on rank 1"):
            est.fit(parts[0][rank], parts[1][rank])
        return est

    all_well(on_ranks(2, work))


# ---- what the ranks agree on ----


def test_classes_are_those_of_all_ranks_and_balanced_counts_them():
    X, _ = rows(90)
    y = np.array(["a", "b", "cc"])[labels(X)]
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]  # a rank has one or two of the classes
    parts = np.split(X, 3), np.split(y, 3)
    settings = {"class_weight": "balanced"}

    def work(rank):
        return make(fastbp.MLPClassifier, **settings).fit(parts[0][rank], parts[1][rank])

    found = all_well(on_ranks(3, work))
    one = make(fastbp.MLPClassifier, batch_size=3 * BATCH, **settings).fit(*map(joined, parts))
    assert_same_bits(found)
    for est in found:
        np.testing.assert_array_equal(est.classes_, ["a", "b", "cc"])
    np.testing.assert_allclose(weights_of(found[0]), weights_of(one), rtol=0, atol=1e-12)


def test_weights_and_orders_follow_from_rank_0():
    X, y = rows()
    parts = np.split(X, 2), np.split(y, 2)

    def fitted(seeds):
        return all_well(
            on_ranks(
                2,
                lambda rank: make(random_state=seeds[rank], shuffle=True).fit(
                    parts[0][rank], parts[1][rank]
                ),
            )
        )

    found = fitted((3, None))
    assert_same_bits([*found, *fitted((3, 4))])
    assert (weights_of(found[0]) != weights_of(fitted((4, 3))[0])).any()


def test_orders_differ_between_ranks_and_epochs_and_come_back():
    X, y = rows(40)
    data = _core.Data(X, y.reshape(-1, 1))

    def work(rank):
        given = type("Given", (), {"data": data, "sample_weight": None})
        kept = np.arange(5, 40)
        mine = _data_parallel.SharedRows(given, active(), kept, BATCH, 7, True)
        orders = []
        for _ in range(2):
            mine.begin_epoch()
            mine.weigh()
            orders.append(mine.piece(0)[1].copy())
            assert sorted(orders[-1]) == list(kept)
        other = _data_parallel.SharedRows(given, active(), kept, BATCH, 8, True)
        other.restore(mine.state())
        other.weigh()
        np.testing.assert_array_equal(other.piece(0)[1], orders[-1])
        return orders

    orders = sum(all_well(on_ranks(2, work)), [])
    assert len({tuple(order) for order in orders}) == 4


def test_masks_of_dropout_differ_between_ranks():
    X, y = rows(40)

    def fitted(**settings):
        return all_well(on_ranks(2, lambda rank: make(**settings).fit(X, y)))  # equal shards

    # The gradients of one process, whose penalty counts half, and whose masks are those of rank 0.
    for settings in ({}, {"dropout": 0.5}):
        one = make(alpha=5e-5, **settings).fit(X, y)
        found = fitted(**settings)
        assert_same_bits(found)
        difference = np.abs(weights_of(found[0]) - weights_of(one)).max()
        assert difference > 1e-3 if settings else difference < 1e-12
    assert found[0]._optimizer.seed == found[1]._optimizer.seed == one._optimizer.seed


@pytest.mark.parametrize("kind", ["accuracy", "r2", "loss", "scorer"])
def test_early_stopping_is_by_the_rows_that_all_ranks_hold_out(kind):
    X, y = rows(200, n_targets=2)
    est = fastbp.MLPClassifier if kind == "accuracy" else fastbp.MLPRegressor
    y = labels(X) if kind == "accuracy" else y
    weight = np.random.default_rng(2).uniform(0.5, 2, len(X))
    X_val, y_val, weight_val = (a[[*range(0, 200, 3)]] for a in (X, y, weight))
    cut = [20]  # shares of two sizes
    parts = [np.split(a, [120]) for a in (X, y, weight)]
    shares = [np.split(a, cut) for a in (X_val, y_val, weight_val)]

    def scorer(estimator, X, y):
        return -len(X) * 1.0

    scoring = {"loss": "loss", "scorer": scorer}.get(kind)

    def work(rank):
        return make(est, early_stopping=True, scoring=scoring, max_iter=6, tol=1.0).fit(
            *(part[rank] for part in parts),
            X_val=shares[0][rank],
            y_val=shares[1][rank],
            sample_weight_val=shares[2][rank],
        )

    found = all_well(on_ranks(2, work))
    assert_same_bits(found)
    a, b = found
    assert a.validation_scores_ == b.validation_scores_
    assert a.validation_loss_curve_ == b.validation_loss_curve_
    assert a.best_validation_score_ == max(a.validation_scores_)
    best = a.predict(X_val)
    if kind == "accuracy":
        expected = accuracy_score(y_val, best, sample_weight=weight_val)
    elif kind == "r2":
        expected = r2_score(y_val, best, sample_weight=weight_val)
    elif kind == "loss":
        errors = ((best - y_val) ** 2).mean(axis=1) / 2
        expected = -np.average(errors, weights=weight_val)
    else:
        sums = [share.sum() for share in shares[2]]
        expected = -np.average([20.0, len(X_val) - 20.0], weights=sums)
    assert a.best_validation_score_ == pytest.approx(expected, rel=1e-12)


def test_each_rank_holds_out_a_share_of_its_own():
    X, y = rows(200)
    parts = np.split(X, [140]), np.split(y, [140])
    settings = {"early_stopping": True, "max_iter": 3, "shuffle": True, "validation_fraction": 0.2}
    found = all_well(on_ranks(2, lambda r: make(**settings).fit(parts[0][r], parts[1][r])))
    assert_same_bits(found)
    assert found[0].t_ == 3 * 160
    assert found[0].validation_scores_ == found[1].validation_scores_


def test_only_rank_0_prints_and_all_end_by_its_clock(capsys):
    X, y = rows()
    parts = np.split(X, 2), np.split(y, 2)

    def work(rank):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make(verbose=True, max_time=1e-9).fit(parts[0][rank], parts[1][rank])

    assert [est.n_iter_ for est in all_well(on_ranks(2, work))] == [1, 1]
    assert capsys.readouterr().out.count("Iteration 1") == 1


def test_the_end_is_that_of_any_callback_or_of_the_clock_of_rank_0():
    time_is_up, asked = Ending(warning="max_time"), Ending()

    def found(*own):
        return on_ranks(2, lambda r: _data_parallel.ending_of_all(active(), lambda: own[r]))

    assert found(None, None) == [None, None]
    assert found(None, time_is_up) == [None, None]
    assert found(time_is_up, None) == [time_is_up] * 2
    assert found(time_is_up, asked) == [asked] * 2


# ---- checkpoints ----


class Cut(BaseException):
    """Ends a fit somewhere."""


CUT = {
    "mini-batches": {"early_stopping": True, "learning_rate": "cosine", "dropout": 0.2},
    "lbfgs": {"solver": "lbfgs", "max_iter": 12, "shuffle": False},
}


CALLS = {"made": 0, "last": 0}


def cutting_loss(output, y, sample_weight):
    """Raises on rank 1, when it is called for the last time."""
    if active() is not None and active().rank == 1:
        CALLS["made"] += 1
        if CALLS["made"] == CALLS["last"]:
            raise Cut
    return ((output - y) ** 2).sum(axis=1) / 2, output - y


def cut_fit(path, size, last, settings):
    """The estimators of a fit that ends at this call of its loss on rank 1; how many there were."""
    X, y = rows(240)
    parts = np.array_split(X, size), np.array_split(y, size)
    CALLS.update(made=0, last=last)
    settings = {"shuffle": True, "max_iter": 6, "loss": cutting_loss} | settings

    def work(rank):
        est = make(**settings, checkpoint=path, checkpoint_interval=1e-9)
        return est.fit(parts[0][rank], parts[1][rank])

    return on_ranks(size, work), CALLS["made"]


def drawn_next(estimators):
    """What the generator of each rank would give; it stays as it is."""
    return [copy.deepcopy(est._random_state).uniform() for est in estimators]


@pytest.mark.parametrize("name", CUT)
def test_a_cut_fit_goes_on_to_the_same_bits(name, tmp_path):
    path = tmp_path / "checkpoint"
    whole, n_calls = cut_fit(path, 2, 0, CUT[name])
    all_well(whole)
    assert not path.exists()
    for at in range(2, n_calls + 1, n_calls // 3):
        found, _ = cut_fit(path, 2, at, CUT[name])
        assert isinstance(found[1], Cut) and str(found[0]) == "rank 1: Cut"
        assert path.exists()
        found, n_more = cut_fit(path, 2, 0, CUT[name])
        assert_same_bits([*all_well(found), *whole])
        assert found[0].validation_scores_ == whole[0].validation_scores_
        assert drawn_next(found) == drawn_next(whole)
        if name == "lbfgs":  # a mini-batch may be given up and come again
            assert n_more <= n_calls - at + 1
        assert not path.exists()


def test_no_rank_leaves_while_rank_0_writes_the_checkpoint_of_a_cut_fit(monkeypatch, tmp_path):
    told, write = [], keeper.files.write

    def slowly(*arguments):
        time.sleep(0.1)
        write(*arguments)
        told.append("written")

    def loss(output, y, sample_weight):
        raise Cut

    def work(comm):
        try:
            with fastbp.distributed(comm):
                make(loss=loss, checkpoint=tmp_path / "checkpoint").fit(*rows())
        finally:
            told.append("left")

    monkeypatch.setattr(keeper.files, "write", slowly)
    on_ranks(2, work, enter=False)
    assert told == ["written", "left", "left"]


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("size", [1, 3])
def test_another_number_of_ranks_goes_on(name, size, tmp_path):
    path = tmp_path / "checkpoint"
    whole, n_calls = cut_fit(path, 2, 0, CUT[name])
    cut_fit(path, 2, n_calls // 2 + 3, CUT[name])
    found, _ = cut_fit(path, size, 0, CUT[name])
    assert_same_bits(all_well(found))
    assert found[0].n_iter_ == whole[0].n_iter_
    assert found[0].loss_curve_[:2] == whole[0].loss_curve_[:2]
    assert found[0].loss_curve_[-1] < whole[0].loss_curve_[0]
    if name == "mini-batches":
        assert found[0].learning_rates_[-1] < 0.02 * found[0].learning_rates_[0]  # at its end
    assert not path.exists()


def rows_held_out(estimator, X, y):
    return float(len(X))


def minus_rows_held_out(estimator, X, y):
    return -float(len(X))


@pytest.mark.parametrize(
    "size, scorer, expected", [(3, rows_held_out, 8.0), (1, minus_rows_held_out, -24.0)]
)
def test_another_number_of_ranks_scores_the_best_weights_on_its_own_rows(
    size, scorer, expected, tmp_path
):
    settings = CUT["mini-batches"] | {"scoring": scorer}
    _, n_calls = cut_fit(tmp_path / "checkpoint", 2, 0, settings)
    cut_fit(tmp_path / "checkpoint", 2, n_calls // 2 + 3, settings)
    found, _ = cut_fit(tmp_path / "checkpoint", size, 0, settings)
    for est in all_well(found):
        assert est.best_validation_score_ == est.validation_scores_[-1] == expected


def test_a_checkpoint_of_other_rows_is_refused_by_all(tmp_path):
    path = tmp_path / "checkpoint"
    cut_fit(path, 2, 8, {})
    X, y = rows(240, seed=1)
    found = on_ranks(2, lambda rank: make(checkpoint=path).fit(X[120:], y[120:]))
    for error in found:
        assert isinstance(error, ValueError)
        assert "X of rank 0: other values" in str(error)
    found = on_ranks(2, lambda rank: make(checkpoint=path if rank else None).fit(X, y))
    assert all("that a checkpoint is wanted is True on rank 1" in str(e) for e in found)


def test_a_warning_of_the_checkpoint_that_is_an_error_is_one_on_all_ranks(monkeypatch, tmp_path):
    def remove(path):
        raise OSError("busy")

    monkeypatch.setattr(keeper.files, "remove", remove)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*could not be removed")
        found = on_ranks(
            2,
            lambda rank: make(
                max_iter=1, checkpoint=tmp_path / "checkpoint", checkpoint_interval=1e-9
            ).fit(*rows()),
        )
    assert isinstance(found[0], UserWarning) and "busy" in str(found[0])
    assert isinstance(found[1], RuntimeError) and str(found[1]).startswith("rank 0: UserWarning: ")


# ---- machines that differ ----


def test_ranks_that_come_to_different_weights_are_told_at_once(monkeypatch, tmp_path):
    path, own, calls = tmp_path / "checkpoint", Communicator.Allreduce, []

    def inexact(comm, in_place, vector):
        own(comm, in_place, vector)
        calls.append(comm.Get_rank())
        if comm.Get_rank() == 1 and calls.count(1) == 14:  # in the second epoch
            vector[3] += 1e-9

    monkeypatch.setattr(Communicator, "Allreduce", inexact)
    kept = [make(checkpoint=path, checkpoint_interval=1e-9) for _ in range(2)]
    found = on_ranks(2, lambda rank: kept[rank].fit(*rows()))
    for est, error in zip(kept, found, strict=True):
        assert isinstance(error, RuntimeError) and "different parameters" in str(error)
        assert est.n_iter_ == 1
    course = read(str(path))["course"]
    assert (course["attributes"]["n_iter_"], course["place"]) == (1, None)


def test_a_checkpoint_stays_if_the_weights_differ_at_the_end(monkeypatch, tmp_path):
    path = tmp_path / "checkpoint"

    def differ(estimator, validation):
        estimator.coefs_[0][0, 0] += 1e-9 * active().rank
        return ""

    monkeypatch.setattr(_loops, "_unbeaten", differ)
    settings = {"checkpoint": path, "checkpoint_interval": 1e-9}
    for error in on_ranks(2, lambda rank: make(**settings).fit(*rows())):
        assert isinstance(error, RuntimeError) and "different parameters" in str(error)
    assert path.exists()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [0, 1, 4095, 8192, 20_001])
def test_a_quick_digest_tells_vectors_of_other_bits_apart(n, dtype):
    vector = np.random.default_rng(0).normal(size=n).astype(dtype)
    others = [vector[:-1], np.append(vector, vector.dtype.type(0))]
    for place in {0, n // 2, n - 1} if n else ():
        others.append(vector.copy())
        others[-1][place] = np.nextafter(vector[place], 9)
    others.append(vector + np.spacing(vector))
    found = {quick_digest(other, other[:1]) for other in others}
    assert quick_digest(vector, vector[:1]) == quick_digest(vector.copy(), vector[:1])
    assert (quick_digest(vector, vector[:1]) in found) == (n == 0)


def test_the_weights_are_compared_without_a_hash_of_all_their_bytes(monkeypatch):
    """An epoch of `partial_fit` may be one mini-batch, and a hash takes as long as that."""
    own, hashed = hashlib.blake2b, []

    class Counting:
        def __init__(self, *data, **settings):
            self._own = own(*data, **settings)

        def update(self, data):
            hashed.append(memoryview(data).nbytes)
            self._own.update(data)

        def hexdigest(self):
            return self._own.hexdigest()

    monkeypatch.setattr(hashlib, "blake2b", Counting)
    X, y = rows(BATCH)

    def work(rank):
        est = make(hidden_layer_sizes=(400, 400))
        return est.partial_fit(X, y).partial_fit(X, y)

    found = all_well(on_ranks(2, work))
    assert 0 < sum(hashed) < weights_of(found[0]).nbytes


def test_the_rates_of_a_schedule_are_those_of_rank_0():
    def schedule(progress):
        return (1 - progress) * (1 + 1e-9 * active().rank)

    found = all_well(on_ranks(2, lambda rank: make(learning_rate=schedule).fit(*rows())))
    assert_same_bits(found)
    assert found[0].learning_rates_ == found[1].learning_rates_


def test_the_iterates_of_lbfgs_are_those_of_rank_0(monkeypatch):
    """Also where the SciPy of another rank comes to other numbers on its way."""
    from scipy import optimize

    own = optimize.minimize

    def minimize(fun, x0, *more, **settings):
        factor = 1 + 1e-15 * active().rank

        def other(point):
            loss, grad = fun(point)
            return loss, grad * factor

        return own(other, x0, *more, **settings)

    X, y = rows(1200)

    def fitted():
        def work(rank):
            seen = []

            def scorer(estimator, X_val, y_val):
                seen.append(weights_of(estimator).tobytes())
                return 1.0

            est = make(solver="lbfgs", max_iter=40, tol=0, early_stopping=True, scoring=scorer)
            return est.fit(X[rank::2], y[rank::2], X_val=X[:9], y_val=y[:9]), seen

        return zip(*all_well(on_ranks(2, work)), strict=True)

    whole, _ = fitted()
    monkeypatch.setattr(optimize, "minimize", minimize)
    estimators, seen = fitted()
    assert_same_bits([*estimators, *whole])
    assert seen[0] == seen[1] and len(seen[0]) == estimators[0].n_iter_


def test_versions_that_differ_are_named(monkeypatch):
    class OfRank:
        def __repr__(self):
            return f"'1.{active().rank}'"

    monkeypatch.setattr(_data_parallel, "__version__", OfRank())
    for error in on_ranks(2, lambda rank: make().fit(*rows())):
        assert "the version of fastbp is '1.1' on rank 1 and '1.0' on rank 0" in str(error)


# ---- what does not fit ----

DIFFERENT = {
    "alpha": ({"alpha": 0.1}, {}, "alpha is 0.1 on rank 1 and 0.0001 on rank 0"),
    "loss": ({"loss": np.mean}, {"loss": np.median}, "loss is <function mean> on rank 1"),
    "max_memory": ({"max_memory": "1 MB"}, {}, "max_memory is '1 MB' on rank 1 and None on"),
    "solver": ({"solver": "lbfgs"}, {}, "solver is 'lbfgs' on rank 1"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_parameters_that_differ_are_named(name):
    X, y = rows()
    of_1, of_0, message = DIFFERENT[name]
    found = on_ranks(2, lambda rank: make(**(of_0, of_1)[rank]).fit(X, y))
    assert all(isinstance(error, ValueError) and message in str(error) for error in found)


def test_data_that_differ_are_named():
    X, y = rows()
    wrong = {
        "the number of features of X is 5 on rank 1 and 6 on rank 0": (X[:, :5], y),
        "the dtype of X is 'float32' on rank 1": (X.astype("float32"), y),
        "the number of outputs is 2 on rank 1 and 1 on": (X, np.column_stack([y, y])),
    }
    for message, theirs in wrong.items():
        found = on_ranks(2, lambda r, theirs=theirs: make().fit(*((X, y), theirs)[r]))
        assert all(isinstance(e, ValueError) and message in str(e) for e in found), found
    found = on_ranks(
        2, lambda r: make(fastbp.MLPClassifier).fit(X, labels(X) if r else labels(X).astype(str))
    )
    assert all("numbers and texts on different ranks" in str(e) for e in found), found
    found = on_ranks(2, lambda r: make().fit(X, y, **({"X_val": X, "y_val": y} if r else {})))
    assert all("that X_val is given is True on rank 1" in str(e) for e in found), found


def test_columns_of_y_that_differ_are_named():
    X, _ = rows()

    def work(rank):
        return make(fastbp.MLPClassifier, class_weight="balanced").fit(X, (X > 0)[:, : 3 + rank])

    for error in on_ranks(2, work):
        assert isinstance(error, ValueError)
        assert "the number of columns of y is 4 on rank 1 and 3 on rank 0" in str(error)


def test_a_file_is_no_fit_of_all_ranks(monkeypatch, tmp_path):
    """Also one whose parameters are refused, which one rank finds out alone."""
    path = tmp_path / "net"
    fastbp.save(make(max_iter=1).fit(*rows()), path)
    never = type(make())._parameter_constraints | {"alpha": [str]}
    monkeypatch.setattr(fastbp.MLPRegressor, "_parameter_constraints", never)
    monkeypatch.setattr(_base, "_valid", set())

    def work(rank):
        if rank == 1:
            with pytest.raises(ValueError, match="'alpha'"):
                fastbp.load(path)
        assert active().size == 2

    all_well(on_ranks(2, work))


def test_only_the_rank_that_prints_sees_a_broken_pipe(monkeypatch):
    class Broken:
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Broken())
    settings = {"verbose": True, "early_stopping": True, "tol": 9.0, "n_iter_no_change": 1}
    for solver in ("adam", "lbfgs"):
        fits = on_ranks(2, lambda _, s=solver: make(solver=s, **settings).fit(*rows()))
        assert_same_bits(all_well(fits))


WRONG_ON_RANK_1 = {
    "an empty shard": (lambda X, y: make().fit(X[:0], y[:0]), ValueError, "0 sample"),
    "NaN": (lambda X, y: make().fit(X * np.nan, y), ValueError, "Input X contains NaN"),
    "a parameter that cannot be": (lambda X, y: make(alpha=-1).fit(X, y), ValueError, "'alpha'"),
    "too few rows to hold out": (
        lambda X, y: make(early_stopping=True).fit(X[:1], y[:1]),
        ValueError,
        "n_samples=1",
    ),
    "targets for other rows": (lambda X, y: make().fit(X, y[1:]), ValueError, "inconsistent"),
    "dates": (lambda X, y: make().fit(X.astype("M8[s]"), y), TypeError, "a date"),
}


@pytest.mark.parametrize("name", WRONG_ON_RANK_1)
def test_what_is_wrong_on_one_rank_is_raised_by_all(name):
    X, y = rows()
    call, kind, message = WRONG_ON_RANK_1[name]
    early = name.startswith("too few")

    def work(rank):
        return call(X, y) if rank == 1 else make(early_stopping=early).fit(X, y)

    own, first, last = (on_ranks(3, work)[r] for r in (1, 0, 2))
    assert isinstance(own, kind) and message in str(own) and "rank" not in str(own)
    assert own.__notes__ == ["It was raised on rank 1 of 3."]
    for error in (first, last):
        assert type(error) is kind and str(error) == f"rank 1: {own}"


def test_a_dataset_for_partial_fit_on_one_rank_is_raised_by_all(monkeypatch):
    X, y = rows()
    monkeypatch.setattr(_base, "is_dataset", lambda given: given is None)
    first, own = on_ranks(2, lambda rank: make().partial_fit(None if rank else X, y))
    assert type(own) is TypeError and "partial_fit takes arrays" in str(own)
    assert type(first) is TypeError and str(first) == f"rank 1: {own}"


def test_a_loss_or_a_scorer_that_raises_ends_all_ranks():
    X, y = rows()

    class Odd(Exception):
        pass

    calls = [0, 0]

    def loss(output, y, sample_weight):
        calls[threading_rank()] += 1
        if threading_rank() == 1 and calls[1] == 15:
            raise Odd("in the middle of an epoch")
        return ((output - y) ** 2).sum(axis=1), 2 * (output - y)

    def scorer(estimator, X, y):
        if threading_rank() == 1 and estimator.n_iter_ == 2:
            raise Odd("in epoch 2")
        return 1.0

    def threading_rank():
        return active().rank

    for settings in ({"loss": loss}, {"scoring": scorer, "early_stopping": True}):
        kept = [make(**settings), make(**settings)]
        found = on_ranks(2, lambda rank, kept=kept: kept[rank].fit(X, y))
        assert type(found[1]) is Odd
        assert type(found[0]) is RuntimeError
        assert str(found[0]) == f"rank 1: Odd: {found[1]}"
        assert weights_of(kept[0]).tobytes() == weights_of(kept[1]).tobytes()


def interrupted_fits(**settings):
    """The estimators of two ranks after a fit, and whether a Ctrl-C is still to be heard."""
    X, y = rows(40)

    def work(rank):
        est = make(max_iter=3, **settings).fit(X, y)
        return est, active().interrupted

    return all_well(on_ranks(2, work))


@pytest.mark.filterwarnings("ignore:Training interrupted")
def test_an_interruption_that_the_core_has_heard_is_none_any_more():
    def loss(output, y, sample_weight):
        active().interrupted |= active().rank == 1
        time.sleep(0.07)  # longer than the core takes to ask
        return ((output - y) ** 2).sum(axis=1) / 2, output - y

    for est, flag in interrupted_fits(loss=loss):
        assert not flag and est.n_iter_ == 0


@pytest.mark.parametrize("at", ["the last score", "after the last exchange"])
@pytest.mark.filterwarnings("ignore:Training interrupted")
def test_an_interruption_at_the_end_is_one_for_all_ranks(at, monkeypatch, tmp_path):
    X, y = rows(40)
    path = tmp_path / "checkpoint"

    def interrupt():
        active().interrupted |= active().rank == 1

    def scorer(estimator, X, y):
        if estimator.n_iter_ == 3 and at == "the last score":
            interrupt()
        return 1.0

    if at != "the last score":
        monkeypatch.setattr(_loops, "_unbeaten", lambda *_: interrupt() or "")

    def work(rank):
        est = make(max_iter=3, early_stopping=True, scoring=scorer, checkpoint=path)
        est.set_params(checkpoint_interval=1e-9).fit(X, y)
        return est, active().interrupted

    found = all_well(on_ranks(2, work))
    assert [flag for _, flag in found] == [False, False]
    assert_same_bits([est for est, _ in found])
    assert path.exists()  # the user may want to go on


def test_an_interruption_after_the_checkpoint_has_gone_is_too_late(monkeypatch, tmp_path):
    """The model is finished, and there is nothing to go on from: it must not be lost."""
    end = keeper.Keeper.end

    def interrupted(self):
        active().interrupted = True
        end(self)

    monkeypatch.setattr(keeper.Keeper, "end", interrupted)
    X, y = rows(40)

    def work(rank):
        est = make(max_iter=3, checkpoint=tmp_path / "checkpoint")
        est.fit(X, y)
        return est, active().is_finished

    with pytest.warns(UserWarning, match="Ctrl-C came after the end of the training"):
        (first, *flags), (second, *more) = all_well(on_ranks(2, work))
    assert_same_bits([first, second])
    assert flags == more == [False]  # the next fit hears one again


def test_a_schedule_that_raises_on_one_rank_is_raised_by_all():
    def schedule(progress):
        return 1 - progress - 3 * active().rank

    first, own = on_ranks(2, lambda rank: make(learning_rate=schedule).fit(*rows()))
    assert isinstance(own, ValueError) and str(own).startswith("learning_rate=")
    assert type(first) is ValueError and str(first) == f"rank 1: {own}"


def test_ctrl_c_is_heard_where_all_ranks_can_raise_it(monkeypatch):
    """Also before the training: here on rank 0, which is in the main thread, at a broadcast."""
    copy_first, own = Ranks.copy_first, threading.main_thread()
    here, there = communicators(2)
    found = []

    def interrupted(ranks, vector):
        if threading.current_thread() is own:
            signal.raise_signal(signal.SIGINT)
        copy_first(ranks, vector)

    def work(comm):
        try:
            with fastbp.distributed(comm):
                make().fit(*rows())
        except BaseException as error:
            found.append((comm.Get_rank(), type(error)))

    monkeypatch.setattr(Ranks, "copy_first", interrupted)
    other = threading.Thread(target=work, args=(there,))
    other.start()
    work(here)
    other.join(60)
    assert sorted(found) == [(0, KeyboardInterrupt), (1, KeyboardInterrupt)]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_loss_that_is_not_finite_on_one_rank_ends_all_ranks():
    X, y = rows()
    huge = [y, np.where(np.arange(120) == 75, 1e300, y)]
    kept = [make(), make()]
    found = on_ranks(2, lambda rank: kept[rank].fit(X, huge[rank]))
    assert all(isinstance(error, ValueError) and "in epoch 1" in str(error) for error in found)
    assert weights_of(kept[0]).tobytes() == weights_of(kept[1]).tobytes()
    assert kept[0]._optimizer.t == kept[1]._optimizer.t == 7
    assert not np.isfinite(kept[0].loss_)


def test_an_epoch_that_ends_early_goes_on_to_the_same_bits(monkeypatch):
    X, y = rows(80)
    parts = np.split(X, 2), np.split(y, 2)
    calls = [0, 0]

    def loss(output, y, sample_weight):
        time.sleep(0.06)  # longer than the core takes to look at the clock
        return ((output - y) ** 2).sum(axis=1) / 2, output - y

    def work(rank):
        return make(max_iter=1, loss=loss).fit(parts[0][rank], parts[1][rank])

    whole = all_well(on_ranks(2, work))
    epoch = _data_parallel.epoch

    class Hurried:  # a keeper whose checkpoint is always due, on rank 0
        deadline, write_if_due = 0.0, lambda self: None

    def for_a_short_time(job, *arguments):
        calls[job.ranks.rank] += 1
        keeper = Hurried() if job.ranks.rank == 0 else job.keeper
        return epoch(job._replace(keeper=keeper), *arguments)

    monkeypatch.setattr(_data_parallel, "epoch", for_a_short_time)
    assert_same_bits([*whole, *all_well(on_ranks(2, work))])
    assert calls[0] == calls[1] > 1


def test_an_exception_ends_the_job_where_nothing_can_be_said(monkeypatch):
    class Broken:
        def write(self, text):
            raise BrokenPipeError

        flush = write

    monkeypatch.setattr("sys.stderr", Broken())
    monkeypatch.setattr("sys.stdout", Broken())

    def work(rank):
        if rank == 1:
            raise LookupError
        return make().fit(*rows())

    found = on_ranks(2, work)
    monkeypatch.undo()
    assert isinstance(found[1], Ended)


def test_an_exception_in_the_block_ends_the_job(capfd):
    def work(rank):
        if rank == 1:
            raise LookupError("no such file")
        time.sleep(0.1)
        return make().fit(*rows())

    found = on_ranks(2, work)
    assert isinstance(found[1], Ended)
    told = capfd.readouterr().err
    assert "rank 1 of 2 failed, which ends the job: LookupError: no such file" in told
    assert "Traceback" in told


def _raised_while_handled(error):
    raise LookupError("no such file")  # of which `error` is the context


def _raised_after_another_fit(error):
    make(max_iter=1).fit(*rows())
    if active().rank == 1:
        raise error


@pytest.mark.parametrize("handle", [_raised_while_handled, _raised_after_another_fit])
def test_an_exception_of_one_rank_after_a_shared_one_ends_the_job(handle):
    X, y = rows()

    def work(rank):
        try:
            make().fit(X, np.where(np.arange(120) == 3, np.nan, y) if rank == 1 else y)
        except ValueError as error:
            if rank == 1 or handle is _raised_after_another_fit:
                handle(error)
        return make().fit(X, y)

    found = on_ranks(2, work)
    assert isinstance(found[1], Ended)


def _exit_instead(rank):
    if rank == 1:
        raise SystemExit(0)
    return make().fit(*rows())


def test_a_rank_that_exits_while_another_begins_a_fit_raises_with_it():
    for error in on_ranks(2, _exit_instead):
        assert isinstance(error, RuntimeError)
        assert "different things" in str(error) and "1: 'the end of the block'" in str(error)


def test_a_rank_at_the_end_hears_of_a_fit_that_another_begins_with_what_cannot_be():
    def work(rank):
        if rank == 1:
            make(alpha=-1).fit(*rows())

    own, other = on_ranks(2, work)[::-1]
    assert isinstance(own, ValueError) and "'alpha'" in str(own)
    assert type(other) is ValueError and str(other) == f"rank 1: {own}"


def test_the_fit_after_one_that_only_this_rank_has_left_ends_the_job(monkeypatch, capfd):
    own = _data_parallel.SharedRows.weigh

    def weigh(rows):
        if active().rank == 1:
            raise MemoryError("no room for weights")
        return own(rows)

    monkeypatch.setattr(_data_parallel.SharedRows, "weigh", weigh)

    def work(rank):
        try:
            make().fit(*rows())
        except MemoryError:
            make(max_iter=1).fit(*rows())

    assert isinstance(on_ranks(2, work)[1], Ended)
    told = capfd.readouterr().err
    assert "left a fit that the others are in, by MemoryError: no room for weights" in told


def test_an_exception_before_the_core_meets_the_others_in_their_step(monkeypatch):
    epoch = _data_parallel.epoch

    class Refusing:
        n_params, loss_sum, begin = 6 * 9 + 9 + 9 * 7 + 7 + 7 + 1, 0.0, lambda *_: None

        def train_epoch(self, *arguments, **more):
            raise MemoryError("no room for a team")

    def on_rank_1(job, *arguments):
        return epoch(job._replace(trainer=Refusing()) if job.ranks.rank else job, *arguments)

    monkeypatch.setattr(_data_parallel, "epoch", on_rank_1)
    first, own = on_ranks(2, lambda rank: make().fit(*rows()))
    assert type(own) is MemoryError and str(own) == "no room for a team"
    assert type(first) is MemoryError and str(first) == "rank 1: no room for a team"


def test_an_exit_in_the_middle_of_a_fit_ends_the_job(monkeypatch):
    def weigh(rows):
        if active().rank == 1:
            raise SystemExit(0)
        return own(rows)

    own = _data_parallel.SharedRows.weigh
    monkeypatch.setattr(_data_parallel.SharedRows, "weigh", weigh)
    found = on_ranks(2, lambda rank: make().fit(*rows()))
    assert isinstance(found[1], Ended)


def test_ranks_may_exit_at_the_end_while_others_are_busy():
    ended = []

    def work(rank):
        est = make(max_iter=1).fit(*rows())
        if rank == 1:
            raise SystemExit
        time.sleep(0.1)
        ended.append(rank)
        return est

    found = on_ranks(2, work)
    assert isinstance(found[1], SystemExit) and isinstance(found[0], fastbp.MLPRegressor)
    assert ended == [0]


@pytest.mark.parametrize("kind, is_shared", [(ValueError, True), (KeyboardInterrupt, False)])
def test_a_check_that_all_ranks_fail_is_known_from_what_one_hears_alone(kind, is_shared):
    ranks = Ranks(Communicator(_Group(2), 0))
    with pytest.raises(kind) as caught, alike(ranks):
        raise kind
    assert ranks.is_shared(caught.value) == is_shared


def test_ranks_that_do_different_things_are_told():
    def work(rank):
        ranks = active()
        with pytest.raises(RuntimeError, match="0: 'a', 1: 'b'"):
            ranks.exchange("ab"[rank])

    all_well(on_ranks(2, work))


@pytest.mark.parametrize("comm", [None, 3, "COMM_WORLD", Communicator])
def test_what_is_no_communicator_is_refused(comm):
    with pytest.raises(TypeError, match="comm=.* it takes a communicator of mpi4py"):
        fastbp.distributed(comm)


def test_a_communicator_without_ranks_is_refused():
    class Null(Communicator):
        def __bool__(self):
            return False

    class Inter(Communicator):
        def Is_inter(self):
            return True

    for kind, message in ((Null, "has no ranks"), (Inter, "between two groups")):
        with pytest.raises(ValueError, match=f"{message}: it takes"):
            fastbp.distributed(kind(_Group(2), 0))


def test_it_is_active_in_the_thread_that_entered():
    def work(rank):
        assert active().size == 2
        assert on_ranks(1, lambda comm: active(), enter=False) == [None]

    all_well(on_ranks(2, work))
    assert active() is None


def test_it_is_not_active_in_a_copy_of_the_context():
    seen = []

    def work(rank):
        context = contextvars.copy_context()
        other = threading.Thread(target=lambda: seen.append(context.run(active)))
        other.start()
        other.join()
        assert context.run(active) is active()

    all_well(on_ranks(2, work))
    assert seen == [None, None]


def test_a_forked_child_is_no_rank(monkeypatch):
    block, pid = fastbp.distributed(Communicator(_Group(2), 0)), os.getpid()
    block.__enter__()
    assert active().size == 2
    monkeypatch.setattr("os.getpid", lambda: pid + 1)
    assert active() is None
    block.__exit__(None, None, None)  # waits for nobody


def test_a_block_within_a_block_has_the_same_ranks():
    def work(rank):
        outer = active()
        with fastbp.distributed(outer.comm) as block:
            assert active() is outer
            with block:
                assert active() is outer
        assert active() is outer

    all_well(on_ranks(2, work))


def test_tables_are_refused():
    X, y = rows()

    def work(rank):
        fastbp.TabularRegressor().fit(X, y)

    for error in on_ranks(2, work):
        assert isinstance(error, NotImplementedError)
        assert "TabularRegressor does not go with fastbp.distributed over 2 ranks" in str(error)


# ---- memory ----


def test_the_number_beside_the_gradient_is_in_the_plan():
    X, y = rows()

    def work(rank):
        est = make(fastbp.MLPRegressor, dtype="float32").fit(X, y)
        plan = fastbp.memory_plan((6, 9, 7, 1), batch_size=BATCH, activation="tanh", n_threads=1)
        return est.memory_plan_, plan, weights_of(est).size

    for found, planned, n_params in all_well(on_ranks(2, work)):
        assert found == planned
        grad = next(row for row in found.rows if row.name == "grad")
        assert grad.shape == (n_params + 1, 1)


def test_threads_of_a_machine_are_shared():
    def work(rank):
        active().find_neighbours()
        return active().neighbours

    assert on_ranks(3, work) == [3, 3, 3]


def test_what_limits_a_process_is_not_divided(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setattr(_threads, "_cores", lambda: 16)
    monkeypatch.setattr(_threads, "_limits_in_force", lambda: [])
    assert [_threads.resolve_n_threads(None, n_sharers=n) for n in (1, 4, 8, 32)] == [4, 4, 2, 1]
    settings = {"hidden_layer_sizes": (256, 256), "batch_size": 256, "n_threads": None}
    found = on_ranks(2, lambda rank: make(max_iter=1, **settings).fit(*rows(1000)))
    assert [est.memory_plan_.n_threads for est in all_well(found)] == [4, 4]


# ---- the core ----


def test_the_core_refuses_a_reduction_that_does_not_fit():
    X, y = rows(40)
    data = _core.Data(X, y.reshape(-1, 1))
    arguments = ((6, 5, 1), ("tanh",), "squared_error", "float64", BATCH, "adam")
    trainer = _core.Trainer(*arguments, reduces=True)
    params = np.zeros(trainer.n_params)
    state = (params.copy(), params.copy())

    def reduction(ends=(10, 20, 30, 40), rows=(20,) * 4, totals=(20.0,) * 4, step=0):
        ends, rows, totals = np.array(ends), np.array(rows), np.array(totals)
        return _core.Reduction(
            ends, rows, totals, lambda place, v: None, None, counts_penalty=True, step=step
        )

    for wrong in ({"rows": (20,) * 3}, {"step": 5}, {"ends": (20, 10, 30, 40)}, {"rows": (0,) * 4}):
        with pytest.raises(ValueError, match="ends"):
            reduction(**wrong)

    def epoch(trainer, reduction, **more):
        return trainer.train_epoch(
            params,
            state,
            data,
            None,
            BATCH,
            alpha=0,
            learning_rate=0.1,
            reduction=reduction,
            **more,
        )

    with pytest.raises(ValueError, match="reduces=True"):
        epoch(_core.Trainer(*arguments), reduction())
    with pytest.raises(ValueError, match="reduction has 30 rows"):
        epoch(trainer, reduction((10, 20, 30, 30)))
    with pytest.raises(ValueError, match="steps of up to 15"):
        epoch(trainer, reduction((15, 20, 30, 40)))
    with pytest.raises(ValueError, match="rates"):
        epoch(trainer, reduction(), rates=np.ones(3))
    made = reduction(step=1)
    assert epoch(trainer, made, rates=np.ones(3))[1:] == (3, True)
    assert made.step == 4


def test_an_error_of_the_communicator_ends_the_call():
    X, y = rows(40)
    trainer = _core.Trainer(
        (6, 5, 1), ("tanh",), "squared_error", "float64", BATCH, "adam", reduces=True
    )
    params = np.ones(trainer.n_params)
    state = (params * 0, params * 0)
    calls = []

    def allreduce(in_place, vector):
        assert in_place == "here" and vector.shape == (trainer.n_params + 1,)
        calls.append(vector[-1])
        if len(calls) == 3:
            raise OSError("the cable is out")

    ends = np.array([10, 20, 30, 40])
    reduction = _core.Reduction(
        ends, ends * 0 + 20, ends * 0 + 20.0, allreduce, "here", counts_penalty=True
    )
    with pytest.raises(OSError, match="the cable is out"):
        trainer.train_epoch(
            params,
            state,
            _core.Data(X, y.reshape(-1, 1)),
            None,
            BATCH,
            alpha=0,
            learning_rate=0.1,
            reduction=reduction,
        )
    assert len(calls) == 3 and trainer.updates == reduction.step == 2


def test_one_sparse_shard_among_dense_ones():
    X, y = rows()
    X = np.where(np.abs(X) > 1.2, X, 0)
    parts = np.split(X, 2), np.split(y, 2)
    found = all_well(
        on_ranks(
            2,
            lambda rank: make().fit(
                sparse.csr_matrix(parts[0][rank]) if rank else parts[0][rank], parts[1][rank]
            ),
        )
    )
    one = make(batch_size=2 * BATCH).fit(*map(joined, parts))
    assert_same_bits(found)
    np.testing.assert_allclose(weights_of(found[0]), weights_of(one), rtol=0, atol=1e-12)
