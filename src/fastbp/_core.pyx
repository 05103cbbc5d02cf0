# cython: language_level=3, embedsignature=True
"""The compiled core: a thin interface of csrc/fastbp.h. It owns the arena's life, releases the GIL and
turns a status into an exception; validation of what users pass is the Python layer's."""
import builtins
import collections
import os
import time

import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_get_thread_ident
from libc.math cimport HUGE_VAL
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, getenv
from libc.string cimport memcpy, memset

from fastbp._blas cimport scipy_blas

cnp.import_array()


cdef _names(const char *const *table, int n):
    return tuple(table[i].decode() for i in range(n))


ACTIVATIONS = _names(fbp_activation_name, FBP_N_ACT)
LOSSES = _names(fbp_loss_name, FBP_N_LOSS)
LOSS_OUTPUTS = tuple([fbp_loss_outputs[i] for i in range(<int>FBP_N_LOSS)])  # of the net, for each column of y
OPTIMIZERS = _names(fbp_optimizer_name, FBP_N_OPT)

FLOPS_PER_THREAD = FBP_FLOPS_PER_THREAD  # of a pass that pay for a thread
FINITE_SHARE = FBP_FINITE_SHARE  # numbers of X that pay for a thread that searches them for NaN

cdef enum:
    NUMBERS_AT_ONCE = 1 << 26  # that are searched for NaN: some 50 ms
    MAX_DIMENSION = 0x7FFFFFFF


cdef int _forks = 0  # between the import and this process


def _in_child():
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def environment(*names):
    """The values of environment variables, None for those that are not set; many times faster than os.environ."""
    cdef list values = []
    cdef const char *value
    for name in names:
        value = getenv(name.encode())
        values.append(None if value == NULL else value.decode(errors="replace"))
    return tuple(values)


def cpu_levels():
    """Instruction-set levels that may be used now, best first (honours ``FASTBP_DISABLE_CPU``)."""
    cdef fbp_names names
    cdef int n = fbp_cpu_levels(names)
    return [names[i].decode() for i in range(n)]


def cpu_level():
    """The level that a net built now will use."""
    return cpu_levels()[0]


cdef class Data:
    """A view of the caller's X, y and weights; it keeps them alive and copies nothing.

    What the arrays of a CSR matrix and class indices say is checked where it is used: what points outside is left out
    or makes the loss NaN. Errors about it are raised by `fastbp._input`.

    Parameters
    ----------
    X : ndarray of shape (n, features), float32 or float64, any strides; or a CSR matrix or array
    y : None, int32 ndarray of shape (n,) (class indices), or C-contiguous ndarray of shape (n, outputs),
        float32, float64, uint8 or bool
    sample_weight : None or C-contiguous float64 ndarray of shape (n,)
    """

    cdef fbp_data c
    cdef object keep
    cdef readonly int64_t n_rows
    cdef readonly int64_t n_features

    def __init__(self, X, y=None, sample_weight=None):
        cdef cnp.ndarray a
        self.keep = [X, y, sample_weight]
        self.n_rows, self.n_features = X.shape
        if self.n_features > MAX_DIMENSION:
            raise OverflowError(f"X has {self.n_features} features; at most {MAX_DIMENSION} are supported")
        self.c.rows = self.n_rows
        self.c.features = <int>self.n_features
        if isinstance(X, np.ndarray):
            a = self._aligned(X, "X")
            self.c.x_dtype = self._float(a, "X")
            self.c.x = cnp.PyArray_DATA(a)
            self.c.row_stride, self.c.col_stride = a.strides[0], a.strides[1]
        else:
            self._set_csr(X)
        if y is not None:
            self._set_y(y)
        if sample_weight is not None:
            a = self._aligned(sample_weight, "sample_weight")
            if a.dtype != np.float64 or not a.flags.c_contiguous or a.ndim != 1 or a.shape[0] != self.n_rows:
                raise ValueError("sample_weight must be a C-contiguous float64 array of one number per row, "
                                 f"got {sample_weight.dtype} of shape {sample_weight.shape}")
            self.c.weight = <const double *>cnp.PyArray_DATA(a)

    cdef cnp.ndarray _aligned(self, a, name):
        if not a.flags.aligned or not a.dtype.isnative:
            raise ValueError(f"{name} must be aligned and of native byte order")
        return a

    cdef fbp_dtype _float(self, cnp.ndarray a, name) except *:
        if a.dtype == np.float32:
            return FBP_F32
        if a.dtype == np.float64:
            return FBP_F64
        raise TypeError(f"{name} must be float32 or float64, got {a.dtype}")

    cdef _set_csr(self, X):
        cdef cnp.ndarray values = self._aligned(X.data, "X.data")
        cdef cnp.ndarray indptr = self._aligned(X.indptr, "X.indptr")
        cdef cnp.ndarray indices = self._aligned(X.indices, "X.indices")
        if indptr.dtype != indices.dtype or indptr.dtype not in (np.int32, np.int64):
            raise TypeError("X.indptr and X.indices must both be int32 or both int64, "
                            f"got {indptr.dtype} and {indices.dtype}")
        for a in (values, indptr, indices):
            if not a.flags.c_contiguous:
                raise ValueError("the arrays of a CSR X must be contiguous")
        if indptr.shape[0] <= self.n_rows:
            raise ValueError(f"X.indptr must have {self.n_rows + 1} numbers, one more than X has rows, "
                             f"got {indptr.shape[0]}")
        self.keep += [values, indptr, indices]
        self.c.csr = 1
        self.c.x_dtype = self._float(values, "X.data")
        self.c.x = cnp.PyArray_DATA(values)
        self.c.indptr = cnp.PyArray_DATA(indptr)
        self.c.indices = cnp.PyArray_DATA(indices)
        self.c.wide_index = indptr.dtype == np.int64
        self.c.n_entries = min(values.shape[0], indices.shape[0])

    cdef _set_y(self, y):
        cdef cnp.ndarray a = self._aligned(y, "y")
        if a.shape[0] != self.n_rows or not a.flags.c_contiguous:
            raise ValueError(f"y must be C-contiguous with {self.n_rows} rows, got shape {y.shape}")
        if a.ndim == 1 and a.dtype == np.int32:
            self.c.y_dtype = FBP_I32
            self.c.outputs = 0
        elif a.ndim == 2:
            self.c.y_dtype = FBP_U8 if a.dtype in (np.uint8, np.bool_) else self._float(a, "y")
            self.c.outputs = a.shape[1]
        else:
            raise ValueError("y must be int32 class indices of shape (n,) or of shape (n, n_outputs), "
                             f"got {a.dtype} of shape {y.shape}")
        self.c.y = cnp.PyArray_DATA(a)


def all_finite(X, int n_threads=1, dtype="float64"):
    """Whether no number of X, a dense matrix as `Data` takes it or a `Data` of one, is NaN or infinite: as it is or,
    with dtype "float32", when it becomes one of those."""
    cdef Data data = X if isinstance(X, Data) else Data(X)
    cdef const fbp_kernels *kernels = fbp_kernels_of(data.c.x_dtype)  # reads the environment: needs the GIL
    cdef fbp_dtype narrow = FBP_F32 if dtype == "float32" else data.c.x_dtype
    cdef fbp_data part = data.c
    cdef int64_t row = 0, rows = max(1, NUMBERS_AT_ONCE // max(data.n_features, 1))
    cdef bint finite = True
    if data.c.csr or data.c.x_dtype not in (FBP_F32, FBP_F64):
        raise TypeError("all_finite takes a dense X of floats")
    while finite and row < data.n_rows:  # signals are heard between the parts
        part.rows = min(rows, data.n_rows - row)
        part.x = <const char *>data.c.x + row * data.c.row_stride
        with nogil:
            finite = fbp_all_finite(kernels, &part, narrow, n_threads)
        row += part.rows
        if row < data.n_rows:
            PyErr_CheckSignals()
    return finite


cdef int _index(tuple names, name, what) except -1:
    if name not in names:
        raise ValueError(f"{what} must be one of {', '.join(names)}; got {name!r}")
    return names.index(name)


cdef fbp_dtype _float_of(dtype, name) except *:
    return FBP_F64 if _index(("float32", "float64"), str(dtype), name) else FBP_F32


cdef class Encoding:
    """How the columns of an encoded table become the inputs of a net: see fbp_column of csrc/fastbp.h.

    Parameters
    ----------
    description : sequence of (rows, raw), one per column
        Rows of the first W that are the column's, and for a numeric column the raw numbers at its knots, two or more,
        no more than rows; None for a column of categories.
    """

    cdef fbp_encoding c
    cdef fbp_column *columns
    cdef double *raw
    cdef readonly int n_columns, n_inputs

    def __cinit__(self, description):
        cdef int64_t rows = 0, numbers = 0
        description = [(int(n), None if raw is None else tuple(raw)) for n, raw in description]
        if not description:
            raise ValueError("an Encoding needs at least one column")
        for n, raw in description:
            if n < 1 or (raw is not None and not 2 <= len(raw) <= n):
                raise ValueError(f"a column of {n} rows and {0 if raw is None else len(raw)} knots: it takes one row "
                                 "at least, and for numbers two knots at least, each with a row")
            rows += n
            numbers += 0 if raw is None else len(raw)
        if rows > MAX_DIMENSION or len(description) > MAX_DIMENSION:
            raise OverflowError(f"the columns have {rows} inputs; at most {MAX_DIMENSION} are supported")
        self.columns = <fbp_column *>calloc(len(description), sizeof(fbp_column))
        self.raw = <double *>calloc(numbers + 1, sizeof(double))
        if self.columns == NULL or self.raw == NULL:
            raise MemoryError("no memory for the description of the columns")
        rows = numbers = 0
        for i, (n, raw) in enumerate(description):
            self.columns[i] = fbp_column(first=rows, rows=n, knots=0, raw=NULL)
            rows += n
            if raw is not None:
                self.columns[i].knots, self.columns[i].raw = len(raw), self.raw + numbers
                for number in raw:
                    self.raw[numbers] = number
                    numbers += 1
        self.c = fbp_encoding(n_columns=len(description), columns=self.columns)
        self.n_columns, self.n_inputs = len(description), rows

    def __dealloc__(self):
        free(self.columns)
        free(self.raw)


Parameter = collections.namedtuple("Parameter", "name offset shape rate decay", module=__name__)
Parameter.__doc__ = """One piece of the flat vector of parameters: a row of `parameters`."""


cdef int *_widths(layer_sizes) except NULL:
    """The layer sizes as ints, to be freed; OverflowError if one does not fit."""
    if not all(1 <= size <= MAX_DIMENSION for size in layer_sizes):
        raise OverflowError(f"layer_sizes must be between 1 and {MAX_DIMENSION}, got {tuple(layer_sizes)}")
    cdef int n = len(layer_sizes)
    cdef int *widths = <int *>calloc(2 * n, sizeof(int))
    if widths == NULL:
        raise MemoryError("no memory for the description of the net")
    for i in range(n):
        widths[i] = layer_sizes[i]
    return widths


def parameters(layer_sizes, bint input_scale=False):
    """The table of a net's parameters: what lies where in the flat vector.

    Returns
    -------
    tuple of Parameter
        ``(name, offset, shape, rate, decay)`` of "W[0]", "W[1]", ..., then of "b[0]", ..., with `input_scale` at last
        of "s[0]": the offset in numbers, and the factors on the optimizer's step size and weight decay.

    Raises
    ------
    OverflowError
        If the numbers cannot be counted in a machine word.
    """
    cdef int n_layers = len(layer_sizes) - 1
    cdef int *widths = _widths(layer_sizes)
    cdef int n_rows = fbp_params_count(n_layers, input_scale)
    cdef fbp_param *table = <fbp_param *>calloc(n_rows, sizeof(fbp_param))
    cdef fbp_status status
    try:
        if table == NULL:
            raise MemoryError("no memory for the table of parameters")
        status = fbp_params_init(table, n_layers, widths, input_scale)
        if status != FBP_OK:
            raise OverflowError(f"{fbp_status_text[<int>status].decode()}: layer_sizes={tuple(layer_sizes)}")
        rows = []
        for i in range(n_rows):
            shape = (table[i].rows, table[i].cols)
            shape = shape if i < n_layers else shape[1:] if i < 2 * n_layers else shape[:1]
            rows.append(Parameter(table[i].name.decode(), table[i].offset, shape, table[i].rate, table[i].decay))
        return tuple(rows)
    finally:
        free(table)
        free(widths)


cdef _refuse_fork(int forks, who):
    if forks != _forks:
        raise RuntimeError(f"{who} forked while a Trainer was running: its call cannot go on in the child, which has "
                           "none of its threads")


cdef int _poll(void *trainer) noexcept with gil:
    """Runs the signal handlers that wait; 1 if the call of the Trainer must end: for the reason in its `reason`, or
    because its time is up."""
    cdef int forks = _forks
    try:
        PyErr_CheckSignals()
        _refuse_fork(forks, "a signal handler")
        if (<Trainer>trainer).reduction is not None:
            (<Trainer>trainer).reduction.hear()
        if (<Trainer>trainer)._has_done_enough():
            return 1
    except BaseException as error:
        (<Trainer>trainer).reason = error
        if forks != _forks:
            fbp_trainer_forget_team((<Trainer>trainer).c)
        return 1
    return 0


cdef int _ask(void *trainer, const fbp_question *question) noexcept with gil:
    """Lets the caller's own loss answer; 1 if the call of the Trainer must end, for the reason in its `reason`."""
    cdef int forks = _forks
    try:
        (<Trainer>trainer)._answer(question)
        _refuse_fork(forks, "a loss of the caller's own")
    except BaseException as error:
        (<Trainer>trainer).reason = error
        if forks != _forks:
            fbp_trainer_forget_team((<Trainer>trainer).c)
        return 1
    return 0


cdef int _reduce(void *trainer, void *vector, int64_t n) noexcept with gil:
    """Lets the ranks add up their vectors; 1 if that failed, for the reason in the `reason` of the Trainer."""
    try:
        (<Trainer>trainer)._add_up(vector, n)
    except BaseException as error:
        (<Trainer>trainer).reason = error
        return 1
    return 0


cdef class Reduction:
    """An epoch that several ranks make together: see fbp_reduction of csrc/fastbp.h. It is used once.

    Parameters
    ----------
    ends : int64 ndarray of shape (n_steps,), rows of this rank up to the end of each step
    rows : int64 ndarray of shape (n_steps,), rows of all ranks in each step
    totals : float64 ndarray of shape (n_steps,), their sums of weights
    allreduce : callable
        ``allreduce(in_place, vector)`` adds up a vector, of the dtype of the net, over the ranks, in place. It is
        called directly, as `Allreduce` of a communicator: no Python code in which a signal might raise comes between.
    in_place : object
    counts_penalty : bool, the L2 penalty is in the loss sum of this rank
    interrupted : callable or None, ``interrupted()`` is asked now and then whether the call is to raise
        KeyboardInterrupt, which a signal handler must not do: it might be in the middle of `allreduce`
    step : int, where to begin: steps before it are done
    """

    cdef fbp_reduction c
    cdef object keep, allreduce, in_place, interrupted
    cdef int64_t most  # rows of a step of this rank

    def __init__(self, ends, rows, totals, allreduce, in_place, *, bint counts_penalty, interrupted=None,
                 int64_t step=0):
        n_steps = len(ends)
        self.keep = [np.ascontiguousarray(ends, np.int64), np.ascontiguousarray(rows, np.int64),
                     np.ascontiguousarray(totals, np.float64)]
        if any(a.shape != (n_steps,) for a in self.keep) or not 0 <= step <= n_steps:
            raise ValueError("ends, rows and totals need one number per step, and step is one of them; got shapes "
                             f"{[a.shape for a in self.keep]} and step={step}")
        counts = np.diff(self.keep[0], prepend=0)
        if n_steps == 0 or counts.min() < 0 or (self.keep[1] < 1).any():
            raise ValueError("ends must not fall, and rows of all ranks be 1 or more, of one step or more; got "
                             f"ends={ends!r} and rows={rows!r}")
        self.most = counts.max()
        self.allreduce, self.in_place, self.interrupted = allreduce, in_place, interrupted
        self.c = fbp_reduction(
            n_steps=n_steps, ends=<const int64_t *>cnp.PyArray_DATA(self.keep[0]),
            rows=<const int64_t *>cnp.PyArray_DATA(self.keep[1]),
            totals=<const double *>cnp.PyArray_DATA(self.keep[2]), counts_penalty=counts_penalty, reduce=_reduce,
            step=step)

    @property
    def step(self):
        """Steps done."""
        return self.c.step

    cdef hear(self):
        if self.interrupted is not None and self.interrupted():
            raise KeyboardInterrupt


cdef class Trainer:
    """One arena and one team of threads; allocated here, never later.

    A call hears signals within about 0.1 s. If a handler raises, the call ends with that exception: its results mean
    nothing, except that `train_epoch` keeps the updates before it. A Trainer runs one call at a time: another one
    meanwhile, from a handler or another thread, is a RuntimeError.

    Parameters
    ----------
    layer_sizes : sequence of int, with input and output
    activations : sequence of str, one per hidden layer
    loss, dtype, optimizer : str
    batch_size : int, rows of a mini-batch
    n_threads : int, at most so many threads
    max_memory : int, bytes of the arena at most; 0 for no limit
    sparse : bool, X will be CSR and the first layer works from its non-zeros; otherwise CSR rows are
        gathered into dense ones
    forward_only : bool, for prediction: no z is kept
    param_dtype : str or None, "float32" for a forward pass in float64 from parameters in float32; None: `dtype`
    loss_params : sequence of float, one per output where the loss has a parameter; else empty
    label_smoothing : float, of the log losses
    dropout : sequence of float, the share of each layer's input that `train_epoch` drops; empty for none
    max_rows : int, rows of a pass over the arena at most; 0 for those of a mini-batch
    input_grad : bool, `value_and_grad` may be asked for the gradient by X
    keep_grad : bool, `train_epoch` makes the gradient of a mini-batch whole first, which `max_grad_norm` needs
    reduces : bool, `train_epoch` makes it whole and has room for one number more, which a `Reduction` needs
    asks : bool, there is room for the answers of `ask`: a loss of the caller's own, see `train_epoch`
    encoding : Encoding or None, X will be a table that is encoded like this: one number a cell
    input_scale : bool, with `encoding`, there is a factor of every input among the parameters: "s[0]"
    rates, decays : sequence of float, one per row of the table `parameters`, instead of those in it; or empty
    measure : bool, only plan: nothing is allocated and nothing can be run

    Raises
    ------
    MemoryError, OverflowError
        The bytes cannot be had; the message says how many.
    ValueError
        An unknown name, or `max_memory` is too small for one row.
    """

    cdef fbp_trainer *c
    cdef fbp_config config
    cdef fbp_plan p
    cdef int *sizes
    cdef double *numbers  # loss_params, dropout, rates, decays
    cdef Encoding encoding
    cdef int forks  # as many as when the team was made
    cdef unsigned long owner  # the thread that is in a call; 0: none
    cdef int owner_forks  # as many as when it began
    cdef object reason  # the exception that ends the call early
    cdef object asked  # what answers for the loss in this call, or None
    cdef Reduction reduction  # that of this call, or None
    cdef object vector  # what it adds up, seen as an array
    cdef bint has_y  # the data of this call
    cdef int n_columns  # of their y
    cdef readonly object dtype, param_dtype
    cdef public object memory_plan  # a note of its users: the `MemoryPlan` of `plan()`
    cdef readonly tuple layer_sizes
    cdef const fbp_epoch *epoch  # that train_epoch is in; NULL: it is in none
    cdef int64_t first_update  # of that call
    cdef double until  # when it is to end, by time.monotonic
    # Of the last train_epoch, also of one that ended early: updates made, rows done, and the sum over their
    # mini-batches of loss times rows, in which the call may have been given a part already.
    cdef readonly int64_t updates, rows_done
    cdef readonly double loss_sum

    def __cinit__(self, layer_sizes, activations, loss, dtype, batch_size, optimizer="none", n_threads=1,
                  max_memory=0, sparse=False, forward_only=False, measure=False, param_dtype=None, loss_params=(),
                  label_smoothing=0.0, dropout=(), max_rows=0, input_grad=False, keep_grad=False, reduces=False,
                  asks=False, Encoding encoding=None, bint input_scale=False, rates=(), decays=()):
        cdef int n = len(layer_sizes), n_rows = fbp_params_count(n - 1, input_scale)
        cdef double *numbers
        cdef fbp_status status
        self.layer_sizes = tuple(layer_sizes)
        if n < 2 or len(activations) != n - 2:
            raise ValueError(f"layer_sizes needs at least two entries and one activation per hidden layer, "
                             f"got {n} and {len(activations)}")
        if not 1 <= batch_size < 1 << 62:
            raise OverflowError(f"batch_size must be between 1 and 2**62, got {batch_size}")
        self.sizes = _widths(layer_sizes)  # and room for as many activations
        for i in range(n - 2):
            self.sizes[n + i] = _index(ACTIVATIONS, activations[i], "activation")
        if loss_params and len(loss_params) != layer_sizes[-1]:
            raise ValueError(f"loss_params needs one number per output, {layer_sizes[-1]}; got {len(loss_params)}")
        if dropout and len(dropout) != n - 1:
            raise ValueError(f"dropout needs one number per layer of weights, {n - 1}; got {len(dropout)}")
        for name, factors in (("rates", rates), ("decays", decays)):
            if factors and len(factors) != n_rows:
                raise ValueError(f"{name} needs one number per row of the table of parameters, {n_rows}; "
                                 f"got {len(factors)}")
        self._check_encoding(encoding, input_scale, sparse, input_grad, dropout, param_dtype or dtype, dtype)
        lists = (tuple(loss_params), tuple(dropout), tuple(rates), tuple(decays))
        self.numbers = numbers = <double *>calloc(sum(map(len, lists)) + 1, sizeof(double))
        if numbers == NULL:
            raise MemoryError("no memory for the description of the net")
        for i, number in enumerate(sum(lists, ())):
            numbers[i] = number
        self.config = fbp_config(
            n_layers=n - 1, widths=self.sizes, acts=self.sizes + n,
            loss=<fbp_loss>_index(LOSSES, loss, "loss"),
            dtype=_float_of(dtype, "dtype"),
            optimizer=<fbp_optimizer>_index(OPTIMIZERS, optimizer, "optimizer"),
            batch=batch_size, n_threads=n_threads, max_memory=max_memory, sparse=sparse,
            forward_only=forward_only, params_f32=_float_of(param_dtype or dtype, "param_dtype") == FBP_F32,
            blas=scipy_blas(), loss_params=NULL, label_smoothing=label_smoothing, dropout=NULL, max_rows=max_rows,
            input_grad=input_grad, keep_grad=keep_grad, reduces=reduces, asks=asks, encoding=NULL,
            input_scale=input_scale, param_rates=NULL, param_decays=NULL)
        if loss_params:
            self.config.loss_params = numbers
        numbers += <int>len(loss_params)
        if dropout:
            self.config.dropout = numbers
        numbers += <int>len(dropout)
        if rates:
            self.config.param_rates = numbers
        numbers += <int>len(rates)
        if decays:
            self.config.param_decays = numbers
        self.encoding = encoding
        if encoding is not None:
            self.config.encoding = &encoding.c
        if layer_sizes[-1] % fbp_loss_outputs[<int>self.config.loss]:
            raise ValueError(f"loss={loss!r} needs {fbp_loss_outputs[<int>self.config.loss]} outputs for each column "
                             f"of y, the net has {layer_sizes[-1]}")
        self.dtype, self.param_dtype = np.dtype(str(dtype)), np.dtype(str(param_dtype or dtype))
        if self.dtype != self.param_dtype and (self.config.dtype == FBP_F32 or not forward_only):
            raise ValueError(f"param_dtype={param_dtype!r} needs forward_only=True and dtype='float64', got "
                             f"forward_only={forward_only} and dtype={dtype!r}")
        self.forks = _forks
        status = fbp_trainer_new(&self.c, &self.config, measure)
        if self.c != NULL:
            self.p = fbp_trainer_plan(self.c)
        if status != FBP_OK:
            self._raise(status, max_memory)

    cdef _check_encoding(self, Encoding encoding, bint input_scale, sparse, input_grad, dropout, param_dtype, dtype):
        if encoding is None:
            if input_scale:
                raise ValueError("input_scale=True needs an encoding")
            return
        if self.layer_sizes[0] != encoding.n_inputs:
            raise ValueError(f"layer_sizes[0]={self.layer_sizes[0]} must be the number of inputs of the encoding, "
                             f"{encoding.n_inputs}")
        for name, value, none in (("sparse", sparse, False), ("input_grad", input_grad, False),
                                  ("dropout[0]", dropout[0] if dropout else 0, 0), ("param_dtype", param_dtype, dtype)):
            if value != none:
                raise ValueError(f"{name}={value!r} is not possible with an encoding: it takes {none!r}")

    cdef _raise(self, fbp_status status, max_memory):
        exception = getattr(builtins, fbp_status_exception[<int>status].decode())
        message = fbp_status_text[<int>status].decode()
        if self.c != NULL:
            needed = self.p.arena_bytes + self.p.kept_bytes
            if exception is ValueError:
                message += f": got max_memory={max_memory}, one row needs {self.p.arena_bytes} bytes"
            elif exception is MemoryError:
                message += f": the net needs {needed} bytes for mini-batches of {self.config.batch} rows"
        if exception is OverflowError:
            message += f": layer_sizes={self.layer_sizes}, batch_size={self.config.batch}"
        raise exception(message)

    def __dealloc__(self):
        if self.c != NULL and self.forks != _forks:
            fbp_trainer_forget_team(self.c)
        fbp_trainer_free(self.c)
        free(self.sizes)
        free(self.numbers)

    @property
    def n_params(self):
        return self.p.n_params

    @property
    def n_bytes(self):
        """Bytes that the trainer holds: its arena, and what it keeps from one mini-batch to the next."""
        return self.p.arena_bytes + self.p.kept_bytes

    @property
    def uses_blas(self):
        """Whether products are done by BLAS."""
        return self.p.products[0] == b"b"

    @property
    def batch_rows(self):
        """Rows of one pass over the arena; less than `batch_size` where `max_memory` asks for it."""
        return self.p.batch_rows

    @property
    def n_threads(self):
        """Threads in the team: at most those asked for, fewer where shapes are not worth them."""
        return self.p.n_threads

    def plan(self):
        """Every piece of memory: a dict of rows (name, shape, offset, bytes) and totals."""
        cdef int64_t vector = self.p.n_params * self.param_dtype.itemsize
        rows = []
        for i in range(self.p.n_arena_rows):
            rows.append(self._row(&self.p.arena_rows[i], self.p.arena_rows[i].offset))
        for i in range(self.p.n_kept_rows):
            rows.append(self._row(&self.p.kept_rows[i], None))
        vectors = ["params"]
        if not self.config.forward_only:
            if self.config.optimizer == FBP_OPT_none:
                vectors.append("grad")
            for i in range(fbp_optimizer_states[<int>self.config.optimizer]):
                vectors.append(fbp_optimizer_state_name[<int>self.config.optimizer][i].decode())
        rows += [(name, (self.p.n_params,), None, vector) for name in vectors]
        return {
            "rows": rows,
            "arena_bytes": self.p.arena_bytes,
            "total_bytes": self.p.arena_bytes + self.p.kept_bytes + vector * len(vectors),
            "batch_rows": self.p.batch_rows,
            "n_threads": self.p.n_threads,
            "dense": (self.p.products.decode(),) * self.config.n_layers,
        }

    cdef _row(self, const fbp_plan_row *row, offset):
        return (<const char *>row.name).decode(), (row.shape[0], row.shape[1]), offset, row.bytes

    def buffers(self):
        """(name, address, bytes) of every piece of the arena."""
        return [((<const char *>self.p.arena_rows[i].name).decode(), <size_t>self.p.arena + self.p.arena_rows[i].offset,
                 self.p.arena_rows[i].bytes) for i in range(self.p.n_arena_rows)]

    cdef void *_vector(self, a, name, bint written=True) except NULL:
        if (not isinstance(a, np.ndarray) or a.dtype != self.param_dtype or a.ndim != 1
                or (<cnp.ndarray>a).shape[0] != self.p.n_params or not a.flags.c_contiguous
                or not a.flags.aligned):
            raise ValueError(f"{name} must be a contiguous {self.param_dtype} array of shape ({self.n_params},), "
                             f"got {getattr(a, 'dtype', type(a))} of shape {getattr(a, 'shape', None)}")
        if written and not a.flags.writeable:
            raise ValueError(f"{name} must be writeable")
        return cnp.PyArray_DATA(<cnp.ndarray>a)

    cdef _enter(self):
        """Begin a call. The owner may be a thread of the parent that a fork has left behind."""
        cdef unsigned long me = PyThread_get_thread_ident()
        if self.owner and (self.owner == me or self.owner_forks == _forks):
            raise RuntimeError("this Trainer is running already: a signal handler or another thread needs its own")
        self._have_team()
        self.owner = me
        self.owner_forks = _forks

    cdef _leave(self):
        """End a call: raises the exception that has ended it early."""
        self.owner = 0
        self.asked = self.reduction = self.vector = None
        if self.reason is not None:
            reason, self.reason = self.reason, None
            raise reason

    cdef _have_team(self):
        """The threads of a team made before a fork stayed in the parent: a child makes its own."""
        cdef fbp_status status
        if self.forks != _forks:
            fbp_trainer_forget_team(self.c)
            status = fbp_trainer_start_team(self.c)
            if status != FBP_OK:
                self._raise(status, None)
            self.forks = _forks

    cdef _prepare(self, fbp_epoch *e, params, Data data, order, bint training):
        """`order` is trusted: its numbers are not checked against the rows of `data`."""
        cdef cnp.ndarray rows
        memset(e, 0, sizeof(fbp_epoch))
        cdef int n_features = self.sizes[0] if self.encoding is None else self.encoding.n_columns
        if data.n_features != n_features:
            raise ValueError(f"X has {data.n_features} features, the net takes {n_features}")
        if self.p.arena == NULL:
            raise ValueError("this Trainer only measures")
        if self.config.sparse and not data.c.csr:
            raise ValueError("this Trainer was made for CSR input")
        e.data = &data.c
        e.params = self._vector(params, "params", training)
        e.n = data.n_rows
        if order is not None:
            rows = order
            if rows.dtype != np.int64 or rows.ndim != 1 or not rows.flags.c_contiguous:
                raise ValueError("order must be a C-contiguous int64 array")
            e.order = <const int64_t *>cnp.PyArray_DATA(rows)
            e.n = rows.shape[0]
        e.loss_scale = 1
        e.finite = 1
        e.poll, e.poll_context = _poll, <void *>self

    cdef _check_ask(self, ask):
        if ask is not None and not self.config.asks:
            raise ValueError("ask needs a Trainer made with asks=True")

    cdef _let_answer(self, fbp_epoch *e, Data data, ask):
        self.asked = ask
        if ask is None:
            return
        self.has_y, self.n_columns = data.c.y != NULL, data.c.outputs
        e.ask = _ask

    cdef _answer(self, const fbp_question *q):
        """Ask for the loss of the rows of a pass; what is handed out is a copy."""
        cdef cnp.ndarray output, y, weight, d_output, loss
        cdef int64_t n_outputs = self.layer_sizes[-1]
        output = np.empty((q.n, n_outputs), self.dtype)
        memcpy(cnp.PyArray_DATA(output), q.output, output.nbytes)
        y_or_none = weight_or_none = None
        if self.has_y:
            y_or_none = y = np.empty((q.n, self.n_columns), self.dtype)
            memcpy(cnp.PyArray_DATA(y), q.y, y.nbytes)
        if q.weight != NULL:
            weight_or_none = weight = np.empty(q.n)
            memcpy(cnp.PyArray_DATA(weight), q.weight, weight.nbytes)
        answered = self.asked(q.first, output, y_or_none, weight_or_none)
        loss = np.ascontiguousarray(answered[0], np.float64)
        d_output = np.ascontiguousarray(answered[1], self.dtype)
        if loss.ndim != 1 or loss.shape[0] != q.n:
            raise ValueError(f"ask must answer with losses of shape ({q.n},), got {answered[0].shape}")
        if d_output.ndim != 2 or d_output.shape[0] != q.n or d_output.shape[1] != n_outputs:
            raise ValueError(f"ask must answer with derivatives of shape ({q.n}, {n_outputs}), got {answered[1].shape}")
        finite = np.isfinite(d_output).all(axis=1)
        if not finite.all():  # an update by these would leave nothing: its loss says so
            loss = np.where(finite, loss, np.nan)
        memcpy(q.loss, cnp.PyArray_DATA(loss), loss.nbytes)
        memcpy(q.d_output, cnp.PyArray_DATA(d_output), d_output.nbytes)

    cdef _let_reduce(self, fbp_epoch *e, Reduction reduction):
        if reduction is None:
            return
        if not self.config.reduces:
            raise ValueError("reduction needs a Trainer made with reduces=True")
        if reduction.keep[0][-1] != e.n or reduction.most > e.batch:
            raise ValueError(f"reduction has {reduction.keep[0][-1]} rows in steps of up to {reduction.most}, the "
                             f"epoch has {e.n} in steps of up to {e.batch}")
        e.reduction = &reduction.c

    cdef _add_up(self, void *vector, int64_t n):
        cdef cnp.npy_intp shape = n
        if self.vector is None:
            array = cnp.PyArray_SimpleNewFromData(1, &shape, self.dtype.num, vector)
            cnp.set_array_base(array, self)
            self.vector = array
        self.reduction.allreduce(self.reduction.in_place, self.vector)

    cdef _check_targets(self, Data data):
        n_outputs = self.layer_sizes[-1]
        columns = n_outputs // fbp_loss_outputs[<int>self.config.loss]
        if data.c.y == NULL:
            raise ValueError("data has no y")
        if data.c.y_dtype == FBP_I32 and self.config.loss != FBP_LOSS_log_loss:
            raise ValueError("class indices as y go with log_loss only")
        if data.c.y_dtype != FBP_I32 and data.c.outputs != columns:
            raise ValueError(f"y has {data.c.outputs} columns, the net has {n_outputs} outputs and takes {columns}")

    cdef bint _has_done_enough(self) except -1:
        """Whether the time of this call is up; not before it has made an update, so that every call gets on."""
        if self.epoch == NULL or self.until == HUGE_VAL or self.epoch.t <= self.first_update:
            return False
        return time.monotonic() >= self.until

    def begin(self, int64_t row, double loss_sum):
        """Note where the next `train_epoch` begins: what it says of itself is right if an interrupt comes before it."""
        self.updates, self.rows_done, self.loss_sum = 0, row, loss_sum

    def train_epoch(self, params, state, Data data, order, batch_size, *, double alpha, double learning_rate,
                    double beta_1=0.9, double beta_2=0.999, double epsilon=1e-8, double momentum=0.9,
                    int64_t t=0, double loss_scale=1.0, bint clip_loss=False, double weight_decay=0.0, rates=None,
                    double max_grad_norm=0.0, ema=None, double ema_decay=0.0, uint64_t seed=0, ask=None,
                    int64_t row=0, double loss_sum=0.0, until=None, int64_t before=0,
                    Reduction reduction=None):
        """One epoch over the rows `order` of `data` (None: all, as they stand), updating params and state.

        An epoch may be made in several calls, with the same bits: the next one begins with the `rows_done` and the
        `loss_sum` of the one before, with its updates added to `t`.

        Parameters
        ----------
        rates : C-contiguous float64 ndarray with the learning rate of each update from `row` on, or None for
            `learning_rate`
        max_grad_norm : float, a longer gradient is shortened to this length; 0 for never
        ema : ndarray like params, or None
            The moving average: ``ema += (1 - ema_decay) * (params - ema)`` after each update.
        seed : int, of the masks of dropout, which follow from it, from `t` and from the row of the visit
        ask : callable or None, instead of the net's loss
            ``ask(first, output, y, sample_weight) -> (loss, d_output)`` for the rows of one pass, first.. of the visit:
            the output after the output activation and y of shape (n, n_outputs), weights of shape (n,) or None; the
            rows' losses of shape (n,) and their derivatives by the output of shape (n, n_outputs).
        row : int, where to begin: rows before it are done
        loss_sum : float, what the mini-batches before `row` came to
        until : float or None, a time by time.monotonic after which the call ends, as soon as it has made an update
        before : int, rows of the epoch that were visited before those of `data`
        reduction : Reduction or None
            Other ranks make these steps, too. `rates` and the epoch begin at its `step`, not at `row`; `loss_sum` is
            the part of this rank; and where one of them ends early, none has made the update.

        Returns
        -------
        loss : float
            `loss_sum` with that of this call, over all rows.
        steps : int
            Updates made.
        finite : bool
            False: the loss of the next update was not finite, and that update was not made.
        """
        cdef fbp_epoch e
        cdef cnp.ndarray numbers
        self.begin(row, loss_sum)
        self._check_ask(ask)
        self._prepare(&e, params, data, order, True)
        self._check_targets(data)
        if not 0 <= row <= e.n:
            raise ValueError(f"row must be between 0 and the {e.n} rows of the epoch, got {row}")
        if len(state) != fbp_optimizer_states[<int>self.config.optimizer] or not len(state) or self.config.forward_only:
            raise ValueError(f"state has {len(state)} vectors, which the optimizer of this Trainer does not take")
        for i in range(len(state)):
            e.state[i] = self._vector(state[i], "state")
        if not 1 <= batch_size <= self.config.batch:
            raise ValueError(f"batch_size must be between 1 and {self.config.batch}, got {batch_size}")
        e.batch = batch_size
        e.alpha, e.learning_rate, e.momentum = alpha, learning_rate, momentum
        e.beta_1, e.beta_2, e.epsilon, e.t = beta_1, beta_2, epsilon, t
        e.loss_scale, e.clip, e.weight_decay, e.seed = loss_scale, clip_loss, weight_decay, seed
        e.row, e.loss_sum, e.before = row, loss_sum, before
        self._let_reduce(&e, reduction)
        n_steps = -(-(e.n - row) // batch_size) if reduction is None else reduction.c.n_steps - reduction.c.step
        if rates is not None:
            numbers = rates
            if numbers.dtype != np.float64 or numbers.ndim != 1 or not numbers.flags.c_contiguous or \
                    numbers.shape[0] < n_steps:
                raise ValueError("rates must be a C-contiguous float64 array of one number per mini-batch, "
                                 f"{n_steps}; got {rates.dtype} of shape {rates.shape}")
            e.rates = <const double *>cnp.PyArray_DATA(numbers)
        if max_grad_norm > 0 and not self.config.keep_grad:
            raise ValueError("max_grad_norm needs a Trainer made with keep_grad=True")
        e.max_grad_norm = max_grad_norm
        if ema is not None:
            e.ema, e.ema_decay = self._vector(ema, "ema"), ema_decay
        self._enter()
        self._let_answer(&e, data, ask)
        self.reduction = reduction
        self.epoch, self.first_update, self.until = &e, t, HUGE_VAL if until is None else until
        with nogil:
            fbp_trainer_epoch(self.c, &e)
        self.epoch = NULL
        self.updates, self.rows_done, self.loss_sum = e.t - t, e.row, e.loss_sum
        self._leave()
        return e.loss_sum / max(e.n, 1), self.updates, bool(e.finite)

    def value_and_grad(self, params, Data data, grad, order=None, *, double alpha=0.0, double loss_scale=1.0,
                       bint clip_loss=False, grad_x=None, ask=None, bint total=False, out=None):
        """The (weighted) mean loss over the rows, or with `total` their sum; fills `grad` (None: value only) with its
        exact gradient, and if they are wanted `grad_x`, of shape (rows, n_features), with that by X, and `out`, a
        matrix as `forward` takes it, with the net's output for the rows. `ask` is that of `train_epoch`.

        The gradient needs a Trainer with optimizer "none", the value any that keeps z.
        """
        cdef fbp_epoch e
        cdef fbp_output o
        cdef void *g = NULL
        cdef double value
        self._prepare(&e, params, data, order, False)
        self._check_ask(ask)
        if ask is None or data.c.y != NULL:
            self._check_targets(data)
        if self.config.forward_only or (grad is not None and self.config.optimizer != FBP_OPT_none):
            raise ValueError("value_and_grad needs a Trainer with optimizer 'none'")
        if grad is not None:
            g = self._vector(grad, "grad")
        if out is not None:
            memset(&o, 0, sizeof(fbp_output))
            o.dtype = FBP_F64 if out.dtype == np.float64 else FBP_F32
            o.result = self._matrix(out, "out", e.n, self.layer_sizes[-1], out.dtype)
            e.output = &o
        e.alpha, e.loss_scale, e.clip, e.sum = alpha, loss_scale, clip_loss, total
        if grad_x is not None:
            if not self.config.input_grad or grad is None:
                raise ValueError("grad_x needs a Trainer made with input_grad=True, and grad")
            e.grad_x = self._matrix(grad_x, "grad_x", e.n, self.layer_sizes[0], self.dtype)
        self._enter()
        self._let_answer(&e, data, ask)
        with nogil:
            value = fbp_trainer_value_grad(self.c, &e, g)
        self._leave()
        return value

    def loss(self, params, Data data, order=None, *, double alpha=0.0, double loss_scale=1.0,
             bint clip_loss=False, ask=None, out=None):
        """The (weighted) mean loss over the rows; fills `out` with their output, as `value_and_grad` does."""
        return self.value_and_grad(params, data, None, order, alpha=alpha, loss_scale=loss_scale,
                                   clip_loss=clip_loss, ask=ask, out=out)

    def forward(self, params, Data data, out, order=None, *, bint raw=False, hidden=()):
        """The net's output for the rows.

        Parameters
        ----------
        out : writeable C-contiguous ndarray of shape (rows, n_outputs), of the net's dtype or float64; or None
        raw : bool, fill `out` with z of the last layer, before the output activation
        hidden : sequence of such arrays (rows, width) of one dtype with `out`, one per hidden layer: filled with the
            activations; or empty
        """
        cdef fbp_epoch e
        cdef fbp_output o
        cdef void **layers = NULL
        self._prepare(&e, params, data, order, False)
        memset(&o, 0, sizeof(fbp_output))
        dtype = self.dtype if out is None and not hidden else (hidden[0] if out is None else out).dtype
        o.dtype = FBP_F64 if dtype == np.float64 else FBP_F32
        o.raw = raw
        if out is not None:
            o.result = self._matrix(out, "out", e.n, self.layer_sizes[-1], dtype)
        if hidden:
            if len(hidden) != self.config.n_layers - 1:
                raise ValueError(f"hidden has {len(hidden)} arrays, the net {self.config.n_layers - 1} hidden layers")
            layers = <void **>calloc(len(hidden), sizeof(void *))
            if layers == NULL:
                raise MemoryError("no memory for the list of hidden layers")
        try:
            for i, a in enumerate(hidden):
                layers[i] = self._matrix(a, "hidden", e.n, self.layer_sizes[i + 1], dtype)
            o.hidden = layers
            self._enter()
            with nogil:
                fbp_trainer_forward(self.c, &e, &o)
            self._leave()
        finally:
            free(layers)

    cdef void *_matrix(self, a, name, int64_t rows, int64_t width, dtype) except NULL:
        if (not isinstance(a, np.ndarray) or a.dtype != dtype or (dtype != self.dtype and dtype != np.float64)
                or a.ndim != 2 or (<cnp.ndarray>a).shape[0] != rows or (<cnp.ndarray>a).shape[1] != width
                or not a.flags.c_contiguous or not a.flags.writeable):
            raise ValueError(f"{name} must be a writeable C-contiguous {self.dtype} or float64 array of shape "
                             f"{(rows, width)}, got {getattr(a, 'dtype', type(a))} of shape "
                             f"{getattr(a, 'shape', None)}")
        return cnp.PyArray_DATA(<cnp.ndarray>a)


def plan(layer_sizes, activations, loss, dtype, batch_size, optimizer, n_threads, max_memory=0, sparse=False,
         forward_only=False, *, keep_grad=False, reduces=False, asks=False):
    """The plan of a Trainer of these arguments, without allocating it."""
    return Trainer(layer_sizes, activations, loss, dtype, batch_size, optimizer, n_threads, max_memory, sparse,
                   forward_only, True, keep_grad=keep_grad, reduces=reduces, asks=asks).plan()
