"""The value types: ranges, bit strings, geometry, descriptions."""

import copy
import itertools
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chopin import types
from chopin.types import (
    BitString,
    Box,
    Circle,
    Line,
    LineSegment,
    Path,
    Point,
    Polygon,
    Range,
    ServerVersion,
    Type,
)

RANGE_ARGUMENTS = ["lower", "upper", "lower_inc", "upper_inc", "empty"]
RANGES = [
    dict(zip(RANGE_ARGUMENTS, values, strict=True))
    for values in itertools.product((None, 1, 2), (None, 2, 3), *[(True, False)] * 3)
]
VALUES = [
    Range(1, 2, upper_inc=True),
    Range(None, "z"),
    Range(empty=True),
    BitString("10101"),
    BitString(),
    Point(1, 2),
    Box((3, 4), (1, 2)),
    Line(1, 2, 3),
    LineSegment((1, 2), (3, 4)),
    Circle((1, 2), 3),
    Path((1, 2), (3, 4)),
    Path((1, 2), is_closed=True),
    Polygon((1, 2), (3, 4)),
    types.Attribute("a", Type(23, "int4", "scalar", "pg_catalog")),
    ServerVersion(18, 0, 4, "final", 0),
    types.Notification(7, "a", "b"),
    types.Gap(1.5, 2, None),
]
# What asyncpg has no word for.
BEYOND = {"Gap", "Notification"}


@pytest.fixture
def theirs():
    return pytest.importorskip("asyncpg.types")


def ids(value):
    return type(value).__name__


# -- what all have in common ---------------------------------------------------


def test_the_names_are_asyncpgs(theirs):
    assert sorted(types.__all__) == sorted([*theirs.__all__, *BEYOND])


@pytest.mark.parametrize(
    ("gap", "text"),
    [
        (
            types.Gap(1.25, 0, OSError("gone")),
            "nobody listened for 1.25 s: OSError('gone')",
        ),
        (
            types.Gap(0.0, 2, None),
            "2 notifications were dropped: the reader is too slow",
        ),
    ],
)
def test_a_gap_says_what_is_missing(gap, text):
    assert str(gap) == text
    both = types.Gap(1.25, 2, OSError("gone"))
    assert text in str(both).split("; ")


@pytest.mark.parametrize("value", VALUES, ids=ids)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_values_can_be_pickled(value, protocol):
    got = pickle.loads(pickle.dumps(value, protocol))
    assert got == value
    assert type(got) is type(value)
    assert repr(got) == repr(value)


@pytest.mark.parametrize("value", VALUES, ids=ids)
@pytest.mark.parametrize("carry", [copy.copy, copy.deepcopy])
def test_values_can_be_copied(value, carry):
    got = carry(value)
    assert got == value
    assert type(got) is type(value)
    assert repr(got) == repr(value)


@pytest.mark.parametrize("value", VALUES, ids=ids)
def test_values_are_hashable_by_value(value):
    assert hash(copy.copy(value)) == hash(value)
    assert len({value, copy.copy(value)}) == 1


@pytest.mark.parametrize("value", VALUES, ids=ids)
def test_values_are_immutable(value):
    public = [name for name in dir(type(value)) if not name.startswith("_")]
    for name in [*public, "a_new_attribute"]:
        with pytest.raises(AttributeError):
            setattr(value, name, 1)


@pytest.mark.parametrize("name", ["Type", "Attribute", "ServerVersion"])
def test_descriptions_have_asyncpgs_fields(name, theirs):
    assert getattr(types, name)._fields == getattr(theirs, name)._fields


@pytest.mark.parametrize("name", sorted({*types.__all__} - BEYOND))
def test_no_public_attribute_of_asyncpg_is_missing(name, theirs):
    want = {
        attribute for attribute in dir(getattr(theirs, name)) if attribute[0] != "_"
    }
    assert want <= set(dir(getattr(types, name)))


# -- Range ---------------------------------------------------------------------

RANGE_PROPERTIES = [*RANGE_ARGUMENTS[:4], "lower_inf", "upper_inf", "isempty"]


@pytest.mark.parametrize("arguments", RANGES, ids=str)
def test_a_range_is_like_asyncpgs(arguments, theirs):
    ours, other = Range(**arguments), theirs.Range(**arguments)
    for name in RANGE_PROPERTIES:
        assert getattr(ours, name) == getattr(other, name)
    assert repr(ours) == repr(other)
    assert str(ours) == str(other)
    assert bool(ours) == bool(other)


def test_ranges_compare_and_contain_like_asyncpgs(theirs):
    for left, right in itertools.product(RANGES, repeat=2):
        ours = Range(**left), Range(**right)
        other = theirs.Range(**left), theirs.Range(**right)
        assert (ours[0] == ours[1]) == (other[0] == other[1])
        assert ours[0].issubset(ours[1]) == other[0].issubset(other[1])
        assert ours[0].issuperset(ours[1]) == other[0].issuperset(other[1])
        if ours[0] == ours[1]:
            assert hash(ours[0]) == hash(ours[1])


# [1, 1) and [2, 1] have no values, but that is for the server to say
BOUNDS = st.lists(st.integers(0, 4), min_size=2, max_size=2, unique=True).map(sorted)


def values_of(lower, upper, lower_inc, upper_inc):
    """All halves in the range: half a step tells open bounds from closed ones."""
    halves = {half / 2 for half in range(-1, 10)}
    too_low = {v for v in halves if v < lower or (v == lower and not lower_inc)}
    too_high = {v for v in halves if v > upper or (v == upper and not upper_inc)}
    return halves - too_low - too_high


@settings(deadline=None)
@given(BOUNDS, BOUNDS, st.tuples(*[st.booleans()] * 4))
def test_a_range_contains_another_when_it_has_all_its_values(left, right, inclusive):
    left, right = (*left, *inclusive[:2]), (*right, *inclusive[2:])
    inner, outer = (
        Range(lower, upper, lower_inc=lower_inc, upper_inc=upper_inc)
        for lower, upper, lower_inc, upper_inc in (left, right)
    )
    want = values_of(*left) <= values_of(*right)
    assert inner.issubset(outer) == want
    assert outer.issuperset(inner) == want


def test_a_range_is_not_equal_to_other_things():
    assert Range(1, 2) != (1, 2)
    assert Range(1, 2) == Range(1.0, 2.0)
    assert Range(1, 3) != Range(1, 2, upper_inc=True)


@pytest.mark.parametrize("method", ["issubset", "issuperset"])
def test_a_range_contains_ranges_only(method):
    with pytest.raises(TypeError, match=f"{method}.. needs a Range, got tuple"):
        getattr(Range(1, 2), method)((1, 2))


def test_a_range_takes_flags_by_name_only():
    with pytest.raises(TypeError):
        Range(1, 2, True)


# -- BitString -----------------------------------------------------------------

BITS = st.text("01", max_size=40)


@settings(deadline=None)
@given(BITS, st.sampled_from(["big", "little"]), st.booleans())
def test_a_bit_string_is_like_asyncpgs(text, bitorder, signed):
    asyncpg_types = pytest.importorskip("asyncpg.types")
    ours, other = BitString(text), asyncpg_types.BitString(text)
    assert ours.bytes == other.bytes
    assert ours.as_string() == other.as_string()
    assert repr(ours) == repr(other)
    assert str(ours) == str(other)
    assert len(ours) == len(other)
    assert list(ours) == list(other)
    assert [ours[i] for i in range(len(ours))] == list(other)
    number = ours.to_int(bitorder, signed=signed)
    assert number == other.to_int(bitorder, signed=signed)
    made = [
        cls.from_int(number, len(text), bitorder, signed=signed)
        for cls in (BitString, asyncpg_types.BitString)
    ]
    assert made[0] == ours
    assert made[0].as_string() == made[1].as_string()
    assert BitString.frombytes(ours.bytes, len(ours)) == ours


@settings(deadline=None)
@given(st.integers(0, 12), st.integers(-5000, 5000))
def test_an_integer_that_fits_comes_back_and_any_other_is_refused(length, number):
    unsigned = range(1 << length)
    signed = range(-(1 << length - 1), 1 << length - 1) if length else range(1)
    for is_signed, fitting in ((False, unsigned), (True, signed)):
        if number in fitting:
            bits = BitString.from_int(number, length, signed=is_signed)
            assert bits.to_int(signed=is_signed) == number
        else:
            with pytest.raises(OverflowError, match="does not fit"):
                BitString.from_int(number, length, signed=is_signed)


def test_a_bit_string_is_made_of_text_or_bits():
    want = BitString("10100")
    assert BitString("1 01 00") == want
    assert BitString(b"\x01\x00\x01\x00\x00") == want
    assert BitString([1, 0, True, "0", False]) == want
    assert BitString(want) == want
    assert BitString(None) == BitString("") == BitString()


@pytest.mark.parametrize(("bits", "position"), [("102", 2), ("x", 0), ([1, 2], 1)])
def test_what_is_no_bit_is_refused_with_its_position(bits, position):
    with pytest.raises(ValueError, match=f"invalid bit value at position {position}"):
        BitString(bits)


def test_bits_are_indexed_from_both_ends():
    bits = BitString("100000000010")
    assert [bits[i] for i in range(-12, 0)] == list(bits)
    for index in (12, -13):
        with pytest.raises(IndexError):
            bits[index]
    with pytest.raises(TypeError):
        bits[0:2]


def test_bit_strings_are_equal_when_length_and_bits_are():
    assert BitString("101") != BitString("1010")
    assert BitString("101") != "101"
    assert BitString.frombytes(b"\xff", 3) == BitString("111")
    assert BitString.frombytes(b"\xff", 3).bytes == b"\xe0"
    assert hash(BitString.frombytes(b"\xff", 3)) == hash(BitString("111"))


def test_bits_come_from_bytes():
    assert BitString.frombytes(b"\xa5") == BitString("10100101")
    assert BitString.frombytes(bytearray(b"\xa5\x80"), 9) == BitString("101001011")
    assert BitString.frombytes() == BitString()
    assert BitString.frombytes(None, 3) == BitString("000")
    for data, bitlength in [(b"a", 9), (b"ab", 8), (b"", 1), (b"a", -1), (None, -1)]:
        with pytest.raises(ValueError, match="invalid bit length"):
            BitString.frombytes(data, bitlength)


def test_bad_arguments_of_the_integer_conversions_are_refused():
    with pytest.raises(ValueError, match="bitorder"):
        BitString.from_int(1, 2, "middle")
    with pytest.raises(ValueError, match="bitorder"):
        BitString("1").to_int("middle")
    with pytest.raises(ValueError, match="negative"):
        BitString.from_int(0, -1)


# -- geometry ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "properties"),
    [
        ("Point", (1, 2), {"x": 1.0, "y": 2.0}),
        ("Point", ("1.5", 2), {"x": 1.5, "y": 2.0}),
        ("Box", ((3, 4), (1, 2)), {"high": (3, 4), "low": (1, 2)}),
        ("Line", (1, 2, 3), {"A": 1, "B": 2, "C": 3}),
        ("LineSegment", ((1, 2), (3, 4)), {"p1": (1, 2), "p2": (3, 4)}),
        ("Circle", ((1, 2), 3), {"center": (1, 2), "radius": 3}),
        ("Path", ((1, 2), (3, 4)), {"points": ((1, 2), (3, 4)), "is_closed": False}),
        ("Path", (), {"points": (), "is_closed": False}),
        ("Polygon", ((1, 2), (3, 4)), {"points": ((1, 2), (3, 4)), "is_closed": True}),
    ],
)
def test_geometry_is_like_asyncpgs(name, arguments, properties, theirs):
    ours, other = getattr(types, name)(*arguments), getattr(theirs, name)(*arguments)
    for attribute, want in properties.items():
        assert getattr(ours, attribute) == want
        assert getattr(other, attribute) == want
    assert tuple(ours) == tuple(other)
    assert len(ours) == len(other)
    assert isinstance(ours, tuple) == isinstance(other, tuple)
    for length in range(len(ours)):
        assert ours[length] == other[length]
        assert ours[length:] == other[length:]


def test_all_numbers_become_floats():
    numbers = [*Point(1, 2), *Line(1, 2, 3), *Circle((1, 2), 3).center]
    numbers += [Circle((1, 2), 3).radius, *Path((1, 2))[0], *Box((1, 2), (3, 4)).low]
    assert {type(number) for number in numbers} == {float}


def test_parts_of_figures_are_points():
    assert type(Circle((1, 2), 3).center) is Point
    assert type(Box((1, 2), (3, 4)).high) is Point
    assert type(LineSegment((1, 2), (3, 4)).p1) is Point
    assert type(Polygon((1, 2))[0]) is Point


def test_figures_of_fixed_size_equal_plain_tuples():
    assert Point(1, 2) == (1, 2)
    assert hash(Point(1, 2)) == hash((1, 2))
    assert Circle((1, 2), 3) == ((1, 2), 3)
    assert Box((1, 2), (3, 4)) == ((1, 2), (3, 4))


def test_paths_equal_paths_only():
    path = Path((1, 2), (3, 4))
    assert path == Path((1, 2), (3, 4))
    assert path != Path((1, 2), (3, 4), is_closed=True)
    assert path != Path((1, 2))
    assert path != ((1, 2), (3, 4))
    closed, polygon = Path((1, 2), is_closed=True), Polygon((1, 2))
    assert closed == polygon
    assert hash(closed) == hash(polygon)


def test_a_path_is_a_container_of_points():
    path = Path((1, 2), (3, 4))
    assert list(path) == [(1, 2), (3, 4)]
    assert path[0:1] == (Point(1, 2),)
    assert (1, 2) in path
    assert Point(3, 4) in path
    assert (5, 6) not in path
    with pytest.raises(IndexError):
        path[2]


@pytest.mark.parametrize("value", VALUES, ids=ids)
def test_a_figure_shows_how_to_make_it(value):
    if isinstance(value, Range | BitString):
        assert repr(value).startswith("<")
    else:
        assert eval(repr(value), vars(types)) == value


def test_figures_match_patterns():
    match Circle((1, 2), 3):
        case Circle(center=Point(x, y), radius=radius):
            assert (x, y, radius) == (1, 2, 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Path((1, 2, 3)),
        lambda: Path(1, 2),
        lambda: Box(1, 2),
        lambda: Circle(None, 2),
        lambda: LineSegment((1, 2), (3,)),
    ],
)
def test_what_is_no_point_is_refused(make):
    with pytest.raises(TypeError, match="a point needs two numbers"):
        make()


@pytest.mark.parametrize("make", [lambda: Point(None, 1), lambda: Line(1, [], 1)])
def test_what_is_no_number_is_refused(make):
    with pytest.raises(TypeError, match="float"):
        make()


def test_an_open_polygon_is_refused():
    with pytest.raises(TypeError):
        Polygon((1, 2), is_closed=False)


def test_server_versions_compare_like_tuples():
    assert ServerVersion(18, 0, 4, "final", 0) >= (14,)
