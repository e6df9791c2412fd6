"""What Python sees of the operations of a session."""

from collections.abc import Generator
from typing import Any, Final

from chopin._protocol import Op, Session, Statement
from chopin._streams import Flow

ROWS: Final = 0
ROW: Final = 1
VALUE: Final = 2
STATUS: Final = 3
STREAM: Final = 5
RESULT: Final = 6

class RowsOp(Op):
    """An operation that brings rows."""

    flow: Flow

    def leave(self) -> None: ...
    @property
    def rows_so_far(self) -> int: ...

class QueryOp(RowsOp):
    """Bind and Execute of a statement; what it answers depends on what was wanted."""

    keeps_status: bool

    @property
    def statement(self) -> Statement: ...
    @property
    def status(self) -> str | None: ...

class PrepareOp(Op):
    """Parse and Describe of a statement."""

    def __await__(self) -> Generator[Any, None, Statement]: ...

def check_timeout(timeout: Any) -> float: ...
def start_query(
    session: Session,
    query: str,
    args: tuple[Any, ...],
    want: int,
    column: int,
    timeout: float | None,
    shape: Any,
) -> QueryOp | None: ...
def start_cached(
    session: Session,
    query: str,
    args: tuple[Any, ...],
    want: int,
    column: int,
    shape: Any,
) -> QueryOp | None: ...
def known_statement(session: Session, query: str) -> Statement | None: ...
def fits(session: Session, statement: Statement, shape: Any) -> bool: ...
def may_fit(session: Session, statement: Statement, error: BaseException) -> bool: ...
def start_execute(
    session: Session,
    statement: Statement,
    args: tuple[Any, ...],
    want: int,
    column: int,
    shape: Any,
) -> QueryOp: ...
def start_own(
    session: Session, sql: str, oids: tuple[int, ...], args: tuple[Any, ...]
) -> QueryOp: ...
def start_parse_and_execute(
    session: Session,
    statement: Statement,
    args: tuple[Any, ...],
    want: int,
    column: int,
    shape: Any,
) -> QueryOp: ...
def start_prepare(
    session: Session, sql: str, name: bytes, keep: bool, parse: bool = True
) -> PrepareOp: ...
def start_sync(session: Session, takes_riders: bool = True) -> Op: ...
def is_behind(session: Session) -> bool: ...
