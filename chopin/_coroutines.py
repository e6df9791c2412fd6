"""Plain functions that return a coroutine, and say so.

Owns: `returns_coroutine`.
Layer L5. Imports nothing of ours.
"""

import asyncio
import inspect
import sys
from typing import TypeVar

Function = TypeVar("Function")


def returns_coroutine(function: Function) -> Function:
    """Have `inspect` or `asyncio` call a function what it is to its callers.

    A function that only hands on another one's coroutine costs less than one that
    awaits it. What asks whether it is a coroutine function (mocks with a `spec`,
    decorators that repeat or trace) is to see no difference.

    Args:
        function: returns a coroutine.

    Returns:
        The function itself.

    Example:
        >>> @returns_coroutine
        ... def nap():
        ...     return asyncio.sleep(1)
        >>> inspect.iscoroutinefunction(nap)  # asyncio's before Python 3.12
        True
    """
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(function)
    else:
        mark = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
        function._is_coroutine = mark  # type: ignore[attr-defined]
    return function
