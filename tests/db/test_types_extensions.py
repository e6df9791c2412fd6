"""Types of extensions: text until a codec is asked for, and what that makes of them.

Debian's server has the contrib modules, that of the wheel has pgvector; a test is
skipped where its extension is not.
"""

import array

import asyncpg
import pytest

import chopin


@pytest.fixture
def extension(conn):
    """Create an extension for the test; skip the test if the server has none."""

    async def create(name):
        if not await conn.fetchval(
            "SELECT count(*) FROM pg_available_extensions WHERE name = $1", name
        ):
            pytest.skip(f"the server has no extension {name}")
        await conn.execute(f"CREATE SCHEMA IF NOT EXISTS ext_{name}")
        await conn.execute(f"CREATE EXTENSION IF NOT EXISTS {name} SCHEMA ext_{name}")
        await conn.execute(f"SET search_path = public, ext_{name}")
        return f"ext_{name}"

    return create


# Extension, type, literals as the server writes them.
AS_TEXT = [
    ("hstore", "hstore", ["", '"a"=>"1", "b"=>NULL', '"\\"q"=>"é, \\\\"']),
    ("citext", "citext", ["", "Naïve"]),
    ("ltree", "ltree", ["", "a.b.c"]),
    ("ltree", "lquery", ["*.a{1,2}.b", "a|b"]),
    ("ltree", "ltxtquery", ["a & !b"]),
    ("cube", "cube", ["(1, 2)", "(1, 2),(3, 4)", "()"]),
    ("vector", "vector", ["[1,-2.5]"]),
    ("vector", "halfvec", ["[1,-2.5]"]),
    ("vector", "sparsevec", ["{1:2,3:-0.5}/5", "{}/5"]),
]


@pytest.mark.parametrize(("name", "kind", "texts"), AS_TEXT)
async def test_as_text(conn, extension, server, name, kind, texts):
    """Without a word of the user they are text, in arrays too, as in asyncpg."""
    await extension(name)
    theirs = await asyncpg.connect(
        server.dsn, server_settings={"search_path": f"public, ext_{name}"}
    )
    try:
        for text in texts:
            for parameter in text, [text, None]:
                cast = f"{kind}[]" if isinstance(parameter, list) else kind
                query = f"SELECT $1::{cast}"
                got = await conn.fetchval(query, parameter)
                assert got == parameter
                # asyncpg makes a list with holes of an array with an empty text
                if text:
                    assert await theirs.fetchval(query, parameter) == got
    finally:
        await theirs.close()


# Extension, type, codec, and values by their text.
WITH_CODEC = [
    (
        "hstore", "hstore", "pg_contrib.hstore",
        {"": {}, '"a"=>"1", "b"=>NULL': {"a": "1", "b": None}, '""=>"é"': {"": "é"}},
    ),
    ("citext", "citext", "text", {"Naïve": "Naïve"}),
    (
        "cube", "cube", "pg_contrib.cube",
        {"(1, 2)": (1.0, 2.0), "(1, 2),(3, 4)": ((1.0, 2.0), (3.0, 4.0)), "()": ()},
    ),
    ("vector", "vector", "pgvector.vector", {"[1,-2.5]": [1.0, -2.5]}),
    ("vector", "halfvec", "pgvector.halfvec", {"[1,-2.5]": [1.0, -2.5]}),
    (
        "vector", "sparsevec", "pgvector.sparsevec",
        {"{1:2,3:-0.5}/5": (5, {0: 2.0, 2: -0.5}), "{}/5": (5, {})},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "codec", "values"), WITH_CODEC)
async def test_with_codec(conn, extension, name, kind, codec, values):
    """With a codec they are values, both ways, alone, in arrays and as NULL."""
    schema = await extension(name)
    await conn.set_builtin_type_codec(kind, schema=schema, codec_name=codec)
    for text, value in values.items():
        row = await conn.fetchrow(
            f"SELECT $1::text::{kind}, $2::{kind}::text, $3::{kind}", text, value, None
        )
        assert row == (value, text, None)
        got = await conn.fetchrow(
            f"SELECT $1::{kind}[],"
            f" $1::{kind}[]::text = ARRAY[$2, NULL]::{kind}[]::text",
            [value, None],
            value,
        )
        assert got == ([value, None], True)
    await conn.reset_type_codec(kind, schema=schema)
    assert await conn.fetchval(f"SELECT $1::{kind}", text) == text


async def test_hstore_is_asyncpgs(conn, extension, server):
    """What asyncpg makes of an hstore with its codec is what we make of it."""
    schema = await extension("hstore")
    theirs = await asyncpg.connect(server.dsn)
    try:
        rows = []
        for each in conn, theirs:
            await each.set_builtin_type_codec(
                "hstore", schema=schema, codec_name="pg_contrib.hstore"
            )
            rows.append(
                await each.fetchval(
                    f"SELECT ARRAY[$1, NULL, 'x=>1']::{schema}.hstore[]",
                    {"a": "1", "b": None, "": "é"},
                )
            )
        assert rows[0] == rows[1]
        for each in conn, theirs:
            with pytest.raises((chopin.DataError, asyncpg.DataError)) as caught:
                await each.fetchval(f"SELECT $1::{schema}.hstore", {None: "a"})
            assert "null value not allowed in hstore key" in str(caught.value)
    finally:
        await theirs.close()


async def test_refused_element(conn, extension):
    """The error names the place and the type."""
    schema = await extension("hstore")
    await conn.set_builtin_type_codec(
        "hstore", schema=schema, codec_name="pg_contrib.hstore"
    )
    with pytest.raises(
        chopin.DataError, match=r"argument \$1\['a'\]: 1 \(expected str"
    ):
        await conn.fetchval("SELECT $1::hstore", {"a": 1})


async def test_no_such_codec(conn):
    """A name that is no codec is refused, and nothing changes."""
    await conn.execute("CREATE DOMAIN pg_temp.t AS text")
    with pytest.raises(chopin.InterfaceError, match="not a name of a built-in type"):
        await conn.set_builtin_type_codec(
            "text", schema="pg_catalog", codec_name="pg_contrib.none"
        )
    assert await conn.fetchval("SELECT 'a'::text") == "a"


async def test_vectors_from_buffers(conn, extension):
    """Buffers of floats are vectors; what is too wide is refused before it is sent."""
    schema = await extension("vector")
    await conn.set_builtin_type_codec(
        "vector", schema=schema, codec_name="pgvector.vector"
    )
    for kind in "fd":
        numbers = array.array(kind, [0.5, -1, 1024])
        assert await conn.fetchval("SELECT $1::vector", numbers) == list(numbers)
    with pytest.raises(chopin.DataError, match="value out of float32 range"):
        await conn.fetchval("SELECT $1::vector", array.array("d", [1e300]))
    with pytest.raises(chopin.DataError, match="expected 2 dimensions, not 3"):
        await conn.fetchval("SELECT $1::vector(2)", numbers)


async def test_arrays_of_numpy(conn, extension):
    """With numpy, vectors are its arrays."""
    numpy = pytest.importorskip("numpy")
    schema = await extension("vector")
    for kind, dtype in ("vector", "float32"), ("halfvec", "float16"):
        await conn.set_builtin_type_codec(
            kind, schema=schema, codec_name=f"pgvector.{kind}.numpy"
        )
        sent = numpy.array([1, -2.5, 0], dtype)
        got, text = await conn.fetchrow(f"SELECT $1::{kind}, $1::{kind}::text", sent)
        assert (got.dtype, got.tolist(), text) == (
            sent.dtype,
            [1, -2.5, 0],
            "[1,-2.5,0]",
        )
