"""The password file: ``~/.pgpass``.

Owns: reading the file, its permission rule, the matching of a line.
Imports: L4 (exceptions only).
Rules:

- A file that others can read is not used; that is a warning, as in libpq, because the
  server may well let the user in without a password.
- A missing or unreadable file is no password.
- No message repeats a line of the file.

Source: PostgreSQL docs, "libpq - C Library", section "The Password File".
"""

from __future__ import annotations

import os
import re
import stat
import sys
import warnings
from dataclasses import dataclass

from chopin.exceptions import ClientConfigurationError

__all__ = ["PassfileEntry", "find_password", "read_passfile"]

# One field, up to a colon that is not escaped; "\x" stands for x.
_FIELD = re.compile(r"((?:[^\\:]|\\.|\\\Z)*):", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)

_N_PATTERNS = 4  # host, port, database, user


@dataclass(frozen=True, slots=True, repr=False)
class PassfileEntry:
    """One line of the file: four patterns (``None`` matches all) and a password.

    It has no ``repr`` of its contents: they hold the password.
    """

    patterns: tuple[str | None, ...]
    password: str

    def matches(self, host: str, port: int, database: str, user: str) -> bool:
        """Whether this line is for that place and person."""
        wanted = (host, str(port), database, user)
        return all(
            pattern is None or pattern == want
            for pattern, want in zip(self.patterns, wanted, strict=True)
        )


def read_passfile(path: str) -> list[PassfileEntry]:
    """Read a password file.

    Args:
        path: The file; it need not exist.

    Returns:
        Its lines in order. Comments and lines with too few fields are left out.

    Warns:
        UserWarning: The file is not a plain file, or others than its owner may read
            it; it is then not used.

    Example:
        >>> read_passfile("/nonexistent")
        []
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            warnings.warn(f"password file {path!r} is not a plain file", stacklevel=2)
            return []
        if sys.platform != "win32" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            warnings.warn(
                f"password file {path!r} has group or world access; "
                "permissions should be u=rw (0600) or less",
                stacklevel=2,
            )
            return []
        with open(path, "rb") as file:
            # Bytes that are not UTF-8 may stand in lines that nobody asks for.
            text = file.read().decode("utf-8", "surrogateescape")
    except OSError:
        return []
    # Not splitlines(): a password may hold U+2028 and its like.
    entries = (_parse_line(line.rstrip("\r")) for line in text.split("\n"))
    return [entry for entry in entries if entry is not None]


def find_password(
    entries: list[PassfileEntry], host: str, port: int, database: str, user: str
) -> str | None:
    """The password of the first line that matches, or ``None``.

    Args:
        entries: What `read_passfile` returned.
        host: A host name or address, or ``localhost`` for the default sockets.
        port: The port number, for sockets too.
        database: The name of the database.
        user: The name of the role.

    Raises:
        ClientConfigurationError: The password of that line cannot be sent.
    """
    for entry in entries:
        if not entry.matches(host, port, database, user):
            continue
        if not _is_sendable(entry.password):
            raise ClientConfigurationError(
                "the password for this host in the password file is not valid UTF-8 "
                "or has a NUL byte in it: correct that line"
            )
        return entry.password or None  # an empty one is none, as in libpq
    return None


def _parse_line(line: str) -> PassfileEntry | None:
    if line.startswith("#"):
        return None
    patterns: list[str | None] = []
    at = 0
    for _ in range(_N_PATTERNS):
        match = _FIELD.match(line, at)
        if match is None:
            return None
        patterns.append(None if match[1] == "*" else _unescape(match[1]))
        at = match.end()
    # The password is the rest of the line, colons included.
    return PassfileEntry(tuple(patterns), _unescape(line[at:]))


def _unescape(field: str) -> str:
    return _ESCAPE.sub(r"\1", field)


def _is_sendable(password: str) -> bool:
    return "\0" not in password and not any(
        "\ud800" <= char <= "\udfff" for char in password
    )
