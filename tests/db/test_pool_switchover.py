"""Pools that go on with another server: what its numbers mean is asked of it anew.

OIDs of what users have made are a server's own. After a switch to a server that is no
copy of the first one, byte for byte (a logical replica, a restored dump), a type may
have the number that another type has had.

The servers are of this module's own, and of the newest version.
"""

import asyncio

import psycopg
import pytest

import chopin
from chopin.testing import TemporaryServer
from tests.support.pools import eventually, patience, pool_factory

# In each, `v` is of the type that the server has made first.
SPANS = "CREATE TYPE span AS RANGE (subtype = {})"
TABLE = "CREATE TABLE spans AS SELECT span({}, {}) AS v"
QUERY = "SELECT v FROM spans"
OLD, NEW = chopin.Range(1, 5), chopin.Range(1.5, 2.5)


@pytest.fixture(scope="module")
def new_server():
    """The one that is gone over to."""
    with TemporaryServer() as server:
        fill(server, "float8", 1.5, 2.5)
        yield server


@pytest.fixture
def old_server():
    """The one that ends."""
    with TemporaryServer() as server:
        fill(server, "int8", 1, 5)
        yield server


def fill(server, subtype, lower, upper):
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute(SPANS.format(subtype))
        conn.execute(TABLE.format(lower, upper))


def oid(server):
    with psycopg.connect(server.dsn) as conn:
        return conn.execute("SELECT 'span'::regtype::oid").fetchone()


@pytest.fixture
async def create():
    """A factory of pools; see `pool_factory`."""
    async with pool_factory(None) as make:
        yield make


def places(*servers):
    hosts = [server.host for server in servers]
    return {"host": hosts, "port": [server.port for server in servers]}


WHO = {"user": "postgres", "database": "postgres"}


async def test_next_host(create, old_server, new_server):
    """The first of two hosts ends; one connection of it is held meanwhile."""
    assert oid(old_server) == oid(new_server)
    pool = await create(**places(old_server, new_server), **WHO)
    async with patience(), pool.acquire():
        assert await pool.fetchval(QUERY) == OLD
        await asyncio.to_thread(old_server.stop)
        for _ in range(2):
            assert await pool.fetchval(QUERY) == NEW


@pytest.mark.parametrize("expire", [True, False])
async def test_other_arguments(create, old_server, new_server, expire):
    """`set_connect_args` is for connections made from then on; one is still held."""
    pool = await create(**places(old_server), **WHO)
    async with patience():
        assert await pool.fetchval(QUERY) == OLD
        async with pool.acquire() as held:
            pool.set_connect_args(**places(new_server), **WHO)
            if expire:
                await pool.expire_connections()
            assert await pool.fetchval(QUERY) == NEW
            assert await held.fetchval(QUERY) == OLD


async def test_same_address(create, old_server, new_server, tmp_path):
    """Another server answers there, when all connections to the first are gone."""
    link = tmp_path / f".s.PGSQL.{old_server.port}"
    link.symlink_to(f"{old_server.host}/{link.name}")
    pool = await create(host=str(tmp_path), port=old_server.port, **WHO)
    async with patience():
        assert await pool.fetchval(QUERY) == OLD
        await asyncio.to_thread(old_server.stop)
        link.unlink()
        link.symlink_to(f"{new_server.host}/.s.PGSQL.{new_server.port}")
        await eventually(lambda: not pool.get_size())
        assert await pool.fetchval(QUERY) == NEW
