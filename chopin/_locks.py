"""A lock for which finalizers and signal handlers do not wait.

Owns: `Lock`.
Layer L5. Imports nothing of ours.

Rules
- A finalizer or a signal handler comes at any point, also in the thread that has the
  lock: who waited there would wait for ever. What it has to say is left to who has it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

#: What is done under a lock; returns what is to be called once the lock is free.
Action = Callable[[], Iterable[Callable[[], object]]]


class Lock:
    """A lock, and what is to be done under it by those who must not wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actions: deque[Action] = deque()
        self._calls: list[Callable[[], object]] = []

    def __enter__(self) -> None:
        self._lock.acquire()
        self._catch_up()

    def __exit__(self, *_: object) -> None:
        self._release()
        self._work_off()

    def call(self, action: Action) -> None:
        """Do it under the lock, at once or when whoever has the lock leaves it."""
        self._actions.append(action)
        self._work_off()

    def _work_off(self) -> None:
        while self._actions and self._lock.acquire(blocking=False):
            self._release()

    def _catch_up(self) -> None:
        while self._actions:
            self._calls += self._actions.popleft()()

    def _release(self) -> None:
        self._catch_up()
        calls, self._calls = self._calls, []
        self._lock.release()
        for call in calls:
            call()
