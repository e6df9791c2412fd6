"""What Python sees of rows in other shapes than `Record`."""

from typing import Any

from chopin._fitting import COLLECTIONS as COLLECTIONS
from chopin._rows import Record, RowPlan

def row_shape(record_class: type[Record] | None, into: Any) -> Any: ...

class ShapedPlan(RowPlan):
    """How DataRow messages of one statement become rows of one shape."""

    def __init__(self, columns: RowPlan, shape: Any, fit: Any) -> None: ...

class TuplePlan(ShapedPlan):
    """Rows are tuples."""

class DictPlan(ShapedPlan):
    """Rows are dicts, or what a function makes of a dict."""

class CallPlan(ShapedPlan):
    """Rows are what a class or a function makes of the values."""

class FieldsPlan(ShapedPlan):
    """Rows are objects whose constructor only sets one attribute for each column."""

PLANS: dict[str, type[ShapedPlan]]
