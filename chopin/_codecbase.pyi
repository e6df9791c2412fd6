"""What Python sees of the shape of a codec."""

from typing import Never

class ElementError(ValueError):
    """An element inside of an argument cannot be encoded."""

    path: str
    value: object
    reason: str

    def __init__(self, path: str, value: object, reason: str) -> None: ...

class Codec:
    """How one PostgreSQL type travels: its name, format and two functions."""

    def __init__(self, *args: Never, **kwargs: Never) -> None: ...
    @property
    def oid(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def schema(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def format(self) -> int: ...
    @property
    def atomic(self) -> bool: ...
    @property
    def element(self) -> Codec | None: ...
