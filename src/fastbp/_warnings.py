"""Warnings that point at the line of the user's own that called a fit."""

import sys
import warnings
from pathlib import Path

import joblib
import scipy
import sklearn

# Frames of these packages stand between the user and us.
_BETWEEN = tuple(
    str(Path(file).parent) + sep
    for file in (__file__, sklearn.__file__, scipy.__file__, joblib.__file__)
    for sep in ("/", "\\")
)


def warn(message, category=UserWarning):
    """Issue a warning at the innermost frame that is neither ours nor of what we stand on."""
    # From Python 3.12 on warnings.warn can do this itself, by skip_file_prefixes.
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
