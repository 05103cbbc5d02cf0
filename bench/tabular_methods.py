"""The methods that `tabular.py` compares, each with its own default settings.

``fit`` trains on the training rows; the validation rows are for early stopping and whatever else
the method chooses by them; test rows are seen by ``predict`` alone. What brings a table into the
form that a library takes as input (`Peer`) is done before the clock starts, except for fastbp,
which takes the table as it is, and for scikit-learn's MLP, whose pipeline does it within the fit.
"""

import importlib
import importlib.util
import warnings

# Rounds without a better validation loss after which the boosted trees stop.
PATIENCE = 50
# At most so many trees of LightGBM and HistGradientBoosting; CatBoost keeps its 1,000.
MAX_TREES = 2000
# HistGradientBoosting has 255 bins, one of them for the missing.
MAX_CATEGORIES = 254


class Method:
    """What the measuring side knows of a method.

    Attributes
    ----------
    name : str
        Key on the command line and in the results.
    title : str
        In tables.
    modules : tuple of str
        What must be importable; the first is the package whose version is noted.
    """

    name = title = ""
    modules = ()

    def __init__(self, task, seed, n_threads):
        self.task, self.seed, self.n_threads = task, seed, n_threads
        self.classifies = task == "classification"

    @classmethod
    def missing(cls):
        """Names of the modules that are not installed."""
        return [name for name in cls.modules if importlib.util.find_spec(name) is None]

    def prepare(self, split):
        """Import everything and bring the parts into the form that `fit` takes."""
        for name in self.modules:
            importlib.import_module(name)
        return split

    def fit(self, train, validation):
        """Train; this is what is timed."""
        raise NotImplementedError

    def predict(self, X):
        """Numbers, or one column of probabilities for each of ``self.model.classes_``."""
        return self.model.predict_proba(X) if self.classifies else self.model.predict(X)


class Fastbp(Method):
    """fastbp's own estimators."""

    name, title, modules = "fastbp", "fastbp", ("fastbp",)

    @classmethod
    def missing(cls):
        if missing := super().missing():
            return missing
        module = importlib.import_module("fastbp")
        return [] if hasattr(module, "TabularClassifier") else ["fastbp.TabularClassifier"]

    def fit(self, train, validation):
        self.make().fit(train.X, train.y, X_val=validation.X, y_val=validation.y)

    def make(self):
        """The estimator, as its users get it."""
        import fastbp

        kind = fastbp.TabularClassifier if self.classifies else fastbp.TabularRegressor
        self.model = kind(random_state=self.seed, n_threads=self.n_threads)
        return self.model


class FastbpFolds(Fastbp):
    """The same; of the rows that are not for the test each member validates on a fifth."""

    name, title = "fastbp_folds", "fastbp, own validation"

    def fit(self, train, validation):
        self.make().fit(*_rest(train, validation))


class Peer(Method):
    """A method that takes numbers in float64 and categories as pandas' own."""

    def prepare(self, split):
        super().prepare(split)
        warnings.simplefilter("ignore")
        kinds = [_kind(split.train.X.iloc[:, i]) for i in range(split.train.X.shape[1])]
        train = split.train.X
        for part in (split.train, split.validation, split.test):
            part.X = self.arrange(_encode(part.X, train, kinds))
        return split

    def arrange(self, X):
        """Change what this library wants otherwise."""
        return X


def _kind(column):
    from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype

    if is_datetime64_any_dtype(column):
        return "date"
    numeric = is_numeric_dtype(column) and not is_bool_dtype(column)
    return "number" if numeric else "category"


def _encode(X, train, kinds):
    """Name columns x0, x1, ...; categories are the most frequent of the training rows."""
    import pandas as pd

    columns = {}
    for i, kind in enumerate(kinds):
        column = X.iloc[:, i]
        if kind == "date":
            column = column.astype("datetime64[s]").astype("int64").where(column.notna())
        if kind == "category":
            known = train.iloc[:, i].dropna().astype(str).value_counts().index[:MAX_CATEGORIES]
            text = column.astype(str).where(column.notna())
            columns[f"x{i}"] = pd.Categorical(text, categories=sorted(known))
        else:
            columns[f"x{i}"] = column.astype("float64").to_numpy(na_value=float("nan"))
    return pd.DataFrame(columns, index=X.index)


def _categories(X):
    return [name for name in X.columns if X[name].dtype == "category"]


def _rest(train, validation):
    """Training and validation rows together, for what splits by itself."""
    import numpy as np
    import pandas as pd

    return pd.concat([train.X, validation.X]), np.concatenate([train.y, validation.y])


class SklearnMLP(Peer):
    """scikit-learn's MLP; it takes its own fifth of the rows that are not for the test."""

    name, title, modules = "mlp", "scikit-learn MLP", ("sklearn",)

    def fit(self, train, validation):
        from sklearn.compose import TransformedTargetRegressor, make_column_transformer
        from sklearn.impute import SimpleImputer
        from sklearn.neural_network import MLPClassifier, MLPRegressor
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        make = MLPClassifier if self.classifies else MLPRegressor
        net = make(early_stopping=True, validation_fraction=0.2, random_state=self.seed)
        if not self.classifies:
            net = TransformedTargetRegressor(net, transformer=StandardScaler())
        categories = _categories(train.X)
        numbers = [name for name in train.X.columns if name not in categories]
        imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
        columns = make_column_transformer(
            (make_pipeline(imputer, StandardScaler()), numbers),
            (OneHotEncoder(handle_unknown="ignore"), categories),
        )
        self.model = make_pipeline(columns, net).fit(*_rest(train, validation))


class HistGradientBoosting(Peer):
    """scikit-learn's HistGradientBoosting, which stops by the validation rows."""

    name, title, modules = "hgb", "HistGradientBoosting", ("sklearn",)

    def fit(self, train, validation):
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        make = HistGradientBoostingClassifier if self.classifies else HistGradientBoostingRegressor
        self.model = make(
            max_iter=MAX_TREES,
            early_stopping=True,
            n_iter_no_change=PATIENCE,
            random_state=self.seed,
        )
        self.model.fit(train.X, train.y, X_val=validation.X, y_val=validation.y)


class LightGBM(Peer):
    """LightGBM, which stops by the validation rows."""

    name, title, modules = "lightgbm", "LightGBM", ("lightgbm",)

    def fit(self, train, validation):
        import lightgbm

        make = lightgbm.LGBMClassifier if self.classifies else lightgbm.LGBMRegressor
        self.model = make(
            n_estimators=MAX_TREES, random_state=self.seed, n_jobs=self.n_threads, verbose=-1
        )
        self.model.fit(
            train.X,
            train.y,
            eval_set=[(validation.X, validation.y)],
            callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
        )


class CatBoost(Peer):
    """CatBoost, which stops by the validation rows."""

    name, title, modules = "catboost", "CatBoost", ("catboost",)

    def arrange(self, X):
        texts = {name: X[name].astype(object).fillna("missing") for name in _categories(X)}
        self.categories = list(texts)
        return X.assign(**texts)

    def fit(self, train, validation):
        import catboost

        make = catboost.CatBoostClassifier if self.classifies else catboost.CatBoostRegressor
        self.model = make(
            random_seed=self.seed,
            thread_count=self.n_threads,
            early_stopping_rounds=PATIENCE,
            cat_features=self.categories,
            allow_writing_files=False,
            verbose=False,
        )
        self.model.fit(train.X, train.y, eval_set=(validation.X, validation.y))


class Pytabkit(Peer):
    """A net of pytabkit, which keeps the weights that are best on the validation rows."""

    modules = ("pytabkit", "torch")
    kind = ""

    def prepare(self, split):
        split = super().prepare(split)
        importlib.import_module("pytabkit.models.sklearn.sklearn_interfaces")
        _impute(split)
        return split

    def fit(self, train, validation):
        import pytabkit

        ending = "Classifier" if self.classifies else "Regressor"
        self.model = getattr(pytabkit, f"{self.kind}_{ending}")(
            random_state=self.seed, n_threads=self.n_threads, device="cpu", verbosity=0
        )
        self.model.fit(train.X, train.y, X_val=validation.X, y_val=validation.y)


def _impute(split):
    """Its nets take no missing numbers: the median, and a column that tells where it was put."""
    train = split.train.X
    numbers = [name for name in train.columns if name not in _categories(train)]
    gaps = [name for name in numbers if train[name].isna().any()]
    medians = train[numbers].median().fillna(0)
    for part in (split.train, split.validation, split.test):
        marks = {f"{name}_missing": part.X[name].isna().astype("float64") for name in gaps}
        part.X = part.X.assign(**{name: part.X[name].fillna(medians[name]) for name in numbers})
        part.X = part.X.assign(**marks)


class RealMLPSmall(Pytabkit):
    """RealMLP-TD-S."""

    name, title, kind = "realmlp_s", "RealMLP_TD_S", "RealMLP_TD_S"


class RealMLP(Pytabkit):
    """RealMLP-TD."""

    name, title, kind = "realmlp", "RealMLP_TD", "RealMLP_TD"


class TabM(Pytabkit):
    """TabM-D."""

    name, title, kind = "tabm", "TabM_D", "TabM_D"


METHODS = {
    method.name: method
    for method in (
        Fastbp,
        FastbpFolds,
        SklearnMLP,
        HistGradientBoosting,
        LightGBM,
        CatBoost,
        RealMLPSmall,
        RealMLP,
        TabM,
    )
}
