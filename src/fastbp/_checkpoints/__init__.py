"""Checkpoints: the state of a fit that has not ended, on disk, from which the same fit goes on.

`keeper` says when one is written and what happens if that fails; `fingerprint`, which fit a
checkpoint is of; `files`, how it lies on disk; `locks`, that one fit has a path at a time;
`evaluations`, the log of L-BFGS, whose state is SciPy's. What the state of a run is says each loop:
`_loops`, `_lbfgs` and `tabular._loop`.
"""
