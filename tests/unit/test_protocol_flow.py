"""Several operations at once: groups, cancellation, deadlines, and what is learnt.

Every script below is played whole, byte by byte, cut at every offset, and with the
beginning of another message behind every reply; see `tests.support.script`.
"""

import pytest

from chopin._ops import (
    ROW,
    ROWS,
    VALUE,
    start_query,
)
from chopin.exceptions import (
    DataError,
    InterfaceError,
    NotNullViolationError,
)
from tests.support import backend as b
from tests.support.fakes import (
    CLOSED,
    CLOSING,
    OPEN,
    READY,
)
from tests.support.script import (
    BEGIN,
    CANCEL_ENDED,
    CANCELED,
    CUTS,
    DIVISION,
    EXECUTE,
    LOCKING,
    LOST,
    SQL,
    Call,
    Ends,
    Fails,
    Has,
    Refused,
    Say,
    Script,
    Sent,
    Start,
    Waits,
    at,
    blocked,
    broken_off,
    by_name,
    bystanders,
    cached_locking,
    cancel,
    cancels,
    done,
    feed,
    finish,
    many,
    many_of,
    names,
    prepare,
    prepared,
    query,
    rider,
    row,
    simple,
    state,
)

BIND_0 = ["Bind s1 (00000000)", "Execute 0"]
BIND_1 = ["Bind s1 (00000001)", "Execute 0"]
GIVEN_UP = (
    "Parse 'chopin: the caller has given up, nothing of this group may take effect' ()"
)


def part_sent(session, ops):
    """A part of an execute-many, and there is more to come."""
    assert ops["many"].feed(iter(many_of(3_000)))
    ops["many"].send()


MANY = [
    Script(
        "many",
        rider("BEGIN READ WRITE"),
        Start("many", many()),
        Sent(),
        Call(feed(lambda: many_of(2))),
        Sent(),
        Has(blocked, (False, False)),
        Call(finish),
        # a small group is one write
        Has(lambda s, _: len(s.written), 1),
        Sent(*BEGIN, *BIND_0, *BIND_1, "Sync"),
        # nothing overtakes a BEGIN that may fail
        Has(blocked, (True, False)),
        Say(b.parse_complete(), b.bind_complete(), b.command_complete("BEGIN")),
        Say((b.bind_complete() + b.command_complete("INSERT 0 1")) * 2),
        Waits("many"),
        Say(READY),
        Ends("many", 2),
        Has(blocked, (False, False)),
        given=prepared,
    ),
    Script(
        "many-of-none",
        Start("many", many()),
        Call(feed(list)),
        Call(finish),
        Sent("Sync"),
        Say(READY),
        Ends("many", 0),
        given=prepared,
    ),
    Script(
        "many-with-rows",
        Start("many", many(want_rows=True)),
        Call(feed(lambda: [[0], (1,)])),
        Call(finish),
        Say(b.bind_complete(), row(5), done(1), b.bind_complete(), row(6), done(1)),
        Say(READY),
        Ends("many", [(5, "x"), (6, "x")]),
        given=prepared,
    ),
    Script(
        "many-with-an-error-in-the-second",
        Start("many", many()),
        Call(feed(lambda: many_of(3))),
        Call(finish),
        Say(b.bind_complete(), done(1), b.bind_complete()),
        Say(b.error_response("null", code="23502")),
        Has(lambda s, ops: ops["many"].error.batch_index, 1),
        Say(READY),
        Fails("many", NotNullViolationError),
        Has(blocked, (False, False)),
        given=prepared,
    ),
    Script(
        "many-stops-when-an-error-has-come",
        Start("many", many()),
        Call(part_sent),
        Say(b.error_response("null", code="23502")),
        Call(names),
        Has(lambda s, ops: ops["many"].is_over(), True),
        Has(lambda s, ops: ops["many"].feed(iter(many_of(3_000))), False),
        Sent(),
        Call(finish),
        Sent("Sync"),
        Say(READY),
        Fails("many", NotNullViolationError),
        given=prepared,
    ),
    Script(
        "many-that-cannot-be-encoded-before-anything-is-sent",
        rider("BEGIN READ WRITE"),
        Start("many", many()),
        Call(feed(lambda: broken_off(2), DataError)),
        Sent(),
        Has(lambda s, _: (s.in_flight, s.gate.blocked), (False, False)),
        Start("q", query(ROWS)),
        Sent(*BEGIN, *EXECUTE),
        given=prepared,
    ),
    Script(
        "many-that-cannot-be-encoded-after-a-part-was-sent",
        Start("many", many()),
        Call(feed(lambda: broken_off(3_000), DataError)),
        Has(lambda s, ops: names(s, ops)[-2:], [GIVEN_UP, "Sync"]),
        Has(blocked, (True, True)),
        Has(cancels, 1),
        Say(b.bind_complete(), done(1), b.error_response("syntax", code="42601")),
        CANCEL_ENDED,
        Has(blocked, (True, True)),
        Say(READY),
        Has(blocked, (False, False)),
        Has(state, OPEN),
        given=prepared,
    ),
    Script(
        "nothing-gets-into-a-group",
        Start("many", many()),
        Call(part_sent),
        Has(lambda s, _: start_query(s, SQL, (1,), ROWS, 0, None, None), None),
        Call(finish),
        Call(names),
        Start("q", query(ROWS)),
        Sent(*EXECUTE),
        given=prepared,
    ),
]

ABANDONED = [
    Script(
        "the-first-is-cancelled",
        Start("q", query(ROWS)),
        Start("r", query(ROWS)),
        Has(blocked, (False, False)),
        cancel("q"),
        Has(lambda s, ops: ops["q"].cancelled(), True),
        Has(cancels, 1),
        Has(bystanders, ["r"]),
        Has(blocked, (True, True)),
        Say(b.bind_complete(), row(1), CANCELED, READY),
        Has(blocked, (True, True)),
        Say(b.bind_complete(), row(2), done(1), READY),
        Ends("r", [(2, "x")]),
        Has(blocked, (True, True)),
        CANCEL_ENDED,
        Has(blocked, (False, False)),
        given=prepared,
    ),
    Script(
        "the-cancel-request-ends-before-the-operation",
        Start("q", query(ROWS)),
        cancel("q"),
        CANCEL_ENDED,
        Has(blocked, (True, True)),
        Say(b.bind_complete(), row(1), done(1)),
        Has(blocked, (True, True)),
        Say(READY),
        Has(blocked, (False, False)),
        Start("r", query(ROWS)),
        Has(bystanders, []),
        given=prepared,
    ),
    Script(
        "one-that-is-queued-is-cancelled",
        Start("q", query(ROWS)),
        Start("r", query(ROWS)),
        Start("s", query(ROWS)),
        cancel("r"),
        Has(cancels, 0),
        Has(blocked, (True, True)),
        Say(b.bind_complete(), row(1), done(1)),
        Has(cancels, 0),
        Say(READY),
        Ends("q", [(1, "x")]),
        Has(cancels, 1),
        Has(bystanders, ["s"]),
        Say(CANCELED, READY),
        Say(b.bind_complete(), row(3), done(1), READY),
        Ends("s", [(3, "x")]),
        Has(blocked, (True, True)),
        CANCEL_ENDED,
        Has(blocked, (False, False)),
        given=prepared,
    ),
    Script(
        "all-are-cancelled",
        Start("q", query(ROWS)),
        Start("r", query(ROWS)),
        cancel("r"),
        cancel("q"),
        Has(cancels, 1),
        Say(CANCELED, READY),
        Has(cancels, 2),
        CANCEL_ENDED,
        CANCEL_ENDED,
        Has(blocked, (True, True)),
        Say(CANCELED, READY),
        Has(blocked, (False, False)),
        given=prepared,
    ),
    Script(
        "rows-of-a-cancelled-one-are-not-decoded",
        Start("q", query(ROWS)),
        cancel("q"),
        Say(b.bind_complete(), b.data_row([b"bad", b"x"]), done(1), READY),
        CANCEL_ENDED,
        Has(state, OPEN),
        given=prepared,
    ),
    Script(
        "nothing-new-while-blocked",
        Start("q", query(ROWS)),
        cancel("q"),
        Has(lambda s, _: start_query(s, SQL, (1,), ROWS, 0, None, None), None),
        Start("turn", lambda s, _: s.gate.wait_unblocked()),
        CANCEL_ENDED,
        Waits("turn"),
        Say(CANCELED, READY),
        Ends("turn"),
        given=prepared,
    ),
    Script(
        "all-are-dropped-by-close",
        Start("q", query(ROWS)),
        Start("r", query(ROWS)),
        Call(lambda s, _: s.begin_closing()),
        Call(lambda s, _: s.drop_all(InterfaceError("closed"))),
        Fails("q", InterfaceError),
        Fails("r", InterfaceError),
        Has(lambda s, _: (s.state, s.gate.is_draining), (CLOSING, True)),
        Has(cancels, 1),
        Say(CANCELED, READY, CANCELED, READY),
        Has(cancels, 2),
        CANCEL_ENDED,
        CANCEL_ENDED,
        Has(lambda s, _: (s.gate.is_draining, s.in_flight), (False, False)),
        given=prepared,
    ),
    Script(
        "the-end-of-the-connection-unblocks",
        Start("q", query(ROWS)),
        cancel("q"),
        Start("turn", lambda s, _: s.gate.wait_unblocked()),
        LOST,
        Ends("turn"),
        Has(lambda s, _: (s.state, s.gate.is_draining), (CLOSED, False)),
        given=prepared,
    ),
]


def deadlines(session, ops):
    return [when - 1000.0 for name, when in session.events if name == "deadline"]


TIMED_OUT = [
    Script(
        "deadline-passes",
        Start("q", query(ROWS, timeout=5.0)),
        Has(deadlines, [5.0]),
        at(4.0),
        Waits("q"),
        Has(deadlines, [5.0, 5.0]),
        at(5.0),
        Fails("q", TimeoutError),
        Has(cancels, 1),
        Has(blocked, (True, True)),
        Say(b.bind_complete(), row(1), CANCELED, READY),
        CANCEL_ENDED,
        Has(blocked, (False, False)),
        given=prepared,
    ),
    Script(
        "deadlines-of-several",
        Start("q", query(ROWS, timeout=5.0)),
        Start("r", query(ROWS, timeout=3.0)),
        Start("s", query(ROWS, timeout=9.0)),
        Start("t", query(ROWS)),
        Has(deadlines, [5.0, 3.0]),
        at(3.0),
        Fails("r", TimeoutError),
        Has(cancels, 0),
        Has(deadlines, [5.0, 3.0, 5.0]),
        at(6.0),
        Fails("q", TimeoutError),
        Has(cancels, 1),
        Has(deadlines, [5.0, 3.0, 5.0, 9.0]),
        Waits("s"),
        Waits("t"),
        given=prepared,
    ),
    Script(
        "deadline-of-one-that-has-ended",
        Start("q", query(ROWS, timeout=5.0)),
        Say(b.bind_complete(), row(1), done(1), READY),
        Start("r", query(ROWS)),
        at(6.0),
        Ends("q", [(1, "x")]),
        Waits("r"),
        Has(cancels, 0),
        Start("s", query(ROWS, timeout=1.0)),
        Has(deadlines, [5.0, 7.0]),
        given=prepared,
    ),
    Script(
        "no-time-at-all",
        Refused(query(timeout=0.0), TimeoutError),
        Sent(),
        given=prepared,
    ),
]

ONE_ROW = Say(b.bind_complete(), row(1), done(1), READY)
LIMITS = [
    Script(
        "limit-2-then-none-for-at-most-one-row",
        Start("q", query(ROW)),
        Sent("Bind s1 (00000001)", "Execute 2", "Sync"),
        ONE_ROW,
        Ends("q", (1, "x")),
        Start("q", query(VALUE)),
        Sent("Bind s1 (00000001)", "Execute 0", "Sync"),
        ONE_ROW,
        Ends("q", 1),
        given=prepared,
    ),
    Script(
        "limit-2-then-1-for-more-rows",
        Start("q", query(ROW)),
        Sent("Bind s1 (00000001)", "Execute 2", "Sync"),
        Say(b.bind_complete(), row(1), row(2), b.portal_suspended(), READY),
        Ends("q", (1, "x")),
        Start("q", query(VALUE)),
        Sent("Bind s1 (00000001)", "Execute 1", "Sync"),
        Say(b.bind_complete(), row(1), b.portal_suspended(), READY),
        Ends("q", 1),
        given=prepared,
    ),
    Script(
        "no-limit-and-suddenly-two-rows",
        Start("q", query(ROW)),
        Say(b.bind_complete(), done(0), READY),
        Ends("q", None),
        Start("q", query(ROW)),
        Say(b.bind_complete(), row(1), row(2), done(2), READY),
        Ends("q", (1, "x")),
        Call(names),
        Start("q", query(ROW)),
        Sent("Bind s1 (00000001)", "Execute 1", "Sync"),
        given=prepared,
    ),
    Script(
        "an-error-teaches-nothing",
        Start("q", query(ROW)),
        Say(b.bind_complete(), DIVISION, READY),
        Call(names),
        Start("q", query(ROW)),
        Sent("Bind s1 (00000001)", "Execute 2", "Sync"),
        given=prepared,
    ),
    Script(
        "a-locking-select-locks-one-row",
        Start("q", query(ROW, sql=LOCKING)),
        Sent("Bind s1 (00000001)", "Execute 1", "Sync"),
        Say(b.bind_complete(), row(1), b.portal_suspended(), READY),
        Ends("q", (1, "x")),
        Start("q", query(VALUE, sql=LOCKING)),
        Sent("Bind s1 (00000001)", "Execute 1", "Sync"),
        Say(b.bind_complete(), done(0), READY),
        Start("q", query(VALUE, sql=LOCKING)),
        Sent("Bind s1 (00000001)", "Execute 1", "Sync"),
        Start("q", query(ROWS, sql=LOCKING)),
        Sent(*EXECUTE),
        given=cached_locking,
    ),
]

STALE = (
    [
        Script(
            f"{tag}-forgets-the-statements",
            Start("q", simple(tag)),
            Call(names),
            Say(b.command_complete(tag), READY),
            Has(lambda s, _: (s.statements, s.descriptions), ({}, {})),
            Start("p", prepare(b"s2")),
            Has(lambda s, ops: names(s, ops)[0], "Close S s1"),
            given=prepared,
        )
        for tag in ("ALTER TABLE", "DROP TABLE")
    ]
    + [
        Script(
            f"{tag}-loses-the-statements",
            Start("q", simple(tag)),
            Call(names),
            Say(b.command_complete(tag), READY),
            Has(lambda s, _: s.statements, {}),
            Start("p", prepare(b"s2")),
            Has(lambda s, ops: names(s, ops)[0][:8], "Parse s2"),
            given=prepared,
        )
        for tag in ("DISCARD ALL", "DEALLOCATE ALL")
    ]
    + [
        Script(
            "search-path-forgets-the-statements",
            Say(b.parameter_status("search_path", "a")),
            Has(lambda s, _: list(s.statements), [SQL]),
            Say(b.parameter_status("search_path", "b")),
            Has(lambda s, _: (s.statements, s.descriptions), ({}, {})),
            given=prepared,
        ),
        Script(
            "another-encoding-ends-the-session",
            Start("q", query(ROWS)),
            Say(b.parameter_status("client_encoding", "LATIN1")),
            Fails("q", InterfaceError, "client_encoding"),
            Has(state, CLOSED),
            given=prepared,
        ),
        Script(
            "statement-named-by-nobody-is-kept-by-its-text",
            Start("q", simple("DELETE FROM t")),
            Say(b.command_complete("DELETE 3"), READY),
            Has(lambda s, _: list(s.statements), [SQL]),
            given=prepared,
        ),
    ]
)

SCRIPTS = by_name(MANY, ABANDONED, TIMED_OUT, LIMITS, STALE)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", SCRIPTS)
def test_script(name, cut):
    """A script ends the same however its bytes arrive."""
    SCRIPTS[name].play(CUTS[cut])


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_cut_at_every_offset(name):
    """A script ends the same wherever its bytes are cut in two."""
    SCRIPTS[name].play_cut_anywhere()
