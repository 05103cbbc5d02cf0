"""What docs/performance.md and README.md say of the speed is what was measured."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "compare.json"


@pytest.fixture
def compare(monkeypatch):
    if not RESULTS.exists():
        pytest.skip("not a source tree")
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import compare

    return compare


@pytest.fixture
def results():
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def test_the_page_has_the_tables_of_the_measurements(compare, results):
    text = compare.PAGE.read_text(encoding="utf-8")
    part = compare.page_part(results, compare.others(), "../bench/results/compare.png")
    assert compare.replace_part(text, part) == text, "bench/compare.py --render --page"


def test_the_readme_has_the_figures_of_the_measurements(compare, results):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "bench/results/compare.png" in text
    told = re.findall(r"([\d.]+) times as fast on ([\d-]+)", text)
    assert len(told) == 3
    for figure, layers in told:
        ratios = [
            cell["contenders"]["sklearn"]["ratio"]["median"]
            for cell in results["cells"]
            if "-".join(map(str, cell["layers"])) == layers and cell["dtype"] == "float32"
        ]
        assert figure == f"{ratios[0]:.1f}" or figure == f"{ratios[0]:.0f}", layers
