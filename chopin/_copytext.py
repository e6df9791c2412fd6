"""Values in COPY's text format.

Owns: `text_of`, for tables with a column whose type has no binary form here: then all
columns of the COPY have to go as text.
Layer L2. Imports L0 and `_codecs`.

Rules
- A value is first encoded by the codec of its column, in binary, and what is written is
  the text of what those bytes say. So whatever the binary format refuses is refused
  here too, with the same words, and nothing else is stored.
- Arrays, ranges and composite values are taken apart as they lie in the bytes: there is
  more in them than in Python's values. What is in them is of a built-in type in the
  end; of what has other bytes nobody knows the text, and it is refused.
- This way is for the odd column and is slow.

Source: PostgreSQL documentation, "COPY", section "Text Format"; "Data Types".
"""

from __future__ import annotations

import decimal
import ipaddress
import re
import struct
import uuid
from collections.abc import Callable, Iterator
from datetime import time
from functools import partial
from typing import TYPE_CHECKING, Any

from chopin._codecs import decode_value, encode_value, parts_of
from chopin.types import BitString

if TYPE_CHECKING:
    from chopin._codecbase import Codec

_ESCAPES = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}
_find_special = re.compile(r"[\\\t\n\r]")
_needs_quotes = re.compile(r'[{}(),;"\\\s]|\A\Z|\Anull\Z', re.IGNORECASE).search
_EMPTY, _LOWER_INC, _UPPER_INC, _LOWER_INF, _UPPER_INF = 1, 2, 4, 8, 16
_SECOND = 1_000_000
_INFINITIES = {
    b"\x7f\xff\xff\xff": "infinity",  # of a date, and of a timestamp
    b"\x7f\xff\xff\xff\xff\xff\xff\xff": "infinity",
    b"\x80\0\0\0": "-infinity",
    b"\x80\0\0\0\0\0\0\0": "-infinity",
}


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
    text = _form(codec, encoded) if codec.format else encoded.decode("utf-8")
    return _find_special.sub(lambda match: _ESCAPES[match[0]], text).encode("utf-8")


def _form(codec: Codec, data: bytes) -> str:
    """The text of what the bytes of a value say."""
    layout, parts = parts_of(codec)
    if layout:
        return _NESTED[layout](parts, data)
    if not parts:
        raise _without_text(codec.name)
    (plain,) = parts
    if plain.oid in _FORMS:
        return _FORMS[plain.oid](data)
    value = decode_value(plain, data)
    for kind, make in _KINDS.items():
        if isinstance(value, kind):
            return make(value)
    raise _without_text(type(value).__name__)


def _without_text(what: str) -> TypeError:
    return TypeError(
        f"another column has to go as text, and {what} has no text form here"
    )


# -- what has parts --------------------------------------------------------------------


def _fields(data: bytes, at: int, skipped: int = 0) -> Iterator[bytes | None]:
    """What lies behind a header, each behind its length; None for a length of -1."""
    while at < len(data):
        at += skipped + 4
        size = int.from_bytes(data[at - 4 : at], signed=True)
        yield None if size == -1 else data[at : at + size]
        at += max(size, 0)


def _quoted(codec: Codec, data: bytes) -> str:
    text = _form(codec, data)
    if not _needs_quotes(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _array(parts: tuple[Codec, ...], data: bytes) -> str:
    (element,) = parts
    n_dims = int.from_bytes(data[:4])
    if not n_dims:
        return "{}"
    at = 12 + 8 * n_dims
    dimensions = list(struct.iter_unpack("!ii", data[12:at]))
    fields = _fields(data, at)

    def braces(depth: int) -> str:
        if depth == n_dims:
            field = next(fields)
            return "NULL" if field is None else _quoted(element, field)
        items = [braces(depth + 1) for _ in range(dimensions[depth][0])]
        return "{" + ",".join(items) + "}"

    bounds = ""
    if any(lower != 1 for _, lower in dimensions):
        ends = [f"[{lower}:{lower + length - 1}]" for length, lower in dimensions]
        bounds = "".join(ends) + "="
    return bounds + braces(0)


def _range(parts: tuple[Codec, ...], data: bytes) -> str:
    (bound,) = parts
    flags = data[0]
    if flags & _EMPTY:
        return "empty"
    fields = (_quoted(bound, field) for field in _fields(data, 1) if field is not None)
    lower = "" if flags & _LOWER_INF else next(fields)
    upper = "" if flags & _UPPER_INF else next(fields)
    begin = "[" if flags & _LOWER_INC else "("
    return f"{begin}{lower},{upper}{']' if flags & _UPPER_INC else ')'}"


def _multirange(parts: tuple[Codec, ...], data: bytes) -> str:
    (ranges,) = parts
    fields = [_form(ranges, field) for field in _fields(data, 4) if field is not None]
    return "{" + ",".join(fields) + "}"


def _composite(parts: tuple[Codec, ...], data: bytes) -> str:
    fields = [
        "" if field is None else _quoted(part, field)
        for part, field in zip(parts, _fields(data, 4, skipped=4), strict=True)
    ]
    return "(" + ",".join(fields) + ")"


_NESTED: dict[str, Callable[[tuple[Codec, ...], bytes], str]] = {
    "array": _array,
    "range": _range,
    "multirange": _multirange,
    "composite": _composite,
}


# -- what has none ---------------------------------------------------------------------


def _char(data: bytes) -> str:
    if data > b"\x7f":
        raise TypeError(f"another column has to go as text, which {data!r} is not")
    return data.rstrip(b"\0").decode()


def _vector(oid: int, data: bytes) -> str:
    return " ".join(map(str, decode_value(oid, data)))


def _moment(oid: int, data: bytes) -> str:
    """A date or timestamp; infinity has a bit pattern of its own."""
    return _INFINITIES.get(data) or str(decode_value(oid, data))


def _interval(data: bytes) -> str:
    """With all signs, as a first one alone counts for all in an IntervalStyle."""
    span, days, months = struct.unpack("!qii", data)
    seconds, fraction = divmod(abs(span), _SECOND)
    hours, seconds = divmod(seconds, 3600)
    clock = f"{hours:02}:{seconds // 60:02}:{seconds % 60:02}.{fraction:06}"
    return f"{months:+} mons {days:+} days {'-' if span < 0 else '+'}{clock}"


def _lsn(data: bytes) -> str:
    return f"{int.from_bytes(data[:4]):X}/{int.from_bytes(data[4:]):X}"


_FORMS: dict[int, Callable[[bytes], str]] = {
    18: _char,
    1186: _interval,
    3220: _lsn,
    **{oid: partial(_vector, oid) for oid in (22, 30)},
    **{oid: partial(_moment, oid) for oid in (1082, 1114, 1184)},
}
_KINDS: dict[type[Any] | tuple[type[Any], ...], Callable[[Any], str]] = {
    str: str,
    bool: lambda value: "t" if value else "f",
    float: repr,
    (int, decimal.Decimal, uuid.UUID, time): str,
    bytes: lambda value: "\\x" + value.hex(),
    (
        ipaddress.IPv4Address,
        ipaddress.IPv6Address,
        ipaddress.IPv4Network,
        ipaddress.IPv6Network,
    ): str,
    BitString: lambda value: value.as_string().replace(" ", ""),
}
