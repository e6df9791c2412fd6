"""How the values of types are made and read, as the user of a connection sets it.

Owns: `Customized`, the part of `Connection` that is about types.
Layer L5. Imports L3, L4.

Rules
- What is set here is for one connection; it goes when the connection does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from chopin import _statements, introspect
from chopin._execute import run_query
from chopin._ops import ROWS

if TYPE_CHECKING:
    from chopin.aio import WireProtocol


class Customized:
    """The part of `Connection` that is about types."""

    __slots__ = ()

    _session: WireProtocol

    async def set_type_codec(
        self,
        typename: str,
        *,
        schema: str = "public",
        encoder: Callable[[Any], Any],
        decoder: Callable[[Any], Any],
        format: Literal["text", "binary", "tuple", "value"] = "text",
    ) -> None:
        """Have values of a type made and read by functions of yours.

        Args:
            typename: the type's name; built-in ones are in schema "pg_catalog".
            schema: where it is.
            encoder: takes the Python value; returns str, bytes or a tuple, by `format`.
            decoder: takes str, bytes or a tuple; returns the Python value.
            format: what the two exchange: the type's text, its binary form, or for
                date, time, timetz, timestamp, timestamptz and interval a tuple of
                numbers, for composite types one of their attributes; "value": the
                Python value that the type has without a codec.

        Example:
            >>> await conn.set_type_codec("json", schema="pg_catalog",
            ...     encoder=json.dumps, decoder=json.loads)
        """
        self._session.ensure_open()
        find = introspect.find_type
        found = await find(self._catalog, self._session.codecs, typename, schema)
        introspect.check_customizable(found, typename, format)
        self._session.codecs.register(
            found.oid,
            found.name,
            found.schema,
            found.word,
            encoder=encoder,
            decoder=decoder,
            format=format,
            array_oid=found.array_oid,
        )

    async def reset_type_codec(self, typename: str, *, schema: str = "public") -> None:
        """Undo `set_type_codec` and `set_builtin_type_codec` for a type.

        Example:
            >>> await conn.reset_type_codec("json", schema="pg_catalog")
        """
        self._session.ensure_open()
        find = introspect.find_type
        found = await find(self._catalog, self._session.codecs, typename, schema)
        self._session.codecs.unregister(found.oid)

    async def set_builtin_type_codec(
        self,
        typename: str,
        *,
        schema: str = "public",
        codec_name: str,
        format: Literal["text", "binary"] | None = None,
    ) -> None:
        """Have values of a scalar type treated like those of a built-in one.

        Args:
            typename: the type's name.
            schema: where it is.
            codec_name: the built-in type whose codec is used, such as "int4", or a
                codec for an extension's type, such as "pg_contrib.hstore".
            format: must fit that codec's; None takes it as it is.

        Example:
            >>> await conn.set_builtin_type_codec("my_id", codec_name="int8")
        """
        self._session.ensure_open()
        find = introspect.find_type
        found = await find(self._catalog, self._session.codecs, typename, schema)
        introspect.check_aliasable(found, typename)
        self._session.codecs.register_alias(
            found.oid,
            found.name,
            found.schema,
            introspect.builtin_codec(codec_name, format),
            found.word,
            found.array_oid,
        )

    async def reload_schema_state(self) -> None:
        """Forget what is known of statements and types; they are looked up again."""
        _statements.forget_all(self._session)
        self._session.codecs.outdated()

    async def _catalog(self, query: str, args: tuple[Any, ...]) -> list[Any]:
        """Run a query of our own."""
        rows: list[Any] = await run_query(self._session, query, args, ROWS)
        return rows
