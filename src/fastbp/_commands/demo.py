"""``python -m fastbp demo``: train on the digits data, beside scikit-learn's own estimator."""

import time
import warnings

_SETTINGS = dict(
    hidden_layer_sizes=(64,), batch_size=32, learning_rate_init=0.003, max_iter=40, random_state=0
)
_DESCRIPTION = """\
Train MLPClassifier of fastbp and of scikit-learn with equal settings on the
digits data, which come with scikit-learn, and print the memory of the fit, the
loss, times and test accuracies. It takes some seconds and has no options.
"""


def add(commands):
    """Add the command to the parser."""
    text = "train on the digits data, beside scikit-learn's own estimator"
    parser = commands.add_parser("demo", help=text, description=_DESCRIPTION)
    parser.set_defaults(run=run)


def run(_):
    """Do what the command line asks for."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier as SklearnMLP

    import fastbp

    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X / 16.0, y, test_size=0.25, random_state=0, stratify=y
    )
    print(
        f"digits: {len(X_train)} images to train on, {len(X_test)} to test, "
        f"{X.shape[1]} pixels, 10 classes\n"
    )
    ours, theirs = fastbp.MLPClassifier(**_SETTINGS), SklearnMLP(**_SETTINGS)
    seconds = _timed_fit(ours, X_train, y_train)
    print(ours.memory_plan_)
    print()
    for epoch, loss in enumerate(ours.loss_curve_, start=1):
        if epoch == 1 or epoch % 10 == 0 or epoch == ours.n_iter_:
            print(f"epoch {epoch:3d}  loss {loss:.5f}")
    print()

    sklearn_seconds = _timed_fit(theirs, X_train, y_train)
    print(f"{'':14}{'epochs':>8}{'seconds':>10}{'test accuracy':>16}")
    for name, estimator, elapsed in (
        ("fastbp", ours, seconds),
        ("scikit-learn", theirs, sklearn_seconds),
    ):
        accuracy = estimator.score(X_test, y_test)
        print(f"{name:14}{estimator.n_iter_:8d}{elapsed:10.3f}{accuracy:16.4f}")
    print(f"\nfastbp took {sklearn_seconds / seconds:.1f} times less time.")


def _timed_fit(estimator, X, y):
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # The number of epochs is fixed on purpose, for two fits of equal work.
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        estimator.fit(X, y)
        return time.perf_counter() - start
