"""Record: a row, by index, by name and as a mapping."""

import copy
import gc
import json
import pickle
import weakref

import pytest

import chopin

# Duplicate and unusual names, a NULL.
QUERY = "SELECT 1 AS a, 'x' AS b, 2 AS a, NULL AS \"C d\", '' AS \"größe\""
VALUES = (1, "x", 2, None, "")
NAMES = ["a", "b", "a", "C d", "größe"]


class Row(chopin.Record):
    """A record class with attributes, as many have written it."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def total(self):
        """The sum of the values."""
        return sum(self)


@pytest.fixture
async def row(conn):
    """One row of `QUERY`."""
    return await conn.fetchrow(QUERY)


@pytest.mark.parametrize(
    ("key", "want"),
    [
        (0, 1),
        (1, "x"),
        (4, ""),
        (-1, ""),
        (-5, 1),
        (True, "x"),
        ("b", "x"),
        ("a", 2),
        ("C d", None),
        ("größe", ""),
        (slice(1, 3), ("x", 2)),
        (slice(None), VALUES),
        (slice(None, None, -2), ("", 2, 1)),
        (slice(9, 12), ()),
    ],
)
async def test_subscript(row, key, want):
    """By index, by name (the last of that name) and by slice (a tuple)."""
    assert row[key] == want
    assert type(row[key]) is type(want)


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (5, IndexError),
        (-6, IndexError),
        (2**70, IndexError),
        ("A", KeyError),
        ("", KeyError),
        (1.0, KeyError),
        (None, KeyError),
    ],
)
async def test_bad_subscript(row, key, error):
    """A wrong index is an IndexError, a wrong name a KeyError."""
    with pytest.raises(error):
        row[key]


async def test_name_in_error(row):
    """The KeyError names the column."""
    with pytest.raises(KeyError) as caught:
        row["nope"]
    assert caught.value.args == ("nope",)


async def test_name_as_text_of_another_class(row):
    """Subclasses of str are names as well."""

    class Name(str):
        """A name with a type of its own."""

    assert row[Name("b")] == "x"


async def test_sequence(row):
    """Length and iteration are those of the values."""
    assert len(row) == 5
    assert list(row) == list(VALUES)
    assert tuple(row) == VALUES
    assert list(reversed(row)) == list(reversed(VALUES))
    one, two, *rest = row
    assert (one, two, rest) == (1, "x", [2, None, ""])


async def test_mapping(row):
    """keys, values and items are iterators over all columns; dict() works."""
    for method, want in [
        (row.keys, NAMES),
        (row.values, list(VALUES)),
        (row.items, list(zip(NAMES, VALUES, strict=True))),
    ]:
        got = method()
        assert iter(got) is got
        assert list(got) == want
    assert dict(row) == {"a": 2, "b": "x", "C d": None, "größe": ""}
    assert {**row} == dict(row)
    assert json.loads(json.dumps(dict(row))) == dict(row)


async def test_contains_names(row):
    """`in` looks for a column, not for a value."""
    assert "a" in row
    assert "C d" in row
    assert "nope" not in row
    assert 1 not in row
    assert 0 not in row


async def test_get(row):
    """get is that of a mapping."""
    assert row.get("a") == 2
    assert row.get("C d", 5) is None
    assert row.get("nope") is None
    assert row.get("nope", 5) == 5
    assert row.get(0) is None
    for args in [(), ("a", 1, 2)]:
        with pytest.raises(TypeError):
            row.get(*args)


async def test_compares_like_a_tuple(conn, row):
    """Rows are compared with rows and tuples, value by value."""
    assert row == VALUES
    assert row == VALUES
    assert row == await conn.fetchrow(QUERY)
    assert hash(row) == hash(VALUES)
    assert {row: "found"}[VALUES] == "found"
    assert row != (1,)
    assert row != list(VALUES)
    assert row != 5
    other = await conn.fetchrow("SELECT 1 AS x, 'y' AS y")
    assert row < other
    assert other > row
    assert row <= VALUES
    assert not row > row
    assert sorted([other, row]) == [row, other]
    with pytest.raises(TypeError):
        row < 5  # noqa: B015


async def test_names_do_not_count_for_equality(conn):
    """Rows are equal if their values are."""
    one, two = (
        await conn.fetchrow("SELECT 1 AS a"),
        await conn.fetchrow("SELECT 1 AS b"),
    )
    assert one == two
    assert hash(one) == hash(two)


async def test_hash_of_what_cannot_be_hashed(conn):
    """A row with a list in it is as unhashable as a tuple with one."""
    row = await conn.fetchrow("SELECT ARRAY[1] AS a")
    assert row == ([1],)
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        hash(row)


async def test_repr(conn, row):
    """A row shows names and values, under the name of its class."""
    assert repr(row) == "<Record a=1 b='x' a=2 C d=None größe=''>"
    assert repr(await conn.fetchrow("SELECT 1 AS a", record_class=Row)) == "<Row a=1>"


async def test_empty(conn):
    """A row without columns is false."""
    row = await conn.fetchrow("SELECT")
    assert (bool(row), len(row), repr(row)) == (False, 0, "<Record>")
    assert row == ()
    assert list(row.items()) == []


async def test_is_immutable(row):
    """Neither values nor attributes can be set."""
    with pytest.raises(TypeError):
        row[0] = 5
    with pytest.raises(TypeError):
        del row[0]
    with pytest.raises(AttributeError):
        row.other = 5
    assert row == VALUES


async def test_is_not_made_by_hand(row):
    """Rows come from the server, and are no tuples."""
    for args in [(), ((1,),)]:
        with pytest.raises(TypeError):
            chopin.Record(*args)
    assert not isinstance(row, tuple)
    with pytest.raises(AttributeError):
        row.a  # noqa: B018


async def test_class_of_the_user(conn):
    """A record class adds methods; the rows are equal to plain ones."""
    row = await conn.fetchrow("SELECT 1 AS one, 2 AS two", record_class=Row)
    assert (row.one, row.two, row["two"], row.total()) == (1, 2, 2, 3)
    assert not hasattr(row, "three")
    assert row == (1, 2)
    assert row == await conn.fetchrow("SELECT 1, 2")
    assert hash(row) == hash((1, 2))


@pytest.mark.parametrize("record_class", [chopin.Record, Row])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
async def test_pickle(conn, record_class, protocol):
    """A row goes through pickle whole, with its class and names."""
    row = await conn.fetchrow(QUERY, record_class=record_class)
    back = pickle.loads(pickle.dumps(row, protocol))
    assert type(back) is record_class
    assert back == row
    assert list(back.items()) == list(row.items())
    assert back["größe"] == ""


async def test_pickle_of_many(conn):
    """A whole result can be pickled; the rows do not repeat their names."""
    query = (
        "SELECT i, 'x' AS a_column_with_a_long_name FROM generate_series(1, $1) AS i"
    )
    few, many = await conn.fetch(query, 10), await conn.fetch(query, 1010)
    assert pickle.loads(pickle.dumps(many)) == many
    growth = len(pickle.dumps(many)) - len(pickle.dumps(few))
    assert growth / 1000 < len("a_column_with_a_long_name")


async def test_copy(conn):
    """Copies are rows; a deep one has copies of the values."""
    row = await conn.fetchrow("SELECT ARRAY[1] AS a, 2 AS b")
    shallow, deep = copy.copy(row), copy.deepcopy(row)
    assert shallow == deep == row
    assert type(deep) is chopin.Record
    assert shallow["a"] is row["a"]
    assert deep["a"] is not row["a"]


async def test_rows_without_references_are_not_tracked(conn):
    """Rows that cannot be part of a cycle cost the garbage collector nothing."""
    row = await conn.fetchrow("SELECT 1, 'x', 1.5::float8, NULL, now(), 1.5::numeric")
    assert not gc.is_tracked(row)
    assert gc.is_tracked(await conn.fetchrow("SELECT 1, ARRAY[1]"))


class Marker(list):
    """A list that can be watched."""


async def test_cycle_is_collected(conn):
    """A row may be part of a cycle and is found by the collector."""
    await conn.set_type_codec(
        "json", schema="pg_catalog", encoder=str, decoder=lambda text: Marker()
    )
    row = await conn.fetchrow("SELECT '[]'::json AS a")
    row["a"].append(row)
    watch = weakref.ref(row["a"])
    del row
    await conn.fetchrow("SELECT 1")
    gc.collect()
    assert watch() is None


async def test_rows_outlive_their_connection(conn):
    """A row needs neither its connection nor its statement."""
    rows = await conn.fetch(QUERY)
    await conn.close()
    del conn
    assert [dict(row)["b"] for row in rows] == ["x"]
