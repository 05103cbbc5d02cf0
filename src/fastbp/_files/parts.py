"""Parts of estimators as rows of the table of `values`: binarizers of labels, plans of memory."""

from sklearn.preprocessing import LabelBinarizer

from ..memory import MemoryPlan, PlanRow
from . import checks
from .checks import attributes, list_of, mapping
from .values import Kind, of


def _encode_binarizer(encoder, binarizer, where):
    values = {name: getattr(binarizer, name) for name in _OF_BINARIZER}
    attributes(f"{where}, LabelBinarizer", values, _OF_BINARIZER)
    return encoder.mapping(values, where)


_OF_BINARIZER = {
    # Those of our estimators.
    "neg_label": checks.Takes("0", lambda value: type(value) is int and value == 0),
    "pos_label": checks.Takes("1", lambda value: type(value) is int and value == 1),
    "sparse_output": checks.BOOLEAN,
    "y_type_": checks.one_of(("binary", "multiclass", "multilabel-indicator")),
    "sparse_input_": checks.BOOLEAN,
    "classes_": checks.LABELS,
}


def _decode_binarizer(decoder, payload, where):
    where = f"{where}, LabelBinarizer"
    payload = mapping(where, payload, _OF_BINARIZER)
    values = {name: decoder.decode(value, f"{where}.{name}") for name, value in payload.items()}
    attributes(where, values, _OF_BINARIZER)
    binarizer = LabelBinarizer()
    vars(binarizer).update(values)
    return binarizer


def _encode_plan(encoder, plan, where):
    return [[[n, [*shape], offset, size] for n, shape, offset, size in plan.rows], *plan[1:]]


def _decode_plan(decoder, payload, where):
    plan = MemoryPlan(*payload)
    shape, offset = list_of(checks.COUNT), checks.COUNT.or_none()
    for row in plan.rows:
        PlanRow(*row)
        checks.TEXT.check(f"{where}, name", row[0])
        shape.check(f"{where}, shape", row[1])
        offset.check(f"{where}, offset", row[2])
        checks.COUNT.check(f"{where}, bytes", row[3])
    for name in ("arena_bytes", "total_bytes", "batch_rows", "n_threads"):
        checks.COUNT.check(f"{where}, {name}", getattr(plan, name))
    list_of(checks.one_of(("blas", "packed"))).check(f"{where}, dense", plan.dense)
    rows = tuple(PlanRow(name, tuple(shape), *others) for name, shape, *others in plan.rows)
    return plan._replace(rows=rows, dense=tuple(plan.dense))


KINDS = (
    Kind("LabelBinarizer", of(LabelBinarizer), _encode_binarizer, _decode_binarizer, shared=True),
    Kind("MemoryPlan", of(MemoryPlan), _encode_plan, _decode_plan),
)
