"""What Python sees of execute-many."""

from collections.abc import Generator, Iterable, Sequence
from typing import Any

from chopin._ops import RowsOp
from chopin._protocol import Session, Statement

class ManyOp(RowsOp):
    """Bind and Execute for each row of arguments: all or nothing."""

    @property
    def statement(self) -> Statement: ...
    def __await__(self) -> Generator[Any, None, list[Any] | int]: ...
    def feed(self, rows: Iterable[Sequence[Any]]) -> bool: ...
    def is_over(self) -> bool: ...
    def finish(self) -> None: ...
    def give_up(self) -> None: ...

def start_many(
    session: Session,
    statement: Statement,
    want_rows: bool,
    shape: Any,
) -> ManyOp: ...
