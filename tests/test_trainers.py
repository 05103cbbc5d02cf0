"""Trainers taken and given back by hand; `test_trainers_stay.py` has those of the estimators."""

import os

import pytest
from estimator_problems import X_REG, fitted

from fastbp import MLPRegressor, _core, _trainers


@pytest.fixture(autouse=True)
def none_kept():
    _trainers.forget()
    yield
    _trainers.forget()


def arguments(width=5):
    return (4, width, 2), ("relu",), "squared_error", "float32", 16, "none"


def use(width):
    """A call with a net of this width: its trainer."""
    trainer = _trainers.take(arguments(width))
    _trainers.give_back(trainer, arguments(width))
    return trainer


def kept():
    return [trainer for trainers in _trainers._kept.values() for trainer in trainers]


def test_two_calls_at_once_have_a_trainer_each():
    use(5)
    first, second = _trainers.take(arguments()), _trainers.take(arguments())
    assert first is not second
    _trainers.give_back(first, arguments())
    _trainers.give_back(second, arguments())
    assert len(kept()) == 2


def test_trainers_of_one_shape_are_counted_too():
    taken = [_trainers.take(arguments()) for _ in range(_trainers.MOST_TRAINERS + 3)]
    for trainer in taken:
        _trainers.give_back(trainer, arguments())
    assert len(kept()) == _trainers.MOST_TRAINERS


def test_a_large_trainer_does_not_stay(monkeypatch):
    monkeypatch.setattr(_trainers, "MOST_BYTES_OF_ONE", use(5).n_bytes)
    assert len(kept()) == 1
    use(50)
    assert [trainer.layer_sizes[1] for trainer in kept()] == [5]


def test_the_longest_unused_go_first():
    for width in range(1, _trainers.MOST_TRAINERS + 1):
        use(width)
    use(1)
    use(100)
    widths = [trainer.layer_sizes[1] for trainer in kept()]
    assert len(widths) == _trainers.MOST_TRAINERS
    assert 1 in widths and 100 in widths and 2 not in widths


def test_the_bytes_of_all_are_bounded(monkeypatch):
    monkeypatch.setattr(_trainers, "MOST_BYTES", use(5).n_bytes * 3)
    for width in range(5, 12):
        use(width)
    assert 0 < sum(trainer.n_bytes for trainer in kept()) <= _trainers.MOST_BYTES


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_starts_without():
    use(5)
    child = os.fork()
    if child == 0:
        os._exit(len(_trainers._kept))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(kept()) == 1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_second_small_step_makes_no_trainer(monkeypatch):
    est = fitted(MLPRegressor)
    X, y = X_REG[:32], X_REG[:32, 0].copy()
    est.partial_fit(X, y).partial_fit(X, y)

    def none(*args, **kwargs):
        raise AssertionError("a trainer was made")

    monkeypatch.setattr(_core, "Trainer", none)
    before = est.coefs_[0].copy()
    est.partial_fit(X, y).partial_fit(X, y)
    assert (est.coefs_[0] != before).any()
