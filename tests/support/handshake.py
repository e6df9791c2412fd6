"""The scripted server until ReadyForQuery: TLS, authentication, and attacks on both.

Owns: how the first bytes are answered, every authentication that PostgreSQL
knows, and the ways in which a hostile server or a man in the middle bends them.
"""

from __future__ import annotations

import base64
import os
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass

from tests.support import backend
from tests.support.backend import ScramRefusedError, ScramServer
from tests.support.session import (
    BackendConnection,
    ClientClosedError,
    Hook,
    SessionEndedError,
)

# --- opening ------------------------------------------------------------------


async def open_session(conn: BackendConnection) -> None:
    """Answer the first bytes: TLS by either way, a cancel request, a startup."""
    try:
        await _open_tls_directly(conn)
        while True:
            got = await conn.receive_startup()
            if got.name == "StartupMessage":
                return
            if got.name == "CancelRequest":
                await conn.server.take_cancel(got)
                return
            if got.name == "GSSENCRequest":
                conn.send(b"N")
            else:
                await _answer_ssl_request(conn)
    except (ssl.SSLError, ClientClosedError):
        # A driver that does not like our certificate, or goes without a word.
        raise SessionEndedError from None


async def _open_tls_directly(conn: BackendConnection) -> None:
    if await conn.peek() != b"\x16" or conn.server.tls is None:
        return
    await conn.server.serve_tls(conn)
    assert conn.tls is not None
    if conn.tls.selected_alpn_protocol() is None and conn.server.attack != "no-alpn":
        # as PostgreSQL does: without ALPN there is no direct TLS
        raise SessionEndedError


async def _answer_ssl_request(conn: BackendConnection) -> None:
    intercept = _BEFORE_TLS.get(conn.server.attack or "")
    if intercept is not None:
        await intercept(conn)
    if conn.server.tls is None:
        conn.send(b"N")
        return
    conn.send(b"S")
    await conn.server.serve_tls(conn)


def _fake_session() -> bytes:
    """What a man in the middle would like the driver to take as the server's."""
    return b"".join(
        (
            backend.authentication_ok(),
            backend.backend_key_data(666, b"evil"),
            backend.ready_for_query(),
        )
    )


async def _inject_together(conn: BackendConnection) -> None:
    conn.send(b"S" + _fake_session())
    await _end_of_client(conn)


async def _inject_after(conn: BackendConnection) -> None:
    conn.send(b"S")
    conn.send(_fake_session())
    await _end_of_client(conn)


async def _error_before_tls(conn: BackendConnection) -> None:
    conn.send(backend.error_response("visit evil.example", code="28000"))
    await _end_of_client(conn)


async def _odd_answer(conn: BackendConnection) -> None:
    conn.send(b"X")
    await _end_of_client(conn)


async def _end_of_client(conn: BackendConnection) -> None:
    """Take what the driver still says (a ClientHello), until it goes."""
    while True:
        await conn.read(1)


_BEFORE_TLS: dict[str, Hook] = {
    "plaintext-with-s": _inject_together,
    "plaintext-after-s": _inject_after,
    "error-before-tls": _error_before_tls,
    "odd-tls-answer": _odd_answer,
}


# --- handshake ----------------------------------------------------------------


async def shake_hands(conn: BackendConnection) -> None:
    """Negotiate the protocol, authenticate, and get ready."""
    try:
        _negotiate(conn)
        await AUTHENTICATION[conn.server.auth](conn)
        conn.send(backend.authentication_ok())
        conn.ready()
    except ClientClosedError:
        # The driver did not like what it was asked for.
        raise SessionEndedError from None


def _negotiate(conn: BackendConnection) -> None:
    assert conn.startup is not None
    asked = conn.startup["version"]
    parameters = conn.startup["parameters"]
    unknown = [name for name in parameters if name.startswith("_pq_.")]
    version = min(asked, conn.server.protocol)
    if version != asked or unknown:
        conn.send(backend.negotiate_protocol_version(version, unknown))
    if version >= (3, 2):
        conn.key = os.urandom(32)
    if parameters.get("user") != conn.server.user:
        _refuse(conn, "28000", f"role {parameters.get('user')!r} does not exist")


def _refuse(conn: BackendConnection, code: str, text: str) -> None:
    conn.send(backend.error_response(text, code=code, severity="FATAL"))
    raise SessionEndedError


async def _trust(conn: BackendConnection) -> None:
    pass


async def _cleartext(conn: BackendConnection) -> None:
    conn.send(backend.authentication_cleartext_password())
    got = await conn.expect_response("PasswordMessage")
    if got["password"] != conn.server.password:
        _refuse(conn, "28P01", "password authentication failed")


async def _md5(conn: BackendConnection) -> None:
    salt = os.urandom(4)
    conn.send(backend.authentication_md5_password(salt))
    got = await conn.expect_response("PasswordMessage")
    server = conn.server
    if got["password"] != backend.md5_response(server.user, server.password, salt):
        _refuse(conn, "28P01", "password authentication failed")


async def _gss(conn: BackendConnection) -> None:
    conn.send(backend.authentication_gss())
    await conn.expect_response("GSSResponse")


async def _sspi(conn: BackendConnection) -> None:
    conn.send(backend.authentication_sspi())
    await conn.expect_response("GSSResponse")


async def _oauth(conn: BackendConnection) -> None:
    conn.send(backend.authentication_sasl(["OAUTHBEARER"]))
    await conn.expect_response("SASLInitialResponse")


async def _unknown(conn: BackendConnection) -> None:
    conn.send(backend.message(b"R", struct.pack("!i", 99)))
    await conn.expect_response("PasswordMessage")


async def _scram(conn: BackendConnection) -> None:
    await _sasl(conn, offers_plus=False)


async def _scram_plus(conn: BackendConnection) -> None:
    await _sasl(conn, offers_plus=conn.tls is not None)


async def _sasl(conn: BackendConnection, *, offers_plus: bool) -> None:
    server = conn.server
    attack = ATTACKS.get(server.attack or "", ScramAttack())
    offered = ["SCRAM-SHA-256"]
    if (offers_plus and not attack.hides_plus) or attack.adds_plus:
        offered.insert(0, "SCRAM-SHA-256-PLUS")
    conn.send(backend.authentication_sasl(offered))
    initial = await conn.expect_response("SASLInitialResponse")
    scram = ScramServer(
        initial["mechanism"],
        server.password.encode(),
        offers_plus=offers_plus,
        cbind_data=server.tls.channel_binding if server.tls else None,
        salt=server.salt,
        iterations=server.iterations,
    )
    try:
        nonce = initial["data"].rpartition(b"r=")[2]
        first = attack.first(scram.first(initial["data"]), nonce)
        conn.send(backend.authentication_sasl_continue(first))
        if attack.stops_after_first:
            conn.send(_fake_session())
            await _end_of_client(conn)
        response = await conn.expect_response("SASLResponse")
        if attack.stops_after_proof:
            return
        final = attack.final(scram.final(response["data"]))
    except ScramRefusedError as error:
        _refuse(conn, "28P01", f"password authentication failed ({error})")
    conn.send(backend.authentication_sasl_final(final))


AUTHENTICATION: dict[str, Hook] = {
    "trust": _trust,
    "password": _cleartext,
    "md5": _md5,
    "gss": _gss,
    "sspi": _sspi,
    "oauth": _oauth,
    "unknown": _unknown,
    "scram-sha-256": _scram,
    "scram-sha-256-plus": _scram_plus,
}


# --- attacks ------------------------------------------------------------------


def _unchanged(data: bytes, _nonce: bytes = b"") -> bytes:
    return data


@dataclass(frozen=True)
class ScramAttack:
    """How a server, or somebody in the middle, bends a SCRAM exchange."""

    #: (server's first message, client's nonce) -> what is sent
    first: Callable[[bytes, bytes], bytes] = _unchanged
    final: Callable[[bytes], bytes] = _unchanged
    stops_after_first: bool = False
    stops_after_proof: bool = False
    hides_plus: bool = False
    adds_plus: bool = False


def _with_iterations(count: bytes) -> Callable[[bytes, bytes], bytes]:
    return lambda first, _: first.rpartition(b",i=")[0] + b",i=" + count


_WRONG_SIGNATURE = b"v=" + base64.b64encode(bytes(32))

#: Attack -> how it bends SCRAM; those on TLS leave it alone.
ATTACKS: dict[str, ScramAttack] = {
    **dict.fromkeys(_BEFORE_TLS, ScramAttack()),
    "no-alpn": ScramAttack(),
    "ok-after-sasl-continue": ScramAttack(stops_after_first=True),
    "ok-without-sasl-final": ScramAttack(stops_after_proof=True),
    "bad-nonce": ScramAttack(first=lambda data, _: b"r=evil" + data[2:]),
    "nonce-not-continued": ScramAttack(
        first=lambda data, nonce: b"r=" + nonce + data[data.index(b",s=") :]
    ),
    "mandatory-extension": ScramAttack(first=lambda data, _: b"m=x," + data),
    "zero-iterations": ScramAttack(first=_with_iterations(b"0")),
    "negative-iterations": ScramAttack(first=_with_iterations(b"-1")),
    "too-many-iterations": ScramAttack(first=_with_iterations(b"100001")),
    "huge-iterations": ScramAttack(first=_with_iterations(b"9" * 10_000)),
    "wrong-signature": ScramAttack(final=lambda _: _WRONG_SIGNATURE),
    "empty-signature": ScramAttack(final=lambda _: b"v="),
    "empty-sasl-final": ScramAttack(final=lambda _: b""),
    "long-sasl-final": ScramAttack(final=lambda _: b"v=" + b"A" * 65536),
    "scram-error": ScramAttack(final=lambda _: b"e=invalid-proof"),
    "hide-plus": ScramAttack(hides_plus=True),
    "plus-without-tls": ScramAttack(adds_plus=True),
}
