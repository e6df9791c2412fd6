"""What the catalog says of a type, as far as codecs need it.

Owns: `CatalogType`. `introspect` asks for them, `_codecs` makes codecs of them.
Layer L2. Imports nothing.

Source: PostgreSQL documentation, "pg_type", "pg_range", "pg_attribute".
"""

from __future__ import annotations

from typing import NamedTuple

_KINDS = {
    "a": "array",
    "b": "scalar",
    "c": "composite",
    "d": "domain",
    "e": "scalar",
    "m": "multirange",
    "p": "pseudo",
    "r": "range",
}


class CatalogType(NamedTuple):
    """One type: a row of pg_type and what hangs on it.

    Args:
        oid: of the type.
        name: of the type; that of an array is its element's.
        schema: where it is.
        kind: typtype, or "a" for an array.
        under: OID of what it is made of: an array's element, a domain's base, the
            bound of a range, the range of a multirange; 0 for none.
        array_oid: OID of the array of it, 0 for none.
        delimiter: between elements in the literal of its array.
        names: of a composite type's attributes, in order; the labels of an enum.
        parts: the OIDs of their types.
    """

    oid: int
    name: str
    schema: str
    kind: str
    under: int = 0
    array_oid: int = 0
    delimiter: str = ","
    names: tuple[str, ...] = ()
    parts: tuple[int, ...] = ()

    @property
    def word(self) -> str:
        """The kind, as `Type.kind` says it."""
        return _KINDS[self.kind]
