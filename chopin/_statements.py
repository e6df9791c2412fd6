"""Which prepared statements a session keeps: admission, eviction, invalidation.

Owns: the policy over a session's `statements` (SQL -> Statement) and of its `unnamed`
ones, and the names that statements have on the server.
Layer L3. Imports nothing. Called on a miss of the cache, never on a hit.

Rules
- A name is a digest of the SQL text: every session that prepares the same text uses the
  same name, so a pooler that hands a session another server finds the statement there,
  and logs agree.
- Nothing here costs a round trip: a statement that goes is closed by a message that
  rides ahead of the session's next group.
- An unnamed statement is parsed by the server at each use. It is kept here for its plan
  as long as the text has the same description.
- Eviction is second chance: a hit sets one bit, which is cheaper than moving an entry,
  and the oldest statement that was not used since it was last looked at goes.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chopin._protocol import Session, Statement
    from chopin._rows import Description

# A service has some hundred statements; one that builds its SQL from values has no end.
DESCRIPTIONS = 1000
# Plans of texts that are parsed at each use.
UNNAMED = 100

# Texts of our own that are not for codecs of the user's.
OWN: set[str] = set()

_numbers = itertools.count(1)
_process = os.urandom(4).hex()


# Texts that leave state behind, but no temporary table: no function of the user's is
# called, nor is search_path set to what the text does not tell.
_leaves_no_table = re.compile(
    r"""\s* (?:
        (?: set | reset | listen | unlisten | begin | start ) \b [^;]*
      | declare \b [^;(]*
      | select \s+ (?:pg_catalog\s*\.\s*)? (?:
            set_config \s* \( \s*
            (?: '(?!search_path')[\w.]+' | 'search_path' \s* , \s* '[^']*' ) \s* ,
          | pg_(?:try_)?advisory_\w+ \s* \(
        ) [^();]* \) (?: \s+ as \s+ \w+ )?
    ) ;? \s*""",
    re.IGNORECASE | re.VERBOSE,
).fullmatch

# The schema in which later tables are temporary, and what can hide its name: escapes,
# and a literal that goes on in the next line.
_may_name_temporary = re.compile(
    r"pg_(?:toast_)?temp|\\|u&|'[^'\r\n]*+[\r\n][^']*+'", re.IGNORECASE
).search


# FOR UPDATE, FOR SHARE and their kin, with anything in between: mistaking a literal for
# them costs parallel query, missing one would lock a row too many.
_locks = re.compile(r"\bfor\b.*\b(?:update|share)\b", re.IGNORECASE | re.DOTALL).search


def locks_rows(sql: str) -> bool:
    """Whether a text may lock the rows that it returns."""
    return _locks(sql) is not None


def makes_tables(sql: str) -> bool:
    """Whether a text that leaves state behind may have tables made as temporary."""
    return _leaves_no_table(sql) is None or _may_name_temporary(sql) is not None


def statement_name(sql: str) -> bytes:
    """The name on the server of the cached statement for `sql`."""
    digest = hashlib.blake2b(sql.encode("utf-8", "surrogatepass"), digest_size=12)
    return b"chopin_" + digest.hexdigest().encode("ascii")


def unique_name() -> bytes:
    """A name for a statement that the user holds.

    It is the name of no cached one, and of none of another process, with which a pooler
    may have us share a server.
    """
    return f"chopin_{_process}_{os.getpid():x}_{next(_numbers):x}".encode("ascii")


def is_admitted(session: Session, sql: str) -> bool:
    """Whether `sql` may be kept: names hold, the cache is on, it is not too long."""
    if session.pooled or session.statement_cache_size <= 0:
        return False
    limit = session.statement_size_limit
    return not limit or len(sql) <= limit


def describe(session: Session, sql: str, description: Description) -> None:
    """Keep what the server said of `sql`, for sessions that do not know it yet."""
    descriptions = session.descriptions
    if len(descriptions) >= DESCRIPTIONS and sql not in descriptions:
        del descriptions[next(iter(descriptions))]
    descriptions[sql] = description


def admit(session: Session, statement: Statement) -> None:
    """Keep `statement`, and make room for it."""
    statements = session.statements
    forget(session, statement.sql)
    while len(statements) >= session.statement_cache_size:
        sql, oldest = next(iter(statements.items()))
        if oldest.used:
            oldest.used = False
            statements[sql] = statements.pop(sql)
        else:
            forget(session, sql)
    statement.cached = True
    statements[statement.sql] = statement


def keep_unnamed(session: Session, statement: Statement) -> None:
    """Keep the plan of a statement that has no name; what was kept first goes first."""
    unnamed = session.unnamed
    unnamed.pop(statement.sql, None)
    if len(unnamed) >= UNNAMED:
        del unnamed[next(iter(unnamed))]
    unnamed[statement.sql] = statement


def forget(session: Session, sql: str) -> None:
    """Drop the statement for `sql`, if there is one, and close it on the server."""
    statement = session.statements.pop(sql, None)
    if statement is not None and not statement.closed:
        statement.cached = False
        statement.closed = True
        session.closes.append(b"S" + statement.name)


def doubt(session: Session, sql: str) -> None:
    """Have the server describe `sql` again: what is known of it may be out of date."""
    session.descriptions.pop(sql, None)
    forget(session, sql)


def forget_all(session: Session) -> None:
    """Drop every statement: their plans or types may have changed."""
    for sql in list(session.statements):
        forget(session, sql)
    session.descriptions.clear()


def forget_temporary(session: Session) -> None:
    """Temporary tables are dropped: the next of that name may have other types."""
    if session.made_temporary:
        session.made_temporary = False
        forget_all(session)


def lose_all(session: Session) -> None:
    """Drop every statement without closing it: the server has done so."""
    for statement in session.statements.values():
        statement.cached = False
        statement.closed = True
    session.statements.clear()


def _altered(session: Session) -> None:
    session.has_altered = True
    forget_all(session)


def _created(session: Session) -> None:
    session.has_altered = True


def _undone(session: Session) -> None:
    """What was described since it began may have other types."""
    if session.has_altered:
        forget_all(session)


#: Commands after which prepared statements cannot be relied on, by their tags.
TAGS = {
    b"ALTER": _altered,
    b"DROP": _altered,
    b"CREATE": _created,
    b"ROLLBACK": _undone,
    b"DISCARD ALL": lose_all,
    b"DEALLOCATE ALL": lose_all,
}


def sweep(session: Session) -> None:
    """Drop the statements that were not used since the last sweep.

    And what is known of texts: what is not kept on the server goes by it.
    """
    session.descriptions.clear()
    for sql, statement in list(session.statements.items()):
        if statement.used:
            statement.used = False
        else:
            forget(session, sql)
