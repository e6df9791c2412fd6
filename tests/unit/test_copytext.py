"""COPY in text, for tables with a column that has no binary form: what is written."""

from decimal import Decimal

import pytest

from chopin._codecs import CodecMap, scope_of
from chopin._copytext import text_of
from chopin.codecs import TypeCodec

JSON, JSONB, JSONB_ARRAY, NUMERIC, TEXT = 114, 3802, 3807, 1700, 25


@pytest.mark.parametrize("oid", [JSON, JSONB])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("123", b'"123"'),
        ("null", b'"null"'),
        (5, b"5"),
        ({"a": [1]}, b'{"a":[1]}'),
        ([1, "a"], b'[1,"a"]'),
    ],
)
def test_json_of_the_users(oid, value, text):
    """It is what the encoder has said; a str stays a str of JSON's."""
    written = text_of(scope_of(None, True).lookup(oid), value)
    assert written.replace(b" ", b"") == text


def test_array_of_json():
    """So are the elements."""
    codec = scope_of(None, True).lookup(JSONB_ARRAY)
    assert text_of(codec, ["1", {}]) == rb'{"\\"1\\"","{}"}'


@pytest.mark.parametrize(
    ("oid", "codec", "value", "text"),
    [
        (
            NUMERIC,
            TypeCodec(encoder=Decimal, decoder=float, format="value"),
            "0.12345678901234567890",
            b"0.12345678901234567890",
        ),
        (TEXT, TypeCodec(encoder=str.lower, decoder=str.upper), "aBc", b"abc"),
    ],
)
def test_decoder_of_the_users(oid, codec, value, text):
    """It is not asked: what it makes of a value is not what was sent."""
    name = CodecMap().lookup(oid).name
    assert text_of(scope_of({name: codec}, None).lookup(oid), value) == text
