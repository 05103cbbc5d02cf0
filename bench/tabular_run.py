"""One run of `tabular.py`: a method on a table with a seed, in a process of its own."""

import resource
import time

from tabular_methods import METHODS
from tabular_tables import load, split
from worker import resident


class Run:
    """The commands of the process."""

    def run(self, source, method, seed, n_threads, max_rows=None):
        """Load, split, fit, predict the test rows.

        Parameters
        ----------
        source : Source
        method : str
            A key of `METHODS`.
        seed : int
            For the split and for the method.
        n_threads : int
        max_rows : int or None
            The first rows of a shuffled table are taken, if it has more.

        Returns
        -------
        dict
            Ready for JSON: ``scores`` by name, CPU and wall seconds of the fit and of the
            prediction, ``peak_bytes`` of the process and ``start_bytes``, resident before the fit.
        """
        import numpy as np

        X, y, task = load(source)
        if max_rows is not None and len(X) > max_rows:
            rows = np.random.default_rng(0).permutation(len(X))[:max_rows]
            X, y = X.iloc[rows], y[rows]
        parts = split(X, y, task, seed)
        n_rows, n_columns = X.shape
        del X
        contender = METHODS[method](task, seed, n_threads)
        parts = contender.prepare(parts)
        start_bytes = resident("VmRSS")
        fit_cost = _cost(lambda: contender.fit(parts.train, parts.validation))
        found = []
        predict_cost = _cost(lambda: found.append(contender.predict(parts.test.X)))
        prediction = np.asarray(found[0], np.float64)
        if task == "classification":
            prediction = _all_classes(prediction, contender.model.classes_, parts.n_classes)
        return {
            "table": source.name,
            "method": method,
            "seed": seed,
            "task": task,
            "rows": n_rows,
            "columns": n_columns,
            "n_classes": parts.n_classes,
            "n_threads": n_threads,
            "scores": score(parts.test.y, prediction, task),
            "cpu_seconds": fit_cost[0],
            "wall_seconds": fit_cost[1],
            "predict_cpu_seconds": predict_cost[0],
            "start_bytes": start_bytes,
            "peak_bytes": resident("VmHWM"),
        }


def _cpu_seconds():
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _cost(work):
    """CPU seconds, of all threads and of ended child processes, and wall seconds."""
    cpu, wall = _cpu_seconds(), time.perf_counter()
    work()
    return _cpu_seconds() - cpu, time.perf_counter() - wall


def _all_classes(probabilities, known, n_classes):
    """Columns for classes that the training rows lack are 0."""
    import numpy as np

    found = np.zeros((len(probabilities), n_classes))
    found[:, np.asarray(known, int)] = probabilities
    return found


def score(y, prediction, task):
    """Scores of a prediction.

    Returns
    -------
    dict
        ``rmse``, or ``accuracy``, ``log_loss`` and, where every class has test rows, ``roc_auc``
        (of several classes the mean over one against the rest).
    """
    import numpy as np
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score, root_mean_squared_error

    if task == "regression":
        return {"rmse": float(root_mean_squared_error(y, prediction))}
    classes = np.arange(prediction.shape[1])
    sums = prediction.sum(axis=1, keepdims=True)
    prediction = prediction / sums  # in float32 they are not 1 to the accuracy of float64
    scores = {
        "accuracy": float(accuracy_score(y, prediction.argmax(axis=1))),
        "log_loss": float(log_loss(y, prediction, labels=classes)),
    }
    if len(np.unique(y)) == len(classes) > 1:
        of_class = prediction[:, 1] if len(classes) == 2 else prediction
        scores["roc_auc"] = float(roc_auc_score(y, of_class, multi_class="ovr", labels=classes))
    return scores
