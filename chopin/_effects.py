"""What the text of a statement says about what it can leave behind.

Owns: `effects`, which tells reads that may share a connection, and statements after
which a session needs no reset.
Layer L3. Imports `_functions`.

Rules
- In doubt the answer is 0, which costs speed and nothing else. What is answered is what
  the text rules out; whether the statement is valid, the server says.
- There is no parser here. The text is cut into tokens as the server cuts it; comments
  vanish, a literal or a number becomes one token, and what is left is matched, as words
  with one space between them, against the patterns below. Not understood is what is cut
  in two ways, depending on settings (a backslash before a quote), what hides a name
  (`U&"..."`), and a comment in a comment.
- A name before a parenthesis is a call, unless what stands around it says otherwise,
  and a call must be of a function of the table.
- A name after a dot may be a call as well, since `x.f` is f(x) if x has no column f: it
  must be of none of the server's functions that do something.

What no text can tell: what is behind a view, a rule, a trigger, a policy, a default, an
operator or a cast of the user's own; a function of his that has the name of a built-in
one, be it of a newer server, or is called as if it were a column; a search_path that
began with pg_temp before.

Source: PostgreSQL documentation, "Lexical Structure", "SQL Commands", "DISCARD".
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from chopin._functions import ACTING, HARMLESS, KEYWORDS, TIDY, words

#: The statement is a plain read, which may share a busy connection with other ones.
READS = 1
#: Once it has ended, outside of a block, nothing of it is left in the session.
CLEAN = 2

# Characters; what is longer is not looked at, and not kept in the cache.
SIZE_LIMIT = 16384
_CACHED_TEXTS = 1000

# -- tokens --------------------------------------------------------------------------

# As the server has it: whatever is not ASCII is a letter, and no space. Said by what is
# none, for a set that has all of Unicode takes 3 ms to compile, with every import.
START = r"[^\x00-@\[-^`{-\x7f]"
IN_TAG = r"[^\x00-/:-@\[-^`{-\x7f]"  # digits as well
IN_WORD = r"[^\x00-\x23%-/:-@\[-^`{-\x7f]"  # and $
_TOKEN = re.compile(
    rf"""
    (?: [ \t\n\r\f\v]++
      | --[^\r\n]*+
      | /\*[^*/]*+ (?: (?: \*(?!/) | /(?!\*) ) [^*/]*+ )*+ \*/
    )*+
    (?:
        (?P<word> (?! [eEbBnNxX]' | [uU]&['"] ) {START}{IN_WORD}*+ )
      | (?P<sign> :: | (?!/\*) [-+*/%^<>=~!@\#&|`?()\[\],.:] )
      | (?P<number>
            (?: \$[0-9]++
              | [0-9]++ (?: \.[0-9]++ )? (?: [eE][-+]?[0-9]++ )? (?!\.) )
            (?! {IN_WORD} ) )
      | (?P<literal> (?: [uU]& | [bBnNxX] )? ' (?: [^'\\]++ | \\[^'] | '' )*+ '
          | [eE]' (?: [^'\\]++ | \\. | '' )*+ '
          | \$ (?P<tag> (?: {START}{IN_TAG}*+ )? ) \$ .*? \$(?P=tag)\$ )
      | (?P<quoted> "[^"]++" (?!") )
      | (?P<end> ; | \Z )
      | (?P<odd> . )
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_SIGNS = frozenset("-+*/%^<>=~!@#&|`?")
_NO_NAMES = frozenset(["'", "e'", "0", "::", *_SIGNS, *"()[],.:"])
_is_simple = re.compile(r'"[a-z_][a-z0-9_]*"').fullmatch

# -- statements ----------------------------------------------------------------------

_is_read = re.compile(r"(?:\( )*(?:select|values|table) ").match

# What evaluates expressions, and is as clean as the functions that it calls.
_is_clean_if_calls_are = re.compile(
    r"""
    (?: (?:\([ ])* (?: select | values | table | with )
      | insert[ ]into | update | delete[ ]from | merge[ ]into | copy
      | declare (?! .*[ ]hold[ ] )
      | create[ ] (?:
            (?: unlogged[ ] )? table
          | (?: unique[ ] )? index
          | (?: or[ ]replace[ ] )? (?: recursive[ ] )? view
          | materialized[ ]view
          | collation | database | domain | group | policy | publication | role
          | schema | sequence | statistics | tablespace | type | user )
      | alter[ ] (?:
            collation | database | default[ ]privileges | domain | group | index
          | materialized[ ]view | policy | publication | role | schema | sequence
          | statistics | system | table | tablespace | type | user | view )
    )[ ]
    """,
    re.VERBOSE,
).match

# What calls nothing by its own text.
_is_clean = re.compile(
    r"""
    (?: abort | analyse | analyze | begin | checkpoint | close | cluster | comment
      | commit | drop | end | fetch | grant | lock | move | notify | reindex | release
      | refresh[ ]materialized[ ]view | revoke | rollback | savepoint | show | truncate
      | vacuum | start[ ]transaction | prepare[ ]transaction
      | set[ ]transaction[ ] (?: deferrable | isolation | not | read | snapshot )
      # `SET local.x = 1` sets, for the session, what is called local.x; and a literal
      # that has escapes or parts can be pg_temp, where tables are made from then on
      | set[ ] (?: local | constraints )
        (?! [ ] (?: [.=] | to[ ] ) | .* [ ] (?: e' | '[ ]' ) )
    )[ ]
    """,
    re.VERBOSE,
).match

_explains = re.compile(
    r"explain (?:\( [^()]*\) )?(?:(?:analyze|analyse|verbose) )*"
).match
_makes_index = re.compile(r"create (?:unique )?index ").match
_in_temporary_schema = re.compile("pg_(?:toast_)?temp", re.IGNORECASE).search
_TEMPORARY = frozenset({"temp", "temporary"})
_makes_temporary = re.compile(
    r"\b(?:create|replace|into) (?:(?:local|global) )?temp(?:orary)? "
).search
_locks_rows = re.compile(r"\bfor (?:update|share|no key|key share) ").search

# A rule of the server's own has each UPDATE of this view call set_config.
_SETTINGS = frozenset({"pg_settings", '"pg_settings"'})

# -- names ---------------------------------------------------------------------------

# After a dot.
_FIELDS = dict.fromkeys(TIDY, CLEAN) | dict.fromkeys(ACTING, 0)
_FIELDS |= {f'"{name}"': each for name, each in _FIELDS.items()}

# Before parentheses.
_FUNCTIONS = dict.fromkeys(TIDY, CLEAN) | dict.fromkeys(HARMLESS, READS | CLEAN)

# After these comes the name of a table, a type, an alias or a WITH query, whose
# parentheses have columns or a size.
_BEFORE_NAMES = words(
    "as copy exists into ordinality recursive references table view with ::"
)

_BEFORE_NAMES_OF_INDEX = _BEFORE_NAMES | {"on", "using"}

# Words, the last of them before a parenthesis, that are a clause; and what must come
# behind the closing one, where a function could be called so.
_CLAUSES: dict[str, tuple[str, ...]] = {
    "bit varying": (),
    "char varying": (),
    "character varying": (),
    "do update set": (),
    "fetch first": (),
    "fetch next": (),
    "foreign key": (),
    "group by": (),
    "group by cube": (),
    "group by rollup": (),
    "grouping sets": (),
    "on conflict": ("do",),
    "order by": (),
    "partition by": (),
    "primary key": (),
    "tablesample bernoulli": (),
    "tablesample system": (),
    "then insert": ("values", "overriding"),
    "then update set": (),
    "time zone": (),
    "' columns": (),
    "' passing": (),
}
# The same, outside of all parentheses, of statements that begin with a word.
_CLAUSES_OF = {
    "copy": frozenset({"from stdin", "to stdout"}),
    "create": frozenset(f"partition by {way}" for way in ("hash", "list", "range")),
}


def effects(sql: str) -> int:
    """What is known of a text of one or more statements.

    Args:
        sql: as it is sent to the server.

    Returns:
        `READS | CLEAN`, `CLEAN`, or 0 if nothing is known.

    Example:
        >>> effects("SELECT name FROM users WHERE id = $1") == READS | CLEAN
        True
        >>> effects("UPDATE users SET name = lower(name)") == CLEAN
        True
        >>> effects("SET search_path = app")
        0
    """
    if len(sql) > SIZE_LIMIT:
        return 0
    return _effects(sql)


@lru_cache(_CACHED_TEXTS)
def _effects(sql: str) -> int:
    # of a temporary schema, even if a literal names it
    if _in_temporary_schema(sql):
        return 0
    statements = _statements(sql)
    if statements is None:
        return 0
    found = READS | CLEAN if len(statements) == 1 else CLEAN
    for tokens in statements:
        found &= _effects_of(tokens)
    return found


def _statements(sql: str) -> list[list[str]] | None:
    """The tokens of each statement, or None if the text is not understood.

    Words are in lower case; quoted names keep their quotes, and only what is within
    them if it could be the name of a built-in function. A literal is `'`, or `e'` if
    it may have escapes; a number or a parameter is 0.
    """
    statements = []
    tokens: list[str] = []
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup
        if kind == "word":
            word = match["word"]
            # Only ASCII: to Python, U+212A in lower case is the letter k.
            tokens.append(word.lower() if word.isascii() else word)
        elif kind == "sign":
            tokens.append(match["sign"])
        elif kind == "number":
            tokens.append("0")
        elif kind == "literal":
            literal = match["literal"]
            has_escapes = "\\" in literal or literal[0] in "uU"
            tokens.append("e'" if has_escapes else "'")
        elif kind == "quoted":
            quoted = match["quoted"]
            tokens.append(quoted if _is_simple(quoted) else '"?"')
        elif kind == "odd":
            return None
        elif tokens:
            statements.append(tokens)
            tokens = []
    return statements


def _effects_of(tokens: list[str]) -> int:
    """Of one statement."""
    text = " ".join(tokens) + " "
    found = CLEAN
    explained = _explains(text)
    if explained:
        text = text[explained.end() :]
        tokens = tokens[explained[0].count(" ") :]
    elif _is_read(text) and not (
        "into" in tokens or ("for" in tokens and _locks_rows(text))
    ):
        found |= READS
    # what looked like the options of EXPLAIN may have been a query: FETCH can follow
    if not explained and _is_clean(text):
        return CLEAN
    if not _is_clean_if_calls_are(text):
        return 0
    if "update" in tokens and not _SETTINGS.isdisjoint(tokens):
        return 0
    # A column can be called temp, and one called execute is not worth a look.
    if "execute" in tokens or (
        not _TEMPORARY.isdisjoint(tokens) and _makes_temporary(text)
    ):
        return 0
    if not _FIELDS.keys().isdisjoint(tokens):
        for before, name in pairwise(tokens):
            if before == ".":
                found &= _FIELDS.get(name, found)
    names = _BEFORE_NAMES_OF_INDEX if _makes_index(text) else _BEFORE_NAMES
    return found & _effects_of_calls(tokens, names)


def _effects_of_calls(tokens: list[str], before_names: frozenset[str]) -> int:
    """Of all functions that a statement calls; 0 if its parentheses do not match.

    Args:
        tokens: of the statement.
        before_names: what the name of something else than a function comes after.
    """
    found = READS | CLEAN
    opened: list[int] = []
    # where a query ends, or the arguments or columns of a name (or what is WITHIN
    # GROUP): no call can follow
    ends: set[int] = set()
    for end, token in enumerate(tokens):
        if token == "(":
            opened.append(end)
        if token != ")":
            continue
        if not opened:
            return 0
        start = opened.pop()
        first = _start_of_name(tokens, start)
        name = tokens[first:start]
        if name == ["group"] or _begins_query(tokens, start + 1):
            ends.add(end)
        elif name == ["operator"]:
            if not _is_of_the_server(tokens, start + 1, end):
                return 0
        elif name and not (len(name) == 1 and name[0] in KEYWORDS):
            before = tokens[first - 1] if first else ""
            if not (
                before in before_names
                # as in `f(x) u (a, b)` and `f(x) OVER (...)`
                or (before == ")" and first - 1 in ends)
                or _is_clause(tokens, start, end, bool(opened))
            ):
                found &= _effects_of_function(name)
            ends.add(end)
    return 0 if opened else found


def _start_of_name(tokens: list[str], end: int) -> int:
    """Where the name begins, dots included, that ends before `end`."""
    start = end
    while start and tokens[start - 1] not in _NO_NAMES:
        start -= 1
        if not start or tokens[start - 1] != ".":
            break
        start -= 1
    return start


def _begins_query(tokens: list[str], start: int) -> bool:
    """Whether what is in parentheses from `start` on is a query; no argument is."""
    first = tokens[start]
    return first in ("select", "with") or (
        first == "values" and tokens[start + 1] == "("
    )


def _is_of_the_server(tokens: list[str], start: int, end: int) -> bool:
    """Whether what is in the parentheses of OPERATOR is one of pg_catalog."""
    return tokens[start : start + 2] == ["pg_catalog", "."] and _SIGNS.issuperset(
        tokens[start + 2 : end]
    )


def _is_clause(tokens: list[str], start: int, end: int, is_inside: bool) -> bool:
    """Whether the parentheses from `start` to `end` are of a clause, not of a call."""
    kind = tokens[0]
    if kind == "update" and tokens[start - 1] == "set":
        return tokens.index("set") == start - 1
    for length in (2, 3):
        clause = " ".join(tokens[max(0, start - length) : start])
        if clause in _CLAUSES:
            behind = _CLAUSES[clause]
            return not behind or " ".join(tokens[end + 1 : end + 2]) in behind
        if not is_inside and clause in _CLAUSES_OF.get(kind, ()):
            return True
    return False


def _effects_of_function(name: list[str]) -> int:
    """Of a call of the function; the name has its schema and dots."""
    if name[:-1] in ([], ["pg_catalog", "."], ['"pg_catalog"', "."]):
        return _FUNCTIONS.get(name[-1].strip('"'), 0)
    return 0
