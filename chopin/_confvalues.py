"""Readers for the values of connection parameters.

Owns: how one value, a text or a Python object, becomes what the configuration holds.
Imports: L4 (exceptions), `chopin.auth` for the grammar of ``require_auth``.
Rules:

- A reader gets the name of the parameter, the value as it was given, and `shown`,
  what an error may say about the value. A value out of a DSN or a service file is not
  shown: with a stray ``@`` or space it can be a piece of the password.
- Nothing is raised while another exception is handled: what Python chains to it would
  repeat the value.
- An empty text is "as if not given", as in libpq, where a default makes sense. Where
  libpq refuses it, so does the reader.

Source: PostgreSQL docs, "libpq - C Library", section "Parameter Key Words".
"""

from __future__ import annotations

import base64
import binascii
import enum
import math
import operator
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from chopin.auth import parse_require_auth
from chopin.exceptions import ClientConfigurationError

__all__ = ["Reader", "SSLMode", "SessionAttribute"]

_Words = TypeVar("_Words", bound=enum.StrEnum)

#: (name, value, shown) -> what the configuration holds.
Reader = Callable[[str, Any, str], Any]

_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")
_INT32_MAX = 2**31 - 1
_PORT_MAX = 65535
_SCRAM_KEY_BYTES = 32

_FLAGS = {
    "1": True, "true": True, "on": True, "yes": True,
    "0": False, "false": False, "off": False, "no": False,
}  # fmt: skip


class SSLMode(enum.StrEnum):
    """How much a connection insists on TLS, weakest first.

    Source: PostgreSQL docs, "SSL Support", section "Protection Provided in Different
    Modes".
    """

    disable = "disable"
    allow = "allow"
    prefer = "prefer"
    require = "require"
    verify_ca = "verify-ca"
    verify_full = "verify-full"


class SessionAttribute(enum.StrEnum):
    """Which kind of server a session must be on.

    Source: PostgreSQL docs, "Parameter Key Words", target_session_attrs.
    """

    any = "any"
    read_write = "read-write"
    read_only = "read-only"
    primary = "primary"
    standby = "standby"
    prefer_standby = "prefer-standby"


def check_text(name: str, text: str) -> str:
    """Return `text` if it can be sent to a server at all."""
    if "\0" in text:
        raise ClientConfigurationError(f"{name} must not contain a NUL byte")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ClientConfigurationError(f"{name} must be text that UTF-8 can encode")
    return text


def text(name: str, value: Any, shown: str) -> str | None:
    """A text; an empty one is None.

    What a subclass of str makes of itself, a member of an enumeration ``Word.ann`` and
    a secret ``***``, is for the eye only: `str.__str__` takes what it is.
    """
    if not isinstance(value, str):
        raise ClientConfigurationError(
            f"{name} is expected to be a str, got {type(value).__name__}"
        )
    return str.__str__(value) or None


def path(name: str, value: Any, shown: str) -> str | None:
    """The path of a file, as text or as `os.PathLike`; an empty one is None."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    found = text(name, value, shown)
    return None if found is None else check_text(name, found)


def password(name: str, value: Any, shown: str) -> Any:
    """A text, or a callable that returns one or an awaitable of one."""
    if callable(value):
        return value
    if not isinstance(value, str):
        raise ClientConfigurationError(
            f"{name} is expected to be a str, or a callable that returns one, "
            f"got {type(value).__name__}"
        )
    return str.__str__(value) or None


def ssl_mode(name: str, value: Any, shown: str) -> SSLMode:
    """One of the six modes; an underscore may stand for the dash."""
    is_text = isinstance(value, str)
    mode = _member(SSLMode, value.replace("_", "-")) if is_text else None
    if mode is None:
        modes = ", ".join(SSLMode)
        raise ClientConfigurationError(f"`sslmode` parameter must be one of: {modes}")
    return mode


def session_attribute(name: str, value: Any, shown: str) -> SessionAttribute:
    """One of the six kinds of server."""
    attribute = _member(SessionAttribute, value)
    if attribute is None:
        known = ", ".join(repr(str(member)) for member in SessionAttribute)
        raise ClientConfigurationError(
            f"{name} is expected to be one of {known}, got {shown}"
        )
    return attribute


def choice(*allowed: str) -> Reader:
    """A reader for one of a few words, in any case of letters."""
    by_folded = {word.lower(): word for word in allowed}

    def read(name: str, value: Any, shown: str) -> str:
        word = by_folded.get(value.lower()) if isinstance(value, str) else None
        if word is None:
            raise ClientConfigurationError(
                f"`{name}` parameter must be one of: {', '.join(allowed)}"
            )
        return word

    return read


def gss_library(name: str, value: Any, shown: str) -> str:
    """The library for GSSAPI authentication."""
    if value not in ("gssapi", "sspi"):
        raise ClientConfigurationError(
            f"gsslib parameter must be either 'gssapi' or 'sspi', got {shown}"
        )
    return str.__str__(value)


def gss_encryption(name: str, value: Any, shown: str) -> str:
    """``disable`` or ``prefer``, which never leads to GSS encryption here."""
    mode: str = choice("disable", "prefer", "require")(name, value, shown)
    if mode == "require":
        raise ClientConfigurationError(
            "gssencmode=require: GSS encryption is not supported; use TLS "
            "(sslmode=verify-full) and gssencmode=disable"
        )
    return mode


def tls_version(name: str, value: Any, shown: str) -> str | None:
    """A version of TLS in the spelling of libpq; None for an empty text."""
    if isinstance(value, str) and value.upper().startswith("SSL"):
        raise ClientConfigurationError(f"Unsupported TLS version: {shown}")
    if value == "":
        return None
    known = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
    folded = {version.lower(): version for version in known}
    version = folded.get(value.lower()) if isinstance(value, str) else None
    if version is None:
        raise ClientConfigurationError(
            f"No such TLS version: {shown}; {name} must be one of: {', '.join(known)}"
        )
    return version


def protocol_version(name: str, value: Any, shown: str) -> str | None:
    """A version of the PostgreSQL protocol; None for an empty text."""
    if value == "":
        return None
    version: str = choice("3.0", "3.2", "latest")(name, value, shown)
    return "3.2" if version == "latest" else version


def flag(name: str, value: Any, shown: str) -> bool | None:
    """A truth value; None for an empty text."""
    if value == "":
        return None
    found = _FLAGS.get(str(value).strip().lower())
    if found is None:
        raise ClientConfigurationError(
            f"invalid {name} value: expected 1 or 0, got {shown}"
        )
    return found


def count(name: str, value: Any, shown: str) -> int | None:
    """A number for a socket option; None, the system's default, if not positive."""
    number = _integer(value)
    if value != "" and (number is None or abs(number) > _INT32_MAX):
        raise ClientConfigurationError(
            f"invalid {name} value: expected an integer, got {shown}"
        )
    return number if number is not None and number > 0 else None


def connect_timeout(name: str, value: Any, shown: str) -> float | None:
    """Seconds; None, no limit, if not positive."""
    if value == "":
        return None
    seconds = _number(value)
    if seconds is None:
        raise ClientConfigurationError(
            f"invalid {name} value: expected a number of seconds, got {shown}"
        )
    return seconds if seconds > 0 else None


def timeout(name: str, value: Any, shown: str) -> float | None:
    """Seconds; None for no limit."""
    seconds = None if value is None else _number(value)
    if value is not None and seconds is None:
        raise ClientConfigurationError(
            f"invalid {name} value: expected a number of seconds or None, got {shown}"
        )
    return seconds


def command_timeout(name: str, value: Any, shown: str) -> float:
    """Seconds, more than zero."""
    seconds = _number(value)
    if seconds is None or seconds <= 0:
        raise ClientConfigurationError(
            f"invalid {name} value: expected greater than 0 float (got {shown})"
        )
    return seconds


def cache_limit(name: str, value: Any, shown: str) -> int | float:
    """A limit of the statement cache: zero or more."""
    number = _integer(value)
    limit = _number(value) if number is None else number
    if limit is None or limit < 0:
        raise ClientConfigurationError(
            f"{name} is expected to be greater or equal to 0, got {shown}"
        )
    return limit


def auth_methods(name: str, value: Any, shown: str) -> frozenset[str] | None:
    """The methods that ``require_auth`` allows; None for all."""
    if not isinstance(value, str):
        raise ClientConfigurationError(
            f"{name} is expected to be a str such as 'scram-sha-256', "
            f"got {type(value).__name__}"
        )
    try:
        return parse_require_auth(value)
    except ClientConfigurationError:
        if shown == repr(value):
            raise
    raise ClientConfigurationError(
        f"invalid {name} value: expected methods such as 'scram-sha-256,none' or "
        f"'!password,!md5', got {shown}"
    )


def scram_key(name: str, value: Any, shown: str) -> bytes | None:
    """A key of SCRAM-SHA-256, as 32 bytes or as base64 of them."""
    key = value
    if isinstance(value, str):
        try:
            key = base64.b64decode(value, validate=True)
        except (ValueError, binascii.Error):
            key = None
        if value == "":
            return None
    if not isinstance(key, bytes) or len(key) != _SCRAM_KEY_BYTES:
        raise ClientConfigurationError(
            f"invalid {name} value: expected base64 of {_SCRAM_KEY_BYTES} bytes"
        )
    return key


def text_list(name: str, value: Any, shown: str) -> list[str]:
    """Texts: a list of them, or one with commas."""
    if isinstance(value, str):
        return value.split(",") if value else []
    if not isinstance(value, Sequence) or not all(isinstance(v, str) for v in value):
        raise ClientConfigurationError(
            f"{name} is expected to be a str or a sequence of str"
        )
    return [str.__str__(item) for item in value]


def port_list(name: str, value: Any, shown: str) -> list[int | None]:
    """Ports: a number, a text with commas, or a list of them; an empty one is None."""
    if isinstance(value, str):
        items: Sequence[Any] = value.split(",")
    elif isinstance(value, Sequence):
        items = value
    else:
        items = [value]
    ports = [_integer(item) for item in items]
    for item, port in zip(items, ports, strict=True):
        is_empty = isinstance(item, str) and not item.strip()
        if not is_empty and (port is None or not 1 <= port <= _PORT_MAX):
            raise ClientConfigurationError(
                f"invalid port number: expected 1 to {_PORT_MAX}, got {shown}"
            )
    return ports


def _member(words: type[_Words], value: object) -> _Words | None:
    """The member of an enumeration of words; None if there is none."""
    return next((member for member in words if member == value), None)


def _integer(value: Any) -> int | None:
    """An integer out of an integer or its decimal digits; None if it is neither."""
    if isinstance(value, str):
        return int(value) if _INTEGER.fullmatch(value.strip()) else None
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return None
    return operator.index(value)


def _number(value: Any) -> float | None:
    """A finite number; None if it is none."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
