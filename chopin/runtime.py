"""One event loop per core: `run`.

Owns: `run`, and `Worker`, which tells a worker what it is; where workers are pinned and
which event loop they get.
Layer L5. Imports _workers and _crews, which start, watch and stop them.

Rules
- Several workers are processes, or threads where Python has no GIL; one worker is the
  program itself, so that a debugger finds it where it looks.
- The loop, the pin and `main` belong to the worker: a parent makes no loop and opens no
  connection.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from chopin._crews import Processes, Threads, run_alone, run_many
from chopin._workers import Switch, WorkerError

__all__ = ["Worker", "WorkerError", "run"]

#: Seconds; timers of the system do not take just any number.
LONGEST_GRACE = 86_400

log = logging.getLogger("chopin.runtime")

Main = Callable[..., Coroutine[Any, Any, Any]]
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


@dataclass(frozen=True)
class Worker:
    """What a worker is told of itself.

    Attributes:
        index: its number, from 0.
        count: how many there are.
        cpu: the core that it is pinned to, or None.
        restarts: how often it has died and was started again.
    """

    index: int
    count: int
    cpu: int | None = None
    restarts: int = 0

    def share(self, total: int) -> int:
        """This worker's part of a number that all of them together may not exceed.

        What does not divide goes to the first ones.

        Args:
            total: the number for all, connections to a server for instance.

        Raises:
            ValueError: there is less than one for each.

        Example:
            >>> Worker(0, 3).share(10), Worker(1, 3).share(10), Worker(2, 3).share(10)
            (4, 3, 3)
        """
        if total < self.count:
            raise ValueError(
                f"{total} cannot be shared by {self.count} workers: each needs one"
            )
        return total // self.count + (self.index < total % self.count)


def run(
    main: Main,
    workers: int | None = None,
    pin: bool = True,
    uvloop: bool | None = None,
    grace: float = 30.0,
) -> None:
    """Run a coroutine function once per core, each in an event loop of its own.

    Several workers are processes, or threads on a free-threaded Python. They are forked
    if the program has a single thread by then; if it has more, and on macOS, they are
    fresh interpreters that import `main`, which has to be at the top level of a module
    then, and the call of `run` under ``if __name__ == "__main__":``. A pool is made
    inside of `main`: nothing that has connections may be there before.

    A worker whose `main` returns is done. One that dies, by an exception, a signal or
    `os._exit`, is reported (logger ``chopin.runtime``) and started again after 0.1 s,
    a pause that doubles up to 10 s while it fails within 10 s of its start.

    SIGTERM and SIGINT stop all of it: each `main` is cancelled; whoever has not ended
    `grace` seconds later, or when a second signal comes, is killed. (Threads cannot be:
    the whole process exits, with 128 plus the signal's number.) SIGTERM sent to a
    worker process stops this worker, and another takes its place. No worker process
    outlives the one that called `run`.

    One worker is the program itself: not pinned, not started again, and what its `main`
    raises comes out of `run`.

    Args:
        main: takes nothing, or one required argument, the `Worker`.
        workers: how many; None is one for each core that this process may use.
        pin: keep each worker on its own core, where the system can.
        uvloop: True requires it, False means asyncio's own loop, None takes uvloop if
            it is installed.
        grace: seconds for stopping.

    Raises:
        KeyboardInterrupt: SIGINT has stopped it. After SIGTERM it returns.
        WorkerError: none can be kept alive: each has failed 5 times in a row within
            10 s of its start.
        RuntimeError: it was not called in the main thread, or inside of an event loop.
        TypeError: `main` is not a function that a worker can call or import.

    Example:
        >>> async def main(worker):
        ...     async with chopin.create_pool(dsn, max_size=worker.share(40)) as pool:
        ...         await serve(pool)
        >>> if __name__ == "__main__":
        ...     chopin.run(main)
    """
    _check_place()
    takes_worker = _takes_worker(main)
    if workers is not None and workers < 1:
        raise ValueError(f"workers is expected to be 1 or more, got {workers}")
    if not 0 <= grace <= LONGEST_GRACE:
        raise ValueError(
            f"grace is expected to be 0 to {LONGEST_GRACE} seconds, got {grace}"
        )
    usable = usable_cpus()
    count = len(usable) if workers is None else workers
    cpus = assign_cpus(usable, count) if pin else [None] * count
    has_uvloop = loop_factory(uvloop) is not asyncio.SelectorEventLoop
    job = _Job(main, takes_worker, tuple(cpus), has_uvloop)
    # after uvloop was imported, which may have switched the GIL on
    if count == 1:
        stopped_by = run_alone(job, grace)
    else:
        stopped_by = run_many(Processes if _has_gil() else Threads, job, count, grace)
    if stopped_by == signal.SIGINT:
        raise KeyboardInterrupt


def assign_cpus(usable: Sequence[int], count: int) -> list[int | None]:
    """The core of each of `count` workers; those that are too many share.

    A single worker gets none: it has nobody to keep away from, and the first core
    would be the same for each program that runs one.
    """
    if count == 1 or not hasattr(os, "sched_setaffinity"):
        return [None] * count
    return [usable[index % len(usable)] for index in range(count)]


def usable_cpus() -> list[int]:
    """The cores that this process may use; as if all where the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def loop_factory(uvloop: bool | None) -> LoopFactory:
    """What makes an event loop: uvloop's if wanted and there, or asyncio's.

    Raises:
        ModuleNotFoundError: it is required and not installed.
    """
    if uvloop is not False:
        try:
            from uvloop import new_event_loop
        except ModuleNotFoundError:
            if uvloop:
                raise
        else:
            return new_event_loop
    return asyncio.SelectorEventLoop


@dataclass(frozen=True)
class _Job:
    """What a worker does; pickled if it is a fresh interpreter."""

    main: Main
    takes_worker: bool
    cpus: tuple[int | None, ...]
    has_uvloop: bool

    def __call__(self, index: int, restarts: int, switch: Switch) -> None:
        """Run `main` to its end, in this thread."""
        cpu = _pin(self.cpus[index])
        worker = Worker(index, len(self.cpus), cpu, restarts)
        with asyncio.Runner(loop_factory=loop_factory(self.has_uvloop)) as runner:
            runner.run(self._call(worker, switch))

    async def _call(self, worker: Worker, switch: Switch) -> None:
        switch.connect()
        await (self.main(worker) if self.takes_worker else self.main())


def _pin(cpu: int | None) -> int | None:
    """Keep this thread on a core; returns it, or None if that cannot be."""
    if cpu is not None:
        try:
            os.sched_setaffinity(0, {cpu})
        except OSError as error:  # taken from the process since it was counted
            log.warning("not pinned to core %d: %s", cpu, error)
            return None
    return cpu


def _has_gil() -> bool:
    """Whether threads wait for each other."""
    is_enabled: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    return is_enabled()


def _check_place() -> None:
    """Refuse to run where signals cannot be handled or a loop is running."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "run() was not called in the main thread: only there can signals be handled"
        )
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("run() cannot be called from a running event loop")
    # not imported here, since only a worker that imports the script must have it
    processes = sys.modules.get("multiprocessing.process")
    if processes and getattr(processes.current_process(), "_inheriting", False):
        raise RuntimeError(
            "run() was called by a worker that imports this script: put the call under"
            ' `if __name__ == "__main__":`'
        )


def _takes_worker(main: object) -> bool:
    """Whether `main` requires an argument.

    Raises:
        TypeError: it cannot be called with one or none.
    """
    if inspect.iscoroutine(main):
        main.close()  # or it would complain of never having been awaited
        raise TypeError(
            "main is expected to be a coroutine function, got a coroutine: pass the"
            " function itself, run(main), since every worker calls it"
        )
    if not callable(main):
        raise TypeError(f"main is expected to be a coroutine function, got {main!r}")
    signature = inspect.signature(main)
    for arguments in ((), (None,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return bool(arguments)
    raise TypeError(
        f"main is expected to take no argument or the worker, it takes {signature}"
    )
