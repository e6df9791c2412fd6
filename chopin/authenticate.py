"""The start of a session: StartupMessage, and proving to each other who we are.

Owns: the conversation from StartupMessage to the first ReadyForQuery.
Layer L4. Imports L0, L3, aio and tls.

Rules
- `chopin.auth` decides what may be answered and when an AuthenticationOk may be
  believed; `chopin.scram` knows how. Here the two are put together.
- The password is asked for when the server wants it, once per connection.
- Hashing that takes long enough to be felt happens in a thread.

Source: PostgreSQL documentation, "Start-up", "SASL Authentication".
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from chopin._startup import send_password, start_startup
from chopin.aio import WireProtocol
from chopin.auth import check_complete, check_method
from chopin.config import ConnectConfig
from chopin.exceptions import (
    InterfaceError,
    InvalidPasswordError,
    ProtocolError,
    UnsupportedClientFeatureError,
)
from chopin.scram import SALTED, ScramClient, encode_password, md5_password
from chopin.tls import tls_server_end_point

# PostgreSQL's default of 4,096 takes about a millisecond, less than a hand-over to a
# thread and back is worth; beyond three times that the loop would be held up.
_INLINE_ITERATIONS = 12_000

_UNSUPPORTED = {2: "Kerberos V5", 7: "GSSAPI", 8: "GSSAPI", 9: "SSPI"}


class Authenticator:
    """One session's answers to what the server asks.

    Args:
        session: connected, nothing sent yet.
    """

    def __init__(self, session: WireProtocol) -> None:
        self._session = session
        self._config: ConnectConfig = session.config
        self._ssl_object = session.extra_info("ssl_object")
        self._scram: ScramClient | None = None
        self._answered: str | None = None
        self._is_complete = False

    async def run(self) -> None:
        """Take the session from StartupMessage to ReadyForQuery.

        Raises:
            PostgresError: the server refuses us.
            InterfaceError, ProtocolError: we refuse the server.
        """
        config = self._config
        startup = {"user": config.user, "database": config.database}
        startup.update(config.server_settings)
        minor = 2 if config.max_protocol_version == "3.2" else 0
        op = start_startup(self._session, startup, minor)
        while (request := await op.next_request()) is not None:
            code, data = request
            self._session.has_auth_begun = True
            if self._is_complete:
                raise ProtocolError("the server asks for more after AuthenticationOk")
            if code == 0:
                self._complete()
                continue
            answer = _ANSWERS.get(code)
            if answer is None:
                name = _UNSUPPORTED.get(code, f"method {code}")
                raise UnsupportedClientFeatureError(
                    f"the server asks for {name} authentication, which is not supported"
                )
            reply = await answer(self, data)
            if reply is not None:
                send_password(self._session, reply)
        if not self._is_complete:
            raise ProtocolError("the server is ready without AuthenticationOk")
        if config.min_protocol_version == "3.2" and op.minor_version < 2:
            raise InterfaceError(
                "the server does not speak protocol 3.2, and min_protocol_version "
                "insists on it"
            )

    def _complete(self) -> None:
        check_complete(
            require_auth=self._config.require_auth,
            channel_binding=self._config.channel_binding,
            answered=self._answered,
            scram=self._scram,
        )
        self._is_complete = True

    def _check(self, method: str) -> None:
        if self._answered is not None:
            raise ProtocolError("the server asks for a second authentication")
        place = self._session.place
        check_method(
            method,
            require_auth=self._config.require_auth,
            channel_binding=self._config.channel_binding,
            tls=self._ssl_object is not None,
            local=place is not None and place.host.is_unix,
        )
        self._answered = method

    async def _password(self) -> str:
        password: Any = self._config.password
        if callable(password):
            password = password()
            if inspect.isawaitable(password):
                password = await password
        place = self._session.place
        if password is None and place is not None:
            password = place.host.password_from_passfile
        if not password:
            raise InvalidPasswordError(
                f"the server asks for the password of {self._config.user!r}, and none "
                "was given: pass password=, set PGPASSWORD or add it to the passfile"
            )
        if not isinstance(password, str):
            raise InterfaceError(
                "password is expected to be a str, or a callable that returns one, got "
                f"{type(password).__name__}"
            )
        return password

    async def _cleartext(self, data: bytes) -> bytes:
        self._check("password")
        password = encode_password(await self._password(), self._config.user)
        if b"\0" in password:
            raise InterfaceError("the password must not contain a zero character")
        return password + b"\0"

    async def _md5(self, data: bytes) -> bytes:
        self._check("md5")
        if len(data) != 4:
            raise ProtocolError("AuthenticationMD5Password without a salt of 4 bytes")
        password = await self._password()
        return md5_password(self._config.user, password, data) + b"\0"

    async def _sasl(self, data: bytes) -> bytes:
        """AuthenticationSASL: names of mechanisms, each ended by a zero, and a zero."""
        mechanisms = [
            name.decode("ascii", "replace") for name in data.split(b"\0") if name
        ]
        self._check("oauth" if mechanisms == ["OAUTHBEARER"] else "scram-sha-256")
        certificate = self._ssl_object and self._ssl_object.getpeercert(True)
        self._scram = ScramClient(
            mechanisms,
            self._config.user,
            await self._password(),
            channel_binding=self._config.channel_binding,
            cbind_data=tls_server_end_point(certificate) if certificate else None,
            tls=self._ssl_object is not None,
            salted_cache=SALTED,
        )
        first = self._scram.client_first()
        name = self._scram.mechanism.encode("ascii")
        return name + b"\0" + len(first).to_bytes(4, "big") + first

    async def _sasl_continue(self, data: bytes) -> bytes:
        scram = self._exchange()
        scram.server_first(data)
        if not scram.is_hashed:
            if scram.iterations > _INLINE_ITERATIONS:
                await asyncio.to_thread(scram.hash_password)
            else:
                scram.hash_password()
        return scram.client_final()

    async def _sasl_final(self, data: bytes) -> None:
        self._exchange().server_final(data)

    def _exchange(self) -> ScramClient:
        if self._scram is None:
            raise ProtocolError(
                "the server goes on with an exchange that was not begun"
            )
        return self._scram


# Of the class, not of each object: bound methods would keep it, and the password, alive
# until the garbage collector comes.
_ANSWERS: dict[int, Callable[[Authenticator, bytes], Awaitable[bytes | None]]] = {
    3: Authenticator._cleartext,
    5: Authenticator._md5,
    10: Authenticator._sasl,
    11: Authenticator._sasl_continue,
    12: Authenticator._sasl_final,
}
