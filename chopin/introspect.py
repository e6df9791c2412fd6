"""What the server's catalog says of types that the table does not know.

Owns: the queries of the catalog, and how their rows become codecs.
Layer L4. Imports L0 and L2; who calls it runs the queries.

Rules
- Every name in our SQL is qualified with pg_catalog, operators included, so that
  nothing in a user's search_path can stand in for them.
- Codecs of the user's are not for these queries: see `_statements.OWN`.
- One query for all the types of a statement and what they are made of, at any depth. No
  setting of the session is touched; the query is too cheap to be compiled (JIT).
- What is learnt goes into the outermost scope of codecs, a pool's where there is one. A
  type that is made anew has a new OID; one that was altered is found out by its values.

| kind of type | how it travels                                    |
| ------------ | ------------------------------------------------- |
| enum         | its label, as `str`                               |
| domain       | as the type under it                              |
| array        | `list` of its elements                            |
| composite    | `Record` of its attributes                        |
| range        | `Range` over its bounds                           |
| multirange   | `list` of its ranges                              |
| others       | their text, as `str` (types of extensions ...)    |

Source: PostgreSQL documentation, "pg_type", "pg_range".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from chopin import _statements
from chopin._catalog import CatalogType
from chopin._codecs import CodecMap, builtin_named, contrib_named
from chopin.exceptions import InterfaceError, UnsupportedClientFeatureError
from chopin.types import Type

if TYPE_CHECKING:
    from chopin._codecbase import Codec
    from chopin._rows import Description

#: Runs a query with one set of arguments and returns its rows.
Fetch = Callable[[str, tuple[Any, ...]], Awaitable[list[Any]]]


# Types whose binary form is their text.
_TEXTUAL = frozenset({"text", "varchar", "bpchar", "name", "json", "xml"})

# Level by level: the types that are asked for, {start}, and what each level is made of.
# A level is one array, so that the planner never expects many rows, whatever a database
# has: it would compile the query (JIT), which takes far longer than running it. The
# first OIDs are those of built-in types, which nobody needs to ask for.
_SQL = """
WITH RECURSIVE levels(oids, depth) AS (
    SELECT {start}, 0
  UNION ALL
    SELECT ARRAY(
        SELECT DISTINCT below.oid
        FROM pg_catalog.unnest(l.oids) AS needed(oid)
        JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) needed.oid
        CROSS JOIN LATERAL (
            SELECT t.typelem
          UNION ALL
            SELECT t.typbasetype
          UNION ALL
            SELECT r.rngsubtype FROM pg_catalog.pg_range AS r
            WHERE r.rngtypid OPERATOR(pg_catalog.=) t.oid
          UNION ALL
            SELECT r.rngtypid FROM pg_catalog.pg_range AS r
            WHERE r.rngmultitypid OPERATOR(pg_catalog.=) t.oid
          UNION ALL
            SELECT a.atttypid FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid OPERATOR(pg_catalog.=) t.typrelid
              AND a.attnum OPERATOR(pg_catalog.>) 0
              AND NOT a.attisdropped
        ) AS below(oid)
        WHERE below.oid OPERATOR(pg_catalog.>=) 10000::pg_catalog.oid
    ), l.depth OPERATOR(pg_catalog.+) 1
    FROM levels AS l
    WHERE pg_catalog.cardinality(l.oids) OPERATOR(pg_catalog.>) 0
      AND l.depth OPERATOR(pg_catalog.<) 100
)
SELECT t.oid, t.typname, n.nspname,
       CASE WHEN e.typarray OPERATOR(pg_catalog.=) t.oid THEN 'a'
            ELSE t.typtype::pg_catalog.text END,
       CASE WHEN e.typarray OPERATOR(pg_catalog.=) t.oid THEN t.typelem
            ELSE coalesce(r.rngsubtype, m.rngtypid, t.typbasetype) END,
       t.typarray, t.typdelim::pg_catalog.text,
       CASE WHEN t.typtype::pg_catalog.text OPERATOR(pg_catalog.=) 'e'
            THEN ARRAY(SELECT v.enumlabel::pg_catalog.text FROM pg_catalog.pg_enum AS v
                       WHERE v.enumtypid OPERATOR(pg_catalog.=) t.oid)
            ELSE ARRAY(
                SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute AS a
                WHERE a.attrelid OPERATOR(pg_catalog.=) t.typrelid
                  AND a.attnum OPERATOR(pg_catalog.>) 0
                  AND NOT a.attisdropped
                ORDER BY a.attnum
            ) END,
       ARRAY(SELECT a.atttypid FROM pg_catalog.pg_attribute AS a
             WHERE a.attrelid OPERATOR(pg_catalog.=) t.typrelid
               AND a.attnum OPERATOR(pg_catalog.>) 0
               AND NOT a.attisdropped
             ORDER BY a.attnum)
FROM levels AS l
CROSS JOIN LATERAL pg_catalog.unnest(l.oids) AS needed(oid)
JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) needed.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
LEFT JOIN pg_catalog.pg_type AS e ON e.oid OPERATOR(pg_catalog.=) t.typelem
LEFT JOIN pg_catalog.pg_range AS r ON r.rngtypid OPERATOR(pg_catalog.=) t.oid
LEFT JOIN pg_catalog.pg_range AS m ON m.rngmultitypid OPERATOR(pg_catalog.=) t.oid
"""

#: The type of the parameter of `BY_OID`, "oid[]".
OIDS = 1028

#: The types asked for and all that they are made of.
BY_OID = _SQL.format(start="$1::pg_catalog.oid[]")

#: The same for a type by its name, which comes first, and its schema.
BY_NAME = _SQL.format(
    start="""ARRAY(
        SELECT t.oid FROM pg_catalog.pg_type AS t
        JOIN pg_catalog.pg_namespace AS n
          ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
        WHERE t.typname OPERATOR(pg_catalog.=) $1::pg_catalog.name
          AND n.nspname OPERATOR(pg_catalog.=) $2::pg_catalog.name
    )"""
)

#: The same for the types of users that a record may hold, without the rows of tables.
OF_USERS = _SQL.format(
    start="""ARRAY(
        SELECT t.oid FROM pg_catalog.pg_type AS t
        LEFT JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) t.typrelid
        WHERE t.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
          AND (t.typtype::pg_catalog.text OPERATOR(pg_catalog.=)
                 ANY (ARRAY['d', 'e', 'm', 'r']::pg_catalog.text[])
               OR c.relkind::pg_catalog.text OPERATOR(pg_catalog.=) 'c')
    )"""
)

_statements.OWN.update((BY_OID, BY_NAME, OF_USERS))

# A type's letter by the kind that its codec has.
_LETTERS = {"scalar": "b", "array": "a", "range": "r", "multirange": "m", "pseudo": "p"}

#: Anonymous records, and arrays of them.
RECORDS = frozenset({2249, 2287})

#: Says that the types of `OF_USERS` are known.
RECORD = CatalogType(2249, "record", "pg_catalog", "p", array_oid=2287)


# -- for statements ------------------------------------------------------------------


def unknown_types(codecs: CodecMap, description: Description) -> list[int]:
    """The OIDs of a statement's parameters and columns that are not known yet."""
    return sorted(oid for oid in _oids(description) if not codecs.known(oid))


def found(rows: Iterable[Any]) -> list[CatalogType]:
    """The types that a query of the catalog has returned."""
    return [
        CatalogType(
            oid, name, schema, kind, under, array, delimiter, tuple(names), tuple(parts)
        )
        for oid, name, schema, kind, under, array, delimiter, names, parts in rows
    ]


def missing(types: Iterable[CatalogType], asked: Iterable[int]) -> list[CatalogType]:
    """What to take for the types `asked` that are not there any more.

    They were dropped meanwhile: the statement will say so itself when it is run.
    """
    oids = {each.oid for each in types}
    return [
        CatalogType(oid, "unknown", "pg_catalog", "b")
        for oid in asked
        if oid not in oids
    ]


def _oids(description: Description) -> set[int]:
    oids = {*description.parameter_oids, *(c.type_oid for c in description.columns)}
    return oids - {0}


# -- for users -----------------------------------------------------------------------


async def find_type(
    fetch: Fetch, codecs: CodecMap, name: str, schema: str
) -> CatalogType:
    """Look a type up by its name; one of the table's costs no round trip.

    What it is made of is learnt on the way.

    Raises:
        ValueError: there is none.
    """
    if schema == "pg_catalog":
        codec = builtin_named(name) or builtin_named(name.lower())
        if codec is not None:
            return CatalogType(codec.oid, codec.name, schema, _LETTERS[codec.kind])
    types = found(await fetch(BY_NAME, (name, schema)))
    for each in types:
        if (each.name, each.schema) == (name, schema):
            codecs.learn(types)
            return each
    raise ValueError(f"unknown type: {schema}.{name}")


def describe_types(codecs: CodecMap, description: Description) -> dict[int, Type]:
    """The types of a statement's parameters and columns, by OID."""
    types = {}
    for oid in {*_oids(description), *description.parameter_oids}:
        codec = codecs.lookup(oid)
        types[oid] = Type(oid, codec.name, codec.kind, codec.schema)
    return types


def check_customizable(found: CatalogType, name: str, format: str) -> None:
    """Refuse the kinds of types whose values never carry a codec of their own.

    The server reports the columns of a domain under its base type, and arrays and
    ranges are made of what they contain.
    """
    if found.word == "domain":
        raise UnsupportedClientFeatureError(
            "custom codecs on domain types are not supported",
            hint="Set the codec on the base type.",
            detail="PostgreSQL does not distinguish domains from their base types in "
            "query results at the protocol level.",
        )
    if found.word not in ("scalar", "composite", "pseudo"):
        raise InterfaceError(
            f"cannot use custom codec on type {found.schema}.{name}: it is neither a "
            "scalar type nor a composite type"
        )
    if found.word == "composite" and format not in ("tuple", "value"):
        raise UnsupportedClientFeatureError(
            "only tuple-format codecs can be used on composite types",
            hint="Use `set_type_codec(..., format='tuple')` and pass/interpret data as "
            "a Python tuple.",
        )


def check_aliasable(found: CatalogType, name: str) -> None:
    """Refuse the kinds of types that are no values of a built-in one."""
    if found.word not in ("scalar", "domain"):
        raise InterfaceError(f"cannot alias non-scalar type {found.schema}.{name}")


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
