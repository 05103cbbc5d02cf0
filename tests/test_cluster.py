"""Several processes: mpiexec, and a local Dask cluster. See `make test-cluster`."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp._checkpoints.files import read

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
needs_mpi = pytest.mark.skipif(
    not (MPIEXEC and find_spec("mpi4py")), reason="mpi4py or mpiexec is not installed"
)
needs_dask = pytest.mark.skipif(
    not find_spec("distributed"), reason="dask.distributed is not installed"
)

BATCH = 16
# Rows are drawn alike in all processes; each rank takes its part.
COMMON = """
import json, os, signal, sys, threading, time, warnings
import numpy as np
from mpi4py import MPI

import fastbp

warnings.simplefilter("ignore")
comm, folder = MPI.COMM_WORLD, sys.argv[1]
rank, size = comm.Get_rank(), comm.Get_size()


def note(name, **values):
    path = os.path.join(folder, f"{name}-{rank}.json")
    with open(path + ".new", "w") as file:
        json.dump({"time": time.time(), **values}, file)
    os.replace(path + ".new", path)


def keep(name, est):
    weights = [a.tolist() for a in (*est.coefs_, *est.intercepts_)]
    note(name, weights=weights, bits=est._params.flat.tobytes().hex(), curve=est.loss_curve_,
         scores=est.validation_scores_, steps=getattr(est._optimizer, "t", 0))
"""
DRAW = """
def drawn(n):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(n, 7))
    return X, (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int) + (X[:, 2] > 1), rng.uniform(0.5, 2, n)


SETTINGS = dict(
    hidden_layer_sizes=(24, 12), activation="gelu", dtype="float64", batch_size=16, shuffle=False,
    random_state=1, max_iter=5, n_threads=1, class_weight="balanced",
)
KINDS = {
    "adam": {},
    "adamw": {"solver": "adamw", "max_grad_norm": 0.5, "ema_decay": 0.9, "warmup": 0.1},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05},
    "lbfgs": {"solver": "lbfgs", "max_iter": 15},
}
"""
exec(DRAW)  # the same for the processes, which read it as text, and for us


def mpiexec(n, program, folder, *arguments, timeout=120):
    """Run a program as n ranks; what it gave back, and when."""
    path = folder / "program.py"
    path.write_text(COMMON + DRAW + program)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [MPIEXEC, "-n", str(n), sys.executable, str(path), str(folder), *map(str, arguments)],
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return done, time.time()


def noted(folder, name, rank):
    return json.loads((folder / f"{name}-{rank}.json").read_text())


def joined(parts, n=BATCH):
    return np.concatenate([p[i : i + n] for i in range(0, len(parts[0]), n) for p in parts])


@needs_mpi
@pytest.mark.parametrize("size", [2, 4])
def test_processes_equal_one_with_the_joined_batches(size, tmp_path):
    done, _ = mpiexec(
        size,
        """
X, y, weight = (np.split(a, size)[rank] for a in drawn(size * 90))
for name, settings in KINDS.items():
    with fastbp.distributed(comm):
        keep(name, fastbp.MLPClassifier(**SETTINGS | settings).fit(X, y, weight))
with fastbp.distributed(comm):
    settings = dict(dtype="float32", shuffle=True, early_stopping=True, dropout=0.1)
    keep("own", fastbp.MLPClassifier(**SETTINGS | settings).fit(X, y))
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    parts = [np.split(a, size) for a in drawn(size * 90)]  # noqa: F821
    for name, settings in KINDS.items():  # noqa: F821
        one = fastbp.MLPClassifier(**SETTINGS | settings | {"batch_size": size * BATCH})  # noqa: F821
        one.fit(*map(joined, parts))
        found = [noted(tmp_path, name, rank) for rank in range(size)]
        assert len({f["bits"] for f in found}) == 1
        assert all(f["curve"] == found[0]["curve"] for f in found)
        for mine, theirs in zip((*one.coefs_, *one.intercepts_), found[0]["weights"], strict=True):
            np.testing.assert_allclose(theirs, mine, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found[0]["curve"], one.loss_curve_, rtol=1e-12)
    own = [noted(tmp_path, "own", rank) for rank in range(size)]
    assert len({f["bits"] for f in own}) == 1
    assert all(f["scores"] == own[0]["scores"] and len(f["scores"]) == 5 for f in own)


@needs_mpi
def test_unequal_shards_make_the_same_steps(tmp_path):
    done, _ = mpiexec(
        3,
        """
X, y, weight = (np.split(a, [200, 230])[rank] for a in drawn(250))
with fastbp.distributed(comm):
    keep("found", fastbp.MLPClassifier(**SETTINGS | {"shuffle": True}).fit(X, y, weight))
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = [noted(tmp_path, "found", rank) for rank in range(3)]
    assert len({f["bits"] for f in found}) == 1
    assert [f["steps"] for f in found] == [5 * 13] * 3


@needs_mpi
def test_an_empty_shard_is_refused_by_all(tmp_path):
    done, ended = mpiexec(
        3,
        """
X, y, _ = (np.split(a, [60, 120])[rank] for a in drawn(120))
try:
    with fastbp.distributed(comm):
        fastbp.MLPClassifier(**SETTINGS).fit(X, y)
except ValueError as error:
    note("error", text=str(error))
comm.Barrier()
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    texts = [noted(tmp_path, "error", rank)["text"] for rank in range(3)]
    assert texts[2].startswith("Found array with 0 sample(s)")
    assert texts[0] == texts[1] == f"rank 2: {texts[2]}"
    assert ended - noted(tmp_path, "error", 2)["time"] < 10


LONG = """
X, y, _ = (np.split(a, size)[rank] for a in drawn(size * 500))
clf = fastbp.MLPClassifier((64, 64), max_iter=10**6, n_iter_no_change=10**6, n_threads=1)
"""


@needs_mpi
@pytest.mark.parametrize(
    "how", ["exception", "killed", "in a callback", "exit", "exit without a word"]
)
def test_a_rank_that_fails_ends_the_job(how, tmp_path):
    program = {
        "exception": """
with fastbp.distributed(comm):
    if rank == 1:
        time.sleep(1)
        note("failed")
        raise LookupError("no such shard")
    clf.fit(X, y)
""",
        "exit": """
with fastbp.distributed(comm):
    if rank == 1:
        note("failed")
        sys.exit("rank 1 has had enough")
    clf.fit(X, y)
""",
        "exit without a word": """
with fastbp.distributed(comm):
    if rank == 1:
        note("failed")
        sys.exit()
    clf.fit(X, y)
""",
        "in a callback": """
def scorer(estimator, X, y):
    if rank == 1 and estimator.n_iter_ == 20:
        note("failed")
        raise LookupError("no such shard")
    return 1.0
clf.set_params(early_stopping=True, scoring=scorer)
with fastbp.distributed(comm):
    clf.fit(X, y)
""",
        "killed": """
def kill():
    note("failed")
    os.kill(os.getpid(), signal.SIGKILL)
if rank == 1:
    threading.Timer(1, kill).start()
with fastbp.distributed(comm):
    clf.fit(X, y)
""",
    }[how]
    done, ended = mpiexec(2, LONG + program, tmp_path)
    assert done.returncode != 0
    assert ended - noted(tmp_path, "failed", 1)["time"] < 10
    told = done.stdout + done.stderr
    if how == "killed":
        # By mpiexec; or by the MPI of the other rank, where that was just reading from this one.
        assert "KILLED" in told.upper() or "Abort(" in told
    else:
        assert "rank 1" in told or how == "exit without a word"
        why = {"exit": "had enough", "exit without a word": "do different things"}
        assert why.get(how, "LookupError: no such shard") in told


@needs_mpi
def test_ctrl_c_on_one_rank_ends_the_fit_of_all(tmp_path):
    done, _ = mpiexec(
        2,
        LONG
        + """
def scorer(estimator, X, y):
    if rank == 1 and estimator.n_iter_ == 2:  # soon, wherever the fit is then
        threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    return 1.0


clf.set_params(early_stopping=True, scoring=scorer)
with fastbp.distributed(comm):
    clf.fit(X, y)
keep("found", clf)
comm.Barrier()
os._exit(0)  # the signal also wakes the end of Python's threads
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = [noted(tmp_path, "found", rank) for rank in range(2)]
    assert found[0]["bits"] == found[1]["bits"] and found[0]["steps"] == found[1]["steps"] > 0


# Rank 1 gets a Ctrl-C in the middle of the second epoch, or in the score of the last one.
INTERRUPTED = """
where, calls = sys.argv[2], 0


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)  # longer than the core takes to ask for signals


def loss(output, y, sample_weight):
    global calls
    calls += rank
    if where == "epoch" and calls == 8:
        interrupt()
    return ((output - y) ** 2).sum(axis=1) / 2, output - y


def scorer(estimator, X, y):
    if where == "score" and rank == 1 and estimator.n_iter_ == 3:
        interrupt()
    return 1.0


X, y, _ = (np.array_split(a, size)[rank] for a in drawn(160))
settings = {name: value for name, value in SETTINGS.items() if name != "class_weight"}
est = fastbp.MLPRegressor(**settings | dict(
    max_iter=3, loss=loss, early_stopping=True, scoring=scorer, validation_fraction=0.2,
    checkpoint=os.path.join(folder, "checkpoint")))
with fastbp.distributed(comm):
    est.fit(X, y)
keep("found", est)
note("epochs", n=est.n_iter_)
comm.Barrier()
os._exit(0)
"""


@needs_mpi
@pytest.mark.parametrize("where, n_epochs, n_whole", [("epoch", 1, 1), ("score", 3, 2)])
def test_ctrl_c_on_one_rank_leaves_a_whole_checkpoint(where, n_epochs, n_whole, tmp_path):
    """An epoch counts in it when all that belongs to it is done."""
    done, _ = mpiexec(2, INTERRUPTED, tmp_path, where)
    assert done.returncode == 0, done.stderr
    found = [noted(tmp_path, "found", rank) for rank in range(2)]
    assert found[0]["bits"] == found[1]["bits"]
    assert [noted(tmp_path, "epochs", rank)["n"] for rank in range(2)] == [n_epochs] * 2
    assert not list(tmp_path.glob("checkpoint*.part"))
    assert read(str(tmp_path / "checkpoint"))["course"]["attributes"]["n_iter_"] == n_whole


# The rank that is named kills itself in this epoch; 0: none does.
CHECKPOINTED = """
epoch, who = map(int, sys.argv[2:])


def scorer(estimator, X, y):
    if rank == who and estimator.n_iter_ == epoch:
        os.kill(os.getpid(), signal.SIGKILL)
    return estimator.score(X, y)


X, y, _ = (np.array_split(a, size)[rank] for a in drawn(600))
settings = dict(early_stopping=True, shuffle=True, dropout=0.1, max_iter=8, n_iter_no_change=50)
path = os.path.join(folder, "checkpoint")
clf = fastbp.MLPClassifier(
    **SETTINGS | settings, scoring=scorer, checkpoint=path, checkpoint_interval=1e-9
)
with fastbp.distributed(comm):
    keep("found", clf.fit(X, y))
"""


@needs_mpi
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_job_goes_on_with_any_number_of_ranks(rank, tmp_path):
    done, _ = mpiexec(2, CHECKPOINTED, tmp_path, 0, rank)
    assert done.returncode == 0, done.stderr
    whole = noted(tmp_path, "found", 0)
    for size in (2, 1, 3):
        done, _ = mpiexec(2, CHECKPOINTED, tmp_path, 5, rank)
        assert done.returncode != 0
        course = read(str(tmp_path / "checkpoint"))["course"]
        assert course["attributes"]["n_iter_"] == 4
        done, _ = mpiexec(size, CHECKPOINTED, tmp_path, 0, rank)
        assert done.returncode == 0, done.stderr
        found = [noted(tmp_path, "found", r) for r in range(size)]
        assert len({f["bits"] for f in found}) == 1
        assert len(found[0]["curve"]) == len(whole["curve"])
        assert (found[0]["bits"] == whole["bits"]) == (size == 2)
        assert not (tmp_path / "checkpoint").exists()


# ---- the benchmark ----


@needs_mpi
def test_the_benchmark_measures_ranks_and_models_more():
    program = Path(__file__).resolve().parents[1] / "bench" / "mpi.py"
    tiny = ["--ranks", "1", "2", "--seconds", "0.1", "--nets", "digits"]
    done = subprocess.run(
        [sys.executable, str(program), *tiny], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| digits, 64-64-10, 32 rows +\| +(\d) x", done.stdout, re.M)
    assert rows == ["1", "2"], done.stdout
    assert "64 machines" in done.stdout and "## For which nets it pays" in done.stdout


# ---- what docs/distributed.md shows ----

PAGE = Path(__file__).resolve().parents[1] / "docs" / "distributed.md"
FIT, SCALER, SEARCH = re.findall(r"^```py\n(.*?)^```\n", PAGE.read_text(), re.M | re.S)


@needs_mpi
def test_the_page_fits_and_scales_by_all_rows(tmp_path):
    program = """
every_row = StandardScaler().fit(X)
for name in ("mean_", "var_", "scale_"):
    np.testing.assert_allclose(getattr(scaler, name), getattr(every_row, name), rtol=1e-12)
assert scaler.n_samples_seen_ == len(X)
note("found", files=os.path.exists("digits.fastbp") or rank > 0)
"""
    done, _ = mpiexec(2, f"os.chdir(folder)\n{FIT}\n{SCALER}\n{program}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(noted(tmp_path, "found", rank)["files"] for rank in range(2))
    assert done.stdout.count("accuracy on rows held out") == 1


@needs_dask
def test_the_page_searches_over_a_cluster(tmp_path):
    path = tmp_path / "search.py"
    path.write_text(SEARCH)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "alpha" in done.stdout


# ---- a search over a cluster ----


@needs_dask
def test_a_search_and_an_ensemble_run_on_a_dask_cluster():
    import joblib
    from dask.distributed import Client, LocalCluster
    from sklearn.ensemble import BaggingClassifier
    from sklearn.model_selection import GridSearchCV

    X, y, _ = drawn(300)  # noqa: F821
    settings = SETTINGS | {"shuffle": True}  # noqa: F821
    grid = {"alpha": [1e-5, 1e-1], "learning_rate_init": [1e-3, 1e-2]}

    def search():
        found = GridSearchCV(fastbp.MLPClassifier(**settings), grid, cv=3, n_jobs=-1).fit(X, y)
        votes = BaggingClassifier(
            fastbp.MLPClassifier(**settings), n_estimators=4, n_jobs=-1, random_state=0
        ).fit(X, y)
        return found.cv_results_["mean_test_score"], votes.predict_proba(X)

    with joblib.parallel_config(backend="sequential"):
        expected = search()
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        versions = client.run(lambda: __import__("fastbp").__file__)
        assert len(versions) == 2 and set(versions.values()) == {fastbp.__file__}
        found = search()
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)
