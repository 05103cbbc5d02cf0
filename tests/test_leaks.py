"""What a trainer had of memory and threads is given back, also if it could not be made."""

import ctypes
import gc
import itertools
import os

import pytest
from thread_problems import make_trainer, new_threads, threads, threads_left

from fastbp import _core

TIMES = 300


class Mallinfo(ctypes.Structure):
    """What glibc counts; `uordblks` and `hblkhd` are bytes in use, in the heap and beside it."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


@pytest.fixture
def bytes_in_use():
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        pytest.skip("no mallinfo2: of glibc from 2.33 on")
    mallinfo.restype = Mallinfo

    def count():
        gc.collect()
        info = mallinfo()
        return info.uordblks + info.hblkhd

    return count


def trainer_that_fails():
    with pytest.raises(ValueError, match="max_memory"):
        make_trainer("digits", "relu", "float32", 2, max_memory=100)


KINDS = {
    "alone": lambda: make_trainer("digits", "relu", "float32", 1),
    "with a team": lambda: make_trainer("digits", "relu", "float32", 2),
    "of several passes": lambda: make_trainer("digits", "relu", "float32", 1, max_memory=100_000),
    "that only measures": lambda: make_trainer("digits", "relu", "float32", 2, measure=True),
    "that fails": trainer_that_fails,
}


@pytest.mark.parametrize("kind", KINDS)
def test_trainers_leave_nothing_behind(kind, bytes_in_use):
    make = KINDS[kind]
    for _ in range(20):
        make()
    before = bytes_in_use()
    for _ in range(TIMES):
        make()
    assert bytes_in_use() - before < 50 * TIMES


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="looks into /proc")
def test_a_trainer_takes_its_team_with_it():
    before = threads()
    trainer = make_trainer("digits", "relu", "float32", 3)
    assert len(new_threads(before)) == 2
    del trainer
    assert not threads_left(before)


def test_a_table_of_parameters_leaves_nothing_behind(bytes_in_use):
    def make():
        _core.parameters(tuple(itertools.repeat(3, 200)))
        with pytest.raises(OverflowError):
            _core.parameters((3, 2**31 - 1, 2**31 - 1, 2**31 - 1, 2**31 - 1))

    make()
    before = bytes_in_use()
    for _ in range(TIMES):
        make()
    assert bytes_in_use() - before < 50 * TIMES
