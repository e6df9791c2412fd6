"""What the server reports of itself: its settings and its version.

Owns: `ConnectionSettings`, and how a version is read from `server_version`.
Layer L5. Imports L0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from chopin.types import ServerVersion

_VERSION = re.compile(
    r"(?P<major>[0-9]+)"
    r"(?:\.(?P<minor>[0-9]+))?"
    r"(?:\.(?P<micro>[0-9]+))?"
    r"(?P<level>alpha|beta|rc|devel)?"
    r"(?P<serial>[0-9]+)?"
)
_LEVELS = {"alpha": "alpha", "beta": "beta", "rc": "candidate", "devel": "alpha"}


class ConnectionSettings:
    """The run-time parameters that the server reports, as attributes.

    They follow the server: what it reports later is seen here.

    Example:
        >>> settings = ConnectionSettings({"server_encoding": "UTF8"})
        >>> settings.server_encoding
        'UTF8'

    Source: PostgreSQL documentation, "Asynchronous Operations".
    """

    __slots__ = ("_parameters",)

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = parameters

    def __getattr__(self, name: str) -> str:
        try:
            return self._parameters[name]
        except KeyError:
            raise AttributeError(
                f"the server does not report a setting {name!r}"
            ) from None

    def __dir__(self) -> list[str]:
        return sorted(self._parameters)

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in sorted(self._parameters.items()))
        return f"<ConnectionSettings {shown}>"


def parse_server_version(text: str) -> ServerVersion:
    """Read `server_version`; what packagers put behind the number is left out.

    Since version 10 the second number is the patch level, which belongs into `micro`.

    Example:
        >>> parse_server_version("15.18 (Debian 15.18-0+deb12u1)")
        ServerVersion(major=15, minor=0, micro=18, releaselevel='final', serial=0)
    """
    match = _VERSION.match(text)
    if match is None:
        raise ValueError(f"server_version cannot be read: {text!r}")
    major, minor = int(match["major"]), int(match["minor"] or 0)
    micro = int(match["micro"] or 0)
    if major >= 10:
        minor, micro = 0, minor
    level = match["level"]
    return ServerVersion(
        major,
        minor,
        micro,
        _LEVELS[level] if level else "final",
        int(match["serial"] or 0) if level else 0,
    )
