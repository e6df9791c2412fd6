"""What the server's catalog says of types that the table does not know.

Owns: looking types up by name and by OID.
Layer L4. Imports L0, L2, L3 and _execute.

Rules
- Every name in our SQL is qualified with pg_catalog, operators included, so that nothing
  in a user's search_path can stand in for them.
- One flat query; no setting of the session is touched.

Source: PostgreSQL documentation, "pg_type".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from chopin._codecs import CodecMap, builtin_named
from chopin._execute import run_query
from chopin._ops import ROWS
from chopin.exceptions import InterfaceError, UnsupportedClientFeatureError
from chopin.types import Type

if TYPE_CHECKING:
    from chopin._codecbase import Codec
    from chopin._protocol import Session, Statement


class CatalogType(NamedTuple):
    """A row of pg_type, as far as codecs need it."""

    oid: int
    name: str
    schema: str
    kind: str
    array_oid: int


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
SELECT t.oid, t.typname, n.nspname, t.typtype::pg_catalog.text,
       t.typarray, e.typname
FROM pg_catalog.pg_type AS t
LEFT JOIN pg_catalog.pg_type AS e
       ON e.typarray OPERATOR(pg_catalog.=) t.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
"""

_BY_NAME = (
    _COLUMNS
    + "WHERE t.typname OPERATOR(pg_catalog.=) $1::pg_catalog.name"
    + " AND n.nspname OPERATOR(pg_catalog.=) $2::pg_catalog.name"
)

_BY_OID = _COLUMNS + "WHERE t.oid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[])"


async def find_type(session: Session, name: str, schema: str) -> CatalogType:
    """Look a type up by its name; one of the table's costs no round trip.

    Raises:
        ValueError: there is none.
    """
    if schema == "pg_catalog":
        codec = builtin_named(name)
        if codec is not None:
            return CatalogType(codec.oid, codec.name, schema, codec.kind, 0)
    rows = await run_query(session, _BY_NAME, (name, schema), ROWS)
    if not rows:
        raise ValueError(f"unknown type: {schema}.{name}")
    return _catalog_type(rows[0])


def check_customizable(found: CatalogType, name: str) -> None:
    """Refuse the kinds of types whose values never carry a codec of their own.

    The server reports the columns of a domain under its base type, and arrays and ranges
    are made of what they contain.
    """
    if found.kind == "domain":
        raise UnsupportedClientFeatureError(
            "custom codecs on domain types are not supported",
            hint="Set the codec on the base type.",
        )
    if found.kind not in ("scalar", "composite", "pseudo"):
        raise InterfaceError(
            f"cannot use custom codec on type {found.schema}.{name}: it is neither a "
            "scalar type nor a composite type"
        )


async def describe_types(session: Session, statement: Statement) -> dict[int, Type]:
    """The types of a statement's parameters and columns, by OID."""
    description = statement.description
    oids = {*description.parameter_oids, *(c.type_oid for c in description.columns)}
    known: dict[int, Type] = {}
    unknown: list[int] = []
    table: CodecMap = session.codecs
    for oid in sorted(oids):
        if table.known(oid):
            codec = table.lookup(oid)
            known[oid] = Type(oid, codec.name, codec.kind, codec.schema)
        else:
            unknown.append(oid)
    if unknown:
        for row in await run_query(session, _BY_OID, (unknown,), ROWS):
            found = _catalog_type(row)
            known[found.oid] = Type(found.oid, found.name, found.kind, found.schema)
    for oid in oids - known.keys():
        # dropped meanwhile: the statement will say so itself when it is run
        known[oid] = Type(oid, "unknown", "scalar", "pg_catalog")
    return known


def builtin_codec(name: str, format: Literal["text", "binary"] | None) -> Codec:
    """The table's codec for `set_builtin_type_codec`.

    Raises:
        InterfaceError: there is none, or it has another format.
    """
    codec = builtin_named(name)
    if codec is None:
        raise InterfaceError(f"{name} is not a name of a built-in type with a codec")
    if format == "text" and codec.name in _TEXTUAL:
        return CodecMap().lookup(0)  # of an unknown type: its text, as it is
    has = "binary" if codec.format else "text"
    if format is not None and format != has:
        raise InterfaceError(f"the codec of {name} is {has}, not {format}")
    return codec


def _catalog_type(row: Any) -> CatalogType:
    oid, name, schema, kind, array_oid, element = row
    if element is not None:
        return CatalogType(oid, f"{element}[]", schema, "array", array_oid)
    return CatalogType(oid, name, schema, _KINDS[kind], array_oid)
