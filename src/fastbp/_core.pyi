from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float32] | NDArray[np.float64]
_Order = NDArray[np.int64]
_Ask = Callable[[int, Any, Any, Any], tuple[Any, Any]]

class _Plan(TypedDict):
    rows: list[tuple[str, tuple[int, ...], int | None, int]]
    arena_bytes: int
    total_bytes: int
    batch_rows: int
    n_threads: int
    dense: tuple[str, ...]

ACTIVATIONS: tuple[str, ...]
LOSSES: tuple[str, ...]
LOSS_OUTPUTS: tuple[int, ...]
OPTIMIZERS: tuple[str, ...]

class Parameter(NamedTuple):
    name: str
    offset: int
    shape: tuple[int, ...]
    rate: float
    decay: float

def parameters(layer_sizes: Sequence[int], input_scale: bool = False) -> tuple[Parameter, ...]: ...
def cpu_levels() -> list[str]: ...
def cpu_level() -> str: ...
def plan(
    layer_sizes: Sequence[int],
    activations: Sequence[str],
    loss: str,
    dtype: str,
    batch_size: int,
    optimizer: str,
    n_threads: int,
    max_memory: int = 0,
    sparse: bool = False,
    forward_only: bool = False,
    *,
    keep_grad: bool = False,
    reduces: bool = False,
    asks: bool = False,
) -> _Plan: ...

class Encoding:
    @property
    def n_columns(self) -> int: ...
    @property
    def n_inputs(self) -> int: ...
    def __init__(self, description: Sequence[tuple[int, Sequence[float] | None]]) -> None: ...

class Data:
    @property
    def n_rows(self) -> int: ...
    @property
    def n_features(self) -> int: ...
    def __init__(
        self,
        X: Any,
        y: NDArray[Any] | None = None,
        sample_weight: NDArray[np.float64] | None = None,
    ) -> None: ...

FLOPS_PER_THREAD: int
FINITE_SHARE: int

def environment(*names: str) -> tuple[str | None, ...]: ...
def all_finite(X: np.ndarray | Data, n_threads: int = 1, dtype: str = "float64") -> bool: ...

class Reduction:
    @property
    def step(self) -> int: ...
    def __init__(
        self,
        ends: NDArray[np.int64],
        rows: NDArray[np.int64],
        totals: NDArray[np.float64],
        allreduce: Callable[[Any, NDArray[Any]], Any],
        in_place: Any,
        *,
        counts_penalty: bool,
        interrupted: Callable[[], bool] | None = None,
        step: int = 0,
    ) -> None: ...

class Trainer:
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def param_dtype(self) -> np.dtype[Any]: ...
    @property
    def layer_sizes(self) -> tuple[int, ...]: ...
    @property
    def n_params(self) -> int: ...
    @property
    def memory_plan(self) -> Any: ...
    @memory_plan.setter
    def memory_plan(self, value: Any) -> None: ...
    @property
    def n_bytes(self) -> int: ...
    @property
    def uses_blas(self) -> bool: ...
    @property
    def batch_rows(self) -> int: ...
    @property
    def n_threads(self) -> int: ...
    @property
    def updates(self) -> int: ...
    @property
    def rows_done(self) -> int: ...
    @property
    def loss_sum(self) -> float: ...
    def __init__(
        self,
        layer_sizes: Sequence[int],
        activations: Sequence[str],
        loss: str,
        dtype: str,
        batch_size: int,
        optimizer: str = "none",
        n_threads: int = 1,
        max_memory: int = 0,
        sparse: bool = False,
        forward_only: bool = False,
        measure: bool = False,
        param_dtype: str | None = None,
        loss_params: Sequence[float] = (),
        label_smoothing: float = 0.0,
        dropout: Sequence[float] = (),
        max_rows: int = 0,
        input_grad: bool = False,
        keep_grad: bool = False,
        reduces: bool = False,
        asks: bool = False,
        encoding: Encoding | None = None,
        input_scale: bool = False,
        rates: Sequence[float] = (),
        decays: Sequence[float] = (),
    ) -> None: ...
    def plan(self) -> _Plan: ...
    def buffers(self) -> list[tuple[str, int, int]]: ...
    def begin(self, row: int, loss_sum: float) -> None: ...
    def train_epoch(
        self,
        params: _Floats,
        state: Sequence[_Floats],
        data: Data,
        order: _Order | None,
        batch_size: int,
        *,
        alpha: float,
        learning_rate: float,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        momentum: float = 0.9,
        t: int = 0,
        loss_scale: float = 1.0,
        clip_loss: bool = False,
        weight_decay: float = 0.0,
        rates: NDArray[np.float64] | None = None,
        max_grad_norm: float = 0.0,
        ema: _Floats | None = None,
        ema_decay: float = 0.0,
        seed: int = 0,
        ask: _Ask | None = None,
        row: int = 0,
        loss_sum: float = 0.0,
        until: float | None = None,
        before: int = 0,
        reduction: Reduction | None = None,
    ) -> tuple[float, int, bool]: ...
    def value_and_grad(
        self,
        params: _Floats,
        data: Data,
        grad: _Floats | None,
        order: _Order | None = None,
        *,
        alpha: float = 0.0,
        loss_scale: float = 1.0,
        clip_loss: bool = False,
        out: _Floats | None = None,
        grad_x: _Floats | None = None,
        total: bool = False,
        ask: _Ask | None = None,
    ) -> float: ...
    def loss(
        self,
        params: _Floats,
        data: Data,
        order: _Order | None = None,
        *,
        alpha: float = 0.0,
        loss_scale: float = 1.0,
        clip_loss: bool = False,
        out: _Floats | None = None,
        ask: _Ask | None = None,
    ) -> float: ...
    def forward(
        self,
        params: _Floats,
        data: Data,
        out: _Floats | None,
        order: _Order | None = None,
        *,
        raw: bool = False,
        hidden: Sequence[_Floats] = (),
    ) -> None: ...
