"""The tables of `tabular.py`: where they lie, what their targets are, how their rows are split.

A target is written as ``NAME``, ``log(NAME)`` or ``NAME / NUMBER``, and may end in
``(regression)`` or ``(classification)``. It comes from ``--target FILE=TARGET``; without that from
a table in the folder's README.md whose head has the columns ``file`` and ``target`` (and maybe
``metric``, where RMSE stands for a regression); otherwise it is the last column of the file.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".csv", ".csv.gz", ".parquet")
SHIPPED = ("breast_cancer", "diabetes", "digits", "iris", "wine")
TASKS = ("classification", "regression")
# A numeric target of at most so many distinct whole numbers is taken for classes.
MAX_WHOLE_CLASSES = 20
TEST_SHARE = VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Source:
    """A table that can be loaded, in this process or another one.

    Attributes
    ----------
    name : str
        Of the table, in results.
    path : str or None
        The file; None for a table that scikit-learn ships.
    target : str or None
        How the target is written; None for the last column.
    task : str or None
        One of `TASKS`; None to find it from the target.
    """

    name: str
    path: str | None = None
    target: str | None = None
    task: str | None = None


@dataclass
class Part:
    """Rows of a table: `X` is a pandas data frame, `y` an array."""

    X: object
    y: object


@dataclass
class Split:
    """A table in three parts.

    Attributes
    ----------
    train, validation, test : Part
    task : str
        One of `TASKS`; the labels of a classification are 0, 1, ...
    n_classes : int
        Of the whole table; 0 for a regression.
    """

    train: Part
    validation: Part
    test: Part
    task: str
    n_classes: int


def find_tables(folder, targets=()):
    """List the tables of a folder, the smallest file first, or those that scikit-learn ships.

    Parameters
    ----------
    folder : path-like or None
    targets : sequence of str
        ``FILE=TARGET`` each; the file may be named without its suffix.

    Returns
    -------
    list of Source

    Raises
    ------
    ValueError
        If there is no table, or `targets` names one that is not there.
    """
    if folder is None:
        if targets:
            raise ValueError("--target is for the tables of a folder, and no folder is given")
        return [Source(name) for name in SHIPPED]
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    files = [path for path in folder.iterdir() if path.name.endswith(SUFFIXES)]
    files.sort(key=lambda path: (path.stat().st_size, path.name))
    if not files:
        raise ValueError(f"no table ({', '.join(SUFFIXES)}) in {folder}")
    told = _targets_of_readme(folder)
    for text in targets:
        name, equals, target = text.partition("=")
        known = [path for path in files if name.strip() in (path.name, table_name(path))]
        if not equals or not known:
            raise ValueError(f"--target takes FILE=TARGET of a table in the folder, not {text!r}")
        told[table_name(known[0])] = target, ""
    return [_source(path, *told.get(table_name(path), ("", ""))) for path in files]


def table_name(path):
    """Name of a file without its suffix."""
    return re.sub(r"\.(csv|csv\.gz|parquet)$", "", Path(path).name)


def _targets_of_readme(folder):
    """Targets and metrics by table name, as far as a README.md tells them."""
    path = folder / "README.md"
    if not path.exists():
        return {}
    found, head = {}, None
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            head = None
            continue
        cells = [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]
        if head is None:
            head = [cell.lower() for cell in cells]
        elif {"file", "target"} <= set(head) and len(cells) == len(head):
            row = dict(zip(head, cells, strict=True))
            found[table_name(row["file"])] = row["target"], row.get("metric", "")
    return found


def _source(path, target, metric):
    # A remark in brackets at the end of the target may be its task.
    match = re.fullmatch(r"(.*?\S)\s+\(([^()]*)\)", target.strip())
    target, remark = match.groups() if match else (target.strip(), "")
    task = remark if remark in TASKS else "regression" if "rmse" in metric.lower() else None
    return Source(table_name(path), str(path), target or None, task)


def parse_target(text):
    """Read how a target is written.

    Parameters
    ----------
    text : str
        ``NAME``, ``log(NAME)`` or ``NAME / NUMBER``; commas in the number are left out.

    Returns
    -------
    name : str
        Of the column.
    transform : callable or None
        From the column to the target, a number each.
    """
    if match := re.fullmatch(r"log\((.+)\)", text):
        return match[1].strip(), math.log
    if match := re.fullmatch(r"(.+?)\s*/\s*([\d.,]+)", text):
        divisor = float(match[2].replace(",", ""))
        return match[1], lambda value: value / divisor
    return text, None


def load(source):
    """Load a table.

    Parameters
    ----------
    source : Source

    Returns
    -------
    X : pandas.DataFrame
    y : ndarray
        Float64, or the number of the class.
    task : str
    """
    import numpy as np
    from pandas.api.types import is_numeric_dtype

    X, y = _shipped(source) if source.path is None else _from_file(source)
    task = source.task or _find_task(y)
    if task == "classification":
        return X, np.unique(y.astype(str), return_inverse=True)[1], task
    if not is_numeric_dtype(y):
        raise ValueError(f"{source.name}: the target {y.name!r} has values that are not numbers")
    return X, y.to_numpy(np.float64), task


def _shipped(source):
    import sklearn.datasets

    data = getattr(sklearn.datasets, f"load_{source.name}")(as_frame=True)
    return data.data, data.target


def _from_file(source):
    import pandas as pd

    read = pd.read_parquet if source.path.endswith(".parquet") else pd.read_csv
    table = read(source.path)
    name, transform = table.columns[-1], None
    if source.target is not None:
        # A column may be called "a / 2" or "log(a)".
        whole = source.target in table.columns
        name, transform = (source.target, None) if whole else parse_target(source.target)
    if name not in table.columns:
        raise ValueError(
            f"{source.name}: there is no column {name!r} for the target; it has "
            f"{', '.join(map(repr, table.columns))}"
        )
    table = table[table[name].notna()].reset_index(drop=True)
    y = table[name] if transform is None else table[name].map(transform)
    return table.drop(columns=name), y


def _find_task(y):
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if not is_numeric_dtype(y) or is_bool_dtype(y):
        return "classification"
    few = y.nunique() <= MAX_WHOLE_CLASSES and (y % 1 == 0).all()
    return "classification" if few else "regression"


def split(X, y, task, seed):
    """Split a table: 20% of the rows to test, 20% of the rest to validate, the rest to train.

    Returns
    -------
    Split
        Classes have the same shares in all parts, but where one has too few rows for that.
    """
    import numpy as np
    from sklearn.model_selection import train_test_split

    def in_two(X, y, share):
        counts = np.bincount(y) if task == "classification" else np.array([0])
        even = task == "classification" and counts[counts > 0].min() > 1
        return train_test_split(
            X, y, test_size=share, random_state=seed, stratify=y if even else None
        )

    X_rest, X_test, y_rest, y_test = in_two(X, y, TEST_SHARE)
    X_train, X_val, y_train, y_val = in_two(X_rest, y_rest, VALIDATION_SHARE)
    n_classes = int(y.max()) + 1 if task == "classification" else 0
    parts = (Part(X_train, y_train), Part(X_val, y_val), Part(X_test, y_test))
    return Split(*parts, task, n_classes)
