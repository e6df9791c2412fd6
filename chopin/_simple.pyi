"""Simple queries: SQL as text."""

from collections.abc import Generator
from typing import Any

from chopin._ops import RowsOp
from chopin._protocol import Session

class SimpleOp(RowsOp):
    """A Query message: one or more statements as text."""

    def __await__(self) -> Generator[Any, None, str]: ...

def start_script(
    session: Session, query: str, timeout: float | None
) -> SimpleOp | None: ...
def start_simple(session: Session, sql: str) -> SimpleOp: ...
