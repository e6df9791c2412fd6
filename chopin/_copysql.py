"""The texts of COPY commands.

Owns: how names, options and the arguments of a query get into a COPY command, which
takes no parameters.
Layer L3. Imports L0 and _effects.

Rules
- A name is always quoted, so it is a name and nothing else. An option is one of the
  table below, and its value is quoted as its kind says.
- The values of arguments are literals that the server has made. They are put where a
  parameter stands, never into a literal, a quoted name or a comment.

Source: PostgreSQL documentation, "COPY", "Lexical Structure".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from chopin._effects import IN_TAG, IN_WORD, START
from chopin.exceptions import InterfaceError

FORMATS = ("text", "csv", "binary")

_SPACE = r"(?:\s|--[^\r\n]*(?:[\r\n]|\Z)|/\*(?:[^*]|\*(?!/))*\*/)"

# A word that begins a query, with something behind it.
_begins_query = re.compile(
    rf"{_SPACE}*(?:\({_SPACE}*)*"
    r"(?:select|values|with|table|insert|update|delete|merge)"
    rf"(?:{_SPACE}|\()\s*\S",
    re.IGNORECASE,
).match

# What must not be looked into, and parameters; {plain} is a piece of a literal without
# an E. A comment in a comment is found by counting.
_TOKENS = r"""
    [eE]'(?:[^'\\]|\\.|'')*'
  | '(?:{plain}|'')*'
  | "(?:[^"]|"")*"
  | \$(?P<tag>(?:{start}{in_tag}*)?)\$.*?\$(?P=tag)\$
  | --[^\r\n]*
  | (?P<comment>/\*)
  | {start}{in_word}*
  | \$(?P<number>[0-9]+)
"""


def _tokens(plain: str) -> Callable[..., re.Match[str] | None]:
    """What finds the next token."""
    pattern = _TOKENS.format(plain=plain, start=START, in_tag=IN_TAG, in_word=IN_WORD)
    return re.compile(pattern, re.VERBOSE | re.DOTALL).search


_find_token = _tokens(r"[^']")
_find_token_escaping = _tokens(r"[^'\\]|\\.")
_find_comment_end = re.compile(r"/\*|\*/").search


def quoted(name: str) -> str:
    """A name as SQL, whatever characters it has.

    Raises:
        TypeError, ValueError: it can be no name.

    Example:
        >>> quoted("Works")
        '"Works"'
    """
    if not isinstance(name, str):
        raise TypeError(f"a name is expected to be a str, got {name!r}")
    if not name or "\0" in name:
        raise ValueError(f"not a name: {name!r}")
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A string as SQL, whatever the server makes of backslashes.

    Example:
        >>> print(literal("it's"))
        'it''s'
    """
    if not isinstance(value, str):
        raise TypeError(f"a str is expected, got {value!r}")
    text = value.replace("'", "''")
    if "\\" in text:
        return "E'" + text.replace("\\", "\\\\") + "'"
    return f"'{text}'"


def table(name: str | tuple[str, str], schema: str | None = None) -> str:
    """The name of a table as SQL.

    Args:
        name: of the table, or (schema, table).
        schema: None for the first one of the search path that has the table.
    """
    if isinstance(name, tuple):
        if schema is not None:
            raise InterfaceError(
                "the schema is given twice: in the name of the table and by itself"
            )
        if len(name) != 2:
            raise ValueError(f"a table is expected to be (schema, table), got {name!r}")
        schema, name = name
    return quoted(name) if not schema else f"{quoted(schema)}.{quoted(name)}"


def is_query(source: str | tuple[str, str]) -> bool:
    """Whether what is to be copied is a query, and not the name of a table.

    Example:
        >>> is_query("SELECT 1"), is_query("select"), is_query(("public", "select 1"))
        (True, False, False)
    """
    return isinstance(source, str) and _begins_query(source) is not None


def in_parentheses(query: str) -> str:
    """A query as the source of COPY; a semicolon behind it goes."""
    return f"({query.rstrip().rstrip(';')}\n)"


def columns_of(names: Iterable[str] | None) -> str:
    """The list of columns in a COPY command; empty for all."""
    if isinstance(names, str):
        raise TypeError("columns is expected to be a list of names, got a str")
    names = None if names is None else list(names)
    return f"({', '.join(map(quoted, names))})" if names else ""


def check_options(
    format: str | None, options: Mapping[str, Any], shape: object
) -> None:
    """Refuse options that there are not, and such as are of no use.

    Args:
        format: of the bytes, None for rows.
        options: of COPY, by name.
        shape: of the rows, None for the usual one.

    Raises:
        TypeError, ValueError, InterfaceError: which names the option.
    """
    for name in options:
        if name not in _OPTIONS:
            raise TypeError(
                f"COPY has no option {name!r}; it has {', '.join(_OPTIONS)}"
            )
    if format is None:
        given = {name for name, value in options.items() if _is_given(name, value)}
        if given - {"freeze"}:
            raise InterfaceError(
                f"{', '.join(sorted(given))}: for bytes only; add a `format`, such as "
                "format='csv'"
            )
    elif format not in FORMATS:
        raise ValueError(
            f"format is expected to be one of {', '.join(FORMATS)}, got {format!r}"
        )
    elif shape is not None:
        raise InterfaceError(
            "with a `format` there are bytes, and no rows for `into` or `record_class`"
        )


def command(
    source: str,
    direction: str,
    format: str,
    options: Mapping[str, Any],
    where: str | None = None,
) -> str:
    """A COPY command.

    Args:
        source: a table with its columns, or a query in parentheses, as SQL.
        direction: "TO STDOUT" or "FROM STDIN".
        format: "text", "csv" or "binary".
        options: of COPY, by name; those that are None are left out.
        where: a condition as SQL, or None.

    Raises:
        TypeError: the value of an option cannot be meant.
    """
    shown = [f"FORMAT {format}"]
    shown += [
        _option(name, value)
        for name, value in options.items()
        if _is_given(name, value)
    ]
    condition = f" WHERE {where}" if where else ""
    return f"COPY {source} {direction} ({', '.join(shown)}){condition}"


def _flag(value: Any) -> str:
    return str(bool(value)).upper()


def _header(value: Any) -> str:
    return "MATCH" if isinstance(value, str) and value == "match" else _flag(value)


def _names(value: Any) -> str:
    return "*" if value is True or value == "*" else columns_of(value)


def _word(value: Any) -> str:
    if not isinstance(value, str) or not value.isidentifier():
        raise TypeError(f"a word is expected, got {value!r}")
    return value


def _number(value: Any) -> str:
    return str(int(value))


_OPTIONS: dict[str, Callable[[Any], str]] = {
    "oids": _flag,
    "freeze": _flag,
    "delimiter": literal,
    "null": literal,
    "default": literal,
    "header": _header,
    "quote": literal,
    "escape": literal,
    "force_quote": _names,
    "force_not_null": _names,
    "force_null": _names,
    "encoding": literal,
    "on_error": _word,
    "log_verbosity": _word,
    "reject_limit": _number,
}


def _is_given(name: str, value: Any) -> bool:
    # False is one of asyncpg's ways to quote no column
    return value is not None and not (name == "force_quote" and value is False)


def _option(name: str, value: Any) -> str:
    show = _OPTIONS[name]
    if show is _names and value is False:
        raise TypeError(f"{name} is expected to be a list of columns or True")
    try:
        return f"{name.upper()} {show(value)}"
    except (TypeError, ValueError) as error:
        raise TypeError(f"the option {name} of COPY cannot be {value!r}") from error


def with_literals(query: str, literals: Sequence[str], escapes: bool) -> str:
    """A query with its arguments in place of its parameters.

    Args:
        query: with parameters $1, $2, ...
        literals: as SQL, in their order.
        escapes: whether a backslash escapes in plain literals, as it does when
            standard_conforming_strings is off.

    Example:
        >>> with_literals("SELECT $1, '$1' -- $1", ["'a'::text"], False)
        "SELECT ('a'::text), '$1' -- $1"
    """
    find = _find_token_escaping if escapes else _find_token
    parts = []
    end = 0
    while match := find(query, end):
        parts.append(query[end : match.start()])
        token, end = match[0], match.end()
        if match["comment"]:
            end = _end_of_comment(query, end)
            token = query[match.start() : end]
        elif match["number"] and 0 < int(match["number"]) <= len(literals):
            token = f"({literals[int(match['number']) - 1]})"
        parts.append(token)
    parts.append(query[end:])
    return "".join(parts)


def _end_of_comment(query: str, begin: int) -> int:
    """Where a comment ends that may have others inside."""
    depth = 1
    while depth and (match := _find_comment_end(query, begin)):
        depth += 1 if match[0] == "/*" else -1
        begin = match.end()
    return begin if depth == 0 else len(query)
