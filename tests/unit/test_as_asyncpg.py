"""Libraries that import asyncpg get Chopin, where the user says so."""

import subprocess
import sys

import pytest

INSTALL = "import chopin; chopin.install_as_asyncpg()\n"


def run(code):
    """Run code in a process of its own, since what is imported stays imported."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    return done.returncode, done.stdout.strip() or done.stderr.strip().split("\n")[-1]


@pytest.mark.parametrize(
    ("code", "is_so"),
    [
        ("import asyncpg", "asyncpg.connect is chopin.connect"),
        ("import asyncpg", "asyncpg.__all__ == chopin.__all__"),
        ("import asyncpg", "asyncpg.__version__.startswith('0.3')"),
        ("import asyncpg", "asyncpg.pool.Pool is chopin.Pool"),
        ("import asyncpg.exceptions", "asyncpg.exceptions is chopin.exceptions"),
        ("from asyncpg.exceptions import DataError as E", "E is chopin.DataError"),
        ("from asyncpg import Pool, Record, types", "types.Range is chopin.Range"),
        ("from asyncpg.connection import Connection as C", "C is chopin.Connection"),
        ("from asyncpg.cursor import Cursor", "Cursor.__module__ == 'chopin.cursor'"),
        ("from asyncpg.protocol import Record", "Record is chopin.Record"),
        ("from asyncpg.protocol.record import Record", "Record is chopin.Record"),
        ("from asyncpg.pgproto.types import Range", "Range is chopin.Range"),
        ("from asyncpg import pgproto as p", "p.pgproto.UUID.__module__ == 'uuid'"),
        ("import asyncpg.pgproto.pgproto as p", "p.UUID(int=1).int == 1"),
        ("from importlib.util import find_spec", "find_spec('asyncpg') is not None"),
        ("chopin.install_as_asyncpg(); import asyncpg", "asyncpg.run is chopin.run"),
    ],
)
def test_imports(code, is_so):
    """Each way of importing gives what Chopin has."""
    assert run(f"{INSTALL}{code}\nprint({is_so})") == (0, "True")


@pytest.mark.parametrize("name", ["cluster", "connect_utils", "protocol.nothing"])
def test_what_chopin_has_not(name):
    """What is not there is not found, as ever: nothing of ours goes by that name."""
    code, said = run(f"{INSTALL}import asyncpg.{name}")
    assert code == 1
    assert said == f"ModuleNotFoundError: No module named 'asyncpg.{name}'"


def test_what_tools_look_for():
    """Sentry replaces private methods where it finds a BaseCursor: it finds none."""
    code, said = run(f"{INSTALL}from asyncpg.cursor import BaseCursor")
    assert code == 1
    assert said.startswith("ImportError: cannot import name 'BaseCursor'")


def test_too_late():
    """Who has imported asyncpg already has the other one."""
    code, said = run(f"import types, sys; sys.modules['asyncpg'] = types\n{INSTALL}")
    assert code == 1
    assert said.startswith("ImportError: asyncpg has been imported already: call ")


def test_nothing_by_itself():
    """Importing Chopin changes nobody else's imports."""
    assert run("import chopin, sys; print('asyncpg' in sys.modules)") == (0, "False")
