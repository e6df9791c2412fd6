"""The kinds of event loop that are measured."""

import asyncio
import importlib
from collections.abc import Callable

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
