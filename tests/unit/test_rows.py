"""Plans: how arguments and rows of one statement travel, and what is said when not."""

import pickle
import struct

import pytest

from chopin._ops import ROW, ROWS, VALUE, start_execute, start_prepare, start_query
from chopin._records import restore_record
from chopin._rows import Record, check_record_class
from chopin.exceptions import DataError, InterfaceError
from chopin.introspect import missing
from tests.support import backend as b
from tests.support.fakes import OPEN, READY, open_session
from tests.support.script import INT4, INT8, TEXT, UNHEARD_OF, done, int4

BYTEA, INT4_ARRAY = 17, 1007
TEXT_FORMAT, BINARY = 0, 1


class Row(Record):
    """A class of the user's."""


def prepared(columns=(), parameters=()):
    """A session with the statement "q" in its cache."""
    session = open_session()
    op = start_prepare(session, "q", b"s1", True)
    description = b.row_description(columns) if columns else b.no_data()
    session.feed(b.parse_complete() + b.parameter_description(parameters))
    session.feed(description + READY)
    op.result()
    session.codecs.learn(missing([], session.codecs.take_wanted()))
    session.written.clear()
    return session


def ask(session, *args, want=ROWS, column=0, record_class=None):
    return start_query(session, "q", args, want, column, None, record_class)


def fetched(session, *rows, want=ROWS, column=0, record_class=None):
    """What comes of these rows."""
    op = ask(session, want=want, column=column, record_class=record_class)
    session.feed(b.bind_complete() + b"".join(map(b.data_row, rows)))
    session.feed(done(len(rows)) + READY)
    session.loop.run()
    return op.result()


# -- rows ------------------------------------------------------------------------------


def test_values_by_type():
    """Every column is decoded by the codec of its own type, NULL is None."""
    session = prepared([("a", INT4), ("b", TEXT), ("c", INT8), ("d", BYTEA)])
    (row,) = fetched(session, [int4(-5), "é".encode(), bytes(7) + b"\1", None])
    assert tuple(row) == (-5, "é", 1, None)
    assert dict(row) == {"a": -5, "b": "é", "c": 1, "d": None}


def test_row_without_columns():
    """SELECT without anything has rows."""
    session = open_session()
    op = start_prepare(session, "q", b"s1", True)
    session.feed(b.parse_complete() + b.parameter_description([]))
    session.feed(b.row_description([]) + READY)
    op.result()
    assert fetched(session, [], []) == [(), ()]


NAMES = ["class", 'quo"te', "new\nline", "__class__", "é", "", "?column?", "x" * 63]


def test_names_of_columns_are_only_names():
    """Whatever the server calls a column, it is a key and nothing else."""
    session = prepared([(name, INT4) for name in NAMES])
    (row,) = fetched(session, [int4(i) for i in range(len(NAMES))])
    assert list(row.keys()) == NAMES
    assert [row[name] for name in NAMES] == list(range(len(NAMES)))
    assert type(row) is Record


def test_names_that_are_not_utf_8():
    """They are shown as well as may be."""
    session = prepared([(b"\xff\xfe", INT4)])
    (row,) = fetched(session, [int4(1)])
    assert list(row.keys()) == ["\ufffd\ufffd"]


def test_names_that_occur_twice():
    """All values are there."""
    session = prepared([("a", INT4), ("a", INT4)])
    (row,) = fetched(session, [int4(1), int4(2)])
    assert tuple(row) == (1, 2)
    assert len(row) == 2


@pytest.mark.parametrize("column", [0, 1, 2])
def test_value_of_a_column(column):
    """The others are skipped, also where they could not be decoded."""
    session = prepared([("a", INT4), ("b", INT4), ("c", INT4)])
    fields = [b"bad"] * 3
    fields[column] = int4(column)
    assert fetched(session, fields, want=VALUE, column=column) == column


def test_value_that_is_null():
    """None, as when there is no row."""
    session = prepared([("a", INT4)])
    assert fetched(session, [None], want=VALUE) is None
    assert fetched(session, want=VALUE) is None


@pytest.mark.parametrize("column", [1, 2**31 - 1])
def test_value_of_a_column_that_is_not_there(column):
    """It is an IndexError, of which the session survives, as of row[column]."""
    session = prepared([("a", INT4)])
    with pytest.raises(IndexError):
        fetched(session, [int4(1)], want=VALUE, column=column)
    assert session.state == OPEN


@pytest.mark.parametrize("want", [ROWS, ROW, VALUE])
def test_value_that_cannot_be_decoded(want):
    """The error names the column, its number and its type; the session goes on."""
    session = prepared([("good", INT4), ("bad", INT8)])
    with pytest.raises(DataError) as caught:
        fetched(session, [int4(1), b"abc"], want=want, column=1)
    assert caught.value.__notes__ == ["in column 'bad' (number 2) of type int8"]
    assert session.state == OPEN
    assert fetched(session, [int4(1), bytes(8)]) == [(1, 0)]


def test_rows_of_a_class():
    """Of the call, which the session remembers with the statement."""
    session = prepared([("a", INT4)])
    for record_class in (Row, None, Row):
        (row,) = fetched(session, [int4(1)], record_class=record_class)
        assert type(row) is (record_class or Record)
        assert row == (1,)


def test_type_that_nobody_knows_comes_as_text():
    """The formats of the columns are asked for one by one where they differ."""
    session = prepared([("a", INT4), ("b", UNHEARD_OF)])
    assert fetched(session, [int4(1), b"(1,2)"]) == [(1, "(1,2)")]
    assert session.sent()[0]["result_formats"] == [BINARY, TEXT_FORMAT]


@pytest.mark.parametrize(
    ("columns", "formats"),
    [
        ([], [BINARY]),
        ([INT4], [BINARY]),
        ([INT4, TEXT, INT8], [BINARY]),
        ([UNHEARD_OF, UNHEARD_OF], [TEXT_FORMAT]),
        ([UNHEARD_OF, INT4], [TEXT_FORMAT, BINARY]),
    ],
)
def test_formats_are_asked_for_in_the_shortest_way(columns, formats):
    """One code for all where they agree."""
    session = prepared([(f"c{i}", oid) for i, oid in enumerate(columns)])
    ask(session)
    assert session.sent()[0]["result_formats"] == formats


def test_codec_that_is_changed_later():
    """A prepared statement decodes and asks by the codecs of the moment."""
    session = prepared([("a", INT4)], [INT4])
    session.codecs.register(
        INT4, "int4", "pg_catalog", encoder=lambda v: f"<{v}>", decoder=lambda t: [t]
    )
    op = ask(session, 5)
    bind = session.sent()[0]
    assert bind["parameters"] == [b"<5>"]
    assert bind["result_formats"] == [TEXT_FORMAT]
    session.feed(b.bind_complete() + b.data_row([b"7"]) + done(1) + READY)
    assert op.result() == [(["7"],)]


def test_codec_of_the_user_s_that_fails():
    """Its error comes out, with the column in a note; the session goes on."""
    session = prepared([("a", INT4)])

    def fail(text):
        raise LookupError("unheard of")

    session.codecs.register(INT4, "int4", "pg_catalog", encoder=str, decoder=fail)
    with pytest.raises(LookupError) as caught:
        fetched(session, [b"7"])
    assert "in column 'a'" in caught.value.__notes__[0]
    assert session.state == OPEN


# -- arguments -------------------------------------------------------------------------


def refused(session, *args):
    with pytest.raises(DataError) as caught:
        ask(session, *args)
    session.flush_now()
    assert session.written == []
    return str(caught.value)


def test_argument_is_named():
    """Its number, its value and what is wrong."""
    session = prepared(parameters=[INT4, INT4])
    text = refused(session, 1, "x")
    assert text.startswith("invalid input for query argument $2: 'x' (")


def test_element_of_an_array_is_named():
    """With its path."""
    session = prepared(parameters=[INT4_ARRAY])
    assert "$1[1][2]: 'x'" in refused(session, [[1, 2, 3], [4, 5, "x"]])


def test_long_argument_is_cut():
    """40 characters say enough."""
    session = prepared(parameters=[INT4])
    text = refused(session, "y" * 10_000)
    assert "y" * 39 + "..." in text
    assert "y" * 40 not in text


class Unprintable:
    def __repr__(self):
        raise LookupError("no")


@pytest.mark.parametrize("value", [Unprintable(), 10**5000], ids=["repr", "digits"])
def test_argument_that_cannot_be_shown(value):
    """The error of the argument is not hidden behind another."""
    assert "$1" in refused(prepared(parameters=[INT4]), value)


def test_argument_that_loses_something():
    """1.5 is no integer."""
    session = prepared(parameters=[INT4])
    for value in (1.5, 2**31, -(2**31) - 1, "1"):
        refused(session, value)


@pytest.mark.parametrize(
    ("parameters", "args", "text"),
    [
        ([], (1,), "expects 0 arguments for this query, 1 was passed"),
        ([INT4], (), "expects 1 argument for this query, 0 were passed"),
        ([INT4, INT4], (1,), "expects 2 arguments for this query, 1 was passed"),
        ([INT4], (1, 2), "expects 1 argument for this query, 2 were passed"),
    ],
)
def test_number_of_arguments(parameters, args, text):
    """It is counted before a byte is written."""
    session = prepared(parameters=parameters)
    with pytest.raises(InterfaceError, match=text):
        ask(session, *args)
    session.flush_now()
    assert session.written == []


@pytest.mark.parametrize(
    ("parameters", "formats"),
    [
        ([], [BINARY]),
        ([INT4, TEXT], [BINARY]),
        ([UNHEARD_OF], [TEXT_FORMAT]),
        ([UNHEARD_OF, INT4], [TEXT_FORMAT, BINARY]),
    ],
)
def test_formats_of_arguments(parameters, formats):
    """One code for all where they agree."""
    session = prepared(parameters=parameters)
    ask(session, *[None] * len(parameters))
    bind = session.sent()[0]
    assert bind["parameter_formats"] == formats
    assert bind["parameters"] == [None] * len(parameters)


def test_zero_in_a_text():
    """PostgreSQL's text has none; what the server says of it is its own business."""
    session = prepared(parameters=[TEXT])
    try:
        ask(session, "a\0b")
    except DataError:
        session.flush_now()
        assert session.written == []
    else:
        assert session.sent()[0]["parameters"] == [b"a\0b"]


# -- descriptions and record classes ---------------------------------------------------


def test_description():
    """What the server said, as it said it."""
    columns = struct.pack("!H", 1) + b"a\0" + struct.pack("!IhIhih", 9, 3, 25, -1, 7, 0)
    session = open_session()
    op = start_prepare(session, "q", b"s1", True)
    session.feed(b.parse_complete() + b.parameter_description([2**32 - 1, 23]))
    session.feed(b.message(b"T", columns) + READY)
    description = op.result().description
    (column,) = description.columns
    assert description.parameter_oids == (2**32 - 1, 23)
    assert (column.name, column.table_oid, column.attribute_number) == ("a", 9, 3)
    assert (column.type_oid, column.type_modifier) == (25, 7)
    assert description.raw_columns == columns


@pytest.mark.parametrize("wrong", [tuple, dict, int, "Record", None, object()])
def test_class_that_is_no_record(wrong):
    """It must be a subclass of Record."""
    with pytest.raises(InterfaceError, match="record_class"):
        check_record_class(wrong)


def test_class_with_a_constructor():
    """Rows are made without calling one, so it would be skipped silently."""

    class New(Record):
        def __new__(cls, *args):
            raise AssertionError

    class Init(Record):
        def __init__(self, *args):
            raise AssertionError

    for wrong in (New, Init):
        with pytest.raises(InterfaceError, match="__new__ or __init__"):
            check_record_class(wrong)
    assert check_record_class(Row) is Row


def test_row_is_restored():
    """As pickle does it; names and values must be as many."""
    session = prepared([("a", INT4), ("b", TEXT)])
    (row,) = fetched(session, [int4(1), b"x"], record_class=Row)
    again = pickle.loads(pickle.dumps(row))
    assert (type(again), again, dict(again)) == (Row, row, {"a": 1, "b": "x"})
    assert restore_record(Record, ("a",), (1,)) == (1,)
    with pytest.raises(ValueError):
        restore_record(Record, ("a", "b"), (1,))


def test_statement_is_run_by_itself():
    """A statement that the user holds is not looked up by its text."""
    session = open_session()
    op = start_prepare(session, "q", b"mine", False)
    session.feed(b.parse_complete() + b.parameter_description([]))
    session.feed(b.row_description([("a", INT4)]) + READY)
    statement = op.result()
    session.written.clear()
    op = start_execute(session, statement, (), ROWS, 0, Row)
    assert session.sent()[0]["statement"] == "mine"
    session.feed(b.bind_complete() + b.data_row([int4(3)]) + done(1) + READY)
    assert [type(row) for row in op.result()] == [Row]


def test_statement_that_the_user_drops_is_closed():
    """Ahead of the next group, with no round trip of its own."""
    session = open_session()
    op = start_prepare(session, "q", b"mine", False)
    session.feed(b.parse_complete() + b.parameter_description([]) + b.no_data() + READY)
    statement = op.result()
    del op
    assert session.closes == []
    del statement
    assert session.closes == [b"Smine"]
