"""What Python sees of the module that makes rows; the rest is for compiled ones."""

from typing import Any, TypeVar

from chopin._rows import Record as Record

_R = TypeVar("_R", bound=Record)

def restore_record(
    cls: type[_R], names: tuple[str, ...], values: tuple[Any, ...]
) -> _R: ...
