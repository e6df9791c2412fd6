"""Cancels an operation at its k-th suspension, for every k there is.

Owns: `cancel_at`, one run that is cancelled; `WHEN`, the two moments of a suspension;
`Surroundings`, what a run must not add to.
Rules:

- It is the task that is cancelled, by `Task.cancel`: the operation sees what it would
  see from a user's `task.cancel()` or from `asyncio.timeout`.
- An operation that does not suspend k times was not cancelled: that ends the series.
- A cancellation that was delivered must come out again as CancelledError.
"""

import asyncio
import os
import types

#: "waiting": while the operation waits, before what it waits for has come.
#: "answered": it has come, but the task has not gone on yet.
WHEN = ("waiting", "answered")

# What was closed or ended is gone after some turns of the loop.
TURNS = 500


class Swallowed(AssertionError):
    """An operation went on after its cancellation as if nothing had happened."""


async def cancel_at(numbers, coroutine, when="waiting"):
    """Run `coroutine` in a task of its own and cancel it at some suspensions.

    Args:
        numbers: of the suspensions, from 1; the second of two comes while the
            operation is cleaning up after the first.
        when: one of `WHEN`.

    Returns:
        Whether it came as far as the first number. If not, it has run to its end.

    Raises:
        Swallowed: it was cancelled and returned.
        Exception: what it raised instead.
    """
    counter = _Counter(numbers, when)
    task = asyncio.ensure_future(counter.run(coroutine))
    try:
        await task
    except asyncio.CancelledError:
        if not counter.is_cancelled:
            raise
        return True
    if counter.is_cancelled:
        raise Swallowed(f"cancelled at suspension {numbers} ({when}), and returned")
    return False


class _Counter:
    """Counts the suspensions of one run."""

    def __init__(self, numbers, when):
        self._numbers = numbers
        self._when = when
        self.is_cancelled = False

    async def run(self, coroutine):
        return await self._driven(coroutine.__await__())

    @types.coroutine
    def _driven(self, steps):
        """Pass on what the operation yields and gets, but for the cancellations."""
        go_on, value = steps.send, None
        suspensions = 0
        while True:
            try:
                waits_for = go_on(value)
            except StopIteration as end:
                return end.value
            suspensions += 1
            is_due = suspensions in self._numbers
            if is_due and self._when == "waiting":
                self._cancel_soon()
            try:
                yield waits_for
                if is_due and self._when == "answered":
                    self._cancel_soon()
                    yield
            except BaseException as error:
                go_on, value = steps.throw, error
            else:
                go_on, value = steps.send, None

    def _cancel_soon(self):
        """As soon as the loop runs callbacks; a reply that is there already may win."""
        asyncio.get_running_loop().call_soon(self._cancel, asyncio.current_task())

    def _cancel(self, task):
        # False when the task has ended meanwhile: then nothing was cancelled
        self.is_cancelled = task.cancel() or self.is_cancelled


class Surroundings:
    """The tasks and the sockets of this program, to see what an operation adds."""

    def __init__(self):
        self._tasks = asyncio.all_tasks()
        self._sockets = open_sockets()

    async def check(self):
        """No task and no socket is there that was not there before."""
        for _ in range(TURNS):
            tasks = asyncio.all_tasks() - self._tasks
            sockets = open_sockets() - self._sockets
            if not tasks and not sockets:
                return
            await asyncio.sleep(0)
        assert not tasks, "the operation left tasks"
        assert not sockets, "the operation left sockets"


def open_sockets():
    """The sockets of this program, by their numbers in the kernel."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # the descriptor of the listing itself
        if target.startswith("socket:"):
            found.add(target)
    return found
