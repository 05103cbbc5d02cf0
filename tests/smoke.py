"""Shows that an installed fastbp works: `python smoke.py`, with nothing but what it depends on."""

import pickle
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastbp import MLPClassifier, MLPRegressor, Network
from fastbp.tabular import TabularClassifier, TabularRegressor

rng = np.random.default_rng(0)
X = rng.normal(size=(600, 8))
label, target = (X[:, 0] > 0).astype(int), X @ rng.normal(size=8)

settings = {"learning_rate_init": 0.01, "max_iter": 60, "tol": 0, "random_state": 0}
warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs are enough here

est = MLPClassifier(hidden_layer_sizes=(32,), **settings).fit(X, label)
assert est.score(X, label) > 0.95
assert (pickle.loads(pickle.dumps(est)).predict_proba(X) == est.predict_proba(X)).all()
assert MLPRegressor(hidden_layer_sizes=(32,), **settings).fit(X, target).score(X, target) > 0.95

online = MLPClassifier(hidden_layer_sizes=(16,), **settings)
for _ in range(60):
    online.partial_fit(X, label, classes=[0, 1])
assert online.score(X, label) > 0.9

net = Network((8, 16, 1), "tanh", dtype="float64", batch_size=64)
params, grad = net.init_params(0), np.empty(net.n_params)
before = net.value_and_grad(params, X, target[:, None], out=grad)
after = net.value_and_grad(params - 0.01 * grad, X, target[:, None], out=grad)
assert after < before

assert TabularClassifier(random_state=0).fit(X, label).score(X, label) > 0.9
assert TabularRegressor(random_state=0).fit(X, target).score(X, target) > 0.8
print("smoke test passed")
