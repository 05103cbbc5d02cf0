"""What can be exported of an estimator, and how its labels are written."""

import numpy as np

# Up to it float64 tells every integer from the others. Above it a category that was not seen could
# be taken for one that was: the next one, 2**53 + 1, is 2**53 in float64.
LARGEST_EXACT = 2**53 - 1


def form_of(function, forms, where):
    """What a table of the functions of layers has for one of them; ValueError if it has nothing."""
    if function not in forms:
        raise ValueError(
            f"The function {function!r} of a layer has no form in {where}, which takes one of "
            f"{list(forms)}."
        )
    return forms[function]


def predicts_otherwise(cls, base):
    """Whether a class has predictions of its own, which its base knows nothing of."""
    methods = ("predict", "predict_proba")
    return any(getattr(cls, name, None) is not getattr(base, name, None) for name in methods)


def is_multilabel(estimator):
    """Whether a classifier tells several labels of a row."""
    binarizer = getattr(estimator, "_binarizer", None)
    multilabel = getattr(binarizer, "y_type_", "").startswith("multilabel")
    if binarizer is not None and not multilabel:
        raise ValueError(
            f"{type(estimator).__name__} has a _label_binarizer of its own, {binarizer!r}: only "
            "the labels in classes_ can be exported."
        )
    return multilabel


def label_array(classes):
    """Labels as int64 or text, which is what ONNX has.

    Raises
    ------
    ValueError
        For others.
    """
    classes = np.asarray(classes)
    if classes.dtype.kind in "mM":  # those of nanoseconds would be Python's integers
        raise _no_label(classes[0])
    if classes.dtype.kind == "U" or all(isinstance(label, str) for label in classes.tolist()):
        for label in classes.tolist():
            check_text("classes_ holds a label that", label)
        return classes.astype(str)
    found = np.zeros(len(classes), dtype=np.int64)
    for place, label in enumerate(classes.tolist()):
        if not isinstance(label, (int, float)) or label != label // 1 or abs(label) >= 2**63:
            raise _no_label(label)
        found[place] = label
    return found


def _no_label(label):
    return ValueError(
        f"classes_ holds {label!r}: ONNX takes labels that are all text, or all whole numbers of "
        "64 bits."
    )


def check_text(what, text):
    """Raise ValueError if a text has no UTF-8, or the character NUL, where others see an end."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} is {text!r}: it takes text that has a form in UTF-8.") from None
    if "\0" in text:
        raise ValueError(f"{what} is {text!r}: it takes text without the character NUL.")
