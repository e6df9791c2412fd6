"""Configuration: from what the user says to one frozen dataclass.

Owns: `ConnectConfig`, and the order in which keyword arguments, DSN, service file and
environment count.
Imports: L4 below it (`_conninfo`, `_confkeys`, `_confvalues`, `_hosts`, `_passfile`,
`_servicefile`), L0 exceptions.
Rules:

- Pure: no socket, no event loop, no TLS context is made here. The password and service
  files are read; the clock is not.
- Parameters are independent: each is taken from the first source that has it.

      keyword argument > DSN > service file > environment > default

  Two things belong together instead. Ports that stand beside the hosts of a URI are
  dropped when the hosts come from a keyword argument, as in asyncpg. A ``hostaddr``
  counts only if the hosts do not come from a source that ranks higher, so that
  PGHOSTADDR never redirects a host that the program names.
- Every text is checked for NUL bytes before anything else is done with it.
- No message and no ``repr`` holds a password.

Where this differs from asyncpg on purpose: a URI is read as libpq reads it ("+" is no
space, a bare "%" is an error, a key in the query overrides the part in front of it),
``key=value`` strings are accepted, a service works without a DSN and must exist.

Source: PostgreSQL docs, "libpq - C Library", section "Database Connection Control
Functions".
"""

from __future__ import annotations

import getpass
import os
import ssl as ssl_module
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

from chopin import _confvalues as values
from chopin._confkeys import (
    KEYS,
    is_setting,
    known_key,
    nearest_key,
    translate_pair,
)
from chopin._confvalues import SessionAttribute, SSLMode
from chopin._conninfo import parse_conninfo
from chopin._hosts import Host, check_address, pair_hosts, split_ports, with_password
from chopin._passfile import find_password, read_passfile
from chopin._servicefile import find_service_files, read_service
from chopin.exceptions import ClientConfigurationError

__all__ = [
    "ConnectConfig",
    "ConnectOptions",
    "Host",
    "SSLMode",
    "SessionAttribute",
    "parse_config",
]

Password = str | Callable[[], str | Awaitable[str]]
Path = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class ConnectConfig:
    """All that is known before the first byte is sent.

    Attributes:
        hosts: The places to dial, in order.
        user: The role.
        database: The database; the role's name unless given.
        password: The password, or a callable that is asked for each connection and
            returns it or an awaitable of it. If None, see
            `Host.password_from_passfile`.
        timeout: Seconds for the whole of connecting, all hosts together; None for no
            limit.
        connect_timeout: Seconds for each host; None for no limit. As in libpq 17 and
            later, there is no least value.
        target_session_attrs: Which kind of server will do.
        load_balance_hosts: ``random`` to dial the hosts in random order.
        keepalives: Whether TCP keepalives are on.
        keepalives_idle: Seconds of silence before the first keepalive; None for the
            system's value, here and in the next three.
        keepalives_interval: Seconds between keepalives.
        keepalives_count: Keepalives that may stay unanswered.
        tcp_user_timeout: Milliseconds that sent data may stay unacknowledged.
        requirepeer: The operating system user that the server behind a Unix socket
            must run as.
        sslmode: How much TLS is insisted on; it does not apply to Unix sockets.
        ssl_context: The context that the user gave as ``ssl=``; it replaces the files
            below.
        sslnegotiation: ``direct`` to begin with TLS at once (PostgreSQL 17).
        sslcert: The file with the client certificate.
        sslkey: The file with its key.
        sslpassword: The passphrase of that key.
        sslcertmode: Whether the client certificate is sent.
        sslrootcert: The file with the authorities, or ``system``.
        sslcrl: The file with revoked certificates.
        sslcrldir: The directory with revoked certificates.
        sslsni: Whether the server's name is sent in the TLS handshake.
        ssl_min_protocol_version: The oldest TLS that will do.
        ssl_max_protocol_version: The newest TLS that will do.
        sslkeylogfile: The file that TLS secrets are written to, for debugging.
        channel_binding: Whether the password exchange must be bound to the TLS channel.
        require_auth: The allowed methods, see `chopin.auth`; None allows all.
        scram_client_key: 32 bytes that stand for the password in SCRAM.
        scram_server_key: 32 bytes that prove the server in SCRAM.
        oauth_issuer: The issuer for OAUTHBEARER.
        oauth_client_id: The client for OAUTHBEARER.
        oauth_client_secret: Its secret.
        oauth_scope: The scope to ask for.
        gssencmode: ``disable`` or ``prefer``; neither leads to GSS encryption.
        krbsrvname: The Kerberos service name.
        gsslib: ``gssapi`` or ``sspi``.
        gssdelegation: Whether credentials are delegated to the server.
        min_protocol_version: The oldest protocol that will do, ``3.0`` or ``3.2``.
        max_protocol_version: The protocol that is asked for; ``3.0`` unless given or
            `min_protocol_version` is higher, as in libpq 18.
        server_settings: What the start-up packet says beside user and database;
            read-only. It always has ``client_encoding``.
        command_timeout: Seconds for each statement; None for no limit.
        statement_cache_size: How many prepared statements a connection keeps.
        max_cached_statement_lifetime: Seconds that one is kept; 0 for ever.
        max_cacheable_statement_size: Characters of the longest one kept; 0 for any.
        watched: With the same arguments and environment the configuration is the same
            while none of these files exists; None if it depends on more than that.

    Source: PostgreSQL docs, "Parameter Key Words".
    """

    hosts: tuple[Host, ...]
    user: str
    database: str
    password: Password | None = field(repr=False)
    timeout: float | None
    connect_timeout: float | None
    target_session_attrs: SessionAttribute
    load_balance_hosts: Literal["disable", "random"]
    keepalives: bool
    keepalives_idle: int | None
    keepalives_interval: int | None
    keepalives_count: int | None
    tcp_user_timeout: int | None
    requirepeer: str | None
    sslmode: SSLMode
    ssl_context: ssl_module.SSLContext | None
    sslnegotiation: Literal["postgres", "direct"]
    sslcert: str | None
    sslkey: str | None
    sslpassword: str | None = field(repr=False)
    sslcertmode: Literal["disable", "allow", "require"]
    sslrootcert: str | None
    sslcrl: str | None
    sslcrldir: str | None
    sslsni: bool
    ssl_min_protocol_version: str | None
    ssl_max_protocol_version: str | None
    sslkeylogfile: str | None
    channel_binding: Literal["disable", "prefer", "require"]
    require_auth: frozenset[str] | None
    scram_client_key: bytes | None = field(repr=False)
    scram_server_key: bytes | None = field(repr=False)
    oauth_issuer: str | None
    oauth_client_id: str | None
    oauth_client_secret: str | None = field(repr=False)
    oauth_scope: str | None
    gssencmode: Literal["disable", "prefer"]
    krbsrvname: str
    gsslib: Literal["gssapi", "sspi"]
    gssdelegation: bool
    min_protocol_version: Literal["3.0", "3.2"]
    max_protocol_version: Literal["3.0", "3.2"]
    server_settings: Mapping[str, str]
    command_timeout: float | None
    statement_cache_size: int
    max_cached_statement_lifetime: float
    max_cacheable_statement_size: int
    watched: tuple[str, ...] | None


class ConnectOptions(TypedDict, total=False):
    """The keyword arguments of `connect`: see `ConnectConfig` for their meaning.

    Beside the parameters themselves: ``dbname`` is libpq's name for ``database``;
    ``ssl`` is True (verify with the system's authorities), False, the name of an
    sslmode or a context of your own; ``direct_tls`` stands for ``sslnegotiation``.
    """

    host: str | Sequence[str] | None
    hostaddr: str | Sequence[str] | None
    port: int | str | Sequence[int | str] | None
    user: str | None
    password: Password | None
    passfile: Path | None
    database: str | None
    dbname: str | None
    service: str | None
    servicefile: Path | None
    timeout: float | None
    connect_timeout: float | str | None
    ssl: bool | str | ssl_module.SSLContext | None
    direct_tls: bool | None
    target_session_attrs: SessionAttribute | str | None
    load_balance_hosts: str | None
    keepalives: bool | int | str | None
    keepalives_idle: int | str | None
    keepalives_interval: int | str | None
    keepalives_count: int | str | None
    tcp_user_timeout: int | str | None
    requirepeer: str | None
    sslmode: SSLMode | str | None
    sslnegotiation: str | None
    sslcompression: bool | int | str | None
    sslcert: Path | None
    sslkey: Path | None
    sslpassword: str | None
    sslcertmode: str | None
    sslrootcert: Path | None
    sslcrl: Path | None
    sslcrldir: Path | None
    sslsni: bool | int | str | None
    ssl_min_protocol_version: str | None
    ssl_max_protocol_version: str | None
    sslkeylogfile: Path | None
    channel_binding: str | None
    require_auth: str | None
    scram_client_key: str | bytes | None
    scram_server_key: str | bytes | None
    oauth_issuer: str | None
    oauth_client_id: str | None
    oauth_client_secret: str | None
    oauth_scope: str | None
    gssencmode: str | None
    krbsrvname: str | None
    gsslib: str | None
    gssdelegation: bool | int | str | None
    min_protocol_version: str | None
    max_protocol_version: str | None
    application_name: str | None
    fallback_application_name: str | None
    options: str | None
    client_encoding: str | None
    replication: str | None
    server_settings: Mapping[str, str] | None
    command_timeout: float | str | None
    statement_cache_size: int
    max_cached_statement_lifetime: float
    max_cacheable_statement_size: int


# Keyword arguments that are no parameters of the table, but stand for some.
_ARGUMENTS_ONLY = frozenset({"dbname", "ssl", "direct_tls", "server_settings"})

# Parameters that go into the start-up packet under their own names.
_STARTUP_KEYS = ("application_name", "options", "client_encoding", "replication")

# Environment variables that stand for server settings, the least of all sources.
_ENVIRONMENT_SETTINGS = {
    "PGDATESTYLE": "datestyle",
    "PGTZ": "timezone",
    "PGGEQO": "geqo",
}

_STRONG_SSLMODES = frozenset({SSLMode.require, SSLMode.verify_ca, SSLMode.verify_full})


_DEFAULTS = {key.name: key.default for key in KEYS.values()}
_FIELDS = [field.name for field in fields(ConnectConfig)]
_BY_VARIABLE = {key.env: key.name for key in KEYS.values() if key.env is not None}

# Variables that say where files are.
_DIRECTORIES = ("HOME", "APPDATA", "PGSYSCONFDIR")

# All environment variables that are looked at.
_VARIABLES = {*_BY_VARIABLE, *_ENVIRONMENT_SETTINGS, "PGREQUIRESSL", *_DIRECTORIES}


class _Source(NamedTuple):
    """Where values come from; the sources are kept in order of rank."""

    name: str
    values: dict[str, Any]
    is_shown: bool  # whether messages may repeat its values
    has_authority_ports: bool = False

    def shown(self, value: object) -> str:
        return repr(value) if self.is_shown else f"the value in the {self.name}"


def parse_config(
    dsn: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    **options: Unpack[ConnectOptions],
) -> ConnectConfig:
    """Work out what to connect to, and how.

    Args:
        dsn: A ``postgresql://`` URI or ``key=value`` pairs.
        environ: The environment; `os.environ` unless given.
        **options: See `ConnectOptions`. None means "not given".

    Returns:
        The configuration.

    Raises:
        ClientConfigurationError: A value is invalid, two contradict each other, or a
            file that was asked for is missing.
        TypeError: There is no such keyword argument.

    Warns:
        UserWarning: The password file is not used because others can read it.

    Example:
        >>> config = parse_config("postgres://ann@db.example.org/app", environ={})
        >>> config.hosts[0].host, config.user, config.database
        ('db.example.org', 'ann', 'app')

    Source: PostgreSQL docs, "Database Connection Control Functions".
    """
    env = read_environment(os.environ if environ is None else environ)
    environment = _environment_source(env)
    sources = [_arguments_source(dict(options))]
    settings = _user_settings(options.get("server_settings"), sources[0])
    if dsn:
        sources.append(_dsn_source(dsn, settings))
    service = _service_source([*sources, environment], env, settings)
    if service is not None:
        sources.append(service)
    sources.append(environment)
    ssl = options.get("ssl")
    if ssl is True:
        sources.append(_Source("default", {"sslrootcert": "system"}, is_shown=True))

    given = {name for source in sources for name in source.values}
    found = _DEFAULTS | {
        name: _resolve(name, sources) for name in KEYS if name in given
    }
    found["ssl_context"] = ssl if isinstance(ssl, ssl_module.SSLContext) else None
    _settle_tls(found, is_mode_given=_first_with("sslmode", sources) is not None)
    _settle_protocol(found)
    _check_encoding(found["client_encoding"], _first_with("client_encoding", sources))
    found["server_settings"] = _server_settings(found, settings, env)
    user = found["user"]
    found["user"] = user or _system_user()
    found["database"] = found["database"] or found["user"]
    found["hosts"] = _with_passwords(_hosts(sources), found, env)
    found["watched"] = _watched(found, env) if user else None
    return ConnectConfig(*map(found.__getitem__, _FIELDS))


def read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that count, each read once.

    `os.environ` decodes a variable each time that it is asked for it, a tenth of what
    all of parsing costs; another thread may delete one while this goes over them.
    """
    found = {name: environ.get(name) for name in environ if name in _VARIABLES}
    return {name: value for name, value in found.items() if value is not None}


# --- the sources ---------------------------------------------------------------------


class _Settings:
    """Server settings out of all sources; the first to give a name wins.

    The server does not tell capitals in names, so neither does this.
    """

    def __init__(self) -> None:
        self._by_folded: dict[str, tuple[str, str]] = {}

    def add(self, settings: Mapping[str, str]) -> None:
        """Take over what a source that ranks higher has not set."""
        for name, value in settings.items():
            self._by_folded.setdefault(name.lower(), (name, value))

    def as_dict(self) -> dict[str, str]:
        """The settings in the spelling of whoever gave them."""
        return dict(self._by_folded.values())


def _arguments_source(options: dict[str, Any]) -> _Source:
    """The keyword arguments, those that stand for others translated."""
    for name in options:
        if name not in KEYS and name not in _ARGUMENTS_ONLY:
            meant = nearest_key(name)
            hint = f"; did you mean {known_key(meant)!r}?" if meant else ""
            raise TypeError(
                f"connect() got an unexpected keyword argument {name!r}{hint}"
            )
    given = {
        name: value
        for name, value in options.items()
        if name in KEYS and (value is not None or KEYS[name].is_none_a_value)
    }
    for name in ("host", "port"):
        if name in given and not given[name]:
            del given[name]  # asyncpg takes "", 0 and [] for "not given"
    _translate_argument(given, "database", "dbname", options.get("dbname"))
    ssl, direct = options.get("ssl"), options.get("direct_tls")
    if isinstance(ssl, ssl_module.SSLContext):
        ssl = SSLMode.require
    elif isinstance(ssl, bool):
        ssl = SSLMode.verify_full if ssl else SSLMode.disable
    elif ssl is not None and not isinstance(ssl, str):
        raise ClientConfigurationError(
            "ssl is expected to be a bool, the name of an sslmode or an SSLContext, "
            f"got {type(ssl).__name__}"
        )
    _translate_argument(given, "sslmode", "ssl", ssl)
    if direct is not None:
        direct = "direct" if direct else "postgres"
    _translate_argument(given, "sslnegotiation", "direct_tls", direct)
    return _Source("arguments", given, is_shown=True)


def _translate_argument(
    given: dict[str, Any], name: str, alias: str, value: object
) -> None:
    if value is None:
        return
    if name in given:
        raise ClientConfigurationError(
            f"{alias} and {name} say the same thing: give only one of them"
        )
    given[name] = value


def _user_settings(server_settings: object, arguments: _Source) -> _Settings:
    """The argument ``server_settings``; a parameter in it is put among `arguments`."""
    result = _Settings()
    if server_settings is None:
        return result
    if not isinstance(server_settings, Mapping) or not all(
        isinstance(text, str) for pair in server_settings.items() for text in pair
    ):
        raise ClientConfigurationError(
            "server_settings is expected to be None or a Dict[str, str]"
        )
    plain: dict[str, str] = {}
    for name, value in server_settings.items():
        if not is_setting(name):
            raise ClientConfigurationError(
                f"server_settings: {name!r} is not the name of a server setting"
            )
        if name.lower() in _STARTUP_KEYS:
            arguments.values.setdefault(name.lower(), value)
        else:
            plain[name] = values.check_text(f"server_settings[{name!r}]", value)
    result.add(plain)
    return result


def _dsn_source(dsn: str, settings: _Settings) -> _Source:
    if not isinstance(dsn, str):
        raise ClientConfigurationError(
            f"dsn is expected to be a str, got {type(dsn).__name__}"
        )
    info = parse_conninfo(dsn)
    authority = _translate(list(info.authority.items()), "DSN", settings)
    pairs = _translate(info.pairs, "DSN", settings)
    return _Source(
        "DSN",
        authority | pairs,
        is_shown=False,
        has_authority_ports="host" in authority and "port" not in pairs,
    )


def _service_source(
    sources: list[_Source], env: Mapping[str, str], settings: _Settings
) -> _Source | None:
    """The section of the service file that the other sources name, if they do."""
    service = _resolve("service", sources)
    if service is None:
        return None
    paths = find_service_files(
        _resolve("servicefile", sources), _home(env), env.get("PGSYSCONFDIR")
    )
    named_by = _first_with("service", sources)
    shown = named_by.shown(service) if named_by else ""
    pairs = read_service(service, paths, shown)
    found = _translate(pairs, "service file", settings)
    return _Source("service file", found, is_shown=False)


def _environment_source(env: Mapping[str, str]) -> _Source:
    found = {_BY_VARIABLE[name]: env[name] for name in env if name in _BY_VARIABLE}
    if env.get("PGREQUIRESSL", "").startswith("1"):
        found.setdefault("sslmode", "require")
    if sys.flags.ignore_environment:
        found.pop("sslkeylogfile", None)  # as ssl.create_default_context() does
    return _Source("environment", found, is_shown=True)


def _translate(
    pairs: list[tuple[str, str]], source: str, settings: _Settings
) -> dict[str, Any]:
    """The parameters among `pairs`; the rest goes to `settings`. The last one wins."""
    parameters: dict[str, Any] = {}
    unknown: dict[str, str] = {}
    for ordinal, (name, value) in enumerate(pairs, start=1):
        name, value, is_parameter = translate_pair(name, value, source, ordinal)
        (parameters if is_parameter else unknown)[name] = value
    settings.add(unknown)
    return parameters


def _first_with(name: str, sources: list[_Source]) -> _Source | None:
    return next((source for source in sources if name in source.values), None)


def _resolve(name: str, sources: list[_Source]) -> Any:
    """The value of a parameter: from the first source that has it, or its default."""
    key = KEYS[name]
    source = _first_with(name, sources)
    value = None if source is None else _read(name, source)
    if value is None and (source is None or not key.is_none_a_value):
        return key.default
    return value


def _read(name: str, source: _Source) -> Any:
    raw = source.values[name]
    for text in raw if isinstance(raw, (list, tuple)) else [raw]:
        if isinstance(text, str):
            values.check_text(name, text)
    return KEYS[name].read(name, raw, source.shown(raw))


# --- what is more than one value -----------------------------------------------------


def _hosts(sources: list[_Source]) -> tuple[Host, ...]:
    """Pair hosts, addresses and ports by the rules at the head of this module."""
    ranks = {name: len(sources) for name in ("host", "hostaddr")}
    for rank, source in reversed(list(enumerate(sources))):
        ranks |= {name: rank for name in ranks if name in source.values}
    hosts: list[str] = []
    addresses: list[str] = []
    ports: list[list[int | None]] = []
    for rank, source in enumerate(sources):
        has_lost_its_hosts = source.has_authority_ports and ranks["host"] < rank
        if "port" in source.values and not has_lost_its_hosts:
            ports.append(_read("port", source))
        if rank == ranks["host"]:
            shown = source.shown(source.values["host"])
            hosts, embedded = split_ports(_read("host", source), shown)
            ports.append(values.port_list("host", embedded, shown))
        if rank == ranks["hostaddr"] <= ranks["host"]:
            shown = source.shown(source.values["hostaddr"])
            addresses = [check_address(a, shown) for a in _read("hostaddr", source)]
    return pair_hosts(hosts, addresses, [given for given in ports if given])


def _with_passwords(
    hosts: tuple[Host, ...], found: Mapping[str, Any], env: Mapping[str, str]
) -> tuple[Host, ...]:
    """The hosts with what the password file has for them, if it is needed."""
    path = _passfile(found, env)
    entries = [] if path is None else read_passfile(path)
    if not entries:
        return hosts
    database, user = found["database"], found["user"]
    return tuple(
        with_password(
            host, find_password(entries, host.passfile_host, host.port, database, user)
        )
        for host in hosts
    )


def _passfile(found: Mapping[str, Any], env: Mapping[str, str]) -> str | None:
    """The password file, if it is needed and there is a place for it."""
    if found["password"] is not None:
        return None
    path: str | None = found["passfile"]
    home = _home(env)
    if path is None and home is not None:
        name = "pgpass.conf" if sys.platform == "win32" else ".pgpass"
        path = os.path.join(home, name)
    return path


def _watched(
    found: Mapping[str, Any], env: Mapping[str, str]
) -> tuple[str, ...] | None:
    """See `ConnectConfig.watched`: what is not in the arguments is asked elsewhere."""
    names, _ = split_ports(found["host"], "")
    is_all_said = names and all(names) and env.get("HOME")
    if not is_all_said or found["service"] is not None:
        return None
    if any(host.password_from_passfile for host in found["hosts"]):
        return None
    passfile = _passfile(found, env)
    return () if passfile is None else (passfile,)


def _server_settings(
    found: Mapping[str, Any], settings: _Settings, env: Mapping[str, str]
) -> Mapping[str, str]:
    """What the start-up packet says beside user and database."""
    result = {"client_encoding": "UTF8"}
    for name in _STARTUP_KEYS:
        if name != "client_encoding" and found[name] is not None:
            result[name] = found[name]
    if found["fallback_application_name"] is not None:
        result.setdefault("application_name", found["fallback_application_name"])
    settings.add(
        {
            name: values.check_text(variable, env[variable])
            for variable, name in _ENVIRONMENT_SETTINGS.items()
            # The word "default" is libpq's way to say "leave it to the server".
            if env.get(variable, "default").lower() != "default"
        }
    )
    return MappingProxyType(result | settings.as_dict())


def _check_encoding(encoding: str | None, source: _Source | None) -> None:
    """Refuse an encoding that the program asks for and that cannot be had.

    Text is str on this side and UTF-8 on the wire. PGCLIENTENCODING speaks of the
    user's terminal, which a driver does not write to: it is let pass.
    """
    if encoding is None or source is None or source.name == "environment":
        return
    plain = encoding.lower().replace("-", "").replace("_", "")
    if plain not in ("utf8", "unicode", "auto"):
        raise ClientConfigurationError(
            "client_encoding is expected to be UTF8: text is str in Python whatever "
            "the encoding of the database, leave the parameter out"
        )


def _settle_tls(found: dict[str, Any], *, is_mode_given: bool) -> None:
    """Apply the rules that join sslmode, sslrootcert and sslnegotiation."""
    if found["sslrootcert"] == "system" and found["ssl_context"] is None:
        if not is_mode_given:
            found["sslmode"] = SSLMode.verify_full
        elif found["sslmode"] is not SSLMode.verify_full:
            raise ClientConfigurationError(
                f"weak sslmode {str(found['sslmode'])!r} may not be used with "
                "sslrootcert=system (use 'verify-full')"
            )
    if found["sslnegotiation"] == "direct" and found["sslmode"] not in _STRONG_SSLMODES:
        raise ClientConfigurationError(
            "direct TLS requires sslmode=require, verify-ca, or verify-full"
        )
    lowest, highest = (found[f"ssl_{end}_protocol_version"] for end in ("min", "max"))
    if highest is not None and lowest > highest:
        raise ClientConfigurationError(
            f"ssl_min_protocol_version {lowest} is newer than "
            f"ssl_max_protocol_version {highest}"
        )


def _settle_protocol(found: dict[str, Any]) -> None:
    """Apply the rule that joins the two protocol versions."""
    lowest, highest = found["min_protocol_version"], found["max_protocol_version"]
    if highest is None:
        found["max_protocol_version"] = lowest
    elif lowest > highest:
        raise ClientConfigurationError(
            f"min_protocol_version {lowest} is newer than "
            f"max_protocol_version {highest}"
        )


# --- the machine ---------------------------------------------------------------------


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        pass
    raise ClientConfigurationError(
        "could not determine user name to connect with: give user, or set PGUSER"
    )


def _home(env: Mapping[str, str]) -> str | None:
    """The directory of the user's own PostgreSQL files, if there is one."""
    if sys.platform == "win32":
        appdata = env.get("APPDATA")
        return os.path.join(appdata, "postgresql") if appdata else None
    home = env.get("HOME") or os.path.expanduser("~")
    return home if os.path.isabs(home) else None
