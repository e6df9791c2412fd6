"""Reaching a server: addresses, sockets, TLS, and the requests that end at the door.

Owns: how a transport to a server is opened, and `Place`, what must be known to open
another one like it (a CancelRequest goes the same way, under the same TLS policy).
Layer L4. Imports L0 and config, tls.

Rules
- The socket is ours until the transport is made: options are set before it connects,
  abstract sockets work, and the one byte that answers an SSLRequest is read from the
  kernel alone. Whatever an attacker sends behind that byte stays there: it is looked
  for, and if it comes later the TLS handshake fails on it. No byte from before the
  handshake reaches the session.
- Text that a server sends before TLS is never shown: anybody could have sent it.

Source: PostgreSQL documentation, "SSL Session Encryption", "Canceling Requests in
Progress".
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import os
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from chopin.config import ConnectConfig, Host, SSLMode
from chopin.exceptions import InterfaceError, Kind, Outcome, ProtocolError
from chopin.tls import check_negotiated, server_hostname_for

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_CANCEL_REQUEST = 80877102
_QUEUE_PAUSE = 0.01

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """One address of one host, and whether TLS is spoken there.

    Attributes:
        host: the configured host.
        family: of the socket.
        address: what `socket.connect` takes.
        tls: makes the TLS context, which is not cheap, once the server has said that it
            speaks TLS; None to speak plain.
        is_tls_optional: go on without TLS when the server has none.
    """

    host: Host
    family: int
    address: Any
    tls: Callable[[], ssl.SSLContext] | None
    is_tls_optional: bool = False


class NoTLSError(InterfaceError, ConnectionError):
    """The server does not speak TLS, and it was insisted on."""


class NoProcessError(ProtocolError, ConnectionRefusedError):
    """The server answers the request for TLS with an error, as when it cannot fork."""

    kind: Kind = "transient"
    outcome: Outcome = "not_sent"


async def resolve(host: Host) -> list[tuple[int, Any]]:
    """The (family, address) pairs of a host, in the resolver's order.

    Raises:
        OSError: the name cannot be resolved.
    """
    if host.is_unix:
        return [(socket.AF_UNIX, host.unix_path)]
    name = host.hostaddr or host.host
    for family, address in (
        (socket.AF_INET, (name, host.port)),
        (socket.AF_INET6, (name, host.port, 0, 0)),
    ):
        # an address needs no resolver, and so no hand-over to a thread and back
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, name)
            return [(family, address)]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(name, host.port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # an empty part, or one of more than 63 characters
        raise socket.gaierror(
            socket.EAI_NONAME, f"no name of a host: {error}"
        ) from None
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


async def open_transport(
    config: ConnectConfig, place: Place, protocol: ProtocolT
) -> asyncio.Transport:
    """Connect `protocol` to a place, through TLS where the place says so.

    Returns:
        The transport; its `get_extra_info("ssl_object")` tells whether TLS is there.

    Raises:
        OSError, ssl.SSLError: the network, or the handshake.
        NoTLSError: the server refuses TLS.
        NoProcessError: the server answers the request for TLS with an error.
        ProtocolError: bytes came ahead of the handshake.
    """
    loop = asyncio.get_running_loop()
    context: ssl.SSLContext | None = None
    sock = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if place.family == socket.AF_UNIX:
            await _connect_unix(loop, sock, place)
            _check_peer(sock, config)
        else:
            _set_options(sock, config)
            if not _is_connected_at_once(sock, place):
                await loop.sock_connect(sock, place.address)
        is_direct = config.sslnegotiation == "direct"
        if place.tls is not None:
            if is_direct or await _request_tls(loop, sock):
                context = place.tls()
            elif not place.is_tls_optional:
                raise NoTLSError(
                    "the server does not speak TLS, and "
                    f"sslmode={config.sslmode} insists on it"
                )
        transport = await _make_transport(loop, sock, config, place, context, protocol)
    except BaseException:
        sock.close()
        raise
    if context is not None:
        try:
            ssl_object = transport.get_extra_info("ssl_object")
            check_negotiated(ssl_object.selected_alpn_protocol(), direct=is_direct)
        except BaseException:
            transport.abort()
            raise
    return transport


async def _make_transport(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    config: ConnectConfig,
    place: Place,
    context: ssl.SSLContext | None,
    protocol: asyncio.BaseProtocol,
) -> asyncio.Transport:
    if place.family == socket.AF_UNIX and context is None:
        return (await loop.create_unix_connection(lambda: protocol, sock=sock))[0]
    hostname = server_hostname_for(place.host.host, config) if context else None
    transport, _ = await loop.create_connection(
        lambda: protocol,
        sock=sock,
        ssl=context,
        server_hostname=(hostname or "") if context else None,
    )
    return transport


async def _request_tls(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bool:
    """Ask for TLS: SSLRequest, answered by one byte, S (yes) or N (no)."""
    await loop.sock_sendall(sock, _SSL_REQUEST)
    answer = await loop.sock_recv(sock, 1)
    if answer == b"N":
        return False
    if answer == b"":
        raise ConnectionResetError(
            "the server closed the connection instead of answering the request for TLS"
        )
    if answer == b"E":
        raise NoProcessError(
            "the server answered the request for TLS with an error, whose text could "
            "be anybody's; it may have too many processes: see its log"
        )
    if answer != b"S":
        raise ProtocolError(
            "the server answered the request for TLS with something else; "
            "it may not be PostgreSQL"
        )
    try:
        early = sock.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return True
    if early:
        raise ProtocolError(
            "bytes arrived ahead of the TLS handshake: somebody may be tampering with "
            "the connection"
        )
    return True


async def _connect_unix(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, place: Place
) -> None:
    """Connect to a unix socket; wait while the queue of its server is full.

    Linux says EAGAIN then, which the loop takes for a connection on its way, and later
    for one that is there. A socket that blocks would wait in the kernel.
    """
    while (error := sock.connect_ex(place.address)) == errno.EAGAIN:  # noqa: ASYNC110
        await asyncio.sleep(_QUEUE_PAUSE)
    if error:
        await loop.sock_connect(sock, place.address)


def _is_connected_at_once(sock: socket.socket, place: Place) -> bool:
    """Begin to connect to a server on this machine, and see whether that is all.

    The kernel makes such a connection within the call and says EINPROGRESS all the
    same; asked again, it knows. That saves two turns of the event loop. Whatever else
    comes is left to the loop, which tries anew and tells of errors in its own words.
    """
    if sys.platform != "linux" or place.family == socket.AF_UNIX:
        return False
    name = place.address[0]
    if not name.startswith("127.") and name != "::1":
        return False
    error = sock.connect_ex(place.address)
    if error == errno.EINPROGRESS:
        error = sock.connect_ex(place.address)
    return error in (0, errno.EISCONN)


def _set_options(sock: socket.socket, config: ConnectConfig) -> None:
    """TCP_NODELAY, keepalives and the time that sent data may stay unanswered."""
    tcp = socket.IPPROTO_TCP
    sock.setsockopt(tcp, socket.TCP_NODELAY, 1)
    if config.keepalives:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", config.keepalives_idle),
            ("TCP_KEEPINTVL", config.keepalives_interval),
            ("TCP_KEEPCNT", config.keepalives_count),
        ):
            if value and hasattr(socket, name):
                sock.setsockopt(tcp, getattr(socket, name), value)
    if config.tcp_user_timeout and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(tcp, socket.TCP_USER_TIMEOUT, config.tcp_user_timeout)


def _check_peer(sock: socket.socket, config: ConnectConfig) -> None:
    """`requirepeer`: who runs the server behind a unix socket."""
    wanted = config.requirepeer
    if not wanted:
        return
    if sys.platform != "linux":
        raise InterfaceError("requirepeer is supported on Linux only: remove it")
    import pwd

    packed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    uid = struct.unpack("3i", packed)[1]
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    if name != wanted:
        raise InterfaceError(f"requirepeer={wanted}, but the server runs as {name}")


class _Goodbye(asyncio.Protocol):
    """Waits until the server has closed the connection."""

    def __init__(self) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)


async def request_cancel(
    config: ConnectConfig, place: Place, pid: int, key: bytes
) -> None:
    """Ask the server to cancel what the session (`pid`, `key`) is doing.

    Returns when the server has closed the socket: the signal has been sent by then.

    Raises:
        OSError, InterfaceError: the request did not get through.
    """
    protocol = _Goodbye()
    transport = await open_transport(config, place, protocol)
    try:
        transport.write(struct.pack("!iii", 12 + len(key), _CANCEL_REQUEST, pid) + key)
        await protocol.gone
    finally:
        transport.abort()


def plan_tls(config: ConnectConfig, host: Host) -> list[tuple[bool, bool]]:
    """How to speak to a host, in the order to try: (with TLS, whether it is optional).

    A second way is tried only when the server has refused the first one by its own
    rules (pg_hba.conf), never when a handshake has failed.
    """
    plain, optional, insisted = (False, False), (True, True), (True, False)
    if host.is_unix:
        return [plain]
    if config.ssl_context is not None:
        return [insisted]
    ways = {
        SSLMode.disable: [plain],
        SSLMode.allow: [plain, insisted],
        SSLMode.prefer: [optional, plain],
    }
    return ways.get(config.sslmode, [insisted])


def describe(place: Place) -> str:
    """Where that is, for messages: host and port, or the path of the socket."""
    if place.family == socket.AF_UNIX:
        return os.fsdecode(place.address).replace("\0", "@")
    return f"{place.host.host}:{place.host.port}"
