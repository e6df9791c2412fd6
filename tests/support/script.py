"""Protocol scripts: what is started, what the server says, what must come of it.

Owns: the steps that a script is made of, and the ways in which its bytes may arrive.
Rules:

- A script is a table: it is played on a `BareSession`, without loop, socket or server.
- What is expected does not depend on how the server's bytes are cut into reads, so
  every script is played in all the ways of `CUTS` and once for every offset.
- What a read leaves for the next one is part of the play: `trailing` puts a message
  that may come at any time behind every reply, and cuts through it.
"""

import re
import struct
from dataclasses import dataclass, field
from typing import Any

import pytest

from chopin._many import start_many
from chopin._ops import (
    ROWS,
    start_parse_and_execute,
    start_prepare,
    start_query,
)
from chopin._portals import start_portal
from chopin._protocol import Statement
from chopin._simple import start_simple
from tests.support import backend as b
from tests.support.fakes import READY, BareSession, in_words, open_session

# The messages that may come at any time.
ASYNC_MESSAGES = {
    "notice": b.notice_response("mind the gap", code="01000"),
    "parameter": b.parameter_status("application_name", "late"),
    "notification": b.notification_response(7, "channel", "payload"),
}


@dataclass
class Play:
    """One performance: the session, its operations by label, and how bytes are cut."""

    session: BareSession
    cut: Any
    ops: dict[str, Any] = field(default_factory=dict)
    n_fed: int = 0


@dataclass(frozen=True)
class Start:
    """Start an operation: `make(session, ops)` returns what is to be awaited."""

    label: str
    make: Any

    def play(self, play):
        play.ops[self.label] = self.make(play.session, play.ops)
        play.session.loop.run()


class Say:
    """The server says something."""

    def __init__(self, *messages):
        self.data = b"".join(messages)

    def play(self, play):
        for piece in play.cut(self.data, play.n_fed):
            play.session.feed(piece)
        play.n_fed += len(self.data)
        play.session.loop.run()


class Sent:
    """These messages were written since the last `Sent`, in words."""

    def __init__(self, *words):
        self.words = list(words)

    def play(self, play):
        assert [in_words(message) for message in play.session.sent()] == self.words


@dataclass(frozen=True)
class Ends:
    """An operation has ended with a value."""

    label: str
    value: Any = None

    def play(self, play):
        op = play.ops[self.label]
        assert op.done(), f"{self.label} has not ended"
        assert op.result() == self.value


@dataclass(frozen=True)
class Fails:
    """An operation has ended with an error, whose text matches."""

    label: str
    error: type[BaseException]
    match: str = ""

    def play(self, play):
        op = play.ops[self.label]
        assert op.done(), f"{self.label} has not ended"
        error = op.exception()
        assert type(error) is self.error, f"{self.label}: {error!r}"
        assert re.search(self.match, str(error)), str(error)


@dataclass(frozen=True)
class Waits:
    """An operation has not ended."""

    label: str

    def play(self, play):
        assert not play.ops[self.label].done(), f"{self.label} has ended"


@dataclass(frozen=True)
class Call:
    """Do something: `function(session, ops)`."""

    function: Any

    def play(self, play):
        self.function(play.session, play.ops)
        play.session.loop.run()


@dataclass(frozen=True)
class Refused:
    """Starting an operation raises an error and leaves nothing behind."""

    make: Any
    error: type[BaseException]

    def play(self, play):
        with pytest.raises(self.error):
            self.make(play.session, play.ops)


@dataclass(frozen=True)
class Has:
    """Something is so: `function(session, ops)` returns `value`."""

    function: Any
    value: Any

    def play(self, play):
        assert self.function(play.session, play.ops) == self.value


class Script:
    """A table of steps.

    Args:
        name: of the test.
        steps: what happens, and what must be.
        given: called with the session first; what it feeds is not cut.
        is_open: whether the session is past its startup.
    """

    def __init__(self, name, *steps, given=None, is_open=True):
        self.name = name
        self.steps = steps
        self.given = given
        self.is_open = is_open

    @property
    def size(self):
        """How many bytes the server says."""
        return sum(len(step.data) for step in self.steps if isinstance(step, Say))

    def play_cut_anywhere(self):
        """Perform once for every offset at which what the server says can be cut."""
        for offset in range(1, self.size):
            try:
                self.play(cut_at(offset))
            except AssertionError as error:
                error.add_note(f"cut at offset {offset}")
                raise

    def play(self, cut):
        """Perform, and check every step; returns the session."""
        session = open_session() if self.is_open else BareSession()
        if self.given is not None:
            self.given(session)
            session.loop.run()
            session.written.clear()
        play = Play(session, cut)
        for number, step in enumerate(self.steps):
            try:
                step.play(play)
            except AssertionError as error:
                error.add_note(f"in step {number} of {self.name}: {step}")
                raise
        return session


def by_name(*groups):
    """The scripts of all groups by their names, no two of which are the same."""
    scripts = [script for group in groups for script in group]
    table = {script.name: script for script in scripts}
    assert len(table) == len(scripts), "two scripts have the same name"
    return table


# -- how bytes arrive ------------------------------------------------------------------


def whole(data, _begin):
    """Every reply in one read."""
    return [data]


def dribbled(data, _begin):
    """Every byte in a read of its own."""
    return [data[i : i + 1] for i in range(len(data))]


def cut_at(offset):
    """All that the server says is cut once."""

    def cut(data, begin):
        at = offset - begin
        return [data[:at], data[at:]] if 0 < at < len(data) else [data]

    return cut


def trailing(message):
    """Every reply has the beginning of `message` behind it; the rest comes later."""

    def cut(data, _begin):
        return [data + message[:3], message[3:]]

    return cut


CUTS = {
    "whole": whole,
    "dribbled": dribbled,
    **{f"trailing-{name}": trailing(m) for name, m in ASYNC_MESSAGES.items()},
}


# -- words that scripts share ----------------------------------------------------------

INT4, INT8, TEXT, UNHEARD_OF = 23, 20, 25, 99_999
SQL = "SELECT $1::int4, 'x'"
IN_BLOCK = b.ready_for_query(b"T")
FAILED = b.ready_for_query(b"E")
COLUMNS = b.row_description([("a", INT4, 0), ("b", TEXT, 0)])
DIVISION = b.error_response("division by zero", code="22012")
CANCELED = b.error_response("canceling statement", code="57014")


def int4(value):
    return struct.pack("!i", value)


def row(value, text=b"x"):
    return b.data_row([int4(value), text])


def done(n):
    return b.command_complete(f"SELECT {n}")


def prepared(session, sql=SQL, columns=COLUMNS, name=b"s1", parameters=(INT4,)):
    """Cache a statement, and forget how that went."""
    start_prepare(session, sql, name, True)
    session.feed(
        b.parse_complete() + b.parameter_description(parameters) + columns + READY
    )
    assert sql in session.statements


def described(session):
    """Know the description, as from another session of a pool; nothing is cached."""
    prepared(session)
    session.statements.clear()


def cached_locking(session):
    prepared(session, LOCKING)


LOCKING = "SELECT a, b FROM t WHERE a = $1 FOR\nNO KEY UPDATE"


def query(want=ROWS, *args, sql=SQL, column=0, timeout=None):
    def make(session, ops):
        op = start_query(session, sql, args or (1,), want, column, timeout, None)
        assert op is not None, "the statement was not sent"
        return op

    return make


def first_use(want=ROWS):
    """Parse and Execute in one flight, under a name, by what others have found out."""

    def make(session, ops):
        statement = Statement(session, SQL, b"s1", session.descriptions[SQL])
        return start_parse_and_execute(session, statement, (1,), want, 0, None)

    return make


def simple(sql):
    return lambda session, ops: start_simple(session, sql)


def prepare(name=b"s1", keep=True, parse=True):
    return lambda session, ops: start_prepare(session, SQL, name, keep, parse)


def portal(args, limit):
    return lambda session, ops: start_portal(
        session, session.statements[SQL], b"p1", args, limit, None, None
    )


def many(want_rows=False):
    return lambda session, ops: start_many(
        session, session.statements[SQL], want_rows, None
    )


def feed(rows, error=None):
    """Feed what `rows` returns to the operation "many"; `error` is what that raises."""

    def function(session, ops):
        arguments = iter(rows())
        if error is None:
            while ops["many"].feed(arguments):
                ops["many"].send()
                session.loop.run()
            return
        with pytest.raises(error):
            while ops["many"].feed(arguments):
                ops["many"].send()
                session.loop.run()
        ops["many"].give_up()

    return function


def finish(session, ops):
    ops["many"].finish()


def rider(sql):
    return Call(lambda session, ops: session.riders.append(sql))


def at(now):
    """It is `now` seconds later than at the start of the script; the timer rings."""

    def function(session, ops):
        session.clock_.now = 1000.0 + now
        session.expire()

    return Call(function)


def status(session, ops):
    return session.transaction_status


def state(session, ops):
    return session.state


def blocked(session, ops):
    return session.gate.blocked, session.gate.is_draining


def names(session, ops):
    return [in_words(message) for message in session.sent()]


def cancels(session, ops):
    return session.count("cancel")


def bystanders(session, ops):
    return [label for label, op in ops.items() if op.bystander]


def cancel(label):
    return Call(lambda session, ops: ops[label].cancel())


BEGIN = ["Parse 'BEGIN READ WRITE' ()", "Bind ()", "Execute 0"]
EXECUTE = ["Bind s1 (00000001)", "Execute 0", "Sync"]
PARSE = [
    f"Parse s1 {SQL!r} ()",
    "Describe S s1",
    "Sync",
]
FLIGHT = [f"Parse s1 {SQL!r} (23)", "Describe S s1", *EXECUTE]
CANCEL_ENDED = Call(lambda session, ops: session.cancel_ended())
LOST = Call(lambda session, ops: session.lost(None))
DESCRIBED = b.parameter_description([INT4]) + COLUMNS


def many_of(n):
    return [(i,) for i in range(n)]


def broken_off(n):
    """Arguments of which the last cannot be encoded."""
    yield from many_of(n)
    yield ("not a number",)
