"""Queries as a script for pgbench: the same SQL, with random values of its own.

Rules:
- A statement's parameters become variables, each drawn anew before its statement.
- Every row of the tables that are asked has an id of 1 to LAST_ID.
"""

import re
from collections.abc import Sequence

LAST_ID = 9_999
PARAMETER = re.compile(r"\$(\d+)")


def script(queries: Sequence[str], *, is_pipelined: bool = False) -> str:
    r"""The queries one after the other, or all sent before the first is answered.

    Example:
        >>> print(script(["SELECT $1"]))
        \set a1 random(1, 9999)
        SELECT :a1;
        <BLANKLINE>
    """
    lines: list[str] = []
    for query in queries:
        for number in sorted(set(PARAMETER.findall(query)), key=int):
            lines.append(f"\\set a{number} random(1, {LAST_ID})")
        lines.append(PARAMETER.sub(r":a\1", query) + ";")
    if is_pipelined:
        lines = ["\\startpipeline", *lines, "\\endpipeline"]
    return "\n".join(lines) + "\n"
