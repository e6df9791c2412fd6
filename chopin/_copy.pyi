"""What Python sees of COPY."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from chopin._codecbase import Codec
from chopin._ops import RowsOp
from chopin._protocol import Op, Session, Statement
from chopin._rows import Description
from chopin._waiter import Waiter

class CopyOutOp(RowsOp):
    """COPY ... TO STDOUT: rows, or chunks of bytes, by way of its flow."""

    def __await__(self) -> Generator[Any, None, str]: ...

class CopyInOp(Op):
    """COPY ... FROM STDIN: encoded rows, or bytes as they are."""

    @property
    def statement(self) -> Statement | None: ...
    @property
    def n_rows(self) -> int: ...
    @property
    def size(self) -> int: ...
    def __await__(self) -> Generator[Any, None, str]: ...
    def opened(self) -> Waiter: ...
    def put_row(self, row: Sequence[Any]) -> bool: ...
    def feed(self, rows: Iterator[Sequence[Any]]) -> bool: ...
    def put_bytes(self, data: bytes | bytearray | memoryview) -> bool: ...
    def finish(self) -> None: ...
    def leave(self) -> None: ...
    def give_up(self) -> None: ...

def start_copy_out(
    session: Session,
    sql: str,
    statement: Statement | None,
    shape: Any,
) -> CopyOutOp: ...
def start_copy_in(
    session: Session,
    sql: str,
    statement: Statement | None,
    text_of: Callable[[Codec, Any], bytes] | None = None,
) -> CopyInOp: ...
def describe_columns(
    names: Iterable[str],
    oids: Iterable[int],
    parameter_oids: Iterable[int] | None = None,
) -> Description: ...
