"""What a worker is: a process, a thread, or the program itself.

Owns: `Processes` and `Threads`, the two crews of a `Supervisor`; `run_alone`, one
worker in the main thread; the signal handlers of all three.
Layer L5. Imports _workers.

Rules
- A worker process cannot outlive its parent. Each reads from one pipe, the life line,
  of which the parent alone has the writing end: when that is closed, on purpose or by
  any kind of death, it means stop. Who has not ended after `grace` is killed, by the
  parent or, if there is none any more, by itself.
- A worker process leaves SIGINT to its parent, since a terminal sends it to both.
  SIGTERM has that worker end in order.
- Signals are blocked while a process is started: one that came to the child before it
  has let go of the parent's wake-up socket would look like one of the parent's.
- A worker process is a fork if the parent has no second thread when it begins, so that
  closures, scripts without a guard, and globals read from the command line just work;
  otherwise, and on macOS, a fresh interpreter. All workers of a run are made one way.

Source: Python documentation, "multiprocessing", "Contexts and start methods";
"signal.set_wakeup_fd". POSIX, "fork".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, cast

from chopin._workers import (
    RESTARTS,
    SAME_SIGNAL_S,
    STOPPING,
    End,
    Job,
    Outcome,
    Restarts,
    Supervisor,
    Switch,
    run_job,
)

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkContext, SpawnContext
    from multiprocessing.process import BaseProcess
    from types import FrameType

log = logging.getLogger("chopin.runtime")

HANDLED = (*STOPPING, signal.SIGCHLD)
#: How much longer than its parent a worker process waits before it ends by force.
SELF_KILL_DELAY_S = 1.0
#: Characters that a worker process leaves of its traceback: so many a pipe takes while
#: nobody reads, and what it does not take is lost.
TRACE_LIMIT = 16_000
#: What a worker process says first, so that one that never came so far is known.
BEGUN = b"+"

Method = Literal["fork", "spawn"]


def run_many(
    kind: type[Processes] | type[Threads],
    job: Job,
    count: int,
    grace: float,
    restarts: Restarts = RESTARTS,
) -> int | None:
    """Keep `count` workers of a kind at it; the signal that stopped them, or None."""
    with WakeUp() as signals:
        crew = kind(job, grace, signals)
        return Supervisor(crew, count, signals, grace, restarts).run()


# Signals


def _leave_it(number: int, frame: FrameType | None) -> None:
    """Handles a signal by doing nothing; unlike SIG_IGN it is not passed on by exec."""


@contextlib.contextmanager
def _handled(
    numbers: tuple[int, ...], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Set a handler; what a shell has told a program to ignore stays ignored."""
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            if before[number] is not signal.SIG_IGN or number not in STOPPING:
                signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


@contextlib.contextmanager
def _blocked() -> Iterator[set[int]]:
    """No signal comes to this process or one that is started inside; the mask before.

    So no handler of the program's own can raise in the middle either.
    """
    before = {
        int(number)
        for number in signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    }
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _name_of(number: int) -> str:
    """What a signal is called."""
    try:
        return signal.Signals(number).name
    except ValueError:  # one of those for real-time
        return f"signal {number}"


def _exit_by(number: int) -> None:
    """End this process without further ado, as if by the signal.

    Not by the signal itself: the first process of a container is immune to those.
    """
    os._exit(128 + number)


class WakeUp:
    """Waits for signals, and for other threads that call `wake`."""

    def __enter__(self) -> WakeUp:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._previous = signal.set_wakeup_fd(
            self._writer.fileno(), warn_on_full_buffer=False
        )
        self._handlers = _handled(HANDLED, _leave_it)
        self._handlers.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._handlers.__exit__(None, None, None)
        signal.set_wakeup_fd(self._previous)
        self.close()

    def wait(self, timeout: float | None) -> bytes:
        """Wait until something has happened; the numbers of the signals, and zeros."""
        self._reader.settimeout(timeout)
        try:
            return self._reader.recv(4096)
        except (TimeoutError, BlockingIOError):
            return b""

    def wake(self) -> None:
        """Have `wait` return; from any thread."""
        try:
            self._writer.send(b"\0")
        except BlockingIOError:
            pass  # it is full, so `wait` returns anyway

    def close(self) -> None:
        """Close the sockets, alone; in a fork they are the parent's."""
        self._reader.close()
        self._writer.close()


# Processes


def thread_count() -> int:
    """How many threads this process has, those that Python did not start included."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def start_method(threads: int, platform: str) -> Method:
    """How a process with so many threads can start another one."""
    return "fork" if threads == 1 and platform != "darwin" else "spawn"


def _check_importable(job: Job, threads: int) -> None:
    """Refuse at once what a fresh interpreter could not be handed."""
    import pickle

    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None)
    try:
        pickled = pickle.dumps(job)
        if b"__main__" in pickled and not (
            getattr(main, "__spec__", None) or (script and os.path.exists(script))
        ):
            raise pickle.PicklingError("__main__ is not a file")
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"main cannot be imported by worker processes: {error}; a process that has"
            f" threads (there are {threads}), or runs on macOS, cannot be forked: let"
            " main be a function at the top level of a module, or call run() before"
            " threads are started"
        ) from error


class _Closable(Protocol):
    def close(self) -> None: ...


def work_in_process(
    job: Job,
    index: int,
    restarts: int,
    life_line: Connection,
    report: Connection,
    grace: float,
    mask: set[int],
    of_parent: tuple[_Closable, ...],
) -> None:
    """What a worker process runs.

    Args:
        job: its work.
        index: which worker it is.
        restarts: how often it was started before.
        life_line: ends when it is to stop.
        report: where it says how it ended.
        grace: seconds that it has for stopping.
        mask: the signals that are to be blocked; up to here all are.
        of_parent: what a fork has of its parent's and must let go.
    """
    signal.set_wakeup_fd(-1)
    for each in of_parent:
        each.close()
    switch = Switch()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, _leave_it)
    signal.signal(signal.SIGTERM, lambda number, frame: switch.turn_off())
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    # A thread, since a loop that is blocked would not see the parent's death.
    threading.Thread(
        target=_hold_on_to,
        args=(life_line, switch, grace + SELF_KILL_DELAY_S),
        name="chopin-life-line",
        daemon=True,
    ).start()
    os.set_blocking(report.fileno(), False)
    with contextlib.suppress(OSError):  # of a parent that is dead
        os.write(report.fileno(), BEGUN)
    outcome = run_job(job, index, restarts, switch)
    text = f"{outcome.end.name}\n{outcome.detail}\n{outcome.trace[-TRACE_LIMIT:]}"
    with contextlib.suppress(OSError):
        os.write(report.fileno(), text.encode(errors="backslashreplace"))


def _hold_on_to(life_line: Connection, switch: Switch, patience: float) -> None:
    """Turn the switch off when the life line ends, and the process some time later."""
    os.read(life_line.fileno(), 1)  # nothing is ever written
    switch.turn_off()
    time.sleep(patience)
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class _Child:
    """A worker process."""

    process: BaseProcess
    report: Connection

    def outcome(self, code: int) -> Outcome:
        """How it ended; nothing is left of it."""
        os.set_blocking(self.report.fileno(), False)
        try:
            said = os.read(self.report.fileno(), 1 << 16)
        except BlockingIOError:  # a process that it left behind holds the other end
            said = b""
        self.close()
        if len(said) > len(BEGUN):
            end, detail, trace = (
                said[len(BEGUN) :].decode(errors="replace").split("\n", 2)
            )
            return Outcome(End[end], detail, trace)
        if code < 0:
            return Outcome(End.DIED, f"killed by {_name_of(-code)}")
        return Outcome(End.DIED if said else End.UNABLE, f"exit code {code}")

    def close(self) -> None:
        """Wait for its end and give back what it was held by."""
        self.process.join()
        self.process.close()
        self.report.close()


class Processes:
    """A crew of processes.

    Args:
        job: the work of each.
        grace: seconds that each has for stopping.
        signals: what a fork has to let go.

    Raises:
        TypeError: they have to be fresh interpreters, which could not import `job`.
    """

    def __init__(self, job: Job, grace: float, signals: WakeUp) -> None:
        # large, and not needed by those who never run more than one worker
        from multiprocessing import get_context

        threads = thread_count()
        self._method = start_method(threads, sys.platform)
        if self._method == "spawn":
            _check_importable(job, threads)
            from multiprocessing import resource_tracker

            # it unblocks signals when it starts, and must not do that later
            resource_tracker.ensure_running()
        self._context = cast("ForkContext | SpawnContext", get_context(self._method))
        self._job = job
        self._grace = grace
        self._signals = signals
        self._life_line, self._life = self._context.Pipe(duplex=False)
        self._children: dict[int, _Child] = {}

    def start(self, index: int, restarts: int) -> str:
        """Start a worker."""
        report, reporter = self._context.Pipe(duplex=False)
        of_parent: tuple[_Closable, ...] = ()
        if self._method == "fork":
            of_parent = (self._signals, self._life, report)
        try:
            with _blocked() as mask, warnings.catch_warnings():
                process: BaseProcess = self._context.Process(
                    target=work_in_process,
                    args=(
                        self._job, index, restarts, self._life_line, reporter,
                        self._grace, mask, of_parent,
                    ),
                    name=f"chopin-worker-{index}",
                )  # fmt: skip
                # Threads may have come since the method was chosen, of a log handler,
                # say. That is as it is: not every `main` can be started another way.
                warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
                process.start()
                self._children[index] = _Child(process, report)
        except BaseException:
            report.close()
            raise
        finally:
            reporter.close()
        return f"process {process.pid}"

    def ended(self) -> list[tuple[int, Outcome]]:
        """Those that have ended since the last call."""
        codes = {
            index: child.process.exitcode for index, child in self._children.items()
        }
        return [
            (index, self._children.pop(index).outcome(code))
            for index, code in codes.items()
            if code is not None
        ]

    def stop(self) -> None:
        """Cut the life line."""
        self._life.close()

    def kill(self, number: int) -> None:
        """Kill all of them."""
        for child in self._children.values():
            child.process.kill()

    def close(self) -> None:
        """Kill those that are left."""
        self.kill(signal.SIGKILL)
        for child in self._children.values():
            child.close()
        self._life.close()
        self._life_line.close()


# Threads


@dataclass
class _Thread:
    """A worker thread."""

    thread: threading.Thread
    switch: Switch
    outcomes: list[Outcome] = field(default_factory=list)


class Threads:
    """A crew of threads.

    Args:
        job: the work of each.
        grace: seconds that each has for stopping.
        signals: is woken when one has ended.
    """

    def __init__(self, job: Job, grace: float, signals: WakeUp) -> None:
        self._job = job
        self._grace = grace
        self._signals = signals
        self._threads: dict[int, _Thread] = {}

    def start(self, index: int, restarts: int) -> str:
        """Start a worker."""
        switch = Switch()
        outcomes: list[Outcome] = []

        def work() -> None:
            outcomes.append(run_job(self._job, index, restarts, switch))
            self._signals.wake()

        # a daemon: one that is stuck cannot keep the interpreter from its end
        thread = threading.Thread(
            target=work, name=f"chopin-worker-{index}", daemon=True
        )
        # before the start, in which a signal handler of the program's own may raise
        self._threads[index] = _Thread(thread, switch, outcomes)
        try:
            thread.start()
        except RuntimeError as error:  # Python's word for: the system gives us none
            del self._threads[index]
            raise OSError(str(error)) from error
        return thread.name

    def ended(self) -> list[tuple[int, Outcome]]:
        """Those that have ended since the last call."""
        indexes = [index for index, each in self._threads.items() if each.outcomes]
        gone = [(index, self._threads.pop(index)) for index in indexes]
        for _, each in gone:
            each.thread.join()
        return [(index, each.outcomes[0]) for index, each in gone]

    def stop(self) -> None:
        """Turn the switch of each."""
        for each in self._threads.values():
            each.switch.turn_off()

    def kill(self, number: int) -> None:
        """End the whole process: there is no other end for a thread."""
        _exit_by(number)

    def close(self) -> None:
        """Have those that are left end in order, for as long as the grace lasts."""
        self.stop()
        deadline = time.monotonic() + self._grace
        for each in self._threads.values():
            if each.thread.ident is not None:  # it was started
                each.thread.join(max(0.0, deadline - time.monotonic()))


# One worker


class _Alone:
    """Stops a job that runs in the main thread when a signal asks for it."""

    def __init__(self, grace: float) -> None:
        self.switch = Switch()
        self.stopped_by: int | None = None
        self._grace = grace
        self._since = 0.0
        self._alarm_before = signal.getsignal(signal.SIGALRM)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Stop in order, the second time at once."""
        now = time.monotonic()
        if self.stopped_by is None:
            self.stopped_by, self._since = number, now
            # an alarm rather than the loop's timer: it may be that the loop is blocked
            signal.signal(signal.SIGALRM, self._on_alarm)
            signal.setitimer(signal.ITIMER_REAL, max(self._grace, 1e-6))
            self.switch.turn_off()
        elif now - self._since >= SAME_SIGNAL_S:
            _exit_by(number)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        """The time for stopping is over."""
        assert self.stopped_by is not None
        log.warning("not stopped within %g s: the process ends", self._grace)
        _exit_by(self.stopped_by)

    def give_alarm_back(self) -> None:
        """Undo what the first signal has set."""
        if self.stopped_by is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._alarm_before or signal.SIG_DFL)


def run_alone(job: Job, grace: float) -> int | None:
    """Run one worker here; the signal that stopped it, or None.

    What it raises comes out, as of `asyncio.run`: nobody is there to start it again.
    """
    alone = _Alone(grace)
    try:
        with _handled(STOPPING, alone.on_signal):
            job(0, 0, alone.switch)
    except asyncio.CancelledError:
        if alone.stopped_by is None:
            raise
    finally:
        # now that no signal can set it again
        alone.give_alarm_back()
    return alone.stopped_by
