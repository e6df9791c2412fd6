"""What Python sees of message groups with several statements."""

from collections.abc import Generator, Iterable
from typing import Any

from chopin._ops import QueryOp
from chopin._protocol import Session, Statement
from chopin._simple import SimpleOp

class Part:
    """One statement of a group, and what is wanted of it."""

class Result(list[Any]):
    """What one of several statements has brought: its rows, as a list, and its status.

    Attributes:
        status: the command tag, such as "INSERT 0 1".

    Example:
        >>> results = await conn.batch(["SELECT 7 AS n", "DELETE FROM t"])
        >>> results[0][0]["n"], results[1].status, results[1].row_count
        (7, 'DELETE 3', 3)
    """

    def __init__(self, rows: Iterable[Any] = (), status: str = "") -> None: ...
    @property
    def status(self) -> str: ...
    @property
    def row_count(self) -> int | None: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

class GroupOp(QueryOp):
    """Bind and Execute of each part, one Sync; answers with the list of answers."""

    @property
    def unread(self) -> dict[int, BaseException] | None: ...
    def __await__(self) -> Generator[Any, None, list[Any]]: ...

class ScriptOp(SimpleOp):
    """A Query message; answers with a Result for each of its statements."""

    def __await__(self) -> Generator[Any, None, list[Result]]: ...  # type: ignore[override]

def start_group(
    session: Session,
    requests: list[tuple[Statement, tuple[Any, ...], int, int, Any]],
    deadline: float,
) -> GroupOp | None: ...
def start_results(session: Session, sql: str, shape: Any) -> ScriptOp: ...
