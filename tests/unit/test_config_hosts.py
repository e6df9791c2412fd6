"""Hosts: lists, ports beside them, addresses, sockets, defaults."""

import os

import pytest

from chopin import _hosts
from chopin._hosts import Host
from chopin.config import parse_config
from chopin.exceptions import ClientConfigurationError


def dialled(dsn=None, env=None, **arguments):
    """Name and port of each place to dial."""
    config = parse_config(
        dsn, environ={"HOME": "/nonexistent"} | (env or {}), **arguments
    )
    return [(host.host, host.port) for host in config.hosts]


@pytest.mark.parametrize(
    ("dsn", "arguments", "env", "want"),
    [
        # URIs
        ("postgres://a", {}, {}, [("a", 5432)]),
        ("postgres://a:1,b:2/d", {}, {}, [("a", 1), ("b", 2)]),
        ("postgres://a:1,b", {}, {}, [("a", 1), ("b", 5432)]),
        ("postgres://u@[::1]:7,[fe80::1%25eth0]/", {}, {},
         [("::1", 7), ("fe80::1%eth0", 5432)]),
        ("postgresql://%2Frun%2Fpostgresql/db", {}, {}, [("/run/postgresql", 5432)]),
        ("postgres:///db?host=/dir&port=9", {}, {}, [("/dir", 9)]),
        ("postgres:///db?host=@abstract", {}, {}, [("@abstract", 5432)]),
        ("postgres://:9/db?host=a", {}, {}, [("a", 9)]),
        ("postgres://a:1/db?host=b", {}, {}, [("b", 1)]),
        ("postgres:///db?host=[::1]:1,b:2,::2", {}, {},
         [("::1", 1), ("b", 2), ("::2", 5432)]),
        # pairs
        ("host=a,b port=5", {}, {}, [("a", 5), ("b", 5)]),
        ("host=a,b port=5,6", {}, {}, [("a", 5), ("b", 6)]),
        ("host=a,b port=,6", {}, {}, [("a", 5432), ("b", 6)]),
        ("host=a:1 port=2", {}, {}, [("a", 2)]),
        # arguments
        (None, {"host": "a"}, {}, [("a", 5432)]),
        (None, {"host": ["a", "b"], "port": 6}, {}, [("a", 6), ("b", 6)]),
        (None, {"host": ("a", "b"), "port": (6, "7")}, {}, [("a", 6), ("b", 7)]),
        (None, {"host": "a,b", "port": "6,7"}, {}, [("a", 6), ("b", 7)]),
        (None, {"host": ["/x", "b:8"]}, {}, [("/x", 5432), ("b", 8)]),
        # environment
        (None, {}, {"PGHOST": "a,b:3", "PGPORT": "1,2"}, [("a", 1), ("b", 2)]),
        (None, {}, {"PGHOST": "a,b:3"}, [("a", 5432), ("b", 3)]),
        # several sources
        ("postgres://a,b", {}, {"PGPORT": "1,2"}, [("a", 1), ("b", 2)]),
        ("postgres://a:9,b", {}, {"PGPORT": "1"}, [("a", 9), ("b", 1)]),
        ("postgres://a:9/d", {"host": "b"}, {}, [("b", 5432)]),
        ("postgres://a:9/d", {"host": "b"}, {"PGPORT": "1"}, [("b", 1)]),
        ("postgres://a:9/d", {"port": 8}, {}, [("a", 8)]),
        ("postgres://a:9/d?port=7", {"host": "b"}, {}, [("b", 7)]),
        ("host=a port=9", {"host": "b"}, {}, [("b", 9)]),
        ("host=a port=9", {"host": ""}, {"PGHOST": "c"}, [("a", 9)]),
        ("postgres://a", {}, {"PGHOST": "b", "PGPORT": "1"}, [("a", 1)]),
        ("postgres://a", {"port": 5}, {"PGPORT": "1,2,3"}, [("a", 5)]),
    ],
)  # fmt: skip
def test_hosts_and_ports(dsn, arguments, env, want):
    """Each host gets the port that was written for it, or the next that fits."""
    assert dialled(dsn, env, **arguments) == want


@pytest.mark.parametrize(
    ("dsn", "arguments", "env", "message"),
    [
        ("host=a,b,c port=1,2", {}, {}, "could not match 2 port numbers to 3 hosts"),
        (None, {"host": "a", "port": [1, 2]}, {}, "match 2 port numbers to 1 hosts"),
        ("postgres://a,b,c", {}, {"PGPORT": "1,2"}, "2 port numbers to 3 hosts"),
        ("host=a,b hostaddr=::1", {}, {}, "match 2 host names to 1 hostaddr values"),
        ("postgres://[::1", {}, {}, "invalid IPv6 address in the connection URI"),
        ("postgres://[]", {}, {}, "invalid IPv6 address in the connection URI"),
        ("postgres://[::1]x", {}, {}, 'unexpected character after the "]"'),
        ("host=[::1", {}, {}, "invalid IPv6 address in host"),
        ("hostaddr=db.test", {}, {}, "invalid hostaddr"),
        ("postgres://ann:pass@word@a", {}, {}, 'without "@", got the value in the DSN'),
        (None, {"host": ["a", "ann@b"]}, {}, 'without "@", got .* %40'),
        ("postgres://a:x", {}, {}, "invalid port number"),
        ("postgres://a:0", {}, {}, "invalid port number"),
        ("host=a:x", {}, {}, "invalid port number"),
        (None, {}, {"PGPORT": "x"}, "invalid port number"),
    ],
)  # fmt: skip
def test_lists_that_do_not_fit(dsn, arguments, env, message):
    """A list of another length, or an invalid place in it, is refused."""
    with pytest.raises(ClientConfigurationError, match=message):
        dialled(dsn, env, **arguments)


@pytest.mark.parametrize(
    ("dsn", "arguments", "env", "want"),
    [
        ("host=a hostaddr=192.0.2.1", {}, {}, [("a", "192.0.2.1")]),
        ("hostaddr=192.0.2.1,::1", {}, {}, [("192.0.2.1",) * 2, ("::1", "::1")]),
        ("host=a,b hostaddr=,::1", {}, {}, [("a", None), ("b", "::1")]),
        ("hostaddr=fe80::1%eth0", {}, {}, [("fe80::1%eth0",) * 2]),
        (None, {"hostaddr": "::1"}, {"PGHOST": "a"}, [("a", "::1")]),
        (None, {}, {"PGHOST": "a", "PGHOSTADDR": "::1"}, [("a", "::1")]),
        # the program names a host: the environment does not redirect it
        (None, {"host": "a"}, {"PGHOSTADDR": "::1"}, [("a", None)]),
        ("host=a", {}, {"PGHOSTADDR": "::1"}, [("a", None)]),
    ],
)
def test_addresses(dsn, arguments, env, want):
    """`hostaddr` is dialled, `host` is the name it goes by."""
    config = parse_config(dsn, environ={"HOME": "/nonexistent"} | env, **arguments)
    assert [(host.host, host.hostaddr) for host in config.hosts] == want


@pytest.mark.parametrize(
    ("host", "path"),
    [
        (Host("/run", None, 7), "/run/.s.PGSQL.7"),
        (Host("/run/", None, 7), "/run/.s.PGSQL.7"),
        (Host("/run/.s.PGSQL.9", None, 7), "/run/.s.PGSQL.9"),
        (Host("@name", None, 7), "\0name/.s.PGSQL.7"),
    ],
)
def test_unix_paths(host, path):
    """A directory gets the name of the socket, an abstract one a NUL in front."""
    assert host.is_unix
    assert host.unix_path == path


@pytest.mark.parametrize("host", [Host("db", None, 7), Host("/run", "::1", 7)])
def test_what_is_no_unix_socket(host):
    """A name is none, and an address comes before the path."""
    assert not host.is_unix


def test_default_hosts(tmp_path, monkeypatch):
    """The socket directories that exist, each once, then localhost."""
    real, missing = tmp_path / "run", tmp_path / "missing"
    real.mkdir()
    link = tmp_path / "link"
    link.symlink_to(real)
    directories = tuple(map(str, (real, link, missing)))
    monkeypatch.setattr(_hosts, "_SOCKET_DIRECTORIES", directories)
    want = [(str(real), 6), ("localhost", 6)]
    assert dialled(port=6) == want
    assert dialled("host='' port=6") == want
    assert dialled("host=a, port=5,6") == [("a", 5), *want]


def test_defaults_are_asyncpgs():
    """Where asyncpg would look, and no other place."""
    directories = ["/run/postgresql", "/var/run/postgresql", "/tmp", "/private/tmp"]
    places = [host for host, _ in dialled()]
    assert places[-1] == "localhost"
    assert set(places[:-1]) <= {d for d in directories if os.path.isdir(d)}
