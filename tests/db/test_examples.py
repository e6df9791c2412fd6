"""The examples do what they say, without a warning, and leave nothing behind."""

import ast
import contextlib
import doctest
import inspect
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

DEMO_SAYS = (
    "in the table afterwards: [9000001]",
    "times as fast",
    "and the server agrees: True",
    "TimeoutError after 0.",
    "the same connection: True",
    "UniqueViolationError (23505)",
    "ForeignKeyViolationError (23503)",
    "UndefinedColumnError (42703)",
    "sold, though all wanted the same one at the same time: 10",
    "DataError (22000)",
    "The server is stopped and its files are gone.",
)


def output_of(name, *args):
    """What an example prints; it may not fail, warn or leave anything unclosed."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", EXAMPLES / name, *args],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
    )
    # that a step of the event loop was slow is the machine's fault, not ours
    said = re.sub(r"^Executing .* took \d.*\n", "", done.stderr, flags=re.MULTILINE)
    assert (done.returncode, said) == (0, "")
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_demo(loop):
    """The tour goes to its end on both loops: each of its claims holds."""
    got = output_of("demo.py", "--orders", "2000", "--loop", loop)
    assert f", {loop}\n" in got.partition("\n")[0] + "\n"
    assert [line for line in DEMO_SAYS if line not in got] == []


def test_quickstart(server):
    """The README's example prints what the README says."""
    got = output_of("quickstart.py", server.dsn)
    assert got == "WORKS\n10 Études\n23 Ballade\n"


def test_orm(server):
    """SQLAlchemy's dialect for asyncpg stores, reads, streams, and knows our errors."""
    assert output_of("orm.py", server.dsn).splitlines() == [
        "Chopin {'year': 1810} [(10, ['c', 'G']), (25, ['c', 'G'])]",
        "streamed: 25",
        "streamed: 10",
        "refused: UniqueViolationError",
        "works: 2",
    ]


def test_bulk():
    """Rows go in and come out on a private server, and a bad one is not stored."""
    got = output_of("bulk.py", "--rows", "20000").splitlines()
    assert "COPY 20000" in got
    assert got[-1] == "COPY 500: station,mean"
    assert any(line.split()[:4] == ["read", "20,000", "of", "20,000,"] for line in got)
    assert any('column "celsius" of row 2' in line for line in got)


def test_readme_shows_the_quickstart():
    """The example in the README is the file, without its docstring."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    example = (EXAMPLES / "quickstart.py").read_text("utf-8")
    assert blocks[0].strip() == example.split('"""')[2].strip()


def test_transactions(server, observer):
    """What is committed stays, what fails is undone, and one of two runs again."""
    got = [
        line.split(":  ", 1)
        for line in output_of("transactions.py", server.dsn).splitlines()
    ]
    assert [(what, result.strip()) for what, result in got] == [
        ("10 are moved", "{'Frédéric': 30, 'George': 90}"),
        ("500 are not", "{'Frédéric': 30, 'George': 90} balance_is_not_negative"),
        ("10 and 500: 10 are", "{'Frédéric': 40, 'George': 80}"),
        ("one of two takes 40", "80 are left, 3 attempts"),
    ]
    left = observer.execute("SELECT to_regclass('chopin_accounts')").fetchone()
    assert left == (None,)


def test_job_queue(server):
    """Each job is done once, tried again where it failed, and given up in the end."""
    assert output_of("jobqueue.py", server.dsn).splitlines() == [
        "20 jobs for 4 workers",
        "16 letters to 4 guests, each written once",
        "given up after 3 attempts: Ludwig is not at home",
    ]


async def answer_to(example, names):
    """What the prompt of ``python -m asyncio`` says to an example."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(example.source, "<docs>", "single", flags)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            result = eval(code, names)
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            kind = type(error)
            home = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
            return f"{home}{kind.__qualname__}: {error}".removesuffix(": ") + "\n"
    return out.getvalue()


@pytest.mark.parametrize("page", ["usage.md", "pool.md"])
async def test_docs(page, dsn):
    """What a page of docs/ shows is what happens, from its first line to its last."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    examples = doctest.DocTestParser().get_examples(
        re.sub("^```$", "", text, flags=re.M)
    )
    names = {"dsn": dsn}
    check = doctest.OutputChecker().check_output
    for example in examples:
        got = await answer_to(example, names)
        want = example.exc_msg or example.want
        assert check(want, got, doctest.ELLIPSIS), (example.source, want, got)
    assert len(examples) > 12
