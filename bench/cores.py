"""The cores that client and server have: all that there are, or one for both.

Owns: the affinity of this process's threads and of the private server.
Rules:
- In a serial workload client and server never have something to do at the same time.
  On two cores each waits for the other one to be woken, and on a virtual machine that
  takes longer, and varies more, than what the drivers do: both get one core.
- All threads are bound, those that a driver has started as well. The server's process
  for a connection has the cores that the postmaster has when it begins.
- In the end everybody has all cores again, whatever has happened meanwhile.
- Where affinity is unknown or refused nobody is bound; the number of cores says so.
"""

import contextlib
import os
from collections.abc import Iterator

from bench.words import BenchError

THREADS = "/proc/self/task"


def available() -> set[int]:
    """The cores that this process may use, where the system tells it."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def pin(core: int) -> None:
    """Bind this process, and all that it starts from now on, to one core.

    Raises BenchError where that does not work.
    """
    try:
        os.sched_setaffinity(0, {core})
    except (AttributeError, OSError) as error:
        raise BenchError(f"--core {core} does not work here: {error}") from None


@contextlib.contextmanager
def placed(postmaster: int | None, is_serial: bool) -> Iterator[int]:
    """Within it a serial workload has one core; how many the workload has.

    `postmaster` is the process id of the private server. Without one nobody is bound,
    and the number is 0: where the user's own server runs is not known.
    """
    if postmaster is None:
        yield 0
        return
    if not is_serial:
        yield len(available())
        return
    cores = available()
    try:
        # The first core is where a machine does most of its other work.
        if not bind(postmaster, {max(cores)}):
            bind(postmaster, cores)
        yield len(available())
    finally:
        bind(postmaster, cores)


def bind(postmaster: int, cores: set[int]) -> bool:
    """Give this process's threads and the server these cores; False if refused."""
    try:
        _bind_threads(cores)
        os.sched_setaffinity(postmaster, cores)
    except (AttributeError, OSError):
        return False
    return True


def _bind_threads(cores: set[int]) -> None:
    done: set[str] = set()
    # A thread that is not bound yet can start another one meanwhile.
    while new := set(os.listdir(THREADS)) - done:
        for thread in new:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), cores)
        done |= new
