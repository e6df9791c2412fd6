"""Workers kept alive: when they are started, started again, stopped and given up.

Owns: `Supervisor`, which decides; `Job` and `run_job`, what a worker does and how it
ended; `Switch`, which ends its task; `Restarts`, the pauses. What a worker is, a
process or a thread, is the business of its `Crew`.
Layer L5. Imports nothing of the package.

Rules
- The clock, the crew and the signals are handed in, so that tests have no waits.
- Whatever happens, `Supervisor.run` closes its crew: nobody is left behind.
- A worker that has ended by itself in order is not started again; any other is, after a
  pause. When each of those that are not done has failed `Restarts.attempts` times in a
  row without having lived, none ever will, and all is over. One that could not begin
  has used up its attempts at once.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

log = logging.getLogger("chopin.runtime")

#: Signals that ask for a graceful stop.
STOPPING = (signal.SIGINT, signal.SIGTERM)
#: A signal so soon after the first is the same one: who passes signals on (timeout, a
#: wrapper in the same terminal) tends to send them twice.
SAME_SIGNAL_S = 0.25
#: Characters of an exception's message in the one line that reports it.
DETAIL_LIMIT = 200


class WorkerError(RuntimeError):
    """Every worker fails as soon as it is started; a note has the last traceback."""


class End(enum.Enum):
    """How a worker has ended."""

    DONE = "is done"
    STOPPED = "stopped"
    FAILED = "failed"
    DIED = "died"
    UNABLE = "could not begin"


@dataclass(frozen=True)
class Outcome:
    """What is known of a worker that has ended.

    Attributes:
        end: how it ended.
        detail: the exception's last line, the exit code or the signal.
        trace: the traceback of an exception.
    """

    end: End
    detail: str = ""
    trace: str = ""

    def __str__(self) -> str:
        return f"{self.end.value}: {self.detail}" if self.detail else self.end.value


class Switch:
    """Cancels the task of a worker, once, from any thread or signal handler."""

    def __init__(self) -> None:
        # a signal handler may come in the middle of either method
        self._lock = threading.RLock()
        self._task: asyncio.Task[Any] | None = None
        self.is_off = False

    def connect(self) -> None:
        """Called in the task that is to be cancelled.

        Raises:
            asyncio.CancelledError: the switch was turned off before.
        """
        with self._lock:
            # before the look: a signal in between finds the task
            self._task = asyncio.current_task()
            if self.is_off:
                raise asyncio.CancelledError

    def turn_off(self) -> None:
        """Have the task cancelled, or never begun."""
        with self._lock:
            if self.is_off:
                return
            self.is_off = True
            task = self._task
        if task is not None:
            try:
                task.get_loop().call_soon_threadsafe(task.cancel)
            except RuntimeError:
                pass  # the loop is closed: the task has ended


#: What a worker does: job(index, restarts, switch) returns when it is done.
Job = Callable[[int, int, Switch], None]


def run_job(job: Job, index: int, restarts: int, switch: Switch) -> Outcome:
    """Run a job to its end and say how it ended; whatever it raises ends here."""
    try:
        job(index, restarts, switch)
    except SystemExit as error:
        if error.code:
            return Outcome(End.DIED, f"exit code {error.code}")
    except BaseException as error:
        if not (switch.is_off and isinstance(error, asyncio.CancelledError)):
            told = traceback.TracebackException.from_exception(error)
            detail = f"{type(error).__name__}: {told}".splitlines()[0]
            return Outcome(End.FAILED, detail[:DETAIL_LIMIT], "".join(told.format()))
    # who was told to stop is not done, not even if its main caught it and returned
    return Outcome(End.STOPPED if switch.is_off else End.DONE)


@dataclass(frozen=True)
class Restarts:
    """When a worker that has died is started again, and when there is no use.

    Attributes:
        first: seconds before the first restart, doubled by each failure that follows.
        longest: the longest pause.
        lived: seconds after which a worker counts as having worked.
        attempts: failures in a row, of each worker, that end it all.
    """

    first: float = 0.1
    longest: float = 10.0
    lived: float = 10.0
    attempts: int = 5

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        doublings = min(failures - 1, 30)  # more could overflow
        return min(self.longest, self.first * 2.0**doublings)


RESTARTS = Restarts()


class Crew(Protocol):
    """Workers of one kind, by their index."""

    def start(self, index: int, restarts: int) -> str:
        """Start a worker; returns what it is, for the log. May raise OSError."""

    def ended(self) -> list[tuple[int, Outcome]]:
        """Those that have ended since the last call; nothing is left of them."""

    def stop(self) -> None:
        """Tell all of them to end in order."""

    def kill(self, number: int) -> None:
        """End all of them at once; `number` is the signal that is the reason."""

    def close(self) -> None:
        """End those that are left, and give back what they were held by."""


class Signals(Protocol):
    """Where a supervisor learns that something has happened."""

    def wait(self, timeout: float | None) -> Iterable[int]:
        """Wait for signals, the end of a worker, or the time-out; the signals."""


@dataclass
class _Life:
    """What a supervisor knows of the worker with one index."""

    index: int
    restarts: int = 0
    failures: int = 0  # in a row, without having lived
    name: str = ""
    started: float | None = None
    due: float | None = 0.0


class Supervisor:
    """Keeps `count` workers running until they are done or a signal stops them.

    Args:
        crew: the workers.
        count: how many of them there are to be.
        signals: says what has happened.
        grace: seconds between the request to stop and the end by force.
        restarts: when they are started again.
        clock: the time in seconds.
    """

    def __init__(
        self,
        crew: Crew,
        count: int,
        signals: Signals,
        grace: float,
        restarts: Restarts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._crew = crew
        self._signals = signals
        self._grace = grace
        self._restarts = restarts
        self._clock = clock
        self._lives = {index: _Life(index) for index in range(count)}
        self._stopped_by: int | None = None
        self._stopping_since: float | None = None
        self._is_killed = False
        self._error: WorkerError | None = None

    def run(self) -> int | None:
        """Returns when no worker is left: the signal that stopped them, or None.

        Raises:
            WorkerError: none can be kept alive.
        """
        try:
            while self._lives:
                self._start_due()
                for number in self._signals.wait(self._patience()):
                    if number in STOPPING:
                        self._on_signal(number)
                for index, outcome in self._crew.ended():
                    self._on_end(self._lives[index], outcome)
                self._end_grace()
        finally:
            self._crew.close()
        if self._error is not None:
            raise self._error
        return self._stopped_by

    def _start_due(self) -> None:
        for life in list(self._lives.values()):
            now = self._clock()
            if life.due is None or life.due > now:
                continue
            life.due, life.started = None, now
            try:
                life.name = self._crew.start(life.index, life.restarts)
            except OSError as error:  # no process, file or memory to be had just now
                life.name = "not started"
                self._on_end(life, Outcome(End.DIED, str(error)))
                if self._error is not None:
                    break

    def _patience(self) -> float | None:
        """Seconds until there is something to do without a signal, or None."""
        times = [life.due for life in self._lives.values() if life.due is not None]
        if self._stopping_since is not None and not self._is_killed:
            times.append(self._stopping_since + self._grace)
        return max(0.0, min(times) - self._clock()) if times else None

    def _on_signal(self, number: int) -> None:
        if self._stopping_since is None:
            log.info(
                "%s: workers are told to stop, within %g s",
                signal.Signals(number).name,
                self._grace,
            )
            self._stopped_by = number
            self._stop()
        elif self._clock() - self._stopping_since >= SAME_SIGNAL_S:
            self._kill("a second signal came")

    def _stop(self) -> None:
        self._stopping_since = self._clock()
        for life in list(self._lives.values()):
            if life.due is not None:
                del self._lives[life.index]
        self._crew.stop()

    def _end_grace(self) -> None:
        since = self._stopping_since
        if since is not None and self._clock() - since >= self._grace:
            self._kill(f"not stopped within {self._grace:g} s")

    def _kill(self, reason: str) -> None:
        if self._lives and not self._is_killed:
            self._is_killed = True
            for life in self._lives.values():
                log.warning(
                    "worker %d (%s) is killed: %s", life.index, life.name, reason
                )
            self._crew.kill(self._stopped_by or signal.SIGTERM)

    def _on_end(self, life: _Life, outcome: Outcome) -> None:
        if outcome.end is End.DONE or self._stopping_since is not None:
            del self._lives[life.index]
            if not self._is_killed:
                self._report(life, outcome)
            return
        if outcome.end is End.UNABLE:
            life.failures = self._restarts.attempts
        else:
            life.failures = 1 if self._has_lived(life) else life.failures + 1
        if self._is_hopeless():
            del self._lives[life.index]
            self._give_up(life, outcome)
            return
        pause = self._restarts.pause(life.failures)
        self._report(life, outcome, f"; it starts again in {pause:g} s")
        life.due, life.started = self._clock() + pause, None
        life.restarts += 1

    def _has_lived(self, life: _Life) -> bool:
        return (
            life.started is not None
            and self._clock() - life.started >= self._restarts.lived
        )

    def _is_hopeless(self) -> bool:
        """Whether each has failed so often that none will ever live."""
        return all(
            life.failures >= self._restarts.attempts and not self._has_lived(life)
            for life in self._lives.values()
        )

    def _give_up(self, life: _Life, outcome: Outcome) -> None:
        self._error = WorkerError(
            f"no worker stays alive; the last, worker {life.index} ({life.name}),"
            f" {outcome}"
        )
        if outcome.trace:
            self._error.add_note(outcome.trace)
        self._stop()

    @staticmethod
    def _report(life: _Life, outcome: Outcome, what_next: str = "") -> None:
        is_in_order = outcome.end in (End.DONE, End.STOPPED)
        log.log(
            logging.INFO if is_in_order else logging.ERROR,
            "worker %d (%s) %s%s%s",
            life.index,
            life.name,
            outcome,
            what_next,
            f"\n{outcome.trace}" if outcome.trace else "",
        )
