"""``make ab`` compares what it says it compares."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def pairs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import ab_pairs

    return ab_pairs


def test_a_side_refuses_the_package_of_another_tree(pairs, tmp_path):
    (tmp_path / "src").mkdir()  # without fastbp, so that the installed one is found
    (tmp_path / "bench").symlink_to(ROOT / "bench")
    side = pairs.Side(tmp_path, 1)
    try:
        side.send("prepare", "sciml", {"short": True}, "float32", 1)
        with pytest.raises(pairs.WorkerError, match="fastbp is .* not of"):
            side.receive(60)
    finally:
        side.close()


def test_ratio_holds_against_drift_of_the_machine(pairs):
    drift = [1.0, 1.5, 1.1, 2.0]
    samples = [
        {"old": [d * t for d in drift], "new": [1.05 * d * t for d in drift]} for t in (1.0, 3.0)
    ]
    found = pairs.evaluate(samples)
    assert found["ratio"] == pytest.approx(1.05)
    assert found["pairs"]["median"] == pytest.approx(1.05)
    assert found["ratios"]["runs"] == 8
