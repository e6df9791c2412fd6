"""What single values cost, for the page: ``python -m bench types``, type by type.

Owns: the table of prices and its picture, and the list of the types that are dearer.
"""

from collections.abc import Mapping, Sequence

from bench.candidates import SUBJECT
from bench.figures import draw_ratios
from bench.measure import Outcome
from bench.report import MISSING, Table, digits, times
from bench.stats import EACH, figure, ratio
from bench.typework import DECODE, ENCODE

# Less than this cannot be told apart.
LEVEL = 1.05
RIVALS = ("asyncpg", "psycopg")
PLAYERS = (SUBJECT, *RIVALS)
DIRECTIONS = {DECODE: "read", ENCODE: "sent"}


def by_type(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Outcome]]:
    """Outcomes by type, then by direction."""
    found: dict[str, dict[str, Outcome]] = {}
    for outcome in outcomes:
        name = outcome.workload.partition("_")[2]
        found.setdefault(name, {})[outcome.group] = outcome
    return found


def prices_table(outcomes: Sequence[Outcome]) -> Table:
    """A row for each type: nanoseconds both ways, and theirs by ours."""
    header = ["type"]
    for word in DIRECTIONS.values():
        header += [f"{word}: {name}" for name in PLAYERS]
        header += [f"{name} / chopin" for name in RIVALS]
    return Table(
        header, [[name, *cells(one)] for name, one in by_type(outcomes).items()]
    )


def cells(outcomes: Mapping[str, Outcome]) -> list[str]:
    """One type."""
    row: list[str] = []
    for direction in DIRECTIONS:
        outcome = outcomes.get(direction)
        if outcome is None:
            row += [MISSING] * (len(PLAYERS) + len(RIVALS))
            continue
        row += [nanoseconds(figure(outcome, EACH, name)) for name in PLAYERS]
        row += [times(against(outcome, name)) for name in RIVALS]
    return row


def nanoseconds(value: float | None) -> str:
    """What one value costs; nothing is less than can be told."""
    if value is None:
        return MISSING
    return digits(value) if value >= 1 else "< 1"


def against(outcome: Outcome, rival: str) -> float | None:
    """How many times our price theirs is; None where ours is too small to divide by."""
    value = ratio(outcome, EACH, rival, SUBJECT)
    ours = figure(outcome, EACH, SUBJECT)
    return value if value and value > 0 and ours and ours >= 1 else None


def dearer(outcomes: Sequence[Outcome]) -> str:
    """The types that cost more than the best of the others, with their ratios."""
    found = []
    for outcome in outcomes:
        known = [(value, name) for name in RIVALS if (value := against(outcome, name))]
        if known and min(known)[0] * LEVEL < 1:
            value, name = min(known)
            found.append(f"`{outcome.workload}` ({times(value)} {name})")
    return ", ".join(found) or "none"


def draw_prices(outcomes: Sequence[Outcome], title: str, note: str) -> str | None:
    """A row for each type in each direction."""
    known = [one for one in outcomes if against(one, RIVALS[0])]
    return draw_ratios(known, title, note, EACH)
