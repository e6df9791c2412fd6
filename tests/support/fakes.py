"""A session without a connection: a fake loop, a fake clock, a list to write to.

Owns: what `chopin._protocol.Session` is handed instead of an event loop and a socket.
Rules:

- Nothing runs by itself: callbacks wait in the loop until `Loop.run`, time stands still
  until `Clock.now` is changed, bytes stay in `written` until `sent` takes them.
- What the session asks of the layer above is written down, never done.
"""

import asyncio
import contextvars
import gc
import inspect
import struct

import pytest
import uvloop

from chopin._codecs import CodecMap
from chopin._protocol import Session
from chopin._rows import Record
from chopin._startup import start_startup
from tests.support import backend

# The states of `Session.state`.
STARTING, OPEN, CLOSING, CLOSED = range(4)

READY = backend.ready_for_query()
WELCOME = (
    backend.authentication_ok()
    + backend.parameter_status("client_encoding", "UTF8")
    + backend.parameter_status("server_version", "18.0")
    + backend.backend_key_data(4321, b"\1\2\3\4")
    + READY
)


class Loop:
    """Has `call_soon`, and runs what was called when it is told to."""

    def __init__(self):
        self._ready = []

    def call_soon(self, callback, *args, context=None):
        """Keep the call for `run`."""
        self._ready.append((context or contextvars.copy_context(), callback, args))

    def run(self):
        """Run everything, also what is added meanwhile; returns how many calls."""
        n_calls = 0
        while self._ready:
            context, callback, args = self._ready.pop(0)
            context.run(callback, *args)
            n_calls += 1
        return n_calls


class Clock:
    """Returns `now`, in seconds."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


class BareSession(Session):
    """A session that is not connected to anything.

    Attributes:
        clock_: the clock that it was given.
        written: one item for each `write`.
        events: (name, argument) of everything that it asked for or reported.
    """

    def __init__(self, descriptions=None):
        self.clock_ = Clock()
        self.written = []
        self.events = []
        super().__init__(
            Loop(), self.clock_, CodecMap(), Record,
            {} if descriptions is None else descriptions,
        )  # fmt: skip
        self.connected(self.written.append)

    def on_notice(self, message):
        self.events.append(("notice", message.message))

    def on_notification(self, pid, channel, payload):
        self.events.append(("notification", (pid, channel, payload)))

    def on_cancel_needed(self):
        self.events.append(("cancel", None))

    def on_deadline(self, when):
        self.events.append(("deadline", when))

    def _on_flow(self, flows):
        self.events.append(("flow", flows))

    def on_broken(self):
        self.events.append(("broken", None))

    def sent(self):
        """Take the messages that were written since the last call."""
        data = b"".join(self.written)
        self.written.clear()
        return parse_messages(data)

    def count(self, event):
        """How often an event has happened."""
        return [name for name, _ in self.events].count(event)


def open_session(descriptions=None):
    """A session past its startup, with nothing left in `written`."""
    session = BareSession(descriptions)
    start_startup(session, {"user": "ada"})
    session.feed(WELCOME)
    assert session.is_open
    session.loop.run()
    session.written.clear()
    return session


def parse_messages(data):
    """Parse frontend messages one behind the other; nothing may be left over."""
    messages = []
    while data:
        (length,) = struct.unpack("!i", data[1:5])
        if not 4 <= length < len(data):
            raise backend.MalformedMessageError(f"a message cut short: {data!r}")
        messages.append(backend.parse_frontend(data[:1], data[5 : length + 1]))
        data = data[length + 1 :]
    return messages


def in_words(message):
    """One line for a message: its name and what tells it from others of that name."""
    fields = message.fields
    if message.name == "Bind":
        values = ",".join("-" if v is None else v.hex() for v in fields["parameters"])
        words = [fields["statement"], fields["portal"], f"({values})"]
    elif message.name == "Execute":
        words = [fields["portal"], str(fields["limit"])]
    elif message.name == "Parse":
        oids = ",".join(map(str, fields["parameter_types"]))
        words = [fields["statement"], repr(fields["query"]), f"({oids})"]
    else:
        words = [str(value) for value in fields.values()]
    return " ".join([message.name, *filter(None, words)])


# -- and the two real loops ------------------------------------------------------------

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def on_both_loops(test):
    """Run a test on asyncio and on uvloop; it must leave no task and no loop error."""

    def run(loop_name, **arguments):
        with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
            runner.run(_tidily(test(**arguments)))

    signature = inspect.signature(test)
    name = inspect.Parameter("loop_name", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = signature.replace(
        parameters=[name, *signature.parameters.values()], return_annotation=None
    )
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    run.__module__ = test.__module__
    run.pytestmark = getattr(test, "pytestmark", [])
    return pytest.mark.parametrize("loop_name", LOOPS)(run)


async def _tidily(coroutine):
    errors = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: errors.append(context)
    )
    await coroutine
    gc.collect()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert left == set(), "the test left tasks"
    assert errors == [], "the loop had errors to report"
