"""What Python sees of streams."""

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, Self, TypeVar

from chopin._waiter import Waiter

_T = TypeVar("_T")

class Flow:
    """What has come of a stream and was not taken yet."""

    @property
    def size(self) -> int: ...
    def take(self) -> list[Any]: ...
    def wait(self) -> Waiter: ...

class Nothing:
    """An awaitable that is done, with None."""

    def __await__(self) -> Generator[Any]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> None: ...

NOTHING: Nothing

class ItemIterator(Generic[_T]):
    """`async for` over what comes in portions."""

    def __init__(
        self,
        refill: Callable[[], Awaitable[list[_T]]],
        dropped: Callable[[], None],
        items: list[_T] | None = None,
    ) -> None: ...
    def __del__(self) -> None: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Awaitable[_T]: ...
    def __await__(self) -> Generator[Any, None, _T]: ...
    def __next__(self) -> Any: ...
