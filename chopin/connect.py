"""From a configuration to a session that is ready: hosts, attempts, time-outs.

Owns: which host is tried when, what makes the next one be tried, and whether a server
is the kind that was asked for.
Layer L4. Imports L0, L2, L3 and the rest of L4.

Rules
- Every attempt stands for itself: a new session, nothing kept of the one before.
- The next host is tried when this one cannot be reached, is not ready or is not the
  kind that was asked for. Who refuses our credentials is not asked a second time.
- `timeout` is for everything, `connect_timeout` for each address.

Source: PostgreSQL documentation, "Specifying Multiple Hosts", target_session_attrs.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import random
import ssl
from collections.abc import Awaitable, Iterator, Sequence
from typing import TypeVar

from chopin._codecs import CodecMap
from chopin._execute import fetch_value
from chopin._rows import Description, Record
from chopin._tlscontexts import shared_context
from chopin.aio import WireProtocol
from chopin.authenticate import Authenticator
from chopin.config import ConnectConfig, Host, SessionAttribute
from chopin.dial import (
    NoTLSError,
    Place,
    describe,
    open_transport,
    plan_tls,
    resolve,
)
from chopin.exceptions import (
    CannotConnectNowError,
    ConnectionDoesNotExistError,
    InvalidAuthorizationSpecificationError,
    InvalidPasswordError,
    TargetServerAttributeNotMatched,
    TooManyConnectionsError,
    UnsupportedClientFeatureError,
)

T = TypeVar("T")

# Seconds for a server that is not of the kind to close the connection.
_FAREWELL = 1.0

# What makes the next host be tried.
_NEXT_HOST = (
    OSError,
    ConnectionDoesNotExistError,
    CannotConnectNowError,
    TooManyConnectionsError,
    TargetServerAttributeNotMatched,
)


async def connect_session(
    config: ConnectConfig,
    *,
    record_class: type[Record] = Record,
    codecs: CodecMap | None = None,
    descriptions: dict[str, Description] | None = None,
) -> WireProtocol:
    """Open a session as the configuration says.

    Args:
        config: where and how.
        record_class: of its rows.
        codecs: the scope above the session's own codecs; None for the built-in table.
        descriptions: statements known already, shared by the sessions of a pool.

    Raises:
        TimeoutError: `config.timeout` is over.
        OSError: no host could be reached.
        InterfaceError, PostgresError: see `Authenticator.run`.
    """
    for name in ("scram_client_key", "scram_server_key", "oauth_issuer"):
        if getattr(config, name) is not None:
            raise UnsupportedClientFeatureError(f"{name} is not supported: remove it")
    attempt = _Attempt(config, record_class, codecs, descriptions)
    try:
        async with asyncio.timeout(config.timeout):
            if config.target_session_attrs is SessionAttribute.prefer_standby:
                try:
                    return await attempt.any_host(SessionAttribute.standby)
                except _NEXT_HOST:
                    return await attempt.any_host(SessionAttribute.any)
            return await attempt.any_host(config.target_session_attrs)
    except Exception as error:
        attempt.annotate(error)
        _tell_retry(error)
        raise


def _tell_retry(error: Exception) -> None:
    """Say of an error that nothing was asked yet, and whether a server may come."""
    told: dict[str, str] = {"outcome": "not_sent"}
    if isinstance(error, (TimeoutError, FileNotFoundError)):
        told["kind"] = "transient"  # a socket that is not there is a server that is not
    vars(error).update(told)


class _Attempt:
    """What all attempts of one `connect_session` have in common."""

    def __init__(
        self,
        config: ConnectConfig,
        record_class: type[Record],
        codecs: CodecMap | None,
        descriptions: dict[str, Description] | None,
    ) -> None:
        self._config = config
        self._record_class = record_class
        self._codecs = codecs
        self._descriptions = {} if descriptions is None else descriptions
        self._doing = ""
        # in words: the errors would keep all that they have come through
        self._failures: list[str] = []

    @functools.cached_property
    def _context(self) -> ssl.SSLContext:
        """Made when first wanted: for a socket, missing files do not matter."""
        context = shared_context(self._config)
        assert context is not None
        return context

    async def any_host(self, wanted: SessionAttribute) -> WireProtocol:
        """The first host that can be reached and is of the kind that is wanted."""
        self._failures.clear()
        failure: Exception | None = None
        for host in self._in_order(self._config.hosts):
            self._doing = f"resolving {host.host}"
            try:
                addresses = await self._limited(resolve(host))
            except OSError as error:
                failure = self._failed(error)
                continue
            for family, address in self._in_order(addresses):
                where = describe(Place(host, family, address, None))
                self._doing = f"connecting to {where}"
                try:
                    return await self._any_tls(host, family, address, wanted)
                except _NEXT_HOST as error:
                    failure = self._failed(error)
        assert failure is not None  # a name without addresses is an error
        raise failure

    def _failed(self, error: Exception) -> Exception:
        error.add_note(f"while {self._doing}")
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
        self._failures.append(f"before that, {self._doing}: {text}")
        self._doing = ""
        return error

    def annotate(self, error: Exception) -> None:
        """Say of the error that ends it what was tried before, and what it was about.

        A time-out for everything knows neither; the last failure is told already.
        """
        if self._doing and isinstance(error, TimeoutError):
            error.add_note(f"while {self._doing}")
        for note in self._failures if self._doing else self._failures[:-1]:
            error.add_note(note)

    def _in_order(self, items: Sequence[T]) -> Iterator[T]:
        if self._config.load_balance_hosts == "random":
            return iter(random.sample(items, len(items)))
        return iter(items)

    async def _limited(self, awaitable: Awaitable[T]) -> T:
        seconds = self._config.connect_timeout
        if seconds is None:
            return await awaitable
        async with asyncio.timeout(seconds):
            return await awaitable

    async def _any_tls(
        self, host: Host, family: int, address: object, wanted: SessionAttribute
    ) -> WireProtocol:
        """Try with and without TLS, as far as sslmode lets us."""
        refusal: Exception | None = None
        ways = plan_tls(self._config, host)
        for i, (is_tls, is_optional) in enumerate(ways):
            tls = (lambda: self._context) if is_tls else None
            place = Place(host, family, address, tls, is_optional)
            session = WireProtocol(
                self._config,
                CodecMap(self._codecs),
                self._record_class,
                self._descriptions,
            )
            try:
                return await self._limited(self._one(session, place, wanted))
            except NoTLSError:
                if refusal is None:
                    raise
                refusal.add_note("tried again with TLS, which the server does not have")
                raise refusal from None
            except Exception as error:
                if refusal is not None:
                    way = "without" if is_tls else "with"
                    error.add_note(f"before that, {way} TLS: {refusal}")
                    raise
                is_last = i + 1 == len(ways)
                if is_last or not _may_other_way_do(error, session, is_tls=is_tls):
                    raise
                refusal = error
        raise AssertionError("there is at least one way")

    async def _one(
        self, session: WireProtocol, place: Place, wanted: SessionAttribute
    ) -> WireProtocol:
        """One attempt: a ready session at this place, or nothing left of it."""
        config = self._config
        session.place = place
        try:
            await open_transport(config, place, session)
            if place.tls is not None:
                # a cancel request goes the way that the session went
                tls = place.tls if session.extra_info("ssl_object") else None
                session.place = dataclasses.replace(
                    place, tls=tls, is_tls_optional=False
                )
            await Authenticator(session).run()
            await _check_kind(session, wanted)
        except TargetServerAttributeNotMatched:
            # not cut off: a standby that is listed first would log it each time
            with contextlib.suppress(TimeoutError):
                await session.end(_FAREWELL)
            raise
        except BaseException:
            session.terminate()
            raise
        return session


def _may_other_way_do(error: Exception, session: WireProtocol, *, is_tls: bool) -> bool:
    """Whether the server may let us in with TLS if not without, or the reverse.

    "no pg_hba.conf entry ... no encryption" is such a refusal. None are: the end of an
    authentication that has begun, for its rules have an entry then, and that of a
    server without TLS, where this was the other way already.
    """
    spoken = session.place is not None and session.place.tls is not None
    return (
        isinstance(error, InvalidAuthorizationSpecificationError)
        and not isinstance(error, InvalidPasswordError)
        and not session.has_auth_begun
        and spoken == is_tls
    )


async def _check_kind(session: WireProtocol, wanted: SessionAttribute) -> None:
    """Raise TargetServerAttributeNotMatched unless the server is of the kind.

    PostgreSQL 14 and later report what is needed during startup; older servers, and
    poolers that drop the report, are asked.
    """
    if wanted is SessionAttribute.any:
        return
    is_standby = session.parameters.get("in_hot_standby")
    if is_standby is None:
        in_recovery = await fetch_value(
            session, "SELECT pg_catalog.pg_is_in_recovery()"
        )
        is_standby = "on" if in_recovery else "off"
    read_only = session.parameters.get("default_transaction_read_only")
    if read_only is None:
        read_only = await fetch_value(session, "SHOW default_transaction_read_only")
    standby = is_standby == "on"
    writable = not standby and read_only == "off"
    fits = {
        SessionAttribute.primary: not standby,
        SessionAttribute.standby: standby,
        SessionAttribute.read_write: writable,
        SessionAttribute.read_only: not writable,
    }[wanted]
    if not fits:
        place = session.place
        where = describe(place) if place else "the server"
        raise TargetServerAttributeNotMatched(
            f"None of the hosts match the target attribute requirement {wanted!r}: "
            f"{where} is {'a standby' if standby else 'a primary'}"
            f"{'' if writable else ' and read-only'}"
        )
