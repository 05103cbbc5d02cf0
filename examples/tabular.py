"""
A table as it is
================

Numbers with gaps, categories as text: ``TabularClassifier`` takes what scikit-learn's MLP needs a
pipeline for. Boosted trees, which are the usual choice for tables, are beside it.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from sklearn.preprocessing import OrdinalEncoder

import fastbp

NAMES = ["income", "age", "city", "visits", "device"]


def make_table(n_rows, seed):
    """Customers, and whether each one buys; the device has no part in it."""
    rng = np.random.default_rng(seed)
    income = rng.lognormal(10, 0.7, n_rows).round()
    age = rng.integers(18, 90, n_rows)
    city = rng.choice(["Bern", "Genoa", "Lyon", "Porto", "Turku"], n_rows)
    visits = rng.poisson(3, n_rows)
    device = rng.choice(["phone", "tablet", "desk"], n_rows)
    liking = np.array([1.2, -0.8, 0.3, -1.0, 0.6])[np.unique(city, return_inverse=True)[1]]
    score = 1.5 * np.log(income / 22000) + liking + 0.5 * (visits - 3) + 2 * np.sin(age / 12)
    buys = score + rng.logistic(0, 0.7, n_rows) > 0
    X = np.array([income, age, city, visits, device], dtype=object).T
    X[rng.random(n_rows) < 0.15, 0] = None  # gaps: some do not tell their income,
    X[rng.random(n_rows) < 0.05, 2] = None  # some live nowhere
    return X, np.where(buys, "buys", "leaves")


X, y = make_table(4000, seed=0)
X_test, y_test = make_table(2000, seed=1)
print(f"a row of the table: {dict(zip(NAMES, X[0], strict=True))}, {y[0]}")

# %%
# The trees want to be told which columns are categories, and have them as numbers:

encoder = OrdinalEncoder(encoded_missing_value=np.nan).fit(X[:, [2, 4]])


def as_numbers(X):
    X = X.copy()
    X[:, [2, 4]] = encoder.transform(X[:, [2, 4]])
    return X.astype(float)


clf = fastbp.TabularClassifier(random_state=0)
trees = HistGradientBoostingClassifier(random_state=0, categorical_features=[2, 4])
for name, model, prepared in (
    ("TabularClassifier", clf, lambda X: X),
    ("HistGradientBoosting", trees, as_numbers),
):
    begin = time.perf_counter()
    model.fit(prepared(X), y)
    elapsed = time.perf_counter() - begin
    loss = log_loss(y_test, model.predict_proba(prepared(X_test)))
    accuracy = model.score(prepared(X_test), y_test)
    print(f"{name:22} log loss {loss:.3f}, accuracy {accuracy:.3f}, {elapsed:.1f} s")
print(f"categories found: {[n for n, c in zip(NAMES, clf.is_categorical_, strict=True) if c]}")

# %%
# ``permutation_importance``, which is scikit-learn's, says what the predictions owe to each column:
# how much worse they become when it is shuffled.

found = fastbp.permutation_importance(
    clf, X_test, y_test, scoring="neg_log_loss", n_repeats=5, random_state=0
)
order = np.argsort(found.importances_mean)
for i in order[::-1]:
    mean, deviation = found.importances_mean[i], found.importances_std[i]
    print(f"{NAMES[i]:7} shuffled: log loss {mean:+.3f} +/- {deviation:.3f}")

# %%

figure, ax = plt.subplots(figsize=(6.5, 3.5), layout="constrained")
names = [NAMES[i] for i in order]
mean, deviation = found.importances_mean[order], found.importances_std[order]
ax.barh(names, mean, xerr=deviation, color="tab:blue", height=0.6)
ax.axvline(0, color="0.3", linewidth=1)
ax.set_xlabel("log loss with the column shuffled, less that without")
ax.set_title("What the predictions owe to each column")
plt.show()
