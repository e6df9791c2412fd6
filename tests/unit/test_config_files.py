"""The password file and the service file."""

import os
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from chopin.config import parse_config
from chopin.exceptions import ClientConfigurationError


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment whose home directory is empty."""
    return {"HOME": str(tmp_path)}


def write_passfile(path: Path, text: str | bytes) -> None:
    """Write a password file that nobody else can read."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)


def found(env, **arguments):
    """The password that the file has for each host."""
    arguments = {"user": "u", "database": "d", "host": "h"} | arguments
    config = parse_config(environ=env, **arguments)
    return [host.password_from_passfile for host in config.hosts]


# --- the password file ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "arguments", "want"),
    [
        ("h:5432:d:u:pw", {}, ["pw"]),
        ("*:*:*:*:pw", {}, ["pw"]),
        ("x:*:*:*:a\nh:6:*:*:b\nh:*:x:*:c\nh:*:*:x:d\nh:*:*:*:e", {}, ["e"]),
        ("h:*:*:*:first\nh:*:*:*:second", {}, ["first"]),
        ("# h:*:*:*:a\n\nh:*:*:*:b", {}, ["b"]),
        ("h:*:*\nh:*:*:*\nh:*:*:*:b", {}, ["b"]),
        ("h:*:*:*:a\r\n", {}, ["a"]),
        ("h:*:*:*: a b ", {}, [" a b "]),
        ("h:*:*:*:a:b", {}, ["a:b"]),
        (r"h:*:*:*:a\:b\\c\d", {}, [r"a:b\cd"]),
        ("h:*:*:*:a\\", {}, ["a\\"]),
        (r"h:*:a\:b\\c:*:pw", {"database": r"a:b\c"}, ["pw"]),
        (r"\:\:1:*:*:*:pw", {"host": "::1"}, ["pw"]),
        (r"h:*:\*:*:pw", {"database": "*"}, ["pw"]),
        (r"h:*:\*:*:pw", {}, [None]),
        ("h:*:*:*:\n*:*:*:*:x", {}, [None]),
        ("h:*:*:*:\u2028x", {}, ["\u2028x"]),
        (b"x:*:*:*:\xe9\nh:*:*:*:ok", {}, ["ok"]),
        # each host its own
        ("a:1:*:*:1\nb:2:*:*:2", {"host": "a,b,c", "port": "1,2,3"}, ["1", "2", None]),
        # host, else hostaddr
        ("h:*:*:*:n\n\\:\\:1:*:*:*:a", {"hostaddr": "::1"}, ["n"]),
        ("\\:\\:1:*:*:*:a", {"hostaddr": "::1", "host": None}, ["a"]),
        # sockets: localhost for the default directories only
        ("localhost:7:*:*:pw", {"host": "/tmp", "port": 7}, ["pw"]),
        ("localhost:*:*:*:a\n/x:*:*:*:b", {"host": "/x"}, ["b"]),
        ("localhost:*:*:*:a", {"host": "@x"}, [None]),
    ],
)  # fmt: skip
def test_passfile_lines(lines, arguments, want, env, tmp_path):
    """The first line whose four patterns match has the password."""
    write_passfile(tmp_path / ".pgpass", lines)
    assert found(env, **arguments) == want


def test_passfile_only_when_there_is_no_password(env, tmp_path):
    """A password from any other source leaves the file closed."""
    (tmp_path / ".pgpass").write_text("*:*:*:*:pw")
    (tmp_path / ".pgpass").chmod(0o644)  # reading it would warn
    assert found(env, password="x") == [None]
    assert found(env | {"PGPASSWORD": "x"}) == [None]


def test_an_empty_password_is_none(env, tmp_path):
    """`password=''` and an empty PGPASSWORD leave the word to the file, as in libpq."""
    write_passfile(tmp_path / ".pgpass", "*:*:*:*:pw")
    assert found(env, password="") == ["pw"]
    assert found(env | {"PGPASSWORD": ""}) == ["pw"]


def test_where_the_passfile_is(env, tmp_path):
    """The argument, the variable, then the home directory."""
    for name in ("arg", "var", ".pgpass"):
        write_passfile(tmp_path / name, f"*:*:*:*:{name}")
    with_variable = env | {"PGPASSFILE": str(tmp_path / "var")}
    assert found(with_variable, passfile=tmp_path / "arg") == ["arg"]
    assert found(with_variable) == ["var"]
    assert found(env) == [".pgpass"]
    assert found({"HOME": "/nonexistent"}) == [None]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_passfile_that_others_can_read(mode, env, tmp_path):
    """It is not used, and a warning says why."""
    passfile = tmp_path / ".pgpass"
    passfile.write_text("*:*:*:*:pw")
    passfile.chmod(mode)
    with pytest.warns(UserWarning, match="has group or world access; permissions sh"):
        assert found(env) == [None]


def test_passfile_that_is_no_file(env, tmp_path):
    """A directory is not read, and a warning says why."""
    (tmp_path / ".pgpass").mkdir()
    with pytest.warns(UserWarning, match="is not a plain file"):
        assert found(env) == [None]


@pytest.mark.parametrize("password", [b"\xff", b"a\0b"])
def test_passwords_that_cannot_be_sent(password, env, tmp_path):
    """The line that matches must be text; the error does not repeat it."""
    write_passfile(tmp_path / ".pgpass", b"*:*:*:*:" + password)
    with pytest.raises(ClientConfigurationError, match="password file is not valid"):
        found(env)


# --- the service file ----------------------------------------------------------------

SERVICES = """
# a comment
[first]
host=one
port=1111

[second]
host = two
user=ann
password=50%
dbname=app
sslmode=require
user=ignored
search_path=x
[third]
port=3333
"""


@pytest.mark.parametrize(
    ("dsn", "arguments", "variables"),
    [
        (None, {"service": "second"}, {}),
        (None, {}, {"PGSERVICE": "second"}),
        ("postgres://?service=second", {}, {}),
        ("service=second", {}, {}),
        ("service=first", {"service": "second"}, {}),
        ("service=second", {}, {"PGSERVICE": "first"}),
    ],
)
def test_service_with_and_without_dsn(dsn, arguments, variables, env, tmp_path):
    """The section is read however it is named, and the first line for a key wins."""
    (tmp_path / ".pg_service.conf").write_text(SERVICES)
    config = parse_config(dsn, environ=env | variables, **arguments)
    assert (config.hosts[0].host, config.hosts[0].port) == ("two", 5432)
    assert (config.user, config.password, config.database) == ("ann", "50%", "app")
    assert config.sslmode == "require"
    assert config.server_settings["search_path"] == "x"


def test_where_the_service_file_is(env, tmp_path):
    """The argument or variable in place of the home directory, then PGSYSCONFDIR."""
    for name in ("arg", "var", ".pg_service.conf", "pg_service.conf"):
        (tmp_path / name).write_text(f"[s]\nhost={name}\n")
    (tmp_path / "pg_service.conf").write_text("[s]\nhost=sys\n[only]\nhost=sys\n")
    env |= {"PGSYSCONFDIR": str(tmp_path), "PGSERVICE": "s"}

    def host(env, **arguments):
        return parse_config(environ=env, **arguments).hosts[0].host

    variable = env | {"PGSERVICEFILE": str(tmp_path / "var")}
    assert host(variable, servicefile=tmp_path / "arg") == "arg"
    assert host(variable) == "var"
    assert host(env) == ".pg_service.conf"
    assert host(env | {"HOME": "/nonexistent"}) == "sys"
    assert host(env, service="only") == "sys"


@pytest.mark.parametrize("service", ["missing", "sec", "second]"])
def test_unknown_service_is_an_error(service, env, tmp_path):
    """Without it some other server would be dialled."""
    (tmp_path / ".pg_service.conf").write_text(SERVICES)
    with pytest.raises(ClientConfigurationError, match="not found") as caught:
        parse_config(environ=env, service=service)
    assert repr(service) in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", 'line 2: missing "="'),
        ("service=t", "line 2: a service cannot refer to another service"),
        ("ldap://x/y?z=1", "line 2: LDAP look-up is not supported"),
        ("sslmod=require", "did you mean 'sslmode'"),
        ("port=x", "invalid port number: expected 1 to 65535, got the value in the"),
    ],
)
def test_invalid_service_lines(line, message, env, tmp_path):
    """The error names the file and the line, not what is in it."""
    (tmp_path / ".pg_service.conf").write_text(f"[s]\n{line}\n")
    with pytest.raises(ClientConfigurationError, match=message):
        parse_config(environ=env, service="s")


def test_unreadable_service_file(env, tmp_path):
    """A file that is there and cannot be read is not passed over."""
    (tmp_path / ".pg_service.conf").mkdir()
    with pytest.raises(ClientConfigurationError, match="cannot be read"):
        parse_config(environ=env, service="s")
    (tmp_path / "latin").write_bytes(b"[s]\nuser=\xe9\n")
    with pytest.raises(ClientConfigurationError, match="is not valid UTF-8"):
        parse_config(environ=env, service="s", servicefile=tmp_path / "latin")


def test_no_service_no_file(env, tmp_path):
    """A broken file matters to nobody who asks for no service."""
    (tmp_path / ".pg_service.conf").write_text("nonsense")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_config(environ=env, host="h").hosts[0].host == "h"


@pytest.mark.skipif(os.name == "nt", reason="home directories are found otherwise")
def test_environment_of_the_process_is_the_default(monkeypatch, tmp_path):
    """Without `environ`, the variables of the process count."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGUSER", "ann")
    assert parse_config().user == "ann"


def test_keylog_file_is_ignored_when_python_ignores_the_environment(env, monkeypatch):
    """`python -E` must not write TLS secrets because a variable says so."""
    env["SSLKEYLOGFILE"] = "/k.log"
    assert parse_config(environ=env).sslkeylogfile == "/k.log"
    monkeypatch.setattr("sys.flags", SimpleNamespace(ignore_environment=1))
    assert parse_config(environ=env).sslkeylogfile is None
