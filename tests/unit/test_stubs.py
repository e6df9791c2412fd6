"""What type checkers are told of the compiled modules is what is there."""

import importlib.machinery
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILED = sorted(path.stem for path in (ROOT / "chopin").glob("*.pyx"))
# of these the source is the stub
COMPILED_PYTHON = sorted(
    path.stem
    for path in (ROOT / "chopin").glob("*.py")
    if path.with_suffix(".pxd").exists()
)
STUBS = sorted(path.stem for path in (ROOT / "chopin").glob("*.pyi"))

# What Cython puts into every module and class.
MADE_BY_CYTHON = r"""
chopin\..*\.__(reduce|setstate)_cython__
chopin\..*\.__(test|pyx_capi)__
"""

# A program as users write them, and what a type checker must find in it.
PROGRAM = """\
from dataclasses import dataclass
from typing import TypedDict

import chopin
from chopin import Connection, Pool, Record

class User(Record):
    @property
    def label(self) -> str:
        return f"{self['id']} {self[1]}"

@dataclass
class Item:
    a: int

class Typed(TypedDict):
    a: int

async def main(conn: Connection, pool: Pool) -> None:
    rows = await conn.fetch("SELECT id, name FROM users", record_class=User)
    reveal_type(rows)
    row = await conn.fetchrow("SELECT 1 AS a, 2 AS b")
    reveal_type(row)
    assert row is not None
    reveal_type(row["a"])
    reveal_type(row[0:1])
    reveal_type(list(row.items()))
    reveal_type(dict(row))
    reveal_type(row.get("c", 0))
    reveal_type([value for value in row])
    reveal_type("a" in row)
    reveal_type(row == (1, 2))
    reveal_type(await conn.execute("SELECT 1"))
    async for each in conn.cursor("SELECT 1"):
        reveal_type(each)
    reveal_type(await conn.fetch("SELECT 1 AS a", into=Item))
    reveal_type(await conn.fetchrow("SELECT 1 AS a", into=dict[str, int]))
    reveal_type(await pool.fetch("SELECT 1 AS a", into=Typed))
    reveal_type(await pool.fetchmany("SELECT $1", [(1,)], into=float))
    reveal_type(await pool.fetch("SELECT 1", into=lambda a: str(a)))
    async for item in conn.cursor("SELECT 1 AS a", into=Item):
        reveal_type(item)
    statement = await conn.prepare("SELECT 1 AS a", into=Item)
    reveal_type(await statement.fetchrow())
    reveal_type(await statement.fetch(into=tuple))
    items: list[Item] = await conn.fetch("SELECT 1 AS a")
    async with conn.pipeline() as p:
        reveal_type(await p.fetch("SELECT 1 AS a"))
        reveal_type(await p.fetchrow("SELECT 1 AS a", into=Item))
    reveal_type((await conn.batch(["SELECT 1"]))[0].row_count)
    await pool.fetch("SELECT 1", into=5)
    try:
        async with conn.transaction():
            pass
    except chopin.UniqueViolationError as error:
        reveal_type(error.constraint_name)
    row[1.5]
    row["a"] = 1
"""
REVEALED = [
    "list[chopin._rows.Record]",
    "chopin._rows.Record | None",
    "Any",
    "tuple[Any, ...]",
    "list[tuple[str, Any]]",
    "dict[str, Any]",
    "Any | int",
    "list[Any]",
    "bool",
    "bool",
    "str",
    "chopin._rows.Record",
    "list[program.Item]",
    "dict[str, int] | None",
    "list[TypedDict(program.Typed, {'a': int})]",
    "list[float]",
    "list[str]",
    "program.Item",
    "program.Item | None",
    "list[tuple[Any, ...]]",
    "list[chopin._rows.Record]",
    "program.Item | None",
    "int | None",
    "str | None",
]
# records that were to be items, 5, and two of a record
ERRORS = ["assignment", "call-overload", "call-overload", "index"]


def run(*command):
    """The output of a Python module, run at the root of the project."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", COMPILED)
def test_every_module_that_shows_something_has_a_stub(name):
    """A compiled module with classes or functions of its own has a stub."""
    module = importlib.import_module(f"chopin.{name}")
    own = [
        key
        for key, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__
        and not key.startswith("__")
    ]
    assert own == [] or name in STUBS


@pytest.mark.parametrize("name", COMPILED_PYTHON)
def test_python_with_types_in_c_is_compiled(name):
    """Python finds the source too, which would do the same and be slow."""
    module = importlib.import_module(f"chopin.{name}")
    assert isinstance(module.__loader__, importlib.machinery.ExtensionFileLoader)


@pytest.mark.slow
def test_stubs_say_what_is_there(tmp_path):
    """Names, signatures and kinds of attributes of every stub fit the module."""
    allowed = tmp_path / "allowed"
    allowed.write_text(MADE_BY_CYTHON)
    modules = [f"chopin.{name}" for name in STUBS]
    options = ["--concise", "--ignore-disjoint-bases", "--ignore-unused-allowlist"]
    got = run("mypy.stubtest", *modules, *options, "--allowlist", str(allowed))
    assert got == (0, "")


@pytest.mark.slow
def test_types_that_users_meet(tmp_path):
    """Records, results and errors have the types that a program relies on."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    options = ["--strict", "--no-error-summary", "--cache-dir", str(tmp_path)]
    _, output = run("mypy", *options, str(program))
    lines = output.splitlines()
    revealed = [line.split('"')[1] for line in lines if "Revealed type" in line]
    assert revealed == REVEALED, output
    errors = [
        line.rpartition("[")[2].rstrip("]") for line in lines if ": error" in line
    ]
    assert errors == ERRORS, output
