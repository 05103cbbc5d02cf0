"""Processes that run beside the tests: what comes of them is told, and none stays behind."""

import os
import re
from types import SimpleNamespace

import pytest
from ahead import Process, Queue

NOT_SKIPPED = pytest.mark.skipif(False, reason="")


def a_test(described, skipif=NOT_SKIPPED, **params):
    """What the queue takes for a test that is marked."""
    return SimpleNamespace(
        get_closest_marker=lambda name: SimpleNamespace(args=(described,)),
        iter_markers=lambda name: iter([skipif.mark]),
        callspec=SimpleNamespace(params=params),
    )


@pytest.fixture
def ended():
    """Waits for the process of a test, after those of others were added."""
    queue = Queue()

    def wait(test, *others):
        for one in (test, *others):
            queue.add(one)
        return queue.ended(test)

    yield wait
    queue.end()
    assert not queue.running()


PRINTS = "import os, sys; print(sys.argv[1:], os.environ.get('A'), os.environ.get('B'))"


def test_it_gets_what_it_is_given(ended, monkeypatch):
    monkeypatch.setenv("B", "b")
    process = ended(a_test(lambda x: Process(PRINTS, x, A="a", B=None), x=3, y=4))
    assert process.printed() == "['3'] a None\n"


def test_a_bad_end_fails_with_all_that_was_said(ended):
    script = "import sys; print('out', flush=True); sys.exit('err')"
    process = ended(a_test(lambda: Process(script)))
    with pytest.raises(AssertionError, match=re.compile("1.*out.*err", re.DOTALL)):
        process.printed()


SLEEPS = "import os, time; print(os.getpid(), flush=True); time.sleep(100)"


def test_one_that_hangs_is_killed(ended):
    with pytest.raises(pytest.fail.Exception, match="hangs after\n[0-9]+\n") as failed:
        ended(a_test(lambda: Process(SLEEPS, timeout=1)))
    with pytest.raises(ProcessLookupError):
        os.kill(int(failed.value.msg.split()[2]), 0)


def test_a_second_one_runs_while_a_test_waits_and_tests_of_one_share_it(ended):
    started = []

    def described(number):
        started.append(number)
        return Process("import time; time.sleep(0.3)")

    tests = [a_test(described, number=number) for number in (1, 1, 2)]
    ended(*tests)
    assert started == [1, 2]


@pytest.mark.parametrize("condition", [{"condition": True}, {"condition": "sys.platform"}])
def test_none_is_started_ahead_for_a_test_that_may_be_skipped(condition, ended):
    """It is when the test asks for it, as one does that was not skipped."""
    queue, started = Queue(), []

    def described():
        started.append(1)
        return Process("")

    for mark in (pytest.mark.skipif(*condition.values()), pytest.mark.skipif(**condition)):
        test = a_test(described, mark)
        queue.add(test)
        queue.go_on(1)
    assert not started
    assert ended(test).printed() == ""


def test_a_rest_lasts_until_none_runs_but_not_for_ever():
    queue = Queue()
    try:
        for seconds in (0.3, 100):
            queue.add(a_test(lambda s: Process(f"import time; time.sleep({s})"), s=seconds))
            queue.go_on(1)
            assert queue.running()
            queue.rest(20 if seconds < 1 else 0.1)
            assert bool(queue.running()) == (seconds > 1)
    finally:
        queue.end()


def test_what_cannot_be_started_is_an_error_of_its_test_alone(ended):
    def skips():
        pytest.skip("no compiler")

    ended(a_test(lambda: Process("")), a_test(skips))
    with pytest.raises(pytest.skip.Exception, match="no compiler"):
        ended(a_test(skips))
