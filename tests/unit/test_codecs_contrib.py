"""The codecs of extensions' types, against the bytes that the extensions send."""

from __future__ import annotations

import array
import math
import struct
import sys
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chopin._codecbase import Codec, ElementError
from chopin._codecs import (
    CodecMap,
    builtin_named,
    contrib_named,
    decode_value,
    encode_value,
)
from chopin.exceptions import DataError, InterfaceError

FOREIGN, FOREIGN_ARRAY = 70_000, 70_001
HSTORE, CUBE = "pg_contrib.hstore", "pg_contrib.cube"
VECTOR, HALFVEC, SPARSEVEC = "pgvector.vector", "pgvector.halfvec", "pgvector.sparsevec"


def codec_of(name: str) -> Codec:
    """The codec of that name."""
    codec = contrib_named(name)
    assert codec is not None
    return codec


def numpy() -> Any:
    """numpy, or the end of the test."""
    return pytest.importorskip("numpy")


# (name, value, bytes, what it is in SQL)
BOTH_WAYS: list[tuple[str, Any, str, str]] = [
    (HSTORE, {}, "00000000", "''"),
    (
        HSTORE,
        {"a": "1", "b": None},
        "00000002" + "0000000161" + "0000000131" + "0000000162" + "ffffffff",
        "'a=>1,b=>NULL'",
    ),
    (HSTORE, {"": "é"}, "00000001" + "00000000" + "00000002c3a9", "'\"\"=>é'"),
    (CUBE, (), "80000000", "a cube of no dimensions"),
    (CUBE, (1.0, 2.0), "80000002" + "3ff00000000000004000000000000000", "'(1,2)'"),
    (
        CUBE,
        ((1.0,), (2.0,)),
        "00000001" + "3ff00000000000004000000000000000",
        "'(1),(2)'",
    ),
    (VECTOR, [1.0, 2.0], "00020000" + "3f80000040000000", "'[1,2]'"),
    (HALFVEC, [1.0, -2.0], "00020000" + "3c00c000", "'[1,-2]'"),
    (
        SPARSEVEC,
        (5, {0: 2.0, 2: 5.0}),
        "000000050000000200000000" + "0000000000000002" + "4000000040a00000",
        "'{1:2,3:5}/5'",
    ),
    (SPARSEVEC, (5, {}), "000000050000000000000000", "'{}/5'"),
]


@pytest.mark.parametrize(("name", "value", "data", "sql"), BOTH_WAYS)
def test_value_and_bytes(name: str, value: Any, data: str, sql: str) -> None:
    """A value has the extension's bytes, and the bytes are the value."""
    codec = codec_of(name)
    got = decode_value(codec, bytes.fromhex(data))
    assert encode_value(codec, value).hex() == data, sql
    assert repr(got) == repr(value), sql


@pytest.mark.parametrize(("name", "value", "data", "sql"), BOTH_WAYS)
def test_truncated_and_extended(name: str, value: Any, data: str, sql: str) -> None:
    """Fewer bytes or more are a DataError, wherever they end."""
    raw = bytes.fromhex(data)
    for wrong in *(raw[:n] for n in range(len(raw))), raw + b"\0":
        with pytest.raises(DataError):
            decode_value(codec_of(name), wrong)


@pytest.mark.parametrize(("name", "value", "data", "sql"), BOTH_WAYS)
def test_alias_and_array(name: str, value: Any, data: str, sql: str) -> None:
    """A type of any OID can have such a codec, and its array follows."""
    codecs = CodecMap()
    codecs.register_alias(
        FOREIGN, "mine", "public", codec_of(name), array_oid=FOREIGN_ARRAY
    )
    array = codecs.lookup(FOREIGN_ARRAY)
    sent = tuple(value) if isinstance(value, list) else value
    got = decode_value(array, encode_value(array, [sent, None]))
    assert repr(got) == repr([value, None]), sql


class Own(dict[str, str]):
    """A dict of the user's own."""


# (name, value, the value that has the same bytes)
ALSO_TAKEN: list[tuple[str, Any, Any]] = [
    (HSTORE, Own(a="1"), {"a": "1"}),
    (HSTORE, [("a", "1")], {"a": "1"}),
    (HSTORE, types.MappingProxyType({"a": None}), {"a": None}),
    (CUBE, [1, 2], (1.0, 2.0)),
    (CUBE, [[1], (2,)], ((1.0,), (2.0,))),
    (VECTOR, (1, True), [1.0, 1.0]),
    (VECTOR, range(2), [0.0, 1.0]),
    (VECTOR, array.array("f", [1, 2.5]), [1.0, 2.5]),
    (VECTOR, array.array("d", [1, 2.5]), [1.0, 2.5]),
    (VECTOR, array.array("d", [1, 7, 2.5])[::2], [1.0, 2.5]),
    (VECTOR, memoryview(array.array("d", [1, 7, 2.5]))[::2], [1.0, 2.5]),
    (VECTOR, array.array("h", [1, 2]), [1.0, 2.0]),
    (VECTOR, [0.1], [0.10000000149011612]),
    (HALFVEC, array.array("f", [1, 2.5]), [1.0, 2.5]),
    (HALFVEC, [0.1], [0.0999755859375]),
    (SPARSEVEC, (3, {2: 1, 0: 0, 1: 2.0}), (3, {1: 2.0, 2: 1.0})),
]


@pytest.mark.parametrize(("name", "value", "same"), ALSO_TAKEN)
def test_other_python_types(name: str, value: Any, same: Any) -> None:
    """What stands for the same value has the same bytes."""
    codec = codec_of(name)
    assert encode_value(codec, value) == encode_value(codec, same)


# (name, value, error, part of its text)
REFUSED: list[tuple[str, Any, type[Exception], str]] = [
    (HSTORE, {None: "a"}, ValueError, "null value not allowed in hstore key"),
    (HSTORE, {1: "a"}, TypeError, "expected str, got int"),
    (HSTORE, {"a": 1}, ElementError, "expected str, got int"),
    (HSTORE, {"a": "\ud800"}, ElementError, "surrogates not allowed"),
    (HSTORE, "a=>1", TypeError, "expected a mapping or pairs of str, got str"),
    (HSTORE, 1, TypeError, "'int' object is not iterable"),
    (HSTORE, [("a",)], ValueError, "not enough values|need more than 1"),
    (CUBE, ((1,), (2, 3)), ValueError, "corners of 1 and 2 dimensions"),
    (CUBE, ("1",), TypeError, "must be real number, not str"),
    (CUBE, range(2**15), ValueError, "32768 dimensions are too many"),
    (VECTOR, "[1]", TypeError, "a sequence of numbers expected, got str"),
    (VECTOR, b"12", TypeError, "a sequence of numbers expected, got bytes"),
    (VECTOR, {1: 2}, TypeError, "a sequence of numbers expected, got dict"),
    (VECTOR, 1, TypeError, "'int' object is not iterable"),
    (VECTOR, [1, "2"], ElementError, "must be real number, not str"),
    (VECTOR, [1e39], ElementError, "value out of float32 range"),
    (VECTOR, array.array("d", [1e39]), ValueError, "value out of float32 range"),
    (VECTOR, range(2**15), ValueError, "a vector of 32768 dimensions is too long"),
    (VECTOR, array.array("f", bytes(4 * 2**15)), ValueError, "32768 dimensions"),
    (HALFVEC, [65520.0], ElementError, "float too large to pack with e format"),
    (SPARSEVEC, {1: 2}, TypeError, r"expected \(dimensions, {index: value}\)"),
    (SPARSEVEC, (1, 2, 3), TypeError, r"expected \(dimensions, {index: value}\)"),
    (SPARSEVEC, (2**31, {}), OverflowError, "value out of int32 range"),
    (SPARSEVEC, (2, {2: 1}), ElementError, r"value out of 0\.\.1 range"),
    (SPARSEVEC, (2, {-1: 1}), ElementError, r"value out of 0\.\.1 range"),
    (SPARSEVEC, (2, {0: 1e39}), ElementError, "value out of float32 range"),
]


@pytest.mark.parametrize(
    ("name", "value", "error", "reason"),
    REFUSED,
    ids=[f"{row[0]}-{index}" for index, row in enumerate(REFUSED)],
)
def test_refused_values(
    name: str, value: Any, error: type[Exception], reason: str
) -> None:
    """What the type cannot hold raises the reason, in the class that fits."""
    with pytest.raises(error, match=reason):
        encode_value(codec_of(name), value)


@pytest.mark.parametrize(
    ("name", "value", "path"),
    [
        (HSTORE, {"a": 1}, "['a']"),
        (VECTOR, [1, None], "[1]"),
        (SPARSEVEC, (2, {1: "x"}), "[1][1]"),
    ],
)
def test_the_place_of_a_refused_element(name: str, value: Any, path: str) -> None:
    """The error of an element says where it is."""
    with pytest.raises(ElementError) as caught:
        encode_value(codec_of(name), value)
    assert caught.value.path == path


# (name, bytes, part of the message)
HOSTILE: list[tuple[str, str, str]] = [
    (HSTORE, "ffffffff", "-1 pairs do not take 4 bytes"),
    (HSTORE, "7fffffff", "2147483647 pairs do not take 4 bytes"),
    (HSTORE, "00000001" + "fffffffe" + "00" * 8, "key 0 of -2 bytes is out of range"),
    (HSTORE, "00000001" + "ffffffff" + "00" * 8, "key 0 of -1 bytes is out of range"),
    (HSTORE, "00000001" + "0000000461626364", "value 0 is missing"),
    (HSTORE, "00000001" + "00000000" + "fffffffe", "value 0 of -2 bytes"),
    (HSTORE, "00000001" + "00000000" + "7fffffff", "value 0 of 2147483647 bytes"),
    (HSTORE, "00000001" + "00000001ff" + "ffffffff", "utf-8"),
    (CUBE, "ffffffff", "2147483647 dimensions do not take 0 bytes"),
    (CUBE, "7fffffff", "2 x 2147483647 dimensions do not take 0 bytes"),
    (VECTOR, "ffff0000", "65535 dimensions do not take 0 bytes"),
    (HALFVEC, "0002000000", "2 dimensions do not take 1 bytes"),
    (SPARSEVEC, "00000005ffffffff00000000", "-1 entries do not take 0 bytes"),
    (SPARSEVEC, "ffffffff0000000000000000", "it has -1 dimensions"),
    (SPARSEVEC, "000000057fffffff00000000", "2147483647 entries do not take"),
    *(
        (SPARSEVEC, f"000000050000000200000000{two}" + "40000000" * 2, message)
        for two, message in (
            ("0000000000000000", "index 0 after 0, of 5"),
            ("0000000200000001", "index 1 after 2, of 5"),
            ("0000000000000005", "index 5 after 0, of 5"),
            ("ffffffff00000000", "index -1 after -1, of 5"),
        )
    ),
]


@pytest.mark.parametrize(("name", "data", "message"), HOSTILE)
def test_hostile_bytes(name: str, data: str, message: str) -> None:
    """Bytes that the type cannot have are a DataError that says what is wrong."""
    with pytest.raises(DataError, match=message):
        decode_value(codec_of(name), bytes.fromhex(data))


@st.composite
def near_values(draw: st.DrawFn) -> tuple[str, bytes]:
    """Bytes of a real value with some of them changed, cut or added."""
    name, _, text, _ = draw(st.sampled_from(BOTH_WAYS))
    data = bytearray.fromhex(text)
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return name, bytes(data) + draw(st.binary(max_size=16))


@given(near_values())
def test_near_values(case: tuple[str, bytes]) -> None:
    """Almost a value is one, or a DataError."""
    name, data = case
    try:
        decode_value(codec_of(name), data)
    except DataError:
        return


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(TEXTS, st.none() | TEXTS))
def test_hstore_round_trip(value: dict[str, str | None]) -> None:
    """Every dict of texts comes back, in its order."""
    codec = codec_of(HSTORE)
    got = decode_value(codec, encode_value(codec, value))
    assert list(got.items()) == list(value.items())


@pytest.mark.parametrize("name", [VECTOR, HALFVEC])
@pytest.mark.parametrize(
    ("value", "lengths"),
    [
        ([[1.0, 2.0]], [1]),
        ([None, [1.0, 2.0], [3.0]], [3]),
        ([[1.0], None], [2]),
        ([[[1.0], [2.0, 3.0]]], [1, 2]),
        ([[None, [1.0]], [[2.0], None]], [2, 2]),
    ],
)
def test_arrays_of_vectors(name, value, lengths):
    """What comes can be sent: a list of numbers is an element, another a dimension."""
    codecs = CodecMap()
    codecs.register_alias(
        FOREIGN, "v", "public", codec_of(name), array_oid=FOREIGN_ARRAY
    )
    codec = codecs.lookup(FOREIGN_ARRAY)
    data = encode_value(codec, value)
    assert decode_value(codec, data) == value
    assert [n for n, _ in struct.iter_unpack("!ii", data[12:][: 8 * len(lengths)])] == (
        lengths
    )
    numbers = [array.array("d", item) for item in ([1, 2], [3])]
    assert decode_value(codec, encode_value(codec, numbers)) == [[1, 2], [3]]
    tuples = [[(1.0, 2.0)], [(3.0,)]]
    assert decode_value(codec, encode_value(codec, tuples)) == [[[1, 2]], [[3]]]
    assert decode_value(codec, encode_value(codec, [[], []])) == []


@given(st.lists(st.floats(width=16)))
def test_vectors_round_trip(numbers: list[float]) -> None:
    """Every vector comes back bit by bit, from items and from buffers."""
    wide, half = codec_of(VECTOR), codec_of(HALFVEC)
    data = encode_value(wide, numbers)
    assert encode_value(wide, array.array("f", numbers)) == data
    assert encode_value(wide, array.array("d", numbers)) == data
    assert data[4:] == struct.pack(f">{len(numbers)}f", *numbers)
    assert repr(decode_value(wide, data)) == repr(numbers)
    data = encode_value(half, numbers)
    assert data[4:] == struct.pack(f">{len(numbers)}e", *numbers)
    assert repr(decode_value(half, data)) == repr(numbers)


@given(st.dictionaries(st.integers(0, 99), st.floats(width=32).filter(bool)))
def test_sparsevec_round_trip(entries: dict[int, float]) -> None:
    """Every sparse vector comes back, its entries in order."""
    codec = codec_of(SPARSEVEC)
    got = decode_value(codec, encode_value(codec, (100, entries)))
    assert repr(got) == repr((100, dict(sorted(entries.items()))))


def test_names() -> None:
    """These codecs are no types of the catalog, and other names are nobody's."""
    assert builtin_named(HSTORE) is None
    assert contrib_named("int4") is None
    assert contrib_named("hstore") is None


class FindsNothing:
    """An importer for which nothing is installed."""

    @staticmethod
    def find_spec(*args: object) -> None:
        """Say that there is no such module."""


def test_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for arrays of numpy without numpy is told so."""
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [FindsNothing])
    with pytest.raises(InterfaceError, match=r"codec pgvector\.vector\.numpy needs"):
        contrib_named("pgvector.vector.numpy")


@pytest.mark.parametrize(("name", "kind"), [(VECTOR, "float32"), (HALFVEC, "float16")])
def test_arrays_of_numpy(name: str, kind: str) -> None:
    """Vectors are arrays of numpy, which can be written to, and go back."""
    np = numpy()
    codec = codec_of(f"{name}.numpy")
    for sent in [1.5, -2, math.inf], []:
        data = encode_value(codec_of(name), sent)
        got = decode_value(codec, data)
        assert (got.dtype, got.tolist()) == (np.dtype(kind), sent)
        assert got.dtype.isnative
        assert got.flags.writeable
        for again in got, got.astype("f8"), got.astype(">f4"):
            assert encode_value(codec, again) == data
    with pytest.raises(DataError, match="2 dimensions do not take 1 bytes"):
        decode_value(codec, b"\0\2\0\0\0")


def test_strided_arrays_of_numpy() -> None:
    """A column, or one read backwards, is not in one piece."""
    codec = contrib_named(VECTOR)
    np = numpy()
    table = np.arange(6, dtype="f4").reshape(2, 3)
    for strided, items in (
        (table[:, 0], [0.0, 3.0]),
        (np.arange(3, dtype="f8")[::-1], [2.0, 1.0, 0.0]),
    ):
        assert encode_value(codec, strided) == encode_value(codec, items)
