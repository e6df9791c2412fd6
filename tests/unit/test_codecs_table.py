"""The table of types, and the scopes in which users override it."""

from __future__ import annotations

import datetime
import inspect
import json
import struct
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from chopin._catalog import CatalogType
from chopin._codecs import CodecMap, builtin_named, decode_value, encode_value
from chopin._codecs_registry import Registry
from chopin.exceptions import DataError, InterfaceError
from chopin.types import Range

BOOL, INT8, INT4, TEXT, JSON, DATE, TIME, TIMESTAMP = (
    16,
    20,
    23,
    25,
    114,
    1082,
    1083,
    1114,
)
INT4_ARRAY, JSON_ARRAY, TIMESTAMPTZ, INTERVAL, TIMETZ = 1007, 199, 1184, 1186, 1266
INT4RANGE, INT4RANGE_ARRAY, MONEY, MONEY_ARRAY = 3904, 3905, 790, 791
FOREIGN, FOREIGN_ARRAY = 70_000, 70_001
TEXT_FORMAT, BINARY_FORMAT = 0, 1


def same(value: Any) -> Any:
    """A codec's function that changes nothing."""
    return value


# name of the element, its OID, that of its array; source: pg_type
ARRAYS = [
    ("bool", 16, 1000),
    ("bytea", 17, 1001),
    ("char", 18, 1002),
    ("name", 19, 1003),
    ("int2vector", 22, 1006),
    ("oidvector", 30, 1013),
    ("int8", 20, 1016),
    ("int2", 21, 1005),
    ("int4", 23, 1007),
    ("text", 25, 1009),
    ("oid", 26, 1028),
    ("tid", 27, 1010),
    ("xid", 28, 1011),
    ("cid", 29, 1012),
    ("json", 114, 199),
    ("xml", 142, 143),
    ("point", 600, 1017),
    ("lseg", 601, 1018),
    ("path", 602, 1019),
    ("box", 603, 1020),
    ("polygon", 604, 1027),
    ("line", 628, 629),
    ("cidr", 650, 651),
    ("float4", 700, 1021),
    ("float8", 701, 1022),
    ("circle", 718, 719),
    ("macaddr8", 774, 775),
    ("money", 790, 791),
    ("macaddr", 829, 1040),
    ("inet", 869, 1041),
    ("bpchar", 1042, 1014),
    ("varchar", 1043, 1015),
    ("date", 1082, 1182),
    ("time", 1083, 1183),
    ("timestamp", 1114, 1115),
    ("timestamptz", 1184, 1185),
    ("interval", 1186, 1187),
    ("timetz", 1266, 1270),
    ("bit", 1560, 1561),
    ("varbit", 1562, 1563),
    ("numeric", 1700, 1231),
    ("refcursor", 1790, 2201),
    ("regclass", 2205, 2210),
    ("regtype", 2206, 2211),
    ("cstring", 2275, 1263),
    ("uuid", 2950, 2951),
    ("txid_snapshot", 2970, 2949),
    ("pg_lsn", 3220, 3221),
    ("tsvector", 3614, 3643),
    ("tsquery", 3615, 3645),
    ("gtsvector", 3642, 3644),
    ("jsonb", 3802, 3807),
    ("int4range", 3904, 3905),
    ("numrange", 3906, 3907),
    ("tsrange", 3908, 3909),
    ("tstzrange", 3910, 3911),
    ("daterange", 3912, 3913),
    ("int8range", 3926, 3927),
    ("jsonpath", 4072, 4073),
    ("pg_snapshot", 5038, 5039),
    ("xid8", 5069, 271),
]


@pytest.mark.parametrize(("name", "oid", "array_oid"), ARRAYS)
def test_a_type_and_its_array(name: str, oid: int, array_oid: int) -> None:
    """Every type is under its OID, and its array follows from it."""
    codecs = CodecMap()
    element, codec = codecs.lookup(oid), codecs.lookup(array_oid)
    assert (element.oid, element.name, element.schema) == (oid, name, "pg_catalog")
    assert (codec.oid, codec.name, codec.kind) == (array_oid, f"{name}[]", "array")
    assert codec.element is element
    assert codec.format == element.format
    assert codecs.known(oid)
    assert codecs.known(array_oid)
    assert decode_value(codec, encode_value(codec, [])) == []


@pytest.mark.parametrize(
    ("name", "oid"),
    [
        ("int4", INT4),
        ("integer", INT4),
        ("int4[]", INT4_ARRAY),
        ("int4range", INT4RANGE),
        ("char", 1042),
        ('"char"', 18),
        ("timestamp with time zone", TIMESTAMPTZ),
        ("bit varying", 1562),
    ],
)
def test_built_in_types_by_name(name: str, oid: int) -> None:
    """A built-in type is found by the name in pg_type and by that in SQL."""
    assert builtin_named(name) is CodecMap().lookup(oid)


def test_a_name_that_is_not_built_in() -> None:
    """What the table does not have has no codec by name, and that is no error."""
    assert builtin_named("mood") is None


def test_ranges_are_over_their_bounds() -> None:
    """A range decodes its bounds by the codec of the bound."""
    codecs = CodecMap()
    codec = codecs.lookup(INT4RANGE)
    assert (codec.kind, codec.element) == ("range", codecs.lookup(INT4))
    assert decode_value(codec, encode_value(codec, Range(1, 5))) == Range(1, 5)
    value = [Range(1, 5), None]
    assert decode_value(INT4RANGE_ARRAY, encode_value(INT4RANGE_ARRAY, value)) == value


def test_types_without_a_binary_form_travel_as_text() -> None:
    """What only has a text form is a str, and so are the elements of its arrays."""
    assert CodecMap().lookup(MONEY).format == TEXT_FORMAT
    assert decode_value(MONEY, b"$1.00") == "$1.00"
    assert decode_value(MONEY_ARRAY, b'{"$1,000.00",NULL}') == ["$1,000.00", None]


def test_an_unknown_type_is_text() -> None:
    """An OID that nobody knows has a codec in text format, always the same one."""
    codecs = CodecMap()
    codec = codecs.lookup(FOREIGN)
    assert (codec.oid, codec.name, codec.format) == (FOREIGN, "unknown", TEXT_FORMAT)
    assert codecs.lookup(FOREIGN) is codec
    assert not codecs.known(FOREIGN)
    assert decode_value(codec, "é".encode()) == "é"
    assert encode_value(codec, "é") == "é".encode()
    assert decode_value(FOREIGN, b"a") == "a"
    assert codecs.version == 0


def test_scopes_ask_their_parents() -> None:
    """What a connection lacks comes from its pool, then from the table."""
    pool = CodecMap()
    first, second = CodecMap(pool), CodecMap(pool)
    pool.register(JSON, "json", "pg_catalog", encoder=json.dumps, decoder=json.loads)
    first.register(JSON, "json", "pg_catalog", encoder=same, decoder=str.upper)
    assert decode_value(first.lookup(JSON), b"[1]") == "[1]"
    assert decode_value(second.lookup(JSON), b"[1]") == [1]
    assert decode_value(CodecMap().lookup(JSON), b"[1]") == "[1]"
    assert first.lookup(INT4) is pool.lookup(INT4)
    assert first.parent is pool
    assert pool.parent is None


def test_a_type_that_becomes_known_is_no_text_any_more() -> None:
    """A scope that has handed out the codec of an unknown type finds the new one."""
    pool = CodecMap()
    connection = CodecMap(pool)
    connection.lookup(FOREIGN)
    pool.register_alias(FOREIGN, "count", "public", pool.lookup(INT4))
    assert connection.known(FOREIGN)
    assert decode_value(connection.lookup(FOREIGN), b"\x00\x00\x00\x07") == 7


def test_the_version_grows_with_every_change() -> None:
    """A change of a scope is seen in its own version and in that of its children."""
    pool = CodecMap()
    connection = CodecMap(pool)
    seen = [connection.version]
    changes: list[Callable[[], None]] = [
        lambda: pool.register(JSON, "json", "x", encoder=same, decoder=same),
        lambda: connection.register(JSON, "json", "x", encoder=same, decoder=same),
        lambda: pool.register_alias(FOREIGN, "a", "public", pool.lookup(TEXT)),
        lambda: pool.install(CodecMap().lookup(TEXT)),
        lambda: connection.unregister(JSON),
        lambda: pool.unregister(JSON),
    ]
    for change in changes:
        change()
        seen.append(connection.version)
    assert seen == sorted(set(seen))
    assert pool.version < connection.version
    before = connection.version
    connection.unregister(JSON)
    assert connection.version == before


# format, what the encoder returns and the decoder gets, the bytes
EXCHANGED = [("text", "é", "é".encode()), ("binary", b"\x00\xff", b"\x00\xff")]


@pytest.mark.parametrize(("form", "exchanged", "data"), EXCHANGED)
def test_python_functions(form: Any, exchanged: Any, data: bytes) -> None:
    """The functions of a user exchange str or bytes, as was asked for."""
    calls = []

    def encoder(value: Any) -> Any:
        calls.append(value)
        return exchanged

    codecs = CodecMap()
    codecs.register(
        FOREIGN,
        "mine",
        "public",
        encoder=encoder,
        decoder=lambda got: ("decoded", got),
        format=form,
    )
    codec = codecs.lookup(FOREIGN)
    assert codec.format == (BINARY_FORMAT if form == "binary" else TEXT_FORMAT)
    assert (codec.name, codec.schema, codec.kind) == ("mine", "public", "scalar")
    assert encode_value(codec, 5) == data
    assert calls == [5]
    assert decode_value(codec, data) == ("decoded", exchanged)


# type, bytes of a value, the tuple
TUPLES = [
    (DATE, "ffffffff", (-1,)),
    (DATE, "7fffffff", (2**31 - 1,)),
    (TIME, "0000000a0eebb000", (43_200_000_000,)),
    (TIMETZ, "0000000a0eebb000ffffe3e0", (43_200_000_000, -7200)),
    (TIMESTAMP, "7fffffffffffffff", (2**63 - 1,)),
    (TIMESTAMPTZ, "8000000000000000", (-(2**63),)),
    (INTERVAL, "00000000003567e0000000020000000c", (12, 2, 3_500_000)),
]


@pytest.mark.parametrize(("oid", "data", "fields"), TUPLES)
def test_the_tuple_format(oid: int, data: str, fields: tuple[int, ...]) -> None:
    """Date and time types are exchanged as the server counts them."""
    codecs = CodecMap()
    codecs.register(
        oid, "a type", "pg_catalog", encoder=same, decoder=same, format="tuple"
    )
    codec = codecs.lookup(oid)
    assert decode_value(codec, bytes.fromhex(data)) == fields
    assert encode_value(codec, fields).hex() == data
    with pytest.raises(DataError, match="a type"):
        decode_value(codec, b"\x00")
    with pytest.raises(ValueError, match="element"):
        encode_value(codec, (*fields, 0))


def register_with(form: Any, oid: int = INT4, **functions: Any) -> None:
    """Register a codec that changes nothing but what the test says."""
    given = {"encoder": same, "decoder": same, **functions}
    CodecMap().register(oid, "int4", "pg_catalog", format=form, **given)


def test_what_cannot_be_registered() -> None:
    """Unknown formats, types without tuples and what is no function are refused."""
    with pytest.raises(InterfaceError, match="invalid `format` argument.*got 'json'"):
        register_with("json")
    with pytest.raises(InterfaceError, match="int4 type does not support the 'tuple'"):
        register_with("tuple")
    with pytest.raises(InterfaceError, match="argument decoder must be callable"):
        register_with("text", decoder=None)
    with pytest.raises(InterfaceError, match="argument encoder must be callable"):
        register_with("text", encoder="utf-8")


def raiser(error: BaseException) -> Callable[[Any], Any]:
    """A codec's function that fails."""

    def fail(value: Any) -> Any:
        raise error

    return fail


def failing(error: BaseException) -> Any:
    """A codec of which both functions fail."""
    codecs = CodecMap()
    fail = raiser(error)
    codecs.register(TEXT, "text", "pg_catalog", encoder=fail, decoder=fail)
    return codecs.lookup(TEXT)


@pytest.mark.parametrize(
    "error", [TypeError("no"), ValueError("no"), OverflowError("no")]
)
def test_errors_of_encoders_that_are_reasons(error: Exception) -> None:
    """The three kinds of errors that encoders raise go through as they are."""
    with pytest.raises(type(error)) as caught:
        encode_value(failing(error), "a")
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "reason"), [(KeyError("no"), "'no'"), (RuntimeError(), "RuntimeError")]
)
def test_other_errors_of_encoders(error: Exception, reason: str) -> None:
    """Another error of an encoder is the cause of a ValueError that says the same."""
    with pytest.raises(ValueError, match=f"^{reason}$") as caught:
        encode_value(failing(error), "a")
    assert caught.value.__cause__ is error


def test_interrupts_of_encoders_go_through() -> None:
    """A KeyboardInterrupt in an encoder is not the value's fault."""
    with pytest.raises(KeyboardInterrupt):
        encode_value(failing(KeyboardInterrupt()), "a")


@pytest.mark.parametrize("error", [KeyError("no"), ValueError("no"), DataError("no")])
def test_errors_of_decoders(error: Exception) -> None:
    """An error of a user's decoder goes through unchanged."""
    with pytest.raises(type(error)) as caught:
        decode_value(failing(error), b"a")
    assert caught.value is error


@pytest.mark.parametrize(
    ("form", "result", "reason"),
    [
        ("text", b"a", "expected str, got bytes"),
        ("text", None, "expected str, got NoneType"),
        ("binary", "a", "a bytes-like object is required, not 'str'"),
    ],
)
def test_wrong_results_of_encoders(form: Any, result: Any, reason: str) -> None:
    """An encoder that returns what its format does not exchange is a TypeError."""
    codecs = CodecMap()
    codecs.register(
        TEXT,
        "text",
        "pg_catalog",
        encoder=lambda value: result,
        decoder=same,
        format=form,
    )
    with pytest.raises(TypeError, match=reason):
        encode_value(codecs.lookup(TEXT), "a")


def test_a_decoder_gets_text_only() -> None:
    """Bytes that are no text are a DataError before the user's decoder is called."""
    codec = failing(AssertionError("called"))
    with pytest.raises(DataError, match="type text.*utf-8"):
        decode_value(codec, b"\xff")


def test_the_array_follows_its_element() -> None:
    """A codec of an element is in force for its array, until it is taken back."""
    codecs = CodecMap()
    before = codecs.lookup(JSON_ARRAY)
    codecs.register(JSON, "json", "pg_catalog", encoder=json.dumps, decoder=json.loads)
    codec = codecs.lookup(JSON_ARRAY)
    assert codec.format == BINARY_FORMAT
    assert decode_value(codec, encode_value(codec, [{"a": 1}, None])) == [
        {"a": 1},
        None,
    ]
    codecs.unregister(JSON)
    assert codecs.lookup(JSON_ARRAY) is before
    assert codecs.lookup(JSON) is before.element


def test_the_array_of_a_foreign_type() -> None:
    """The array of a type that the table lacks follows when its OID is given."""
    codecs = CodecMap()
    codecs.register(
        FOREIGN,
        "money2",
        "shop",
        encoder=lambda value: str(value).encode(),
        decoder=lambda data: Decimal(data.decode()),
        format="binary",
        array_oid=FOREIGN_ARRAY,
    )
    codec = codecs.lookup(FOREIGN_ARRAY)
    assert (codec.name, codec.schema, codec.kind) == ("money2[]", "shop", "array")
    value = [Decimal("1.50"), None]
    assert decode_value(codec, encode_value(codec, value)) == value
    codecs.unregister(FOREIGN)
    assert not codecs.known(FOREIGN_ARRAY)


def test_an_alias_is_the_type_under_another_name() -> None:
    """A domain or enum travels as the type that it is made of."""
    codecs = CodecMap()
    codecs.register_alias(
        FOREIGN, "day", "shop", codecs.lookup(DATE), array_oid=FOREIGN_ARRAY
    )
    codec = codecs.lookup(FOREIGN)
    assert (codec.oid, codec.name, codec.schema) == (FOREIGN, "day", "shop")
    assert codec.format == BINARY_FORMAT
    day = datetime.date(2024, 2, 29)
    assert encode_value(codec, day) == encode_value(DATE, day)
    array = codecs.lookup(FOREIGN_ARRAY)
    assert decode_value(array, encode_value(array, [day])) == [day]
    with pytest.raises(DataError, match="a value of type day"):
        decode_value(codec, b"")


def test_an_alias_of_an_array_keeps_its_element() -> None:
    """An alias of an array type encodes the elements as the array does."""
    codecs = CodecMap()
    codecs.register_alias(FOREIGN, "ids", "shop", codecs.lookup(INT4_ARRAY), "array")
    codec = codecs.lookup(FOREIGN)
    assert decode_value(codec, encode_value(codec, [1, None])) == [1, None]


def test_an_installed_codec_is_found() -> None:
    """A codec that was made elsewhere is used as it is."""
    other = CodecMap()
    other.register(INT8, "int8", "pg_catalog", encoder=str, decoder=int)
    codecs = CodecMap()
    codecs.install(other.lookup(INT8))
    assert codecs.lookup(INT8) is other.lookup(INT8)


def test_a_codec_in_use_stays_as_it_is() -> None:
    """A codec that a plan holds does not change when its type is registered again."""
    codecs = CodecMap()
    codecs.register(TEXT, "text", "pg_catalog", encoder=same, decoder=str.upper)
    held = codecs.lookup(TEXT)
    codecs.register(TEXT, "text", "pg_catalog", encoder=same, decoder=str.lower)
    assert decode_value(held, b"aB") == "AB"
    assert decode_value(codecs.lookup(TEXT), b"aB") == "ab"


def test_readers_see_the_old_scope_or_the_new_one() -> None:
    """While one thread changes a scope, another always finds a codec and its array."""
    codecs = CodecMap()
    stop = threading.Event()
    wrong: list[Any] = []

    def read() -> None:
        while not stop.is_set():
            array = codecs.lookup(JSON_ARRAY)
            if array.element.name != "json":
                wrong.append(array)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(200):
        codecs.register(JSON, "json", "pg_catalog", encoder=same, decoder=same)
        codecs.unregister(JSON)
    stop.set()
    reader.join()
    assert wrong == []


def test_types_learnt_by_two_at_once() -> None:
    """What one thread takes in is not lost by what another does meanwhile."""
    codecs = CodecMap()

    def slowly() -> Iterator[CatalogType]:
        yield CatalogType(70_000, "one", "public", "e")
        codecs.learn([CatalogType(70_001, "other", "public", "e")])

    codecs.learn(slowly())
    assert (codecs.known(70_000), codecs.known(70_001)) == (True, True)


def test_a_codec_outdated_while_it_is_made() -> None:
    """What was made of the types of before is not kept as one of those of today."""

    def learn(attribute: str) -> None:
        codecs.learn(
            [CatalogType(70_000, "p", "public", "c", names=(attribute,), parts=(INT4,))]
        )

    class Slow:
        is_asked = False

        @property
        def __signature__(self) -> inspect.Signature:
            if not self.is_asked:
                self.is_asked = True
                learn("new")
                codecs.lookup(70_000)
            return inspect.signature(lambda **attributes: None)

        def __call__(self, **attributes: int) -> dict[str, int]:
            return attributes

    codecs = CodecMap(None, Registry({"p": Slow()}))
    learn("old")
    for _ in range(2):
        codec = codecs.lookup(70_000)
    data = struct.pack("!iIii", 1, INT4, 4, 7)
    assert decode_value(codec, data) == {"new": 7}


def test_codecs_come_from_their_table() -> None:
    """A codec cannot be made by calling its class."""
    with pytest.raises(TypeError, match="made by their table"):
        type(CodecMap().lookup(BOOL))()


@pytest.mark.parametrize("oid", [-1, 2**32])
def test_an_oid_has_32_bits(oid: int) -> None:
    """What is no OID is refused."""
    with pytest.raises(OverflowError):
        CodecMap().lookup(oid)
    with pytest.raises(OverflowError):
        decode_value(oid, b"")
