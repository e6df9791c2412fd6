"""What users say of types in advance, and what it means for each kind of them."""

from __future__ import annotations

import collections
import copy
import dataclasses
import enum
import json
import math
import pickle
import re
import struct
import sys
import types
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import chopin
from chopin import JSON, Array, Range, TypeCodec
from chopin._catalog import CatalogType
from chopin._codecbase import ElementError
from chopin._codecs import CodecMap, decode_value, encode_value, scope_of
from chopin._codecs_registry import Registry
from chopin.exceptions import DataError, InterfaceError

INT4, TEXT, NUMERIC, INT4S, INT4RANGE, MONEYS = 23, 25, 1700, 1007, 3904, 791
PLAIN, BINARY, JSONS, BINARIES = 114, 3802, 199, 3807  # json, jsonb and their arrays
MOOD, MOODS, PRICE, PRICES, LABEL, DMOOD, DPRICE, SPAN, BASE, BASES, UID, ACLS, DOC = (
    range(70_000, 70_013)
)
TYPES = [
    CatalogType(MOOD, "mood", "app", "e", 0, MOODS, ",", ("calm", "WILD", "b c")),
    CatalogType(
        PRICE, "price", "app", "c", 0, PRICES, ",", ("amount", "unit"), (NUMERIC, TEXT)
    ),
    CatalogType(LABEL, "label", "app", "d", TEXT),
    CatalogType(DMOOD, "dmood", "app", "d", MOOD),
    CatalogType(DPRICE, "dprice", "app", "d", PRICE),
    CatalogType(SPAN, "span", "app", "r", NUMERIC),
    CatalogType(BASE, "geometry", "gis", "b", 0, BASES, ":"),
    CatalogType(UID, "uid", "app", "d", INT4),
    CatalogType(ACLS, "acls", "app", "c", 0, 0, ",", ("a",), (1033,)),
    CatalogType(DOC, "doc", "app", "d", BINARY),
]
VALUE = {"encoder": lambda value: value, "decoder": lambda value: value}


class Mood(enum.Enum):
    """One member goes by its value, one by its name, one by a value with a space."""

    calm = 1
    wild = "WILD"
    both = "b c"


@dataclasses.dataclass
class Price:
    """In the order of the type's attributes."""

    amount: Decimal
    unit: str


class Swapped(NamedTuple):
    """In another order."""

    unit: str
    amount: Decimal


def scope(**options: Any) -> CodecMap:
    """A connection's scope below one for which the types are known."""
    codecs = options.pop("codecs", None)
    outer = CodecMap(None, Registry(codecs, options.pop("json", None)))
    outer.learn(TYPES)
    return CodecMap(outer)


def decode(codecs: CodecMap, oid: int, data: bytes) -> Any:
    return decode_value(codecs.lookup(oid), data)


def encode(codecs: CodecMap, oid: int, value: Any) -> bytes:
    return encode_value(codecs.lookup(oid), value)


def both_ways(codecs: CodecMap, oid: int, value: Any) -> Any:
    """What comes back of an argument."""
    return decode(codecs, oid, encode(codecs, oid, value))


# -- what may be said ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("codecs", "message"),
    [
        ([("mood", Mood)], "codecs is expected to be a mapping"),
        ({5: Mood}, "codecs is expected to have names of types as keys, got 5"),
        ({"": Mood}, "names of types as keys, got ''"),
        ({"mood": "nope"}, "codecs['mood']: there is no codec named 'nope'"),
        ({"mood": None}, "codecs['mood'] is expected to be the name of a codec, an"),
        ({"mood": 5}, "chopin.TypeCodec or chopin.JSON, got 5"),
    ],
)
def test_what_cannot_be_meant(codecs, message):
    """A mistake in `codecs` is told before anything is opened."""
    with pytest.raises(InterfaceError, match=re.escape(message)):
        Registry(codecs)


@pytest.mark.parametrize("option", [1, "orjson", object(), types.SimpleNamespace()])
def test_what_is_no_json_library(option):
    """`json=` takes what has loads and dumps, and says so."""
    with pytest.raises(InterfaceError, match="json is expected to be True, a module"):
        Registry(None, option)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TypeCodec(encoder=1, decoder=str), "argument encoder of TypeCodec"),
        (lambda: TypeCodec(encoder=str, decoder=None), "argument decoder of TypeCodec"),
        (lambda: TypeCodec(encoder=str, decoder=str, format="x"), "got 'x'"),
        (lambda: JSON(loads=5), "argument loads of JSON must be callable, got 5"),
        (lambda: JSON(dumps=5), "argument dumps of JSON"),
        (lambda: JSON(format="tuple"), "must be 'text' or 'binary', got 'tuple'"),
    ],
)
def test_what_is_no_codec(make, message):
    """The words check themselves."""
    with pytest.raises(InterfaceError, match=message):
        make()


def test_nothing_said():
    """Without the arguments there is no scope at all, and JSON is text."""
    assert scope_of(None, None) is None
    assert decode(scope(json=False), BINARY, b"\x01[1]") == "[1]"
    assert decode(scope(), PLAIN, b"[1]") == "[1]"


@pytest.mark.parametrize(
    "key", ["numeric", "pg_catalog.numeric", "decimal", "app.span", "span"]
)
def test_names(key):
    """Types go by their name, with or without the schema, or by that of SQL."""
    codec = TypeCodec(
        encoder=lambda v: v, decoder=lambda v: ("seen", v), format="value"
    )
    codecs = scope(codecs={key: codec})
    oid = SPAN if "span" in key else NUMERIC
    assert both_ways(codecs, oid, () if oid == SPAN else 5)[0] == "seen"


def test_schema_goes_before_bare_name():
    """The name with a schema is the better one; a bare one is any schema's."""
    codecs = scope(codecs={"mood": "text", "app.mood": Mood, "gis.price": "text"})
    assert decode(codecs, MOOD, b"calm") is Mood.calm
    assert type(both_ways(codecs, PRICE, (1, "x"))) is chopin.Record


def test_bare_name_of_the_catalog():
    """A bare name of a built-in type is not that of a user's type of the same name."""
    codecs = scope(codecs={"uuid": "text"})
    codecs.learn([CatalogType(80_000, "uuid", "app", "e")])
    assert codecs.lookup(80_000).name == "uuid"
    assert decode(codecs, 80_000, b"calm") == "calm"


def test_connection_goes_before_pool():
    """What a connection sets is for itself, and what the pool says comes back."""
    codecs = scope(json=True, codecs={"mood": Mood})
    other = CodecMap(codecs.parent)
    for oid, data, value in (PLAIN, b"1", 1), (MOOD, b"calm", Mood.calm):
        codecs.register(oid, "x", "app", encoder=str, decoder=lambda t: [t])
        assert decode(codecs, oid, data) == [data.decode()]
        assert decode(other, oid, data) == value
        codecs.unregister(oid)
        assert decode(codecs, oid, data) == value


# -- enums ---------------------------------------------------------------------------


def test_enum():
    """A label is the member of that value, else of that name, and back."""
    codecs = scope(codecs={"mood": Mood})
    for label, member in (
        (b"calm", Mood.calm),
        (b"WILD", Mood.wild),
        (b"b c", Mood.both),
    ):
        assert decode(codecs, MOOD, label) is member
        assert encode(codecs, MOOD, member) == label
        assert encode(codecs, MOOD, label.decode()) == label
    assert both_ways(codecs, MOODS, [Mood.calm, None]) == [Mood.calm, None]
    assert both_ways(codecs, DMOOD, Mood.wild) is Mood.wild


class Named(enum.Enum):
    """The labels are the names, as an object mapper stores them."""

    CALM = "calm"
    WILD = "wild"
    LATER = "later"
    QUIET = CALM  # an alias


def test_enum_by_names():
    """Names that are labels go before values that are none, for new labels too."""
    codecs = CodecMap(None, Registry({"mood": Named}))
    codecs.learn([CatalogType(MOOD, "mood", "app", "e", names=("CALM", "WILD"))])
    assert [encode(codecs, MOOD, each) for each in Named] == [
        b"CALM",
        b"WILD",
        b"LATER",
    ]
    assert decode(codecs, MOOD, b"LATER") is Named.LATER
    assert decode(codecs, MOOD, b"QUIET") is Named.CALM


def test_enum_over_text():
    """What is text may be an enum of Python alone."""
    codecs = scope(codecs={"label": Named, "text": Mood})
    assert both_ways(codecs, LABEL, Named.WILD) is Named.WILD
    assert encode(codecs, LABEL, Named.WILD) == b"wild"
    assert encode(codecs, TEXT, Mood.wild) == b"wild"  # not all values are str


def test_enum_refuses():
    """A label without a member and an argument of another class are named."""
    codecs = scope(codecs={"mood": Mood})
    with pytest.raises(DataError, match="no member of Mood has the label 'sad'"):
        decode(codecs, MOOD, b"sad")
    with pytest.raises(TypeError, match="expected Mood or str, got Named"):
        encode(codecs, MOOD, Named.CALM)


# -- composite types -----------------------------------------------------------------


class KeywordOnly:
    """Not by position."""

    def __init__(self, *, unit: str, amount: Decimal, note: str = "") -> None:
        self.unit, self.amount, self.note = unit, amount, note

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other)


@pytest.mark.parametrize(
    ("maker", "want"),
    [
        (Price, Price(Decimal(5), "EUR")),
        (Swapped, Swapped("EUR", Decimal(5))),
        (KeywordOnly, KeywordOnly(unit="EUR", amount=Decimal(5))),
        (dict, {"amount": 5, "unit": "EUR"}),
        (types.SimpleNamespace, types.SimpleNamespace(amount=5, unit="EUR")),
        (lambda **kw: kw, {"amount": 5, "unit": "EUR"}),
        (lambda unit, **kw: (unit, kw), ("EUR", {"amount": 5})),
        (lambda *args: args, (5, "EUR")),
        (lambda amount, unit, /: [amount, unit], [5, "EUR"]),
        (collections.namedtuple("pair", "amount unit"), (5, "EUR")),
    ],
)
def test_composite(maker, want):
    """Attributes are passed by name, whatever the order of the parameters."""
    codecs = scope(codecs={"price": maker})
    got = both_ways(codecs, PRICE, (5, "EUR"))
    assert got == want
    assert not isinstance(maker, type) or type(got) is maker
    assert both_ways(codecs, PRICES, [(5, "EUR"), None]) == [want, None]
    assert both_ways(codecs, DPRICE, {"unit": "EUR", "amount": 5}) == want


@pytest.mark.parametrize("maker", [Price, Swapped, KeywordOnly, types.SimpleNamespace])
def test_objects_as_arguments(maker):
    """An object of the class is written by its attributes, not by their order."""
    codecs = scope(codecs={"price": maker})
    value = maker(unit="EUR", amount=Decimal(5))
    assert encode(codecs, PRICE, value) == encode(scope(), PRICE, (5, "EUR"))
    assert both_ways(codecs, PRICES, [value]) == [value]


def test_dataclass_as_argument():
    """A dataclass needs no codec to be an argument; what is missing is named."""

    @dataclasses.dataclass
    class Other:
        unit: str
        amount: int
        cached: object = None

    @dataclasses.dataclass
    class Poor:
        amount: int

    codecs = scope()
    want = encode(codecs, PRICE, (5, "EUR"))
    assert encode(codecs, PRICE, Other("EUR", 5)) == want
    assert encode(codecs, PRICES, [Other("EUR", 5)]) == encode(
        codecs, PRICES, [(5, "EUR")]
    )
    for options in {}, {"codecs": {"price": Poor}}, {"codecs": {"price": Price}}:
        with pytest.raises((ValueError, InterfaceError), match="'unit'"):
            encode(scope(**options), PRICE, Poor(5))
    with pytest.raises(TypeError, match="a tuple, a mapping or a record expected"):
        encode(codecs, PRICE, object())


def test_path_in_object():
    """What is refused inside of an object is named by its path."""
    codecs = scope(codecs={"price": Price})
    with pytest.raises(ElementError) as caught:
        encode(codecs, PRICES, [Price(Decimal(1), "x"), Price("no", "x")])
    assert caught.value.path == "[1].amount"


@pytest.mark.parametrize(
    ("maker", "message"),
    [
        (lambda amount: 1, "<lambda> has no parameter for the attribute 'unit'"),
        (lambda amount, unit, x: 1, "no attribute for <lambda>'s 'x'"),
        (lambda unit, amount, /: 1, "no parameter for the attribute 'amount'"),
        (tuple, "tuple has no parameter for the attribute 'amount'"),
    ],
)
def test_class_of_other_attributes(maker, message):
    """A class that cannot be called with the attributes says which one is wrong."""
    codecs = scope(codecs={"price": maker})
    data = encode(scope(), PRICE, (5, "EUR"))
    for refused in (
        lambda: decode(codecs, PRICE, data),
        lambda: encode(codecs, PRICE, (5, "EUR")),
    ):
        with pytest.raises(InterfaceError, match="price") as caught:
            refused()
        assert message in str(caught.value)


def test_error_of_class_goes_through():
    """What a class raises is not changed."""

    def fail(amount: object, unit: object) -> None:
        raise KeyError(amount, unit)

    codecs = scope(codecs={"price": fail})
    with pytest.raises(KeyError, match="EUR"):
        both_ways(codecs, PRICE, (5, "EUR"))


def test_type_is_altered():
    """Attributes that come later are passed when they are known."""
    seen = []
    codecs = scope(codecs={"price": lambda **kw: seen.append(kw)})
    both_ways(codecs, PRICE, (5, "EUR"))
    names, parts = ("amount", "unit", "tax"), (NUMERIC, TEXT, INT4)
    codecs.learn([CatalogType(PRICE, "price", "app", "c", 0, 0, ",", names, parts)])
    both_ways(codecs, PRICE, (5, "EUR", 7))
    assert seen[1] == {"amount": 5, "unit": "EUR", "tax": 7}


# -- kinds that do not fit -----------------------------------------------------------


@pytest.mark.parametrize(
    ("oid", "key", "spec", "message"),
    [
        (MOOD, "mood", Price, "the class Price, which is not for app.mood, an enum"),
        (PRICE, "price", Mood, "Enum Mood, which is not for app.price, a composite"),
        (INT4, "int4", Mood, "the Enum Mood, which is not for pg_catalog.int4, a base"),
        (INT4, "int4", JSON(), "JSON, which is not for pg_catalog.int4, a base type"),
        (SPAN, "app.span", "text", "codec 'text', which is not for app.span, a range"),
        (MOODS, "mood[]", "text", "the codec 'text', which is not for app.mood[], an"),
        (MOOD, "mood", "array.bounded", "'array.bounded', which is not for app.mood"),
        (INT4S, "int[]", str.upper, "the function str.upper, which is not for"),
        (
            SPAN,
            "span",
            TypeCodec(**VALUE),
            "a TypeCodec of format 'text', which is not",
        ),
        (PRICE, "price", TypeCodec(**VALUE, format="binary"), "of format 'binary'"),
        (
            UID,
            "uid",
            TypeCodec(**VALUE, format="tuple"),
            "does not support the 'tuple'",
        ),
        (ACLS, "acls", Price, "with an attribute that has no binary form here"),
    ],
)
def test_wrong_kind(oid, key, spec, message):
    """What is not for a type is told by its use, both ways; other types have peace."""
    codecs = scope(codecs={key: spec})
    for refused in (
        lambda: decode(codecs, oid, b""),
        lambda: encode(codecs, oid, None),
    ):
        with pytest.raises(InterfaceError) as caught:
            refused()
        assert f"codecs[{key!r}]" in str(caught.value)
        assert message in str(caught.value)
    assert both_ways(codecs, NUMERIC, 5) == 5


# -- names and functions -------------------------------------------------------------


def test_named():
    """A codec that has a name is asked for by it."""
    ewkb = bytes.fromhex("0101000000000000000000f03f0000000000000040")
    codecs = scope(codecs={"geometry": "postgis.ewkb", "uid": "text"})
    assert both_ways(codecs, BASE, ewkb) == ewkb
    assert both_ways(codecs, BASES, [memoryview(ewkb), None]) == [ewkb, None]
    assert both_ways(codecs, UID, "5") == "5"


def test_text_of_a_type_with_another_delimiter():
    """An array literal of such a type is parted as the catalog says."""
    codecs = scope(codecs={"geometry": TypeCodec(encoder=str, decoder=int)})
    assert encode(codecs, BASES, [1, 2]) == b'{"1":"2"}'
    assert decode(codecs, BASES, b"{1:2}") == [1, 2]
    own = scope()
    own.register(BASE, "geometry", "gis", encoder=str, decoder=int)
    assert decode(own, BASES, b"{1:2}") == [1, 2]
    own.register_alias(BASE, "geometry", "gis", own.lookup(790))
    assert decode(own, BASES, b"{1:2}") == ["1", "2"]


def test_functions_of_values():
    """With "value" the functions exchange what the type is anyway, of any kind."""
    seen: list[Any] = []

    def decoder(value: Any) -> Any:
        seen.append(value)
        return value

    codec = TypeCodec(encoder=lambda value: value, decoder=decoder, format="value")
    keys = ("price", "span", "int4[]", "uid", "mood", "int4range")
    codecs = scope(codecs=dict.fromkeys(keys, codec))
    both_ways(codecs, PRICE, (5, "EUR"))
    both_ways(codecs, SPAN, (1, 2))
    both_ways(codecs, INT4S, [1, 2])
    both_ways(codecs, UID, 7)
    both_ways(codecs, MOOD, "calm")
    both_ways(codecs, INT4RANGE, (1, 2))
    assert seen == [
        (5, "EUR"), Range(1, 2, upper_inc=True), [1, 2], 7, "calm",
        Range(1, 2, upper_inc=True),
    ]  # fmt: skip


def test_bounds_of_ranges():
    """A range has the values that its bounds have, an array those of its elements."""
    codec = TypeCodec(encoder=Decimal, decoder=float, format="value")
    codecs = scope(codecs={"numeric": codec})
    got = both_ways(codecs, SPAN, (1, 2))
    assert got == Range(1.0, 2.0, upper_inc=True)
    assert type(got.lower) is float
    assert type(both_ways(codecs, 1231, [1])[0]) is float


# -- JSON ----------------------------------------------------------------------------

WITHOUT, WITH = "without orjson", "with orjson"


@pytest.fixture(params=[WITHOUT, WITH])
def library(request, monkeypatch):
    """Whether there is orjson."""
    if request.param == WITHOUT:
        monkeypatch.setitem(sys.modules, "orjson", None)
    else:
        pytest.importorskip("orjson")
    return request.param


def of_json(text: str, codecs: CodecMap) -> Any:
    """The value of a text, which json and jsonb agree on."""
    got = decode(codecs, PLAIN, text.encode("utf-8", "surrogatepass"))
    assert repr(got) == repr(decode(codecs, BINARY, b"\x01" + text.encode()))
    return got


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "true",
        '"é\\u00e9\\n"',
        '"\\ud800"',  # json has it, jsonb has not
        "[1, 2.5, -3, 1e3, {}]",
        ' \n\t\r{"a": {"b": [null]}} ',
        '{"a": 1, "a": 2}',
        "9223372036854775807",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "[1, 123456789012345678901234567890]",
        '{"12345678901234567890": 0.12345678901234567890123}',
        "1e400",
        "1e-400",
        "[-0, -0.0]",
    ],
)
def test_json_is_read_exactly(library, text):
    """True reads what `json` reads, whichever library does it."""
    got = of_json(text, scope(json=True))
    assert repr(got) == repr(json.loads(text))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.sampled_from("ab")), inner)
    ),
    max_leaves=8,
)


@given(values)
@example(2**64)
@example([-(2**63) - 1, 0.1])
def test_json_both_ways(value):
    """Every value comes back as it was, from json and jsonb."""
    codecs = scope(json=True)
    assert repr(both_ways(codecs, PLAIN, value)) == repr(value)
    assert repr(both_ways(codecs, BINARY, value)) == repr(value)


def test_json_that_is_none(library):
    """What is no JSON, or is too deep for Python, loses the value and not more."""
    codecs = scope(json=True)
    for bad in b"", b"[1", b"[1] 2", b"nope", b"[" * 100_000:
        with pytest.raises(DataError, match="cannot decode a value of type json"):
            decode(codecs, PLAIN, bad)
    for bad in b"", b"\x02[1]":
        with pytest.raises(DataError, match="type jsonb"):
            decode(codecs, BINARY, bad)
    with pytest.raises(DataError):
        decode(codecs, PLAIN, b'"\xff"')


def test_json_writes(library):
    """UTF-8 without spaces; keys that are no str as `json` writes them."""
    codecs = scope(json=True)
    assert encode(codecs, PLAIN, {"é": [1, None]}) == '{"é":[1,null]}'.encode()
    assert encode(codecs, BINARY, "x") == b'\x01"x"'
    assert encode(codecs, PLAIN, {1: 2**70}) == b'{"1":1180591620717411303424}'
    for bad in object(), Decimal(1), {"a": {1, 2}}:
        with pytest.raises(TypeError):
            encode(codecs, PLAIN, bad)
    with pytest.raises(ValueError, match="surrogates"):
        encode(codecs, PLAIN, "\ud800")
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="(?i)circular|recursion"):
        encode(codecs, PLAIN, endless)


def test_not_a_number(library):
    """NaN is no JSON: `json` refuses it, orjson writes null, as the pages say."""
    codecs = scope(json=True)
    if library == WITH:
        assert encode(codecs, PLAIN, math.nan) == b"null"
    else:
        with pytest.raises(ValueError, match="not JSON compliant"):
            encode(codecs, PLAIN, math.inf)


def test_library_of_the_users():
    """Its functions are called, with `str`, and their errors are theirs."""
    seen = []

    def loads(text: str) -> str:
        seen.append(text)
        return text.upper()

    library = types.SimpleNamespace(loads=loads, dumps=lambda value: f"<{value}>")
    codecs = scope(json=library)
    assert both_ways(codecs, PLAIN, "é") == "<É>"
    assert both_ways(codecs, BINARY, "é") == "<É>"
    assert seen == ["<é>", "<é>"]
    with pytest.raises(json.JSONDecodeError):
        decode(scope(json=json), PLAIN, b"nope")
    assert encode(scope(json=json), PLAIN, {"é": [1]}) == b'{"\\u00e9": [1]}'


def test_bytes_for_loads():
    """A function that wants bytes gets them without the version of jsonb."""
    way = JSON(loads=bytes.upper, dumps=lambda value: value, format="binary")
    codecs = scope(codecs={"jsonb": way})
    assert decode(codecs, BINARY, b"\x01a") == b"A"
    assert encode(codecs, BINARY, b"a") == b"\x01a"
    assert decode(codecs, PLAIN, b"1") == "1"


@pytest.mark.parametrize(
    ("dumps", "error", "message"),
    [
        (
            lambda value: 5,
            TypeError,
            "dumps is expected to return str or bytes, got int",
        ),
        (lambda value: {}[1], ValueError, "1"),
        (lambda value: int("x"), ValueError, "invalid literal"),
    ],
)
def test_dumps_fails(dumps, error, message):
    """What `dumps` gets wrong is an error of the argument."""
    codecs = scope(json=JSON(dumps=dumps))
    with pytest.raises(error, match=message):
        encode(codecs, BINARY, 1)


def test_orjson_gets_bytes():
    """orjson needs no `str` in between; all else gets one."""
    orjson = pytest.importorskip("orjson")
    codecs = scope(json=orjson)
    assert both_ways(codecs, BINARY, {"a": [1]}) == {"a": [1]}
    assert decode(codecs, PLAIN, b"18446744073709551616") == 2.0**64  # its own rule


def test_json_in_arrays_and_domains():
    """Arrays, and domains over JSON, have its values."""
    codecs = scope(json=True)
    for oid in JSONS, BINARIES:
        assert both_ways(codecs, oid, [{"a": 1}, None, [1, 2], (3,)]) == [
            {"a": 1}, None, [1, 2], [3],
        ]  # fmt: skip
        assert both_ways(codecs, oid, [[1], [2]]) == [[1], [2]]  # two dimensions
    assert both_ways(codecs, DOC, {"a": 1}) == {"a": 1}
    way = JSON(loads=str.upper, dumps=str.lower)
    other = scope(json=True, codecs={"doc": way})  # what is under it has its own
    assert both_ways(other, DOC, "A") == "A"
    assert both_ways(other, BINARY, "A") == "A"
    assert encode(other, DOC, "A") == b"\x01a"
    only = scope(codecs={"doc": JSON(), "label": JSON()})
    assert both_ways(only, DOC, [1]) == both_ways(only, LABEL, [1]) == [1]
    assert both_ways(only, BINARY, "[1]") == "[1]"


def test_codecs_go_before_json():
    """What is said of a type is more than what is said of JSON."""
    codecs = scope(json=True, codecs={"json": "text"})
    assert decode(codecs, PLAIN, b"[1]") == "[1]"
    assert decode(codecs, BINARY, b"\x01[1]") == [1]


# -- lower bounds --------------------------------------------------------------------


def header(*dimensions: tuple[int, int], oid: int = INT4) -> bytes:
    """The bytes in front of the elements."""
    return struct.pack("!iiI", len(dimensions), 0, oid) + b"".join(
        struct.pack("!ii", *each) for each in dimensions
    )


def test_bounds_of_arguments():
    """An `Array` is sent with its bounds, wherever an array may be."""
    codecs = scope()
    assert encode(codecs, INT4S, Array([7, 8], 0)).startswith(header((2, 0)))
    got = encode(codecs, INT4S, Array([[7], [8]], (-5, 2)))
    assert got.startswith(header((2, -5), (1, 2)))
    for same in [7, 8], Array([7, 8]), Array([7, 8], [1]):
        assert encode(codecs, INT4S, same).startswith(header((2, 1)))
    assert encode(codecs, INT4S, Array([], 5)) == header()
    assert encode(codecs, MONEYS, Array([["a"], ["b"]], (0, 3))) == (
        b'[0:1][3:3]={{"a"},{"b"}}'
    )
    assert encode(codecs, MONEYS, Array(["a"])) == b'{"a"}'
    assert encode(codecs, MONEYS, Array([], 5)) == b"{}"


def test_array_is_a_list():
    """It can be copied and pickled, shows its bounds, and refuses what is none."""
    array = Array([1, 2], lower_bounds=(3,))
    for copied in copy.deepcopy(array), pickle.loads(pickle.dumps(array)):
        assert (copied, copied.lower_bounds) == ([1, 2], (3,))
    assert repr(array) == "Array([1, 2], lower_bounds=(3,))"
    with pytest.raises(OverflowError, match="2147483648 is out of int32 range"):
        Array([1], 2**31)
    with pytest.raises(TypeError):
        Array([1], [1.5])


def test_bounds_that_do_not_fit():
    """A number of bounds that is not that of the dimensions is an error."""
    codecs = scope()
    for oid in INT4S, MONEYS:
        with pytest.raises(ValueError, match="of 1 dimension has 2 lower bounds"):
            encode(codecs, oid, Array(["1"] if oid == MONEYS else [1], (1, 2)))
        with pytest.raises(ValueError, match="the lower bound 2147483647 is too large"):
            encode(codecs, oid, Array(["1"] if oid == MONEYS else [1], 2**31 - 1))


def test_bounds_on_request():
    """`Array` comes where it is asked for; without bounds in the text they are 1."""
    codecs = scope(codecs={"int[]": "array.bounded", "money[]": "array.bounded"})
    for sent in Array([1, 2], 0), Array([[1], [2]], (3, -4)), Array([1], 1), Array():
        got = both_ways(codecs, INT4S, sent)
        assert (type(got), got, got.lower_bounds) == (Array, sent, sent.lower_bounds)
    got = both_ways(codecs, MONEYS, Array([["a"], ["b"]], (0, 3)))
    assert (got, got.lower_bounds) == ([["a"], ["b"]], (0, 3))
    for text, bounds in (
        (b"{{a},{b}}", (1, 1)),
        (b"{}", ()),
        (b'{"{"}', (1,)),
        (b'[-3:-3]={"[7:7]="}', (-3,)),
    ):
        assert decode(codecs, MONEYS, text).lower_bounds == bounds
    assert type(decode(scope(), INT4S, header((1, 5)) + b"\xff" * 4)) is list
