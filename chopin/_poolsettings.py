"""What a pool was asked to be: its arguments, checked.

Owns: `PoolSettings`, and the words of `validate` and `reset`.
Layer L5. Imports L0, L2, L4 and connection.

Rules
- Everything is checked before anything is opened; a message names the argument.
- What can be changed while the pool runs is in `limits`, which all its loops share.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Unpack

from chopin._budget import Budget
from chopin._codecs_registry import Registry
from chopin._lease import check_class
from chopin._rows import Record, check_record_class
from chopin._slots import Limits
from chopin.codecs import CodecSpec, JSONOption
from chopin.config import ConnectConfig, ConnectOptions, parse_config
from chopin.connection import Connection
from chopin.exceptions import InterfaceError

#: Coroutine functions that the user hands in.
Hook = Callable[[Any], Awaitable[Any]]

_POLICIES = ("auto", "always", "never")
_MODES = ("off", "always", "idle", "background")


class PoolOptions(ConnectOptions, total=False):
    """Keyword arguments of `create_pool` beside those of `chopin.connect`.

    Attributes:
        init_size: connections opened at first; `min_size` if None.
        min_size: connections kept in each event loop (10, or `max_size` if less).
        max_size: connections at most, of all event loops of the process (10).
        max_queries: a connection is replaced after so many (50000).
        max_inactive_connection_lifetime: seconds after which an idle connection above
            `min_size` is closed (300); 0 or None: never.
        idle_timeout: another name for the former.
        max_lifetime: seconds after which a connection is replaced, up to 5 % earlier so
            that not all of them go at once (1800); 0 or None: never.
        acquire_timeout: seconds to wait for a connection (30); None: as long as it
            takes. `timeout` is for connecting.
        pipeline_depth: how many single reads may share a connection (16); 1: none.
        validate: when the server is asked whether it is there, ahead of the use of a
            connection: "off", "always", "idle:SECONDS" when it was idle for so long
            ("idle:30"), "background:SECONDS" every so often while it is idle.
        reset: what is done about state that the user of a connection has left in it:
            "auto" resets it if something ran that can leave any, as far as its text
            tells, "always" in any case, "never"; SQL is sent instead of
            `Connection.get_reset_query()`; a coroutine function is called with the
            connection and does it all.
        per_loop: connections at most of one event loop.
        budget: a `Budget` that several pools share.
        openers: connections opened at the same time (3).
        retry_connect: seconds for which a server that cannot be reached is tried again
            before calls that wait are told (5).
        leak_threshold: seconds after which a connection that is still held is reported
            to the logger "chopin.pool", with the stack of who acquired it; None: never.
        connect: a coroutine function to be called in place of `chopin.connect`.
        setup: a coroutine function, called with the connection at each acquisition.
        init: a coroutine function, called with each new connection once.
        loop: for compatibility; every event loop may use the pool.
        connection_class: a subclass of `Connection`.
        record_class: a subclass of `Record`.
        pooler: as for `chopin.connect`.
        listen_dsn: where `Pool.listen` connects, with the other arguments for
            connecting but host and port; None: where all connect. For a pooler in
            transaction mode, behind which nothing is heard.
        listen_check: seconds after which its connection is asked whether the server is
            there (30); 0 or None: never.
        json: as for `chopin.connect`, for all connections.
        codecs: as for `chopin.connect`, for all connections.
    """

    init_size: int | None
    min_size: int | None
    max_size: int | None
    max_queries: int
    max_inactive_connection_lifetime: float | None
    idle_timeout: float | None
    max_lifetime: float | None
    acquire_timeout: float | None
    pipeline_depth: int
    validate: str
    reset: str | Hook | None
    per_loop: int | None
    budget: Budget | None
    openers: int
    retry_connect: float
    leak_threshold: float | None
    connect: Callable[..., Awaitable[Connection]] | None
    setup: Hook | None
    init: Hook | None
    loop: asyncio.AbstractEventLoop | None
    connection_class: type[Connection]
    record_class: type[Record]
    pooler: Literal["transaction"] | None
    listen_dsn: str | None
    listen_check: float | None
    json: JSONOption
    codecs: Mapping[str, CodecSpec] | None


class PoolSettings:
    """The arguments of `create_pool`; see `PoolOptions`."""

    def __init__(
        self,
        dsn: str | None,
        *,
        init_size: int | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        max_queries: int = 50000,
        max_inactive_connection_lifetime: float | None = 300.0,
        idle_timeout: float | None = None,
        max_lifetime: float | None = 1800.0,
        acquire_timeout: float | None = 30.0,
        pipeline_depth: int = 16,
        validate: str = "idle:30",
        reset: str | Hook | None = "auto",
        per_loop: int | None = None,
        budget: Budget | None = None,
        openers: int = 3,
        retry_connect: float = 5.0,
        leak_threshold: float | None = None,
        connect: Callable[..., Awaitable[Connection]] | None = None,
        setup: Hook | None = None,
        init: Hook | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        connection_class: type[Connection] = Connection,
        record_class: type[Record] = Record,
        pooler: Literal["transaction"] | None = None,
        listen_dsn: str | None = None,
        listen_check: float | None = 30.0,
        json: JSONOption = None,
        codecs: Mapping[str, CodecSpec] | None = None,
        **options: Unpack[ConnectOptions],
    ) -> None:
        _check_classes(connection_class, record_class)
        if pooler not in (None, "transaction"):
            raise InterfaceError(
                f'pooler is expected to be "transaction" or None, got {pooler!r}'
            )
        self.connection_class = connection_class
        self.record_class = record_class
        self.pooler = pooler
        self.listen_dsn = listen_dsn
        self.listen_check = _seconds("listen_check", listen_check)
        self.registry = Registry(codecs, json)
        # for a function of the user's that connects
        given = {"json": json, "codecs": codecs}
        self.said_of_types = {name: given[name] for name in given if given[name]}
        self.connect = _hook("connect", connect)
        self.setup = _hook("setup", setup)
        self.init = _hook("init", init)
        self.reset_policy, self.reset_sql, self.reset_hook = _reset(
            reset, connection_class
        )
        # whether what is sent at release is known not to fail
        self.has_own_reset = (
            self.reset_sql is None
            and connection_class.get_reset_query is _OWN["get_reset_query"]
        )
        # whether single queries need nothing but the session
        self.is_plain = (
            setup is None
            and self.reset_hook is None
            and all(getattr(connection_class, name) is _OWN[name] for name in _QUERIES)
        )
        self.set_connect_args(dsn, dict(options))
        if listen_dsn is not None and connect is None:
            parse_config(*self.listen_args[:1], **self.listen_args[1])
        self.per_loop = _count("per_loop", per_loop, 1)
        min_size, max_size = self._set_sizes(budget, init_size, min_size, max_size)
        self.acquire_timeout = _seconds("acquire_timeout", acquire_timeout, zero=0.0)
        self.leak_threshold = _seconds("leak_threshold", leak_threshold)
        depth: int = _count("pipeline_depth", pipeline_depth, 1) or 1
        mode, seconds = _validation(validate)
        idle_name = "max_inactive_connection_lifetime"
        if idle_timeout is not None:
            idle_name, max_inactive_connection_lifetime = "idle_timeout", idle_timeout
        self.check_interval = seconds if mode == "background" else math.inf
        self.limits = Limits(
            min_size=min_size,
            max_size=self._of_loop(max_size),
            max_queries=_count("max_queries", max_queries, 1) or math.inf,
            idle_timeout=_seconds(idle_name, max_inactive_connection_lifetime),
            max_lifetime=_seconds("max_lifetime", max_lifetime),
            check_after={"always": -1.0, "idle": seconds}.get(mode, math.inf),
            depth=depth if self.reset_policy != "always" else 1,
            openers=_count("openers", openers, 1) or 1,
            retry_connect=_seconds("retry_connect", retry_connect, zero=0.0),
        )

    def _set_sizes(
        self,
        budget: Budget | None,
        init_size: int | None,
        min_size: int | None,
        max_size: int | None,
    ) -> tuple[int, int]:
        """Take what is not given from the limit of the budget, or the defaults."""
        if budget is not None:
            if not isinstance(budget, Budget):
                raise InterfaceError(
                    f"budget is expected to be a chopin.Budget, got {budget!r}"
                )
            config = self.config
            limit, budget = budget.limit_for(config.database, config.user)
            if limit is not None:
                max_size = limit.max_size if max_size is None else max_size
                min_size = limit.min_size if min_size is None else min_size
                init_size = limit.init_size if init_size is None else init_size
        max_size = 10 if max_size is None else max_size
        if min_size is None:
            _check_sizes(0, 0, max_size)
            min_size = min(10, max_size)
        init_size = min_size if init_size is None else init_size
        _check_sizes(init_size, min_size, max_size)
        self.init_size = init_size
        self.budget = Budget(max_size) if budget is None else budget.part(max_size)
        return min_size, max_size

    def set_connect_args(self, dsn: str | None, options: dict[str, Any]) -> None:
        """Take other arguments for the connections that are opened from now on."""
        config = None if self.connect is not None else parse_config(dsn, **options)
        self.dsn = dsn
        self.options = options
        self._config = config

    @property
    def config(self) -> ConnectConfig:
        """How to connect, where the user has no function of his own for that."""
        if self._config is None:
            self._config = parse_config(self.dsn, **self.options)
        return self._config

    @property
    def connect_args(self) -> tuple[str | None, dict[str, Any]]:
        """What a function of the user's connects with."""
        return self.dsn, self.options

    @property
    def listen_args(self) -> tuple[str | None, dict[str, Any]]:
        """The same for `Pool.listen`."""
        if self.listen_dsn is None:
            return self.connect_args
        kept = self.options.items()
        options = {name: value for name, value in kept if name not in _PLACE}
        return self.listen_dsn, options

    @property
    def listen_config(self) -> ConnectConfig:
        """How `Pool.listen` connects, where the user has no function for that."""
        if self.listen_dsn is None:
            return self.config
        dsn, options = self.listen_args
        return parse_config(dsn, **options)

    def resize(self, max_size: int, min_size: int | None) -> None:
        """Change the sizes."""
        if min_size is None:
            _check_sizes(0, 0, max_size)
            min_size = min(self.limits.min_size, max_size)
        _check_sizes(min_size, min_size, max_size)
        self.budget.resize(max_size)
        self.limits.max_size = self._of_loop(max_size)
        self.limits.min_size = min_size

    def _of_loop(self, max_size: int) -> int:
        return max_size if self.per_loop is None else min(max_size, self.per_loop)

    @property
    def connect_timeout(self) -> float | None:
        """Seconds for connecting and `init`."""
        if self._config is not None:
            return self._config.timeout
        timeout: float | None = self.options.get("timeout", 60)
        return timeout

    @property
    def pause(self) -> float:
        """Seconds between two rounds of housekeeping."""
        limits = self.limits
        times = (
            limits.idle_timeout / 2,
            limits.max_lifetime / 20,
            self.check_interval / 2,
            self.leak_threshold / 2,
            30.0,
        )
        return max(min(times), 0.01)


# What a DSN for listening says instead.
_PLACE = ("host", "hostaddr", "port")

_QUERIES = ("fetch", "fetchrow", "fetchval", "execute", "_run", "_retry")
# as they are before a tool that traces or tests has replaced them
_OWN = {name: getattr(Connection, name) for name in (*_QUERIES, "get_reset_query")}


def _check_classes(connection_class: object, record_class: Any) -> None:
    kind = connection_class
    if not isinstance(kind, type) or not issubclass(kind, Connection):
        raise TypeError(
            "connection_class is expected to be a subclass of chopin.Connection, got "
            f"{kind!r}"
        )
    check_class(kind)
    try:
        check_record_class(record_class)
    except InterfaceError as error:
        raise TypeError(str(error)) from None


def _check_sizes(init_size: object, min_size: object, max_size: object) -> None:
    for name, value, least in (
        ("max_size", max_size, 1),
        ("min_size", min_size, 0),
        ("init_size", init_size, 0),
    ):
        _count(name, 0 if value is None and least else value, least)
    assert isinstance(min_size, int) and isinstance(max_size, int)
    assert isinstance(init_size, int)
    for name, value in (("min_size", min_size), ("init_size", init_size)):
        if value > max_size:
            raise ValueError(f"{name} is greater than max_size: {value} > {max_size}")
    if init_size < min_size:
        raise ValueError(
            f"init_size is smaller than min_size: {init_size} < {min_size}"
        )


def _count(
    name: str, value: Any, least: int, error: type[Exception] = ValueError
) -> Any:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        words = "greater than zero" if least else "greater or equal to zero"
        raise error(f"{name} is expected to be {words}, got {value!r}")
    if value > sys.maxsize:
        raise error(f"{name} is expected to be at most {sys.maxsize}, got {value!r}")
    return value


def _seconds(name: str, value: Any, zero: float = math.inf) -> float:
    """A time span; None is infinite, and so is 0 unless `zero` says otherwise."""
    if value is None:
        return math.inf
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not value >= 0:
        raise ValueError(
            f"{name} is expected to be greater or equal to zero (seconds) or None, got "
            f"{value!r}"
        )
    return float(value) if value else zero


def _hook(name: str, hook: Any) -> Any:
    if hook is not None and not callable(hook):
        raise TypeError(f"{name} is expected to be a coroutine function, got {hook!r}")
    return hook


def _validation(validate: object) -> tuple[str, float]:
    """Read `validate`: "off", "always", "idle:SECONDS", "background:SECONDS"."""
    mode, colon, number = str(validate).partition(":")
    try:
        seconds = float(number) if colon else 0.0
        if mode in _MODES and bool(colon) == (mode in _MODES[2:]) and seconds >= 0:
            return mode, seconds
    except ValueError:
        pass
    raise ValueError(
        'validate is expected to be "off", "always", "idle:SECONDS" or '
        f'"background:SECONDS", got {validate!r}'
    )


async def _reset_by_method(connection: Connection) -> None:
    await connection.reset()


def _reset(
    reset: object, connection_class: type[Connection]
) -> tuple[str, str | None, Any]:
    """Read `reset`: the policy, SQL of the user's, and his coroutine function."""
    if reset is None:
        reset = "auto"
    if isinstance(reset, str):
        if reset in _POLICIES:
            hook = None
            if connection_class.reset is not Connection.reset and reset != "never":
                hook = _reset_by_method
            return reset, None, hook
        if " " not in reset.strip() and ";" not in reset:
            raise ValueError(
                'reset is expected to be "auto", "always", "never", SQL or a coroutine '
                f"function, got {reset!r}"
            )
        return "auto", reset, None
    if not callable(reset):
        raise TypeError(
            'reset is expected to be "auto", "always", "never", SQL or a coroutine '
            f"function, got {reset!r}"
        )
    return "never", None, reset


async def run_hook(name: str, hook: Hook, connection: Any) -> None:
    """Call a coroutine function of the user's."""
    result = hook(connection)
    if not inspect.isawaitable(result):
        raise InterfaceError(
            f"{name} is expected to be a coroutine function, but it returned "
            f"{type(result).__name__}"
        )
    await result
