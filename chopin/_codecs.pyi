"""What Python sees of the table of codecs."""

from collections.abc import Callable
from typing import Any, Literal, Self

from chopin._codecbase import Codec

class CodecMap:
    """A scope of codecs: those registered here, those of the parent, the table."""

    parent: CodecMap | None

    def __new__(cls, parent: CodecMap | None = None) -> Self: ...
    @property
    def version(self) -> int: ...
    def lookup(self, oid: int) -> Codec: ...
    def known(self, oid: int) -> bool: ...
    def register(
        self,
        oid: int,
        name: str,
        schema: str,
        kind: str = "scalar",
        *,
        encoder: Callable[[Any], Any],
        decoder: Callable[[Any], Any],
        format: Literal["text", "binary", "tuple"] = "text",
        array_oid: int = 0,
    ) -> None: ...
    def register_alias(
        self,
        oid: int,
        name: str,
        schema: str,
        builtin: Codec,
        kind: str = "scalar",
        array_oid: int = 0,
    ) -> None: ...
    def register_range(
        self, oid: int, name: str, schema: str, bound_oid: int, array_oid: int = 0
    ) -> None: ...
    def install(self, codec: Codec, array_oid: int = 0) -> None: ...
    def unregister(self, oid: int) -> None: ...

def builtin_named(name: str) -> Codec | None: ...
def contrib_named(name: str) -> Codec | None: ...
def decode_value(codec_or_oid: Codec | int, data: bytes) -> Any: ...
def encode_value(codec_or_oid: Codec | int, value: Any) -> bytes: ...
