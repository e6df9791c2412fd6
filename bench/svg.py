"""Pictures as SVG: axes, lines, dots, and colours that everybody can tell apart.

Owns: the elements, the colours in the light and in the dark, the scales.
Rules:
- A picture has a background of its own: whichever colours the page around it has, its
  text is readable. The colours follow what the reader's system prefers.
- Nobody is known by the colour alone: everybody has a mark as well, and those that
  nobody competes with are dashed. The colours are Okabe and Ito's, lightened where the
  background is dark.
- The same figures make the same bytes.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class Style:
    """How one player looks: two colours, a mark, dashes."""

    light: str
    dark: str
    mark: str
    dash: str = ""
    width: float = 1.8


STYLES = {
    "chopin": Style("#d55e00", "#ff9147", "circle", width=3.0),
    "chopin_depth_1": Style("#d55e00", "#ff9147", "ring", "5 3"),
    "asyncpg": Style("#0072b2", "#5ab4f0", "square"),
    "asyncpg_noreset": Style("#0072b2", "#5ab4f0", "box", "5 3"),
    "psycopg": Style("#00795a", "#35c9a0", "triangle"),
    "psqlpy": Style("#a8447c", "#e59ac6", "diamond"),
    "adbc": Style("#8a6500", "#e6b73d", "plus"),
    "pgbench": Style("#5a5a5a", "#b4b4b4", "cross", "2 3"),
    "limit": Style("#5a5a5a", "#b4b4b4", "bar", "7 4"),
}
OTHER = Style("#5a5a5a", "#b4b4b4", "cross")


def in_order(names: Iterable[str]) -> list[str]:
    """Each once: as in the table above, then those that are not in it."""
    known = [*STYLES]
    return sorted(
        set(names),
        key=lambda name: (known.index(name) if name in STYLES else len(known), name),
    )


def class_of(name: str) -> str:
    """The CSS class of a player."""
    return "p-" + "".join(letter if letter.isalnum() else "-" for letter in name)


def style_of(name: str) -> Style:
    """How a player looks; one that is not known looks grey."""
    return STYLES.get(name, OTHER)


def stylesheet(players: Iterable[str]) -> str:
    """The colours of everything, in the light and in the dark."""
    names = sorted(set(players))

    def rules(background: str, ink: str, faint: str, grid: str, is_dark: bool) -> str:
        lines = [
            f".card{{fill:{background};stroke:{grid}}}",
            f"text{{fill:{ink};font-family:{FONT};font-size:12px}}",
            f".faint{{fill:{faint}}}.grid{{stroke:{grid};stroke-width:1}}",
            f".one{{stroke:{faint};stroke-width:1.5}}",
        ]
        for name in names:
            style = style_of(name)
            colour = style.dark if is_dark else style.light
            lines.append(f".{class_of(name)}{{stroke:{colour};fill:{colour}}}")
            lines.append(f"text.{class_of(name)}{{stroke:none}}")
        lines.append(f".hollow{{fill:{background}}}.line{{fill:none}}")
        return "".join(lines)

    light = rules("#ffffff", "#1f2328", "#59636e", "#d9dee3", False)
    dark = rules("#0d1117", "#e6edf3", "#9198a1", "#30363d", True)
    return f"<style>{light}@media (prefers-color-scheme:dark){{{dark}}}</style>"


# -- elements -----------------------------------------------------------------------


def near(value: float) -> str:
    """A coordinate with a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def text(
    x: float, y: float, content: str, *, anchor: str = "start", more: str = ""
) -> str:
    """A line of text; `more` is further attributes."""
    return (
        f'<text x="{near(x)}" y="{near(y)}" text-anchor="{anchor}"{more}>'
        f"{escape(content)}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float, name: str) -> str:
    """A straight line of a class."""
    return (
        f'<line class="{name}" x1="{near(x1)}" y1="{near(y1)}"'
        f' x2="{near(x2)}" y2="{near(y2)}"/>'
    )


def polyline(points: Sequence[tuple[float, float]], player: str) -> str:
    """A player's line."""
    style = style_of(player)
    dash = f' stroke-dasharray="{style.dash}"' if style.dash else ""
    path = " ".join(f"{near(x)},{near(y)}" for x, y in points)
    return (
        f'<polyline class="{class_of(player)} line" points="{path}"'
        f' stroke-width="{style.width}" stroke-linejoin="round"{dash}/>'
    )


def polygon(points: Iterable[tuple[float, float]], name: str) -> str:
    """A filled figure."""
    path = " ".join(f"{near(x)},{near(y)}" for x, y in points)
    return f'<polygon class="{name}" points="{path}"/>'


def mark(x: float, y: float, player: str, size: float = 4.2, hint: str = "") -> str:
    """A player's mark; `hint` is shown to whoever points at it."""
    kind, name = style_of(player).mark, class_of(player)
    hollow = f"{name} hollow"
    at = f'cx="{near(x)}" cy="{near(y)}"'
    square = (
        f'x="{near(x - size * 0.85)}" y="{near(y - size * 0.85)}"'
        f' width="{near(size * 1.7)}" height="{near(size * 1.7)}"'
    )
    marks = {
        "circle": f'<circle class="{name}" {at} r="{near(size)}"/>',
        "ring": f'<circle class="{hollow}" {at} r="{near(size)}" stroke-width="1.8"/>',
        "square": f'<rect class="{name}" {square}/>',
        "box": f'<rect class="{hollow}" {square} stroke-width="1.8"/>',
        "triangle": polygon(
            [(x, y - size * 1.1), (x + size, y + size), (x - size, y + size)], name
        ),
        "diamond": polygon(
            [(x, y - size * 1.2), (x + size, y), (x, y + size * 1.2), (x - size, y)],
            name,
        ),
        "plus": strokes([(0, -1, 0, 1), (-1, 0, 1, 0)], x, y, size, name),
        "cross": strokes([(-1, -1, 1, 1), (-1, 1, 1, -1)], x, y, size * 0.8, name),
        "bar": strokes([(-1, 0, 1, 0)], x, y, size, name),
    }
    return f"<g>{marks[kind]}<title>{escape(hint)}</title></g>" if hint else marks[kind]


def strokes(
    ends: Iterable[tuple[int, int, int, int]],
    x: float,
    y: float,
    size: float,
    name: str,
) -> str:
    """A mark of straight strokes."""
    path = "".join(
        f"M{near(x + a * size)} {near(y + b * size)}"
        f"L{near(x + c * size)} {near(y + d * size)}"
        for a, b, c, d in ends
    )
    return f'<path class="{name}" d="{path}" stroke-width="2"/>'


def picture(
    width: float, height: float, title: str, players: Iterable[str], body: Sequence[str]
) -> str:
    """The whole file."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{near(width)}"'
        f' height="{near(height)}" viewBox="0 0 {near(width)} {near(height)}"'
        f' role="img" aria-label={quoteattr(title)}>'
    )
    card = (
        f'<rect class="card" x="0.5" y="0.5" rx="8" width="{near(width - 1)}"'
        f' height="{near(height - 1)}"/>'
    )
    return "\n".join([head, stylesheet(players), card, *body, "</svg>", ""])


# -- scales -------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """From values to pixels, in equal steps or in equal ratios."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        part = (value - low) / (high - low)
        return self.start + part * (self.end - self.start)


def bounds(values: Iterable[float], *, is_log: bool) -> tuple[float, float]:
    """Round limits around all values: from zero, or from a tick to a tick."""
    known = list(values)
    low, high = min(known), max(known)
    if is_log:
        ticks = log_ticks(low / 10, high * 10, is_dense=True)
        below = max((tick for tick in ticks if tick <= low * 1.0001), default=low)
        above = min((tick for tick in ticks if tick >= high * 0.9999), default=high)
        return (below, above) if below < above else (below / 2, above * 2)
    step = nice_step(high or 1.0)
    return 0.0, step * math.ceil((high or 1.0) / step)


def nice_step(high: float, count: int = 5) -> float:
    """A step of 1, 2 or 5 times a power of ten that makes about so many ticks."""
    raw = high / count
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * step for step in (1, 2, 5, 10) if power * step >= raw * 0.999)


def linear_ticks(high: float) -> list[float]:
    """From zero to the upper limit."""
    step = nice_step(high)
    return [step * number for number in range(round(high / step) + 1)]


def log_ticks(low: float, high: float, *, is_dense: bool = False) -> list[float]:
    """1, 2 and 5 in every decade between the limits; fewer where there are many."""
    first = math.floor(math.log10(low))
    last = math.ceil(math.log10(high))
    steps = (1, 2, 5) if is_dense or last - first <= 4 else (1,)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    return [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
