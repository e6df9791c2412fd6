"""Workers with a pool each, on real servers: they share a budget and leave nothing."""

import re
import signal
from pathlib import Path

import pytest

from tests.support.program import Program

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[2] / "examples"
LOOKS = 500

PROGRAM = """\
import asyncio, os, signal, sys
from functools import partial

import chopin
from chopin import runtime

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

async def main(dsn, worker):
    size = worker.share(3)
    async with chopin.create_pool(dsn, min_size=0, max_size=size) as pool:
        pids = await asyncio.gather(
            *(pool.fetchval("SELECT pg_backend_pid() FROM pg_sleep(0.01)")
              for _ in range(10))
        )
        say(worker.index, size, *sorted({*pids}))
        if "stay" in sys.argv:
            await pool.fetchval("SELECT pg_sleep(1000)")

if __name__ == "__main__":
    if "threads" in sys.argv:
        runtime._has_gil = lambda: False
    uvloop = "uvloop" in sys.argv
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runtime.run(partial(main, sys.argv[1]), 2, uvloop=uvloop)
"""


@pytest.fixture
def start(server, tmp_path):
    """Start the program with these words as arguments; as a context manager."""

    def start(*words):
        path = tmp_path / "program.py"
        path.write_text(PROGRAM)
        dsn = f"{server.dsn}&application_name=workers"
        return Program(path, dsn, *words, errors=tmp_path / "errors")

    return start


def remaining(observer):
    """How many connections the server still has of the workers, after a while."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'workers'"
    for _ in range(LOOKS):
        (count,) = observer.execute(query).fetchone()
        if not count:
            break
        observer.execute("SELECT pg_sleep(0.01)")
    return count


@pytest.mark.parametrize("kind", ["processes", "threads"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_two_pools_share_a_budget(start, observer, kind, loop):
    """Each worker has connections of its own, all of them no more than there may be."""
    with start(kind, loop) as program:
        status, lines = program.end()
        assert (status, program.errors) == (0, "")
    first, second = [line.split() for line in lines]
    assert (first[:2], second[:2]) == (["0", "2"], ["1", "1"])
    assert len(first) == 4 and len(second) == 3
    assert not {*first[2:]} & {*second[2:]}
    assert remaining(observer) == 0


@pytest.mark.parametrize("kind", ["processes", "threads"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_in_the_middle_of_queries(start, observer, kind, number):
    """The queries are cancelled on the server, and the pools closed in order."""
    with start(kind, "stay") as program:
        program.lines(2)
        program.signal(number)
        status, _ = program.end()
        is_interrupt = number == signal.SIGINT
        assert status == (-number if is_interrupt else 0)
        assert program.errors.count("Traceback") == is_interrupt
    assert remaining(observer) == 0


def test_killed_parent_leaves_no_connection(start, observer):
    """Workers that have lost their parent close their pools."""
    with start("processes", "stay") as program:
        program.lines(2)
        program.signal(signal.SIGKILL)
        assert program.end() == (-signal.SIGKILL, [])
        assert program.errors == ""
    assert remaining(observer) == 0


def test_example(server, tmp_path):
    """It ends by itself and says what each worker has done."""
    errors = tmp_path / "errors"
    with Program(EXAMPLES / "workers.py", server.dsn, errors=errors) as program:
        status, lines = program.end()
        assert (status, program.errors) == (0, "")
    assert lines
    for index, line in enumerate(lines):
        assert re.fullmatch(
            rf"worker {index} of {len(lines)}, core (\d+|None): [\d,]+ queries/s,"
            r" \d+ connections",
            line,
        )
