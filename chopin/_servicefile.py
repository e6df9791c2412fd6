"""The connection service file: ``pg_service.conf``.

Owns: where the file is looked for, and reading one section of it.
Imports: L4 (exceptions only).
Rules:

- A service that was asked for and is not found is an error: to go on without it would
  be to dial some other server.
- Within a section the first line for a key wins, as in libpq.
- No message repeats a line of the file.

Source: PostgreSQL docs, "libpq - C Library", section "The Connection Service File".
"""

from __future__ import annotations

import os
from typing import NoReturn

from chopin.exceptions import ClientConfigurationError

__all__ = ["find_service_files", "read_service"]

# Keys that would send the reader to another service.
_NESTED = ("service", "servicefile")


def read_service(service: str, paths: list[str], shown: str) -> list[tuple[str, str]]:
    """Find a service and return what it says.

    Args:
        service: The name of the section.
        paths: The files to look in, in order; those that do not exist are passed over.
        shown: The service as an error may name it.

    Returns:
        The pairs of the section in order, each key once.

    Raises:
        ClientConfigurationError: No file has the service, a file cannot be read, or
            the section breaks the grammar.
    """
    for path in paths:
        text = _read_text(path)
        if text is None:
            continue
        pairs = _read_section(service, path, text.split("\n"))
        if pairs is not None:
            return pairs
    looked_in = ", ".join(map(repr, paths)) or "no file, there is no home directory"
    raise ClientConfigurationError(
        f"definition of service {shown} not found (looked in: {looked_in}); "
        "name the file with PGSERVICEFILE or servicefile"
    )


def find_service_files(
    servicefile: str | None, home: str | None, sysconfdir: str | None
) -> list[str]:
    """The files to look in, in order.

    Args:
        servicefile: The file that the user names; it takes the place of the one in
            the home directory.
        home: The directory of the user's own PostgreSQL files.
        sysconfdir: The directory of the machine's files (``PGSYSCONFDIR``).
    """
    paths = []
    if servicefile is not None:
        paths.append(servicefile)
    elif home is not None:
        paths.append(os.path.join(home, ".pg_service.conf"))
    if sysconfdir is not None:
        paths.append(os.path.join(sysconfdir, "pg_service.conf"))
    return paths


def _read_text(path: str) -> str | None:
    """The text of a file, or ``None`` if there is no such file."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "it is not valid UTF-8"
    # Raised here, for the chain of exceptions would hold the contents of the file.
    raise ClientConfigurationError(f"service file {path!r} cannot be read: {reason}")


def _read_section(
    service: str, path: str, lines: list[str]
) -> list[tuple[str, str]] | None:
    """The pairs of ``[service]``, or ``None`` if the file has no such section."""
    found: dict[str, str] | None = None
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            if found is not None:
                break
            if line == f"[{service}]":
                found = {}
            continue
        if found is None:
            continue
        if line.startswith("ldap://"):
            _refuse(path, number, "LDAP look-up is not supported")
        key, equals, value = line.partition("=")
        if not equals:
            _refuse(path, number, 'missing "="')
        key = key.rstrip()
        if key in _NESTED:
            _refuse(path, number, "a service cannot refer to another service")
        found.setdefault(key, value.lstrip())
    return None if found is None else list(found.items())


def _refuse(path: str, number: int, reason: str) -> NoReturn:
    raise ClientConfigurationError(
        f"syntax error in service file {path!r}, line {number}: {reason}"
    )
