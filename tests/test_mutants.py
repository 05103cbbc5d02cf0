"""The table of the mutants fits the code and the tests; `make mutants` puts them in."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent


@pytest.fixture(scope="module")
def mutants():
    if not (ROOT / "csrc").is_dir():
        pytest.skip("the sources are not here")
    spec = importlib.util.spec_from_file_location("table", HERE / "mutants" / "table.py")
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    return table.MUTANTS


def test_every_old_text_stands_once(mutants):
    text = {m.file: (ROOT / m.file).read_text() for m in mutants}
    assert [m.name for m in mutants if text[m.file].count(m.old) != 1 or m.old == m.new] == []


def test_every_mutant_has_a_name_of_its_own(mutants):
    assert [name for name, n in Counter(m.name for m in mutants).items() if n > 1] == []


def exists(test):
    if test.startswith("c/"):
        return (HERE / f"{test}.c").exists()
    name, _, function = test.partition("::")
    path = HERE / name
    return path.exists() and (
        not function or f"\ndef {function.partition('[')[0]}(" in path.read_text()
    )


def test_the_tests_that_should_notice_are_there(mutants):
    assert {t for m in mutants for t in m.tests if not exists(t)} == set()
    assert [m.name for m in mutants if not m.tests] == []


def test_few_survive(mutants):
    assert sum(bool(m.reason) for m in mutants) <= 0.1 * len(mutants)


def test_every_file_has_a_mutant(mutants):
    """But for tables, headers that only declare, and what names things."""
    without = (
        "csrc/fastbp.h csrc/tuning.h csrc/data/source.h csrc/gemm/gemm.h csrc/gemm/operand.h",
        "csrc/gemm/ukernel.h csrc/kernels/kernels.h csrc/kernels/levels.h csrc/kernels/template.h",
        "csrc/kernels/kernels_f32.c csrc/kernels/kernels_f64.c csrc/net/net.h csrc/train/train.h",
        "csrc/runtime/arena.h csrc/runtime/cpu.c csrc/runtime/pool.h csrc/runtime/os.h",
        "csrc/runtime/os_windows.c src/fastbp/__init__.py",
        "src/fastbp/_version.py src/fastbp/_input/__init__.py src/fastbp/_blas.pyx",
        "src/fastbp/tabular/__init__.py src/fastbp/_commands/__init__.py",
        "src/fastbp/_files/__init__.py src/fastbp/_export/__init__.py",
        "src/fastbp/_files/__init__.py src/fastbp/_checkpoints/__init__.py",
    )
    files = [*ROOT.glob("csrc/**/*.[ch]"), *ROOT.glob("src/fastbp/**/*.py")]
    files += [*ROOT.glob("src/fastbp/*.pyx")]
    names = {str(path.relative_to(ROOT)) for path in files}
    assert names - {m.file for m in mutants} - set(" ".join(without).split()) == set()
