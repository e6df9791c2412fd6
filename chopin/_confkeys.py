"""The table of connection parameters.

Owns: which parameters exist, their environment variables, readers and defaults; what
becomes of a key in a DSN or a service file that is none of them.
Imports: L4 (exceptions, `chopin._confvalues`).
Rules:

- A parameter is a row here, a field of `chopin.config.ConnectOptions` and, where the
  connection needs it, one of `chopin.config.ConnectConfig`; a test holds them together.
- A key that is no parameter is a server setting, as in asyncpg, unless it looks like
  a slip of the pen: a mistyped ``sslmode`` must not silently weaken a connection.

Source: PostgreSQL docs, "libpq - C Library", sections "Parameter Key Words" and
"Environment Variables".
"""

from __future__ import annotations

import difflib
import re
import sys
from dataclasses import dataclass
from typing import Any

from chopin import _confvalues as read
from chopin._confvalues import Reader, SessionAttribute, SSLMode
from chopin.exceptions import ClientConfigurationError

__all__ = ["KEYS", "Key", "known_key", "nearest_key", "translate_pair"]


@dataclass(frozen=True, slots=True)
class Key:
    """One parameter.

    Attributes:
        name: Its name as a keyword argument, in a DSN and in a service file.
        env: Its environment variable, if it has one.
        read: What turns a value into what the configuration holds.
        default: What the configuration holds when nobody says anything.
        is_none_a_value: Whether a keyword argument None is a value of its own;
            elsewhere it is "not given".
    """

    name: str
    env: str | None
    read: Reader
    default: Any = None
    is_none_a_value: bool = False


_TABLE = (
    # whom and where; see chopin._hosts for how the lists are paired
    Key("host", "PGHOST", read.text_list, ()),
    Key("hostaddr", "PGHOSTADDR", read.text_list, ()),
    Key("port", "PGPORT", read.port_list, ()),
    Key("user", "PGUSER", read.text),
    Key("password", "PGPASSWORD", read.password),
    Key("passfile", "PGPASSFILE", read.path),
    Key("database", "PGDATABASE", read.text),
    Key("service", "PGSERVICE", read.text),
    Key("servicefile", "PGSERVICEFILE", read.path),
    Key("target_session_attrs", "PGTARGETSESSIONATTRS", read.session_attribute,
        SessionAttribute.any),
    Key("load_balance_hosts", "PGLOADBALANCEHOSTS", read.choice("disable", "random"),
        "disable"),
    # time and the socket
    Key("timeout", None, read.timeout, 60.0, is_none_a_value=True),
    Key("connect_timeout", "PGCONNECT_TIMEOUT", read.connect_timeout),
    Key("keepalives", None, read.flag, True),
    Key("keepalives_idle", None, read.count),
    Key("keepalives_interval", None, read.count),
    Key("keepalives_count", None, read.count),
    Key("tcp_user_timeout", None, read.count),
    # TLS
    Key("sslmode", "PGSSLMODE", read.ssl_mode, SSLMode.prefer),
    Key("sslnegotiation", "PGSSLNEGOTIATION", read.choice("postgres", "direct"),
        "postgres"),
    Key("sslcompression", "PGSSLCOMPRESSION", read.flag, False),
    Key("sslcert", "PGSSLCERT", read.path),
    Key("sslkey", "PGSSLKEY", read.path),
    Key("sslpassword", None, read.text),
    Key("sslcertmode", "PGSSLCERTMODE", read.choice("disable", "allow", "require"),
        "allow"),
    Key("sslrootcert", "PGSSLROOTCERT", read.path),
    Key("sslcrl", "PGSSLCRL", read.path),
    Key("sslcrldir", "PGSSLCRLDIR", read.path),
    Key("sslsni", "PGSSLSNI", read.flag, True),
    Key("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", read.tls_version,
        "TLSv1.2"),
    Key("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", read.tls_version),
    Key("sslkeylogfile", "SSLKEYLOGFILE", read.path),
    # authentication
    Key("channel_binding", "PGCHANNELBINDING",
        read.choice("disable", "prefer", "require"), "prefer"),
    Key("require_auth", "PGREQUIREAUTH", read.auth_methods),
    Key("requirepeer", "PGREQUIREPEER", read.text),
    Key("scram_client_key", None, read.scram_key),
    Key("scram_server_key", None, read.scram_key),
    Key("oauth_issuer", None, read.text),
    Key("oauth_client_id", None, read.text),
    Key("oauth_client_secret", None, read.text),
    Key("oauth_scope", None, read.text),
    Key("gssencmode", "PGGSSENCMODE", read.gss_encryption, "disable"),
    Key("krbsrvname", "PGKRBSRVNAME", read.text, "postgres"),
    Key("gsslib", "PGGSSLIB", read.gss_library,
        "sspi" if sys.platform == "win32" else "gssapi"),
    Key("gssdelegation", "PGGSSDELEGATION", read.flag, False),
    # the protocol, and what the server is told at the start
    Key("min_protocol_version", "PGMINPROTOCOLVERSION", read.protocol_version, "3.0"),
    Key("max_protocol_version", "PGMAXPROTOCOLVERSION", read.protocol_version),
    Key("application_name", "PGAPPNAME", read.text),
    Key("fallback_application_name", None, read.text),
    Key("options", "PGOPTIONS", read.text),
    Key("client_encoding", "PGCLIENTENCODING", read.text),
    Key("replication", None, read.text),
    # statements
    Key("command_timeout", None, read.command_timeout),
    Key("statement_cache_size", None, read.cache_limit, 100, is_none_a_value=True),
    Key("max_cached_statement_lifetime", None, read.cache_limit, 300,
        is_none_a_value=True),
    Key("max_cacheable_statement_size", None, read.cache_limit, 1024 * 15,
        is_none_a_value=True),
)  # fmt: skip

#: All parameters by name.
KEYS = {key.name: key for key in _TABLE}

# Other names of parameters, in a DSN and in a service file.
_ALIASES = {"dbname": "database", "ssl": "sslmode", "requiressl": "sslmode"}

# What the values of an alias say in the words of the parameter.
_ALIAS_VALUES = {
    "ssl": {"true": "require", "false": "disable"},
    "requiressl": {"1": "require", "0": "prefer"},
}

# Names that people write and that are too far from the right one to be found by
# comparing letters. Sent to the server, "pwd" would end up in its log.
_SLIPS = {
    "username": "user",
    "user_name": "user",
    "pass": "password",
    "pwd": "password",
    "db": "database",
    "hostname": "host",
    "server": "host",
    "connection_timeout": "connect_timeout",
}

# A setting of PostgreSQL, or of an extension (prefix.name).
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*")

# Near enough to be a slip: at most two letters more or less, and this similar
# (difflib ratio). Checked against all settings of PostgreSQL: none is taken for a slip.
_MAX_LENGTH_DIFFERENCE = 2
_SIMILAR = 0.85
_SIMILAR_SHORT = 0.75
_SHORT_NAME = 4

# Keys of the start-up packet that are no settings.
_RESERVED = ("user", "database", "password")
_PROTOCOL_PREFIX = "_pq_."


def known_key(name: str) -> str | None:
    """The parameter that a key of a DSN or a service file is, if it is one."""
    name = _ALIASES.get(name, name)
    return name if name in KEYS else None


def nearest_key(name: str) -> str | None:
    """The parameter or alias that `name` was meant to be, if it looks like a slip.

    Example:
        >>> nearest_key("sslmod"), nearest_key("SSLMode"), nearest_key("search_path")
        ('sslmode', 'sslmode', None)
    """
    folded = name.lower().replace("-", "_")
    names = [*KEYS, *_ALIASES]
    if folded in names:
        return folded
    if folded in _SLIPS:
        return _SLIPS[folded]
    similar = _SIMILAR_SHORT if len(folded) <= _SHORT_NAME else _SIMILAR
    for match in difflib.get_close_matches(folded, names, n=1, cutoff=similar):
        if abs(len(match) - len(folded)) <= _MAX_LENGTH_DIFFERENCE:
            return match
    return None


def translate_pair(
    name: str, value: str, source: str, ordinal: int
) -> tuple[str, str, bool]:
    """Decide what one pair of a DSN or a service file is.

    Args:
        name: The key as it stands there.
        value: The value.
        source: Where it stands, for messages.
        ordinal: The number of the pair there, from 1, for messages.

    Returns:
        The name, the value, and whether it is a parameter (else a server setting).

    Raises:
        ClientConfigurationError: The key is a slip, or can be no setting.
    """
    if known_key(name) is not None:
        value = _ALIAS_VALUES.get(name, {}).get(value, value)
        return _ALIASES.get(name, name), value, True
    meant = nearest_key(name)
    if meant is not None:
        raise ClientConfigurationError(
            f"unknown key {name!r} in the {source}: did you mean {meant!r}?"
        )
    if not is_setting(name):
        # The name is not shown: after a value that lacks its quotes it is a piece
        # of that value.
        raise ClientConfigurationError(
            f"key number {ordinal} of the {source} is neither a connection parameter "
            "nor the name of a server setting"
        )
    return name, read.check_text(f"a server setting in the {source}", value), False


def is_setting(name: str) -> bool:
    """Whether `name` can be sent to the server as the name of a setting."""
    folded = name.lower()
    return (
        _SETTING.fullmatch(name) is not None
        and folded not in _RESERVED
        and not folded.startswith(_PROTOCOL_PREFIX)
    )
