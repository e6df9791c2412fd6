"""Rows in other shapes than Record: what they become, and what is said when not."""

import abc
import collections
import dataclasses
import enum
import functools
import gc
import re
import struct
import typing
import weakref
from dataclasses import InitVar, dataclass, field
from typing import Annotated, Any, Generic, NamedTuple, NotRequired, TypedDict

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
import typing_extensions
from hypothesis import given, settings
from hypothesis import strategies as st

from chopin._fitting import fit
from chopin._ops import ROWS, start_execute
from chopin._rows import Record
from chopin._shapes import row_shape
from chopin.exceptions import DataError, InterfaceError
from tests.support import backend as b
from tests.support.fakes import OPEN, READY
from tests.support.script import INT4, TEXT, done, int4
from tests.unit.test_rows import ROW, ask, fetched, prepared

TEXT_ARRAY = 1009
COLUMNS = [("id", INT4), ("name", TEXT)]
VALUES = [int4(7), b"ann"]
T = typing.TypeVar("T")


def made(into, columns=COLUMNS, values=VALUES):
    """The one row in that shape."""
    (row,) = fetched(prepared(columns), values, record_class=row_shape(None, into))
    return row


def names(*columns):
    """Columns of that name, of integers."""
    return [(name, INT4) for name in columns]


# -- shapes ----------------------------------------------------------------------------


@dataclass
class User:
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Frozen:
    id: int
    name: str


@dataclass(frozen=True)
class FrozenDefault:
    id: int
    name: str
    age: int = 30


@dataclass(frozen=True)
class FrozenOwnInit:
    id: int
    name: str

    def __init__(self, id, name):
        object.__setattr__(self, "id", -id)
        object.__setattr__(self, "name", name)


@dataclass(frozen=True)
class FrozenComputed:
    id: int
    name: str
    upper: str = field(init=False, default="")

    def __post_init__(self):
        object.__setattr__(self, "upper", self.name.upper())


@dataclass(kw_only=True)
class Keywords:
    name: str
    id: int


@dataclass
class Mixed:
    name: str
    _: dataclasses.KW_ONLY
    id: int
    age: int = 30


@dataclass
class Swapped:
    name: str
    id: int


@dataclass
class Defaults:
    age: int = 30
    id: int = 0
    tags: list = field(default_factory=list)
    name: str = "nobody"


@dataclass
class Computed:
    id: int
    name: InitVar[str]
    upper: str = field(init=False)

    def __post_init__(self, name):
        self.upper = name.upper()


@dataclass
class OwnInit:
    id: int
    name: str

    def __init__(self, name, id):
        self.id, self.name = -id, name


@dataclass
class Box(Generic[T]):
    id: T
    name: str


class Counting(type):
    made = 0

    def __call__(cls, *args, **kwargs):
        Counting.made += 1
        return super().__call__(*args, **kwargs)


@dataclass
class WithMeta(metaclass=Counting):
    id: int
    name: str


@dataclass
class OwnNew:
    id: int
    name: str

    def __new__(cls, id, name):
        return super().__new__(cls)


class Pair(NamedTuple):
    name: str
    id: int


class PairWithDefault(NamedTuple):
    id: int
    name: str
    age: int = 30


class PairOfOwn(Pair):
    __slots__ = ()

    def __new__(cls, name, id):
        return super().__new__(cls, name.upper(), id)


class Typed(TypedDict):
    id: int
    name: str
    age: NotRequired[int]


class TypedExtension(typing_extensions.TypedDict):
    id: int
    name: str


@attrs.define
class Attrs:
    name: str
    _id: int = attrs.field(converter=str)


@attrs.define
class AttrsAlias:
    name: str
    number: int = attrs.field(alias="id")
    age: int = 30


class Struct(msgspec.Struct):
    id: int
    name: str
    age: int = 30


class Renamed(msgspec.Struct, rename="upper", frozen=True):
    id: int
    name: str


class StructBox(msgspec.Struct, Generic[T]):
    id: T
    name: str


class Model(pydantic.BaseModel):
    id: int
    name: str
    age: int = 30


class Aliased(pydantic.BaseModel):
    id: int = pydantic.Field(alias="ID")
    name: str = pydantic.Field(
        validation_alias=pydantic.AliasChoices("nick", pydantic.AliasPath("n", 0))
    )


class ByName(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True)
    id: int = pydantic.Field(alias="ID")
    name: str


class Ignoring(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="ignore")
    id: int


class Allowing(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    id: int


class Preparing(pydantic.BaseModel):
    both: str

    @pydantic.model_validator(mode="before")
    @classmethod
    def join(cls, row):
        return {"both": f"{row['id']} {row['name']}"}


class Root(pydantic.RootModel[int]):
    pass


@pydantic.dataclasses.dataclass
class ModelDataclass:
    name: str
    id: str


class Plain:
    def __init__(self, first, second="x"):
        self.values = (first, second)

    def __eq__(self, other):
        return self.values == other.values

    __hash__ = None


class Color(enum.Enum):
    RED = 7


def swap(first, second):
    return (second, first)


def anything(*args, **kwargs):
    return (args, kwargs)


class Row(Record):
    """A class of records."""


ADAPTER = pydantic.TypeAdapter(User)

SHAPES = {
    "tuple": (tuple, (7, "ann")),
    "tuple[...]": (tuple[int, str], (7, "ann")),
    "tuple of any length": (tuple[Any, ...], (7, "ann")),
    "tuple with a tail": (tuple[int, *tuple[str, ...]], (7, "ann")),
    "typing.Tuple": (typing.Tuple[int, str], (7, "ann")),  # noqa: UP006
    "dict": (dict, {"id": 7, "name": "ann"}),
    "dict[...]": (dict[str, Any], {"id": 7, "name": "ann"}),
    "annotated": (Annotated[dict[str, Any], 1], {"id": 7, "name": "ann"}),
    "OrderedDict": (
        collections.OrderedDict,
        collections.OrderedDict(id=7, name="ann"),
    ),
    "TypedDict": (Typed, {"id": 7, "name": "ann"}),
    "TypedDict of extensions": (TypedExtension, {"id": 7, "name": "ann"}),
    "dataclass": (User, User(7, "ann")),
    "frozen": (Frozen, Frozen(7, "ann")),
    "frozen, default": (FrozenDefault, FrozenDefault(7, "ann")),
    "frozen, own __init__": (FrozenOwnInit, FrozenOwnInit(7, "ann")),
    "frozen, __post_init__": (FrozenComputed, FrozenComputed(7, "ann")),
    "kw_only": (Keywords, Keywords(id=7, name="ann")),
    "kw_only in part": (Mixed, Mixed("ann", id=7)),
    "another order": (Swapped, Swapped("ann", 7)),
    "defaults": (Defaults, Defaults(30, 7, [], "ann")),
    "own __init__": (OwnInit, OwnInit("ann", 7)),
    "own __new__": (OwnNew, OwnNew(7, "ann")),
    "metaclass": (WithMeta, WithMeta(7, "ann")),
    "generic": (Box, Box(7, "ann")),
    "generic alias": (Box[int], Box(7, "ann")),
    "NamedTuple": (Pair, Pair("ann", 7)),
    "NamedTuple, defaults": (PairWithDefault, PairWithDefault(7, "ann", 30)),
    "NamedTuple, own": (PairOfOwn, PairOfOwn("ann", 7)),
    "namedtuple": (collections.namedtuple("P", "id, name"), (7, "ann")),
    "attrs": (Attrs, Attrs("ann", 7)),
    "attrs alias": (AttrsAlias, AttrsAlias("ann", 7)),
    "msgspec": (Struct, Struct(7, "ann")),
    "msgspec, renamed": (Renamed, Renamed(7, "ann")),
    "msgspec, generic": (StructBox[int], StructBox(7, "ann")),
    "pydantic": (Model, Model(id=7, name="ann")),
    "pydantic alias": (Aliased, Aliased(ID=7, nick="ann")),
    "pydantic by name": (ByName, ByName(id=7, name="ann")),
    "pydantic ignore": (Ignoring, Ignoring(id=7)),
    "pydantic allow": (Allowing, Allowing(id=7, name="ann")),
    "pydantic before": (Preparing, Preparing.model_construct(both="7 ann")),
    "TypeAdapter": (ADAPTER, User(7, "ann")),
    "class": (Plain, Plain(7, "ann")),
    "function": (swap, ("ann", 7)),
    "any function": (anything, ((7, "ann"), {})),
    "partial": (functools.partial(anything, 1), ((1, 7, "ann"), {})),
    "record": (Row, (7, "ann")),
}


@pytest.mark.parametrize("key", SHAPES)
def test_shapes(key):
    """Every shape, from columns in their usual order; the class is the right one."""
    into, want = SHAPES[key]
    row = made(into)
    assert row == want
    cls = {"namedtuple": into, "record": Row}.get(key, type(want))
    assert type(row) is cls


def test_post_init_and_init_var():
    """The constructor does all it does."""
    row = made(Computed)
    assert (row.id, row.upper) == (7, "ANN")


def test_frozen_dataclass_is_not_called():
    """It is as if it were, and much faster."""
    assert fit(Frozen, ("name", "id")).kind == "fields"
    assert fit(FrozenDefault, ("id", "name")).kind == "call"
    row = made(Frozen)
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.id = 8
    assert hash(row) == hash(Frozen(7, "ann"))


def test_class_of_a_metaclass():
    """Its way of making objects is taken."""
    before = Counting.made
    made(WithMeta)
    assert Counting.made == before + 1


def test_one_value():
    """Classes and functions of one argument suit a column."""
    assert made(Color, COLUMNS[:1], VALUES[:1]) is Color.RED
    assert made(float, COLUMNS[:1], VALUES[:1]) == 7.0
    assert made(Root, COLUMNS[:1], VALUES[:1]).root == 7


def test_names_of_pydantic():
    """A column may have the name of the field or that of the alias."""
    assert made(Aliased, [("ID", INT4), ("nick", TEXT)]).name == "ann"
    assert made(Aliased, [("id", INT4), ("nick", TEXT)]).name == "ann"
    assert made(ByName, [("ID", INT4), ("name", TEXT)]).id == 7
    path = made(Aliased, [("id", INT4), ("n", TEXT_ARRAY)], [int4(1), texts("ann")])
    assert path.name == "ann"


def texts(*values):
    """An array of text in binary."""
    head = struct.pack("!iiiii", 1, 0, TEXT, len(values), 1)
    return head + b"".join(
        struct.pack("!i", len(each)) + each.encode() for each in values
    )


def test_names_of_msgspec():
    """A column may have the name of the field or the one that it is encoded by."""
    assert made(Renamed, [("ID", INT4), ("name", TEXT)]) == Renamed(7, "ann")


def test_validation():
    """pydantic and msgspec validate: "7" is an int for the first one only."""
    assert made(Model, [("name", TEXT), ("id", TEXT)], [b"ann", b"7"]).id == 7
    with pytest.raises(pydantic.ValidationError) as caught:
        made(Model, [("name", INT4), ("id", INT4)], [int4(1), int4(7)])
    assert caught.value.__notes__ == ["in row 1 of what was fetched"]
    with pytest.raises(msgspec.ValidationError, match=r"Expected `int`.*\$.id"):
        made(Struct, [("name", TEXT), ("id", TEXT)], [b"ann", b"7"])
    assert (
        made(ModelDataclass, [("id", TEXT), ("name", TEXT)], [b"7", b"ann"]).id == "7"
    )


@pytest.mark.parametrize("into", [tuple, dict, User, Frozen, Pair, swap, Model, Typed])
def test_null(into):
    """NULL is None."""
    if into is Model:
        with pytest.raises(pydantic.ValidationError):
            made(into, values=[None, None])
        return
    row = made(into, values=[None, None])
    if dataclasses.is_dataclass(row):
        row = dataclasses.asdict(row)
    assert set(row.values() if isinstance(row, dict) else row) == {None}


@pytest.mark.parametrize("width", [1, 2, 5, 6, 11, 12, 19, 20, 21, 200, 1600])
def test_any_width(width):
    """As many columns as a result may have, in and out of order."""
    columns = names(*(f"c{i}" for i in range(width)))
    values = [int4(i) for i in range(width)]
    want = {f"c{i}": i for i in range(width)}
    cls = dataclasses.make_dataclass("Wide", list(want)[::-1])
    nt = collections.namedtuple("Wide", list(want)[::-1])
    assert made(tuple, columns, values) == tuple(want.values())
    assert list(made(dict, columns, values).items()) == list(want.items())
    assert dataclasses.asdict(made(cls, columns, values)) == want
    assert made(nt, columns, values)._asdict() == want
    assert made(anything, columns, values) == (tuple(want.values()), {})


def test_tuples_and_the_collector():
    """It does not look at a tuple of atoms, and does at one that holds a list."""
    assert not gc.is_tracked(made(tuple))
    row = made(tuple, [("a", TEXT_ARRAY)], [texts("x")])
    assert row == (["x"],)
    assert gc.is_tracked(row)
    assert gc.is_tracked(made(Pair))
    assert hash(made(Pair)) == hash(("ann", 7))


def test_dicts_are_independent():
    """They share their keys' order, and nothing that can be changed."""
    session = prepared(COLUMNS)
    first, second = fetched(session, VALUES, [int4(8), None], record_class=dict)
    first["more"] = 1
    del first["id"]
    assert second == {"id": 8, "name": None}
    assert fetched(session, VALUES, record_class=dict) == [{"id": 7, "name": "ann"}]


# -- what does not fit -----------------------------------------------------------------

MISFITS = [
    (User, ["id"], 'User: there is no column "name"'),
    (User, ["id", "name", "nam"], 'User: it has no field "nam"'),
    (User, ["ID", "name"], 'there is no column "id"; it has no field "ID"'),
    (User, ["id", "name", "id"], 'the name "id" has 2 columns'),
    (Computed, ["id", "name", "upper"], 'does not take the field "upper"'),
    (Keywords, ["id"], 'there is no column "name"'),
    (Pair, ["id"], 'Pair: there is no column "name"'),
    (Pair, ["id", "name", "x"], 'it has no field "x"'),
    (Typed, ["id"], 'Typed: there is no column "name"'),
    (Typed, ["id", "name", "x"], 'it has no field "x"'),
    (dict, ["id", "x", "id", "id", "x"], 'the name "id" has 3 columns; the name "x"'),
    (dict[str, Any], ["x", "x"], 'dict[str, typing.Any]: the name "x" has'),
    (tuple[int, str], ["id"], "tuple[int, str]: it has 2 values, a row 1 column"),
    (tuple[()], ["id"], "tuple[()]: it has 0 values, a row 1 column"),
    (Attrs, ["id", "name", "_id"], 'it has no field "_id"'),
    (Struct, ["id"], 'there is no column "name"'),
    (Struct, ["id", "name", "x"], 'it has no field "x"'),
    (Renamed, ["id", "ID", "name"], 'the name "ID" has 2 columns'),
    (Model, ["id"], 'Model: there is no column "name"'),
    (Model, ["id", "name", "x"], 'it has no field "x"'),
    (Aliased, ["id"], 'there is no column "nick"'),
    (Aliased, ["id", "ID", "name"], 'the name "ID" has 2 columns'),
    (ADAPTER, ["id", "id"], 'the name "id" has 2 columns'),
    (Plain, ["a", "b", "c"], "Plain: it is called with the values of the columns: too"),
    (swap, ["a"], "swap: it is called with the values of the columns: missing"),
    (Box[int], ["id"], 'Box[int]: there is no column "name"'),
]


@pytest.mark.parametrize(("into", "columns", "message"), MISFITS)
def test_columns_that_do_not_fit(into, columns, message):
    """The error says what is wrong, before anything is sent; the session goes on."""
    session = prepared(names(*columns))
    shape = row_shape(None, into)
    with pytest.raises(InterfaceError, match=re.escape(message)) as caught:
        start_execute(session, session.statements["q"], (), ROWS, 0, shape)
    assert session.written == []
    assert str(caught.value).startswith("the columns do not fit ")
    assert f"DETAIL:  Columns: {', '.join(columns)}." in str(caught.value)
    assert caught.value.hint
    assert caught.value.outcome == "not_sent"
    assert len(fetched(session, [int4(1)] * len(columns))) == 1


def test_misfit_names_the_fields():
    """What there is to choose from stands in the detail."""
    session = prepared(names("id", "nam"))
    with pytest.raises(InterfaceError) as caught:
        start_execute(session, session.statements["q"], (), ROWS, 0, Mixed)
    assert caught.value.detail == "Columns: id, nam. Fields: name, id, age."


def test_statement_without_rows():
    """Nothing has to fit where no row will come."""
    session = prepared()
    assert fetched(session, record_class=User) == []


@pytest.mark.parametrize(
    ("into", "message"),
    [
        (5, "into is expected to be a class or a callable, got 5"),
        ("dict", "into is expected to be a class or a callable, got 'dict'"),
        (User(1, "a"), "into is expected to be a class or a callable, got User"),
        (User | None, "into is expected to be a class or a callable"),
        (list, "into is what one row becomes, and that cannot be <class 'list'>"),
        (list[User], "into is what one row becomes"),
        (set, "into is what one row becomes"),
    ],
)
def test_what_is_no_shape(into, message):
    """It is refused at once."""
    with pytest.raises(TypeError, match=re.escape(message)):
        row_shape(None, into)


def test_shape_that_cannot_be_a_key():
    """A callable that cannot be hashed is refused at once."""

    class Maker:
        __hash__ = None

        def __call__(self, *values):
            return values

    with pytest.raises(TypeError, match="into is expected to be hashable"):
        row_shape(None, Maker())


def test_asynchronous_function():
    """Nobody would await what it returns."""

    async def make(id, name):
        return id

    with pytest.raises(TypeError, match="into cannot be an asynchronous function"):
        made(make)


def test_both():
    """record_class and into exclude each other."""
    with pytest.raises(InterfaceError, match="cannot be specified together"):
        row_shape(Row, dict)
    with pytest.raises(InterfaceError, match="record_class is expected"):
        row_shape(dict, None)
    assert row_shape(None, None) is None
    assert row_shape(Row, None) is row_shape(None, Row) is Row


# -- errors of the user's code ---------------------------------------------------------


class Boom(Exception):
    pass


@pytest.mark.parametrize("error", [Boom("no"), StopIteration(), ValueError()])
@pytest.mark.parametrize("way", ["init", "new", "function", "dict"])
def test_error_of_a_constructor(error, way):
    """It comes as it is with the number of the row; the session goes on."""

    def fail(self, id, name):
        if id == 8:
            raise error

    into = {
        "init": type("Shape", (), {"__init__": fail}),
        "new": type("Shape", (), {"__new__": fail}),
        "function": functools.partial(fail, None),
        "dict": type("Shape", (dict,), {"__init__": lambda s, d: fail(s, **d)}),
    }[way]
    error.__notes__ = []
    session = prepared(COLUMNS)
    rows = [VALUES, [int4(8), None], [int4(9), None]]
    with pytest.raises(type(error)) as caught:
        fetched(session, *rows, record_class=into)
    assert caught.value is error
    assert error.__notes__ == ["in row 2 of what was fetched"]
    assert session.state == OPEN
    assert fetched(session, *rows, record_class=tuple)[1:] == [(8, None), (9, None)]
    assert type(fetched(session, VALUES, want=ROW, record_class=tuple)) is tuple


def test_constructor_that_returns_something():
    """As when the class is called."""

    class Wrong:
        def __init__(self, *values):
            return 5

    with pytest.raises(TypeError, match="__init__"):
        made(Wrong)


def test_abstract_class():
    """It cannot be made here either."""

    class Abstract(abc.ABC):
        def __init__(self, *values):
            raise Boom

        @abc.abstractmethod
        def method(self): ...

    with pytest.raises(TypeError, match="abstract"):
        made(Abstract)


def test_value_that_cannot_be_decoded():
    """What was decoded before it is dropped; column and row are named."""
    for into in (tuple, dict, User, Pair, Frozen, swap):
        session = prepared([("name", TEXT), ("id", INT4)])
        with pytest.raises(DataError) as caught:
            fetched(session, [b"a", int4(1)], [b"x" * 99, b"y"], record_class=into)
        assert caught.value.__notes__ == [
            "in column 'id' (number 2) of type int4",
            "in row 2 of what was fetched",
        ]


def test_nothing_leaks():
    """Values that the user's code refuses are not kept."""
    alive = []

    class Kept:
        def __init__(self, *values):
            alive.append(weakref.ref(self))
            raise Boom

    with pytest.raises(Boom):
        made(Kept)
    gc.collect()
    assert alive[0]() is None


# -- plans -----------------------------------------------------------------------------


def test_shapes_of_one_statement_in_flight():
    """Each call has its own."""
    session = prepared(COLUMNS)
    shapes = [tuple, dict, User, None, Pair, swap]
    ops = [ask(session, record_class=row_shape(None, into)) for into in shapes]
    for _ in shapes:
        session.feed(b.bind_complete() + b.data_row(VALUES) + done(1) + READY)
    session.loop.run()
    got = [op.result()[0] for op in ops]
    assert got == [
        (7, "ann"),
        {"id": 7, "name": "ann"},
        User(7, "ann"),
        (7, "ann"),
        Pair("ann", 7),
        ("ann", 7),
    ]
    assert type(got[3]) is Record


def test_plan_dies_with_the_statement():
    """A class that was used once is kept by nothing else."""

    @dataclass
    class Short:
        id: int
        name: str

    session = prepared(COLUMNS)
    fetched(session, VALUES, record_class=Short)
    ref = weakref.ref(Short)
    del Short
    gc.collect()
    assert ref() is not None  # the statement may be asked for it again
    session.statements.clear()
    gc.collect()
    assert ref() is None


def test_plans_are_few():
    """Functions that are made anew for each call do not pile up."""
    session = prepared(COLUMNS)
    refs = []
    for i in range(100):
        into = functools.partial(anything, i)
        refs.append(weakref.ref(into))
        assert fetched(session, VALUES, record_class=into)[0][0][0] == i
        assert fetched(session, VALUES, record_class=tuple) == [(7, "ann")]
    del into
    gc.collect()
    assert sum(ref() is not None for ref in refs) < 20


# -- any rows --------------------------------------------------------------------------

TABLES = st.integers(1, 12).flatmap(
    lambda width: st.lists(
        st.lists(
            st.none() | st.integers(-(2**31), 2**31 - 1),
            min_size=width,
            max_size=width,
        ),
        max_size=5,
    )
)


@settings(max_examples=60, deadline=None)
@given(TABLES, st.randoms(use_true_random=False))
def test_as_if_made_from_records(table, random):
    """`into=X` is what X makes of the records, whatever the order of the fields."""
    width = len(table[0]) if table else 1
    columns = [f"c{i}" for i in range(width)]
    fields = [*columns, "d"]
    random.shuffle(columns)
    random.shuffle(fields)
    first = next(i for i, name in enumerate(fields) if name == "d")
    spec = [(f, int, 5) if i >= first else (f, int) for i, f in enumerate(fields)]
    with_default = dataclasses.make_dataclass("D", spec, kw_only=random.random() < 0.3)
    frozen = dataclasses.make_dataclass("F", columns[::-1], frozen=True)
    named = collections.namedtuple("N", columns[::-1])
    session = prepared(names(*columns))
    rows = [[None if v is None else int4(v) for v in row] for row in table]
    records = fetched(session, *rows)
    expected = {
        tuple: tuple,
        dict: dict,
        with_default: lambda row: with_default(**row),
        frozen: lambda row: frozen(**row),
        named: lambda row: named(**row),
        anything: lambda row: anything(*row),
    }
    for into, make in expected.items():
        got = fetched(session, *rows, record_class=into)
        assert got == [make(row) for row in records]
        assert all(
            type(row) is type(make(record))
            for row, record in zip(got, records, strict=True)
        )


class Seen(Record):
    """A record class of the user's own."""


class SeenTuple(NamedTuple):
    id: int
    tags: Any


@pytest.mark.parametrize("kind", [Seen, SeenTuple])
def test_no_row_is_seen_before_it_is_full(kind):
    """Code that runs while a row is made cannot find it through the collector."""
    found = []

    def look(value):
        found.extend(each for each in gc.get_objects() if type(each) is kind)
        return value

    session = prepared([("id", INT4), ("tags", TEXT)])
    session.codecs.register(
        TEXT, "text", "pg_catalog", encoder=str, decoder=look, format="text"
    )
    (row,) = fetched(session, [int4(1), b"x"], record_class=kind)
    assert not found
    assert tuple(row) == (1, "x")
    assert gc.is_tracked(row)
