"""The places to dial: host names, addresses, sockets and their ports.

Owns: `Host`; how lists of hosts, addresses and ports are paired; what is dialled when
no host is given; which name of a host counts in the password file.
Imports: L4 (exceptions only).
Rules:

- One source of settings (a DSN, say) may write a port into its hosts
  (``host=a:5433,[::1]:5434``). Such a port counts only where that source's hosts do,
  and a ``port`` of the same source comes before it.
- A place in a list may be empty: an empty port is filled from the next source, an
  empty host is the default.
- A colon inside a host name is never part of the name; two of them make it an IPv6
  address.
- Nor is an ``@``: what stands in front of it may be a piece of a password that was not
  escaped, and a name is looked up and shown.

How the lists are paired (n is the number of hosts):

    hostaddr    none, or n values; alone it stands for the hosts too
    port        none, one for all, or n values

Source: PostgreSQL docs, "libpq - C Library", section "Specifying Multiple Hosts".
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chopin.exceptions import ClientConfigurationError

__all__ = ["DEFAULT_PORT", "Host", "pair_hosts", "split_ports"]

DEFAULT_PORT = 5432

# Where packagers and the PostgreSQL sources put the socket, in the order of asyncpg.
_SOCKET_DIRECTORIES: tuple[str, ...] = (
    ()
    if sys.platform == "win32"
    else ("/run/postgresql", "/var/run/postgresql", "/tmp", "/private/tmp")
)

_SOCKET_PREFIX = ".s.PGSQL."
_BRACKETED = re.compile(r"\[([^\]]+)\](?::(.*))?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Host:
    """One place to dial.

    Attributes:
        host: A name, an IP address, a directory with a socket, the path of a socket,
            or an abstract socket (``@name``). It is what certificates and the password
            file are compared with; if only `hostaddr` was given, it is that address.
        hostaddr: The address to dial, so that nothing has to be resolved.
        port: The TCP port; for a socket, the number at the end of its name.
        password_from_passfile: What the password file has for this host; None if it
            was not consulted or has nothing.

    Example:
        >>> Host("/run/postgresql", None, 5432).unix_path
        '/run/postgresql/.s.PGSQL.5432'
    """

    host: str
    hostaddr: str | None
    port: int
    password_from_passfile: str | None = field(default=None, repr=False)

    @property
    def is_unix(self) -> bool:
        """Whether this is a Unix-domain socket."""
        return self.hostaddr is None and _is_socket(self.host)

    @property
    def unix_path(self) -> str:
        """The path of the socket; that of an abstract one begins with a NUL byte.

        Only meaningful where `is_unix` is true.
        """
        path = self.host
        if _SOCKET_PREFIX not in path:
            path = os.path.join(path, f"{_SOCKET_PREFIX}{self.port}")
        return "\0" + path[1:] if path.startswith("@") else path

    @property
    def passfile_host(self) -> str:
        """The name that lines of the password file are compared with."""
        return "localhost" if self.host in _SOCKET_DIRECTORIES else self.host


def split_ports(hosts: Sequence[str], shown: str) -> tuple[list[str], list[str]]:
    """Take the ports out of ``name:port`` and ``[address]:port``.

    Args:
        hosts: Hosts as they were written.
        shown: What an error says about a value that is wrong.

    Returns:
        The hosts and, for each of them, the port or an empty string.

    Example:
        >>> split_ports(["db:1", "[::1]:2", "::1", "/tmp"], "")
        (['db', '::1', '::1', '/tmp'], ['1', '2', '', ''])
    """
    names: list[str] = []
    ports: list[str] = []
    for host in hosts:
        name, port = host, ""
        if host.startswith("["):
            match = _BRACKETED.match(host)
            if match is None:
                raise ClientConfigurationError(
                    "invalid IPv6 address in host: expected [address] or "
                    f"[address]:port, got {shown}"
                )
            name, port = match[1], match[2] or ""
        elif not _is_socket(host):
            if host.count(":") == 1:
                name, _, port = host.partition(":")
            if "@" in name:
                raise ClientConfigurationError(
                    'invalid host: expected a name without "@", got '
                    f'{shown}; in a URI, "@" is written as %40 in user and password'
                )
        names.append(name)
        ports.append(port)
    return names, ports


def pair_hosts(
    hosts: Sequence[str],
    addresses: Sequence[str],
    ports: Sequence[Sequence[int | None]],
) -> tuple[Host, ...]:
    """Pair hosts, addresses and ports.

    Args:
        hosts: The host names; none, or an empty name, stands for the default.
        addresses: Their addresses, or none; an empty one is resolved from the name.
        ports: The lists of ports of all sources, the one that counts most first.
            None in a list leaves that place to the next list.

    Returns:
        The places to dial, in order. A default stands for several places: each
        directory of sockets that exists, then ``localhost``.

    Raises:
        ClientConfigurationError: The lengths do not fit.

    Example:
        >>> pair_hosts(["a", "b"], [], [[1, None], [6000]])[1].port
        6000
    """
    hosts = list(hosts) or [""] * max(len(addresses), 1)
    if addresses and len(addresses) != len(hosts):
        raise ClientConfigurationError(
            f"could not match {len(hosts)} host names to {len(addresses)} hostaddr "
            "values"
        )
    places: list[Host] = []
    for i, port in enumerate(_fill_ports(len(hosts), ports)):
        address = (addresses[i] if addresses else "") or None
        name = hosts[i] or address
        if name is not None:
            places.append(Host(name, address, port))
        else:
            places.extend(Host(name, None, port) for name in _default_hosts())
    return tuple(places)


def with_password(host: Host, password: str | None) -> Host:
    """The same host with the password that the password file has for it."""
    return replace(host, password_from_passfile=password)


def check_address(address: str, shown: str) -> str:
    """Return `address` if it is a numeric IP address or empty."""
    try:
        if address:
            ipaddress.ip_address(address)
    except ValueError:
        pass  # raised below, for the chain of exceptions would repeat the value
    else:
        return address
    raise ClientConfigurationError(
        f"invalid hostaddr: expected a numeric IP address, got {shown}"
    )


def _is_socket(host: str) -> bool:
    return host.startswith(("/", "@"))


def _fill_ports(n: int, ports: Sequence[Sequence[int | None]]) -> list[int]:
    filled: list[int | None] = [None] * n
    for candidates in ports:
        if None not in filled:
            break
        if len(candidates) not in (1, n):
            raise ClientConfigurationError(
                f"could not match {len(candidates)} port numbers to {n} hosts"
            )
        spread = list(candidates) * n if len(candidates) == 1 else candidates
        filled = [
            new if old is None else old for old, new in zip(filled, spread, strict=True)
        ]
    return [DEFAULT_PORT if port is None else port for port in filled]


def _default_hosts() -> list[str]:
    """The directories of sockets that exist, each once, then ``localhost``."""
    seen: dict[str, str] = {}
    for directory in _SOCKET_DIRECTORIES:
        if os.path.isdir(directory):
            # /var/run is a link to /run on most machines: dial the socket once.
            seen.setdefault(os.path.realpath(directory), directory)
    return [*seen.values(), "localhost"]
