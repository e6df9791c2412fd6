"""One configuration for several connections: when, and when not."""

import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from chopin import _sharedconfig
from chopin._sharedconfig import shared_config
from chopin.config import parse_config
from chopin.exceptions import ClientConfigurationError

DSN = "postgres://ada:secret@db.example.org/app"
NO_PASSWORD = "postgres://ada@db.example.org/app"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An environment without anything of PostgreSQL, and a home without files."""
    for name in list(os.environ):
        if name.startswith("PG"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write_passfile(path, password):
    path.touch(mode=0o600)
    path.write_text(f"*:*:*:*:{password}")
    return path


@pytest.mark.parametrize(
    ("dsn", "options"),
    [
        (DSN, {}),
        (NO_PASSWORD, {}),
        ("host=a,b port=1,2 user=ada", {"command_timeout": 5, "timeout": None}),
        (None, {"host": "db", "user": "ada", "password": lambda: "secret"}),
        (DSN, {"ssl": ssl.create_default_context()}),
    ],
)
def test_same_arguments_share_a_configuration(dsn, options):
    """It is the one that `parse_config` makes."""
    config = shared_config(dsn, options)
    assert shared_config(dsn, dict(options)) is config
    assert config == parse_config(dsn, **options)


def test_configuration_is_forgotten_with_its_last_connection():
    """No password stays behind: neither the one of the DSN nor the one beside it."""
    config = shared_config(DSN, {"password": "geheim"})
    assert len(_sharedconfig._in_use) == 1
    del config
    assert len(_sharedconfig._in_use) == 0


def test_other_arguments_are_read():
    """Whatever is different is seen, though Python may call it equal."""
    held = [shared_config(DSN, {"command_timeout": 1})]
    for dsn, options in [
        (DSN, {}),
        (DSN, {"command_timeout": 1.0}),
        (DSN + "?sslmode=disable", {"command_timeout": 1}),
    ]:
        held.append(shared_config(dsn, options))
    assert len({id(config) for config in held}) == 4
    with pytest.raises(ClientConfigurationError, match="command_timeout"):
        shared_config(DSN, {"command_timeout": True})


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("PGSSLMODE", "disable", "sslmode"),
        ("PGAPPNAME", "me", "server_settings"),
        ("PGTZ", "UTC", "server_settings"),
        ("PGREQUIRESSL", "1", "sslmode"),
    ],
)
def test_environment_is_read_each_time(name, value, field, monkeypatch):
    """A variable that is set, changed or deleted counts for the next connection."""
    before = shared_config(DSN, {})
    monkeypatch.setenv(name, value)
    after = shared_config(DSN, {})
    assert getattr(after, field) != getattr(before, field)
    monkeypatch.delenv(name)
    assert shared_config(DSN, {}) is before


def test_passfile_is_read_each_time(home):
    """It may come, change and go while a connection lives."""
    path = home / ".pgpass"

    def password():
        config = shared_config(NO_PASSWORD, {})
        held.append(config)
        return config.hosts[0].password_from_passfile

    held = []
    assert password() is None
    for word in "one", "two":
        write_passfile(path, word)
        assert password() == word
    path.unlink()
    assert password() is None
    named = shared_config(NO_PASSWORD, {"passfile": home / "other"})
    write_passfile(home / "other", "three")
    again = shared_config(NO_PASSWORD, {"passfile": home / "other"})
    assert named.hosts[0].password_from_passfile is None
    assert again.hosts[0].password_from_passfile == "three"


def test_service_file_is_read_each_time(home):
    """What a service says today does not count tomorrow."""
    path = home / ".pg_service.conf"
    held = []
    for host in "one", "two":
        path.write_text(f"[here]\nhost={host}\nuser=ada\npassword=x")
        held.append(shared_config("service=here", {}))
        assert held[-1].hosts[0].host == host


@pytest.mark.parametrize("dsn", ["host=db", "user=ada", "user=ada host=db,,other"])
def test_what_the_machine_says_is_asked_each_time(dsn):
    """Who we are and where sockets are may be different the next time."""
    config = shared_config(dsn, {})
    assert shared_config(dsn, {}) is not config


def test_lists_and_dictionaries_are_read_each_time():
    """They may have changed inside."""
    settings = {"search_path": "a"}
    first = shared_config(DSN, {"server_settings": settings})
    settings["search_path"] = "b"
    second = shared_config(DSN, {"server_settings": settings})
    assert first.server_settings["search_path"] == "a"
    assert second.server_settings["search_path"] == "b"


class Hosts(Sequence):
    """Hosts that a program changes; its hash stays the same."""

    def __init__(self, *names):
        self.names = names

    def __len__(self):
        return len(self.names)

    def __getitem__(self, i):
        return self.names[i]


class Certificate:
    """A path that a program changes."""

    path = "/one"

    def __fspath__(self):
        return self.path


def test_objects_are_read_each_time():
    """An object that can be a key of a dictionary may still change inside."""
    hosts, certificate = Hosts("one"), Certificate()
    options = {"host": hosts, "user": "ada", "sslrootcert": certificate}
    first = shared_config(None, options)
    hosts.names, certificate.path = ("two",), "/two"
    second = shared_config(None, options)
    assert (first.hosts[0].host, first.sslrootcert) == ("one", "/one")
    assert (second.hosts[0].host, second.sslrootcert) == ("two", "/two")


def test_tuples_of_other_types_are_read():
    """(1,) and (True,) are equal, and one of them is an error."""
    options = {"host": "db", "user": "ada"}
    held = shared_config(None, {**options, "port": (1,)})
    assert held.hosts[0].port == 1
    with pytest.raises(ClientConfigurationError, match="port"):
        shared_config(None, {**options, "port": (True,)})


def test_passwords_are_asked_of_the_callable_that_is_given():
    """One that is equal to another may know another password."""

    @dataclass(frozen=True)
    class Token:
        role: str
        word: str = field(compare=False)

        def __call__(self):
            return self.word

    old, new = Token("ada", "old"), Token("ada", "new")
    options = {"host": "db", "user": "ada"}
    held = shared_config(None, {**options, "password": old})
    assert held.password is old
    assert shared_config(None, {**options, "password": new}).password is new


def test_errors_speak_of_one_thing():
    """That a list cannot be looked up is nothing to tell."""
    with pytest.raises(ClientConfigurationError) as caught:
        shared_config(None, {"host": ["db"], "user": "ada", "sslmode": "strict"})
    assert caught.value.__context__ is None
