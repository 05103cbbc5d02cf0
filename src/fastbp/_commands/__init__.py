"""Commands of ``python -m fastbp`` that work on files: ``fit`` and ``predict``."""
