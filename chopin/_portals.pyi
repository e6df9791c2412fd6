"""What Python sees of the operations on portals."""

from collections.abc import Generator
from typing import Any

from chopin._ops import QueryOp
from chopin._protocol import Session, Statement
from chopin._rows import RowPlan

class PortalOp(QueryOp):
    """Some rows of a portal, and whether these were the last."""

    @property
    def row_plan(self) -> RowPlan: ...
    def __await__(self) -> Generator[Any, None, tuple[list[Any], bool]]: ...

def start_bind(
    session: Session,
    statement: Statement,
    portal: bytes,
    args: tuple[Any, ...],
    shape: Any,
) -> PortalOp: ...
def start_portal(
    session: Session,
    statement: Statement,
    portal: bytes,
    args: tuple[Any, ...] | None,
    limit: int,
    shape: Any,
    plan: RowPlan | None,
) -> PortalOp: ...
