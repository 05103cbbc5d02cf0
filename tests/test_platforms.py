"""The package without what only some systems have, as Windows is without fork and signal timers."""

from ahead import Process, waits_for

WITHOUT = """
import os, signal, sys
for name in ("fork", "register_at_fork", "sched_getaffinity", "getuid", "kill"):
    os.__dict__.pop(name, None)
for name in ("SIGALRM", "SIGUSR1", "SIGKILL", "setitimer", "pthread_kill", "pthread_sigmask"):
    signal.__dict__.pop(name, None)
sys.modules.update(dict.fromkeys(("resource", "fcntl", "pwd", "grp", "termios", "posix_ipc")))

import numpy as np
import fastbp
from fastbp import __main__, memory, network, plot, tabular

X = np.random.default_rng(0).normal(size=(50, 3))
for n_threads in (None, 2):
    net = fastbp.MLPClassifier((8,), max_iter=2, n_threads=n_threads).fit(X, X[:, 0] > 0)
    print(net.predict(X).shape)
print(tabular.TabularClassifier(max_iter=1, n_estimators=1).fit(X, X[:, 0] > 0).predict(X).shape)
"""


@waits_for(lambda: Process(WITHOUT, timeout=100, PYTHONWARNINGS="ignore"))
def test_what_only_posix_has_is_not_needed(ahead):
    assert ahead.printed().split("\n") == ["(50,)", "(50,)", "(50,)", ""]
