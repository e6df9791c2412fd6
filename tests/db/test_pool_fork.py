"""A pool that a forked process has inherited: what is its parent's stays untouched.

The programs are of this module's own: who forks must not have the test's threads.
"""

import textwrap

import pytest

from tests.support.oneversion import on_one_version
from tests.support.program import Program

pytestmark = on_one_version

PROGRAM = """
import asyncio, os, sys
import chopin, uvloop

new_loop = {loop}
runner = asyncio.Runner(loop_factory=new_loop)
QUERY = "SELECT pg_backend_pid()"

async def make():
    pool = await chopin.create_pool({dsn!r}, min_size=1, max_size=1)
    return pool, await pool.fetchval(QUERY)

async def in_child(pool, pid):
    assert await pool.fetchval(QUERY, timeout=20) != pid
    async with asyncio.timeout(20):
        await pool.{end}

def fork(pool, pid):
    if child := os.fork():
        return child
    status = 1
    try:
        asyncio.Runner(loop_factory=new_loop).run(in_child(pool, pid))
        status = 0
    finally:
        os._exit(status)

def wait_for(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

async def same(pool, pid):
    assert await pool.fetchval(QUERY, timeout=20) == pid
    await pool.close()
"""

WAYS = {
    "between runs": """
        pool, pid = runner.run(make())
        print(wait_for(fork(pool, pid)))
        runner.run(same(pool, pid))
        runner.close()
        """,
    "in a coroutine": """
        async def main():
            pool, pid = await make()
            print(wait_for(fork(pool, pid)))
            await same(pool, pid)

        runner.run(main())
        runner.close()
        """,
}


@pytest.mark.parametrize("end", ["close()", "expire_connections()"])
@pytest.mark.parametrize("loop", ["asyncio.new_event_loop", "uvloop.new_event_loop"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_child_uses_the_pool(server, tmp_path, way, loop, end):
    """It has connections of its own, and its end does not touch the parent's."""
    path, errors = tmp_path / "program.py", tmp_path / "errors"
    setup = PROGRAM.format(dsn=server.dsn, loop=loop, end=end)
    path.write_text(f"{setup}{textwrap.dedent(way)}")
    with Program(path, errors=errors) as program:
        assert program.end() == (0, ["0"]), program.errors
