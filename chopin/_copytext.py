"""Values in COPY's text format.

Owns: `text_of`, for tables with a column whose type has no binary form here: then all
columns of the COPY have to go as text.
Layer L2. Imports L0 and `_codecs`.

Rules
- A value is first encoded by the codec of its column, in binary, and what is written is
  the text of what those bytes say. So whatever the binary format refuses is refused
  here too, with the same words, and nothing else is stored.
- This way is for the odd column and is slow.

Source: PostgreSQL documentation, "COPY", section "Text Format"; "Data Types".
"""

from __future__ import annotations

import datetime
import decimal
import ipaddress
import re
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chopin._codecs import CodecMap, decode_value, encode_value
from chopin._records import Record
from chopin.types import BitString, Range

if TYPE_CHECKING:
    from chopin._codecbase import Codec

# the built-in types, without codecs of the user's
_PLAIN = CodecMap()
_ESCAPES = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}
# What the codecs make of these.
_ENDS: dict[str, tuple[datetime.date, ...]] = {
    "infinity": (datetime.date.max, datetime.datetime.max),
    "-infinity": (datetime.date.min, datetime.datetime.min),
}
_find_special = re.compile(r"[\\\t\n\r]")
_needs_quotes = re.compile(r'[{}(),;"\\\s]|\A\Z|\Anull\Z', re.IGNORECASE).search


def text_of(codec: Codec, value: object) -> bytes:
    """A value as a field of COPY's text format.

    Args:
        codec: of the column.
        value: not None.

    Raises:
        TypeError, ValueError, OverflowError: as the codec does.

    Example:
        >>> from chopin._codecs import CodecMap
        >>> text_of(CodecMap().lookup(1007), [1, None])
        b'{1,NULL}'
    """
    encoded = encode_value(codec, value)
    if codec.format:
        plain = _PLAIN.lookup(codec.oid)  # for what the user's encoder has said
        if plain.name == "unknown":
            plain = codec
        text = _form(plain, decode_value(plain, encoded))
    else:
        text = encoded.decode("utf-8")
    return _find_special.sub(lambda match: _ESCAPES[match[0]], text).encode("utf-8")


def _form(codec: Codec, value: Any) -> str:
    """The text of a value, where its class alone does not say it."""
    if codec.oid in _FORMS:
        return _FORMS[codec.oid](value)
    if codec.kind == "multirange":
        return "{" + ",".join(map(_range, value)) + "}"
    if codec.kind == "array" and codec.element is not None:
        return _elements(codec.element, value)
    return _text(value)


def _elements(codec: Codec, values: list[Any]) -> str:
    def one(value: Any) -> str:
        if value is None:
            return "NULL"
        is_list = isinstance(value, list)
        if is_list and (codec.kind != "multirange" or list in map(type, value)):
            return _elements(codec, value)
        return _quoted(_form(codec, value))

    return "{" + ",".join(map(one, values)) + "}"


def _char(value: bytes) -> str:
    if value > b"\x7f":
        raise TypeError(f"another column has to go as text, which {value!r} is not")
    return value.rstrip(b"\0").decode()


def _lsn(value: int) -> str:
    return f"{value >> 32:X}/{value & 0xFFFFFFFF:X}"


# "char" and pg_lsn.
_FORMS: dict[int, Callable[[Any], str]] = {18: _char, 3220: _lsn}


def _text(value: Any) -> str:
    """The text that the server's input function reads as this value."""
    for kind, make in _KINDS.items():
        if isinstance(value, kind):
            return make(value)
    raise TypeError(
        f"another column has to go as text, and {type(value).__name__} has no text form"
        " here"
    )


def _date(value: datetime.date) -> str:
    return next((name for name, ends in _ENDS.items() if value in ends), str(value))


def _interval(value: datetime.timedelta) -> str:
    return f"{value.days} days {value.seconds}.{value.microseconds:06d} seconds"


def _array(value: list[Any]) -> str:
    return "{" + ",".join(map(_element, value)) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    return _array(value) if isinstance(value, list) else _quoted(_text(value))


def _record(value: Record) -> str:
    return "(" + ",".join("" if v is None else _quoted(_text(v)) for v in value) + ")"


def _quoted(text: str) -> str:
    if not _needs_quotes(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _range(value: Range[Any]) -> str:
    if value.isempty:
        return "empty"
    lower = "" if value.lower is None else _quoted(_text(value.lower))
    upper = "" if value.upper is None else _quoted(_text(value.upper))
    return f"{'[('[not value.lower_inc]}{lower},{upper}{'])'[not value.upper_inc]}"


_KINDS: dict[type[Any] | tuple[type[Any], ...], Callable[[Any], str]] = {
    str: str,
    bool: lambda value: "t" if value else "f",
    float: repr,
    (int, decimal.Decimal, uuid.UUID): str,
    datetime.date: _date,  # and datetime, with its offset
    datetime.time: str,
    datetime.timedelta: _interval,
    bytes: lambda value: "\\x" + value.hex(),
    (
        ipaddress.IPv4Address,
        ipaddress.IPv6Address,
        ipaddress.IPv4Network,
        ipaddress.IPv6Network,
    ): str,
    list: _array,
    Range: _range,
    BitString: lambda value: value.as_string().replace(" ", ""),
    Record: _record,
}
