"""Estimators for tables: numbers of any scale, categories, gaps; no tuning."""

from fastbp.tabular.classifier import TabularClassifier
from fastbp.tabular.regressor import TabularRegressor

__all__ = ["TabularClassifier", "TabularRegressor"]
