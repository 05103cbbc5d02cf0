"""scikit-learn's callbacks: the tasks of a fit, which are its epochs or iterations."""

import sklearn

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:
        """Says that there are no callbacks."""

        def set_callbacks(self, *callbacks):
            """Raise NotImplementedError: callbacks need scikit-learn 1.9 or later.

            Parameters
            ----------
            *callbacks : callback instances
                Not used.
            """
            raise NotImplementedError(
                "set_callbacks needs sklearn.callback, which came with scikit-learn 1.9; installed "
                f"is scikit-learn {sklearn.__version__}."
            )


# What scikit-learn notes in an estimator while it is fitted. It belongs to that one, not to copies.
TEMPORARY = ("_callback_fit_ctx", "_skl_callbacks_to_teardown", "_parent_callback_ctx")


def has_callbacks(estimator):
    """Tell whether somebody follows this fit."""
    state = vars(estimator)
    return "_skl_callbacks" in state or "_parent_callback_ctx" in state


class FitTasks:
    """The contexts of one fit: a root, and one task for each epoch or iteration.

    Parameters
    ----------
    estimator : BaseMLP
        With callbacks, or fitted by somebody who has.
    X, y, sample_weight
        As the caller of ``fit`` gave them.
    present : callable
        () -> attributes that make a copy of the estimator what it were if the fit had ended now.
    task_name : str
        "epoch" or "iteration".
    max_iter : int
        So many of them at most.
    """

    def __init__(self, estimator, X, y, sample_weight, present, task_name, max_iter):
        self._estimator = estimator
        self._data = {"estimator": estimator, "X": X, "y": y}
        if sample_weight is not None:
            self._data["metadata"] = {"sample_weight": sample_weight}
        self._present = present
        self._task_name = task_name
        self._task = None
        self._followed = bool(getattr(estimator, "_skl_callbacks", ()))
        self._root = estimator._init_callback_context(max_subtasks=max_iter)
        self._root.call_on_fit_task_begin(**self._data)

    def pass_over(self, n_tasks):
        """So many epochs or iterations are done, of which nobody is told again."""
        for _ in range(n_tasks if self._followed else 0):
            self._root.subcontext(task_name=self._task_name)

    def begin(self):
        """An epoch or iteration begins, if it has not yet."""
        if self._task is None and self._followed:
            self._task = self._root.subcontext(task_name=self._task_name)
            self._task.call_on_fit_task_begin(**self._data, reconstruction_attributes=self._present)

    def end(self):
        """An epoch or iteration has ended; True if a callback wants the fit to end."""
        task, self._task = self._task, None
        return task is not None and task.call_on_fit_task_end(
            **self._data, reconstruction_attributes=self._present
        )

    def end_fit(self):
        """The fit has ended, and with it what it has begun and not finished."""
        self.end()
        self._root.call_on_fit_task_end(**self._data, reconstruction_attributes=self._present)
