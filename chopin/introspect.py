"""What the server's catalog says of types that the table does not know.

Owns: the queries of the catalog, and how their rows become codecs.
Layer L4. Imports L0 and L2; who calls it runs the queries.

Rules
- Every name in our SQL is qualified with pg_catalog, operators included, so that
  nothing in a user's search_path can stand in for them.
- One flat query for all the types of a statement, their elements included; a second one
  only for what lies under a domain or a range. No setting of the session is touched.
- What is learnt goes into the session's own scope of codecs. A type that is made anew
  has a new OID, so nothing here goes stale.

| kind of type | how it travels                                    |
| ------------ | ------------------------------------------------- |
| enum         | its label, as `str`                               |
| domain       | as the type under it                              |
| range        | `Range` over its bounds                           |
| array        | `list` of its elements                            |
| others       | their text, as `str` (composites, extensions ...) |

Source: PostgreSQL documentation, "pg_type", "pg_range".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from chopin._codecs import CodecMap, builtin_named, contrib_named
from chopin.exceptions import InterfaceError, UnsupportedClientFeatureError
from chopin.types import Type

if TYPE_CHECKING:
    from chopin._codecbase import Codec
    from chopin._rows import Description

#: Runs a query with one set of arguments and returns its rows.
Fetch = Callable[[str, tuple[Any, ...]], Awaitable[list[Any]]]


class CatalogType(NamedTuple):
    """A row of pg_type, as far as codecs need it."""

    oid: int
    name: str
    schema: str
    kind: str  # typtype
    array_oid: int
    element: str | None  # the name of the element, for an array
    base_oid: int  # of a domain
    bound_oid: int  # of a range

    @property
    def word(self) -> str:
        """The kind, as `Type.kind` says it."""
        return "array" if self.element is not None else _KINDS[self.kind]


_KINDS = {
    "b": "scalar",
    "c": "composite",
    "d": "domain",
    "e": "scalar",
    "m": "multirange",
    "p": "pseudo",
    "r": "range",
}

# Types whose binary form is their text.
_TEXTUAL = frozenset({"text", "varchar", "bpchar", "name", "json", "xml"})

_COLUMNS = """
SELECT t.oid, t.typname, n.nspname, t.typtype::pg_catalog.text, t.typarray,
       e.typname, t.typbasetype, coalesce(r.rngsubtype, 0::pg_catalog.oid)
FROM pg_catalog.pg_type AS t
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
LEFT JOIN pg_catalog.pg_type AS e ON e.typarray OPERATOR(pg_catalog.=) t.oid
LEFT JOIN pg_catalog.pg_range AS r ON r.rngtypid OPERATOR(pg_catalog.=) t.oid
"""

_BY_NAME = (
    _COLUMNS
    + "WHERE t.typname OPERATOR(pg_catalog.=) $1::pg_catalog.name"
    + " AND n.nspname OPERATOR(pg_catalog.=) $2::pg_catalog.name"
)

# The types asked for, and the elements of the arrays among them.
BY_OID = (
    _COLUMNS
    + "WHERE t.oid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[])"
    + " OR (t.typarray OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[])"
    + " AND t.typarray OPERATOR(pg_catalog.<>) 0::pg_catalog.oid)"
)


# -- for statements ------------------------------------------------------------------


def unknown_types(codecs: CodecMap, description: Description) -> list[int]:
    """The OIDs of a statement's parameters and columns that have no codec yet."""
    oids = {*description.parameter_oids, *(c.type_oid for c in description.columns)}
    return sorted(oid for oid in oids if oid and not codecs.known(oid))


def learn(codecs: CodecMap, rows: Iterable[Any], asked: Iterable[int]) -> list[int]:
    """Make codecs of what `BY_OID` has returned for the types `asked`.

    Returns:
        Types that lie under these and are unknown too: ask for them, and for the ones
        asked for, once more.
    """
    missing: set[int] = set()
    waiting: set[int] = set()
    seen: set[int] = set()
    for row in rows:
        found = CatalogType(*row)
        seen.add(found.oid)
        if found.element is not None:
            continue  # comes with its element
        under = found.base_oid or found.bound_oid
        if under and not codecs.known(under):
            missing.add(under)
            waiting.update({found.oid, found.array_oid})
            continue
        _install(codecs, found)
    for oid in asked:
        if oid not in seen and oid not in waiting:
            # dropped meanwhile: the statement will say so itself when it is run
            codecs.register_alias(oid, "unknown", "pg_catalog", codecs.lookup(oid))
    if not missing:
        return []
    return sorted(missing | {oid for oid in asked if oid in waiting})


def _install(codecs: CodecMap, found: CatalogType) -> None:
    if found.kind == "r":
        codecs.register_range(
            found.oid, found.name, found.schema, found.bound_oid, found.array_oid
        )
        return
    under: Codec | None = codecs.lookup(found.oid)
    if found.kind == "e":
        under = builtin_named("text")
    elif found.kind == "d":
        under = codecs.lookup(found.base_oid)
    assert under is not None
    codecs.register_alias(
        found.oid, found.name, found.schema, under, found.word, found.array_oid
    )


# -- for users -----------------------------------------------------------------------


async def find_type(fetch: Fetch, name: str, schema: str) -> CatalogType:
    """Look a type up by its name; one of the table's costs no round trip.

    Raises:
        ValueError: there is none.
    """
    if schema == "pg_catalog":
        codec = builtin_named(name)
        if codec is not None:
            return CatalogType(codec.oid, codec.name, schema, "b", 0, None, 0, 0)
    rows = await fetch(_BY_NAME, (name, schema))
    if not rows:
        raise ValueError(f"unknown type: {schema}.{name}")
    return CatalogType(*rows[0])


def describe_types(codecs: CodecMap, description: Description) -> dict[int, Type]:
    """The types of a statement's parameters and columns, by OID."""
    oids = {*description.parameter_oids, *(c.type_oid for c in description.columns)}
    types = {}
    for oid in oids:
        codec = codecs.lookup(oid)
        types[oid] = Type(oid, codec.name, codec.kind, codec.schema)
    return types


def check_customizable(found: CatalogType, name: str) -> None:
    """Refuse the kinds of types whose values never carry a codec of their own.

    The server reports the columns of a domain under its base type, and arrays and
    ranges are made of what they contain.
    """
    if found.word == "domain":
        raise UnsupportedClientFeatureError(
            "custom codecs on domain types are not supported",
            hint="Set the codec on the base type.",
        )
    if found.word not in ("scalar", "composite", "pseudo"):
        raise InterfaceError(
            f"cannot use custom codec on type {found.schema}.{name}: it is neither a "
            "scalar type nor a composite type"
        )


def builtin_codec(name: str, format: Literal["text", "binary"] | None) -> Codec:
    """The codec of that name for `set_builtin_type_codec`.

    Raises:
        InterfaceError: there is none, or it has another format.
    """
    codec = builtin_named(name) or contrib_named(name)
    if codec is None:
        raise InterfaceError(f"{name} is not a name of a built-in type with a codec")
    if format == "text" and codec.name in _TEXTUAL:
        return CodecMap().lookup(0)  # of an unknown type: its text, as it is
    has = "binary" if codec.format else "text"
    if format is not None and format != has:
        raise InterfaceError(f"the codec of {name} is {has}, not {format}")
    return codec
