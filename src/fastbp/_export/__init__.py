"""Fitted estimators in the languages of others: ONNX and C.

`description` says once what a fitted estimator computes; `onnx` and `c` write it down.
"""
