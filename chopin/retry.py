"""Trying again what failed, where that helps and cannot do it twice.

Owns: `Retry`, which decides whether and when, and what is known of errors that are not
ours: `kind_of`, `outcome_of`. What is known of ours is told in ``_errorbase``.
Layer L5. Imports L0.

Rules
- Decisions are plain functions of the error, the settings and a source of random
  numbers; only `Retry.run` waits.
- What may have taken effect is not repeated, whatever `on` says, unless the caller
  calls it idempotent.
- A cancellation ends it at once: only `Exception` is ever caught, and the waiting is an
  `asyncio.sleep`, so that an `asyncio.timeout` around is obeyed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import functools
import inspect
import math
import random
import socket
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from typing import Any, Literal, ParamSpec, TypeVar, cast, get_args

from chopin.exceptions import Kind, Outcome

T = TypeVar("T")
P = ParamSpec("P")

Jitter = Literal["full", "none"]
#: An element of `Retry.on`.
Repeatable = Kind | type[BaseException]

_KINDS: tuple[Kind, ...] = get_args(Kind)
_OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_JITTERS: tuple[Jitter, ...] = get_args(Jitter)

# Errors that are not ours, by the first of their classes that is here.
_BY_CLASS: dict[type[BaseException], tuple[Kind, Outcome]] = {
    asyncio.CancelledError: ("canceled", "unknown"),
    TimeoutError: ("canceled", "unknown"),
    ConnectionRefusedError: ("transient", "not_sent"),
    ConnectionError: ("transient", "unknown"),
    socket.gaierror: ("transient", "not_sent"),
    BaseException: ("permanent", "unknown"),
}
# What the system says where Python has no class for it, or one that says less: a
# TimeoutError with ETIMEDOUT is the network's, not a limit that somebody set.
_BY_ERRNO: dict[int | None, tuple[Kind, Outcome]] = {
    errno.ENETDOWN: ("transient", "unknown"),
    errno.ENETUNREACH: ("transient", "unknown"),
    errno.EHOSTDOWN: ("transient", "unknown"),
    errno.EHOSTUNREACH: ("transient", "unknown"),
    errno.ETIMEDOUT: ("transient", "unknown"),
    # too many open files: there was no socket to send anything by
    errno.EMFILE: ("resource", "not_sent"),
    errno.ENFILE: ("resource", "not_sent"),
    # all ports of this machine in use: only connecting says so
    errno.EADDRNOTAVAIL: ("resource", "not_sent"),
}


def _of_python(error: BaseException) -> tuple[Kind, Outcome]:
    known = _BY_ERRNO.get(error.errno) if isinstance(error, OSError) else None
    if known is not None:
        return known
    return next(_BY_CLASS[cls] for cls in type(error).__mro__ if cls in _BY_CLASS)


def kind_of(error: BaseException) -> Kind:
    """What kind of error any exception is.

    Args:
        error: ours, one of Python's or anybody's.

    Returns:
        Its attribute ``kind`` where that is one of our kinds; else what is known of its
        class, at last "permanent".

    Example:
        >>> kind_of(ConnectionRefusedError()), kind_of(ValueError())
        ('transient', 'permanent')
    """
    own = getattr(error, "kind", None)
    is_ours = type(own) is str and own in _KINDS
    return cast(Kind, own) if is_ours else _of_python(error)[0]


def outcome_of(error: BaseException) -> Outcome:
    """What has become of what was asked for when any exception was raised.

    Args:
        error: ours, one of Python's or anybody's.

    Returns:
        Its attribute ``outcome`` where that is one of our outcomes; else what is known
        of its class, at last "unknown".

    Example:
        >>> outcome_of(ConnectionRefusedError()), outcome_of(TimeoutError())
        ('not_sent', 'unknown')
    """
    own = getattr(error, "outcome", None)
    is_ours = type(own) is str and own in _OUTCOMES
    return cast(Outcome, own) if is_ours else _of_python(error)[1]


@dataclasses.dataclass(frozen=True, slots=True)
class Retry:
    """How often to try, how long to wait in between, and which errors are worth it.

    An error is worth it if it is one of `on`, and if what was asked for cannot have
    taken effect. Everything else is raised at once, and so is the error of the last
    attempt; a note on it says how many there were.

    Called with a coroutine function it is a decorator; `chopin.retry` is the same class
    under the name that reads well there.

    Args:
        attempts: how often to try in all, at least 1.
        base: seconds to wait at most after the first attempt, twice as many after each
            further one.
        max: seconds to wait at most after any attempt.
        jitter: "full" waits anything between nothing and those seconds, so that those
            who failed together do not come back together; "none" waits them exactly.
        idempotent: that it may be done twice: errors are also worth it if nobody knows
            whether it has been done.
        on: kinds (see `kind_of`), exception classes, or a function that is given the
            error and says whether it is worth it.

    Raises:
        TypeError: an argument has a type that cannot be.
        ValueError: it has a value that cannot be.

    Example:
        >>> @Retry(attempts=5)
        ... async def reserve(pool, seat):
        ...     await pool.execute("UPDATE seats SET taken = true WHERE id = $1", seat)
    """

    attempts: int = 3
    base: float = 0.01
    max: float = 1.0
    jitter: Jitter = "full"
    idempotent: bool = False
    on: Repeatable | Collection[Repeatable] | Callable[[BaseException], object] = (
        "transient",
        "resource",
    )

    def __post_init__(self) -> None:
        if type(self.attempts) is not int:
            raise TypeError(f"attempts must be an integer, got {self.attempts!r}")
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {self.attempts}")
        for name, value in (("base", self.base), ("max", self.max)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number of seconds, got {value!r}")
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        if self.base > self.max:
            raise ValueError(
                f"base ({self.base}) must not be more than max ({self.max})"
            )
        if self.jitter not in _JITTERS:
            raise ValueError(f"jitter must be one of {_JITTERS}, got {self.jitter!r}")
        if not isinstance(self.idempotent, bool):
            raise TypeError(f"idempotent must be a bool, got {self.idempotent!r}")
        object.__setattr__(self, "on", _normalized(self.on))

    @classmethod
    def of(cls, retry: Retry | int | None) -> Retry:
        """What a parameter ``retry=`` means.

        Args:
            retry: itself; a number of attempts; None for the defaults.

        Example:
            >>> Retry.of(5).attempts
            5
        """
        if isinstance(retry, Retry):
            return retry
        return cls() if retry is None else cls(attempts=retry)

    def is_worth(self, error: BaseException) -> bool:
        """Whether this error may be answered by another attempt.

        Args:
            error: what the attempt raised.

        Returns:
            False also for whatever is no `Exception`, such as a cancellation.
        """
        return self._is_safe(error) and self._is_wanted(error)

    def _is_safe(self, error: BaseException) -> bool:
        return isinstance(error, Exception) and (
            self.idempotent or outcome_of(error) != "unknown"
        )

    def _is_wanted(self, error: BaseException) -> bool:
        on = self.on
        if not isinstance(on, tuple):
            return bool(cast(Callable[[BaseException], object], on)(error))
        return kind_of(error) in on or any(
            isinstance(each, type) and isinstance(error, each) for each in on
        )

    def delays(self, random: Callable[[], float] = random.random) -> Iterator[float]:
        """The seconds to wait before each attempt but the first.

        Args:
            random: a number from 0 up to 1, for the jitter.

        Example:
            >>> list(Retry(attempts=5, base=1, max=4, jitter="none").delays())
            [1, 2, 4, 4]
        """
        most = self.base
        for _ in range(self.attempts - 1):
            yield most * random() if self.jitter == "full" else most
            most = min(most * 2, self.max)

    async def run(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
    ) -> T:
        """Call and await `attempt` until it returns or is not to be repeated.

        Args:
            attempt: begins a new attempt each time.
            sleep: how to wait.
            random: as of `delays`.

        Returns:
            What the attempt that succeeded returned.

        Raises:
            BaseException: what the last attempt raised.
        """
        delays = self.delays(random)
        number = 0
        while True:
            number += 1
            try:
                return await attempt()
            except Exception as error:
                delay = next(delays, None) if self.is_worth(error) else None
                if delay is None:
                    self._annotate(error, number)
                    raise
                # in here, for a time limit that ends it to show what it was about
                await sleep(delay)

    def _annotate(self, error: Exception, number: int) -> None:
        """Say on the error how often it was tried, and what kept it from more."""
        if number > 1:
            error.add_note(f"{number} attempts were made, of {self.attempts} allowed")
        is_last = number == self.attempts
        if not is_last and not self._is_safe(error) and self._is_wanted(error):
            error.add_note(
                "not tried again, since it may have taken effect; idempotent=True says "
                "that it may be done twice"
            )

    async def call(
        self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call and await `fn` with these arguments, as `run` does.

        Args:
            fn: a coroutine function.
            args: its arguments.
            kwargs: its keyword arguments.

        Example:
            >>> await Retry(attempts=5).call(conn.fetch, "SELECT 1")
            [<Record ?column?=1>]
        """
        return await self.run(functools.partial(fn, *args, **kwargs))

    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, T]]
    ) -> Callable[P, Coroutine[Any, Any, T]]:
        """Make a coroutine function that tries again of one that does not.

        Args:
            fn: a coroutine function.

        Raises:
            TypeError: it is something else.
        """
        if not inspect.iscoroutinefunction(fn):
            raise TypeError(f"retry is for coroutine functions, got {fn!r}")

        @functools.wraps(fn)
        async def with_retry(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self.call(fn, *args, **kwargs)

        return with_retry


def _normalized(on: object) -> object:
    """`Retry.on` as a tuple of kinds and classes, or as the function that it is.

    Raises:
        TypeError: it is neither.
        ValueError: there is something else in it.
    """
    if isinstance(on, str | type):
        on = (on,)
    if callable(on):
        return on
    if not isinstance(on, Collection):
        raise TypeError(
            "on must be kinds, exception classes or a function of the error, got "
            f"{on!r}"
        )
    for each in on:
        is_class = isinstance(each, type) and issubclass(each, BaseException)
        if not is_class and each not in _KINDS:
            raise ValueError(
                f"on must hold exception classes and kinds, {_KINDS}, got {each!r}"
            )
    return tuple(on)


#: `Retry` as a decorator: ``@chopin.retry(attempts=5)``.
retry = Retry
