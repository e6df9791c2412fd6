"""Runs tests of what no server version has a say in on one of them.

Owns: `on_one_version`, a mark for tests and modules that ask for `server`.
"""

import pytest

from chopin.testing import find_servers

_servers = find_servers()
# The one that storms have all of their calls on, or else the newest.
_chosen = next((s for s in _servers if s.major == 16), (_servers or [None])[0])

on_one_version = pytest.mark.parametrize(
    "server",
    [_chosen],
    ids=lambda binaries: f"pg{binaries.major}" if binaries else "no-server",
    indirect=True,
    scope="session",
)
