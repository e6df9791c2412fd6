"""Connection strings: what the text of a DSN says, key by key.

Owns: the two grammars of libpq, the URI (``postgresql://...``) and the list of
``key=value`` pairs.
Imports: L4 (exceptions only).
Rules:

- Text in, pairs of text out. What a key means, and whether it exists, is decided in
  `chopin.config`; the order of the pairs is kept because the last one wins.
- No message repeats a piece of the string. With a bad escape or a stray ``@`` any
  piece of it can be a piece of the password.
- libpq is the reference. The URI grammar is wider in two places, where asyncpg
  accepts more and nothing is ambiguous: the scheme in capitals, and ``=`` inside a
  query value (``?options=-cwork_mem=1MB``).

Source: PostgreSQL docs, "libpq - C Library", section "Connection Strings".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from chopin.exceptions import ClientConfigurationError

__all__ = ["Conninfo", "parse_conninfo"]

# What isspace() of the C locale accepts; str.isspace() would also take U+00A0.
_SPACES = " \t\n\v\f\r"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_SCHEMES = ("postgresql", "postgres")

_AFTER_HOST = re.compile("[:/?,]")
_AFTER_PORT = re.compile("[/?,]")

_HEX_PAIR = re.compile(r"%([0-9A-Fa-f]{2})?")

_UNQUOTED_VALUE = re.compile(rf"(?:[^\\{_SPACES}]|\\.|\\\Z)*", re.DOTALL)
_QUOTED_VALUE = re.compile(r"'((?:[^\\']|\\.)*)'", re.DOTALL)
_PAIR_NAME = re.compile(rf"([^={_SPACES}]*)[{_SPACES}]*")
_BACKSLASH = re.compile(r"\\(.?)", re.DOTALL)


@dataclass(frozen=True, slots=True, repr=False)
class Conninfo:
    """What a connection string says, before any of it is judged.

    Attributes:
        authority: ``user``, ``password``, ``host``, ``port`` and ``dbname`` as they
            stand in front of the query of a URI; empty for ``key=value`` strings.
            Several hosts and their ports are joined by commas, as libpq does it.
        pairs: The query of the URI, or all pairs of a ``key=value`` string, in order.

    There is no ``repr`` of the contents: they hold the password.
    """

    authority: dict[str, str] = field(default_factory=dict)
    pairs: list[tuple[str, str]] = field(default_factory=list)


def parse_conninfo(dsn: str) -> Conninfo:
    """Take a connection string apart.

    Args:
        dsn: A ``postgresql://`` or ``postgres://`` URI, or ``key=value`` pairs.

    Returns:
        The pieces, percent-escapes and backslashes resolved.

    Raises:
        ClientConfigurationError: The string is neither, or breaks the grammar.

    Example:
        >>> parse_conninfo("postgres://ann@db1:6000,db2/app").authority["host"]
        'db1,db2'
        >>> parse_conninfo("host=db1 user='Ann B'").pairs
        [('host', 'db1'), ('user', 'Ann B')]
    """
    match = _SCHEME.match(dsn)
    if match is None:
        return _parse_pairs(dsn)
    scheme = match[1].lower()
    if scheme in _SCHEMES:
        return _parse_uri(dsn[match.end() :])
    if scheme.startswith(("postgresql+", "postgres+")):
        raise _invalid(
            f"{match[1]!r} is a scheme of SQLAlchemy: write 'postgresql' instead, or "
            f"give the URL to SQLAlchemy"
        )
    raise _invalid(
        f'scheme is expected to be either "postgresql" or "postgres", got {match[1]!r}'
    )


def _invalid(reason: str) -> ClientConfigurationError:
    return ClientConfigurationError(f"invalid DSN: {reason}")


# --- key=value pairs -----------------------------------------------------------------


def _parse_pairs(text: str) -> Conninfo:
    """Read ``name = value name = 'quoted value' ...``.

    A backslash takes the next character literally, inside and outside of quotes; at
    the very end of the string it stands for nothing.
    """
    result = Conninfo()
    at = _skip_spaces(text, 0)
    while at < len(text):
        ordinal = len(result.pairs) + 1
        name = _PAIR_NAME.match(text, at)
        assert name is not None  # the pattern matches the empty string
        if not text.startswith("=", name.end()):
            raise _invalid(
                f'missing "=" in pair number {ordinal}: a value with spaces is '
                f"written in single quotes, and a URI begins with postgresql://"
            )
        at = _skip_spaces(text, name.end() + 1)
        if text.startswith("'", at):
            value = _QUOTED_VALUE.match(text, at)
            if value is None:
                raise _invalid(f"unterminated quoted string in pair number {ordinal}")
            raw = value[1]
        else:
            value = _UNQUOTED_VALUE.match(text, at)
            assert value is not None  # likewise
            raw = value[0]
        result.pairs.append((name[1], _BACKSLASH.sub(r"\1", raw)))
        at = _skip_spaces(text, value.end())
    return result


def _skip_spaces(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACES:
        at += 1
    return at


# --- URIs ----------------------------------------------------------------------------


def _parse_uri(rest: str) -> Conninfo:
    """Read ``[user[:password]@][host[:port],...][/dbname][?key=value&...]``.

    The first ``@`` in front of any ``/`` ends user and password, so that a host can
    be an abstract socket (``@name``) only percent-encoded or in ``?host=``.
    """
    result = Conninfo()
    authority = result.authority
    at_sign = rest.find("@")
    slash = rest.find("/")
    if at_sign >= 0 and (slash < 0 or at_sign < slash):
        user, _, password = rest[:at_sign].partition(":")
        _store(authority, "user", user)
        _store(authority, "password", password)
        rest = rest[at_sign + 1 :]
    rest = _read_hosts(rest, authority)
    path, _, query = rest.partition("?")
    if path:  # begins with "/"
        _store(authority, "dbname", path[1:])
    if query:
        _read_query(query, result.pairs)
    return result


def _store(authority: dict[str, str], name: str, raw: str) -> None:
    """Keep a piece of the authority, if there is one."""
    if raw:
        authority[name] = _decode(raw, name)


def _read_hosts(rest: str, authority: dict[str, str]) -> str:
    """Read the list of hosts; return what follows it ("", "/..." or "?...")."""
    hosts: list[str] = []
    ports: list[str] = []
    while True:
        if rest.startswith("["):
            host, bracket, rest = rest[1:].partition("]")
            if not bracket or not host:
                raise _invalid(
                    'invalid IPv6 address in the connection URI: it has no closing "]"'
                    if not bracket
                    else "invalid IPv6 address in the connection URI: it is empty"
                )
            if rest and rest[0] not in ":/?,":
                raise _invalid(
                    'unexpected character after the "]" of an IPv6 address: expected '
                    '":" and a port, "," and a host, "/" or "?"'
                )
        else:
            end = _up_to(_AFTER_HOST, rest)
            host, rest = rest[:end], rest[end:]
        port = ""
        if rest.startswith(":"):
            end = _up_to(_AFTER_PORT, rest)
            port, rest = rest[1:end], rest[end:]
        hosts.append(host)
        ports.append(port)
        if not rest.startswith(","):
            break
        rest = rest[1:]
    # Joined before they are decoded: an escaped comma separates too, as in libpq.
    _store(authority, "host", ",".join(hosts))
    _store(authority, "port", ",".join(ports))
    return rest


def _up_to(stop: re.Pattern[str], text: str) -> int:
    """The index of the first `stop` in `text`, or its length."""
    found = stop.search(text)
    return len(text) if found is None else found.start()


def _read_query(query: str, pairs: list[tuple[str, str]]) -> None:
    # A single "&" at the end is let pass, one elsewhere is an empty parameter.
    for part in query.removesuffix("&").split("&"):
        name, equals, value = part.partition("=")
        what = f"query parameter number {len(pairs) + 1}"
        if not equals:
            raise _invalid(f'missing key/value separator "=" in {what}')
        pairs.append((_decode(name, what), _decode(value, what)))


def _decode(raw: str, what: str) -> str:
    """Trim spaces and resolve ``%XX``. NUL bytes are refused where the key is known."""
    raw = raw.strip(" ")
    if " " in raw:
        raise _invalid(f"{what} has spaces in it: write them as %20")
    if "%" not in raw:
        return raw
    out = bytearray()
    end = 0
    for escape in _HEX_PAIR.finditer(raw):
        if escape[1] is None:
            raise _invalid(
                f"{what} has an invalid percent-encoding: write a literal % as %25"
            )
        out += raw[end : escape.start()].encode("utf-8", "surrogatepass")
        out += bytes.fromhex(escape[1])
        end = escape.end()
    out += raw[end:].encode("utf-8", "surrogatepass")
    text = out.decode("utf-8", "replace")
    if text.encode("utf-8") != out:
        raise _invalid(
            f"{what} is not valid UTF-8 once its percent-encoding is resolved"
        )
    return text
