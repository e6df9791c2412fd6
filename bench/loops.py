"""The kinds of event loop that are measured."""

import asyncio
import importlib
from collections.abc import Callable, Coroutine
from typing import Any

LOOPS = ("asyncio", "uvloop")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory(name: str) -> LoopFactory | None:
    """What makes the event loop; None where uvloop is not installed."""
    if name == "asyncio":
        return asyncio.new_event_loop
    try:
        factory: LoopFactory = importlib.import_module("uvloop").new_event_loop
    except ImportError:
        return None
    return factory


def run_on_each(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the work on every loop that is installed, each under its headline."""
    for name in LOOPS:
        factory = loop_factory(name)
        if factory is None:
            continue
        print(f"== {name} ==")
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(work())
