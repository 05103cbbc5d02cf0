"""Losses, and derivatives by the output, that the user's own function gives."""

import numpy as np


def numbers(what, array, shape, takes):
    """What a function of the user's gave, as an array of this shape.

    ValueError says what it takes.
    """
    try:
        array = np.asarray(array)
        fits = array.shape == shape and array.dtype.kind in "biuf"
    except ValueError:  # of lists of several lengths
        fits = False
    if not fits:
        got = (
            f"{array.dtype} of shape {array.shape}"
            if isinstance(array, np.ndarray)
            else repr(array)
        )
        raise ValueError(f"{what} is {got}: it takes {takes} of shape {shape}.")
    return array


def ask_for(loss):
    """What `_core.Trainer` asks for a loss of the user's own.

    Parameters
    ----------
    loss : callable
        ``(output, y, sample_weight) -> (loss_per_row, d_output)``.

    Returns
    -------
    callable
    """

    def ask(first, output, y, sample_weight):
        answer = loss(output, y, sample_weight)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise ValueError(
                f"loss={loss!r} returned {type(answer).__name__}: it takes a pair, the losses of "
                "the rows and their derivatives by the output."
            )
        rows, d_output = answer
        rows = numbers(f"The first of what loss={loss!r} returned", rows, (len(output),), "losses")
        return rows, numbers(
            f"The second of what loss={loss!r} returned", d_output, output.shape, "derivatives"
        )

    return ask


def ask_for_cotangent(cotangent, result):
    """What `_core.Trainer` asks for derivatives by the output; `result` takes the output.

    Parameters
    ----------
    cotangent : ndarray of shape (n, n_outputs), or callable
        A function is called with the output of all rows: for one pass only.
    result : ndarray of shape (n, n_outputs)
    """

    def ask(first, output, y, sample_weight):
        last = first + len(output)
        result[first:last] = output
        if callable(cotangent):
            part = numbers("What cotangent returned", cotangent(output), result.shape, "numbers")
        else:
            part = cotangent[first:last]
        return np.zeros(len(output)), part

    return ask
