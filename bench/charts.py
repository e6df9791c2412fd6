"""Charts for a person: curves side by side, and dots that say how many times faster.

Owns: where things are put. Colours, marks and scales are in ``svg``.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from bench.report import short
from bench.svg import (
    Scale,
    bounds,
    class_of,
    in_order,
    line,
    linear_ticks,
    log_ticks,
    mark,
    picture,
    polyline,
    text,
)

WIDTH = 860
EDGE = 18
TITLE = ' font-size="15" style="font-size:15px;font-weight:600"'
FAINT = ' class="faint"'


@dataclass(frozen=True)
class Point:
    """A median, and the quartiles around it."""

    x: float
    y: float
    low: float
    high: float

    @classmethod
    def of(cls, x: float, values: Sequence[float]) -> Self:
        """Of one value or more."""
        if len(values) < 2:
            return cls(x, values[0], values[0], values[0])
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(x, middle, low, high)


@dataclass(frozen=True)
class Curve:
    """A player's points."""

    player: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Panel:
    """Curves in one frame, under a heading."""

    heading: str
    curves: Sequence[Curve]


@dataclass(frozen=True)
class Axes:
    """What is on both axes; the ticks of the first are its values."""

    x_label: str
    y_label: str
    is_x_log: bool = False
    is_y_log: bool = False

    @property
    def x_title(self) -> str:
        """The label, and whether a step to the right multiplies."""
        return f"{self.x_label} (log scale)" if self.is_x_log else self.x_label

    @property
    def y_title(self) -> str:
        """The same of a step up."""
        return f"{self.y_label} (log scale)" if self.is_y_log else self.y_label


@dataclass
class Frame:
    """One panel being drawn."""

    axes: Axes
    x: Scale
    y: Scale
    xs: Sequence[float]
    parts: list[str] = field(default_factory=list)

    def draw_grid(self) -> None:
        """Lines and numbers of both axes."""
        left, right = self.x.start, self.x.end
        low, high = self.y.low, self.y.high
        for tick in log_ticks(low, high) if self.y.is_log else linear_ticks(high):
            y = self.y(tick)
            self.parts.append(line(left, y, right, y, "grid"))
            label = "0" if tick == 0 else short(tick)
            self.parts.append(text(left - 11, y + 4, label, anchor="end", more=FAINT))
        taken = float("-inf")
        for value in self.xs:
            x = self.x(value)
            label = short(value)
            half = len(label) * 3.6
            if x - half > taken:
                place = self.y.start + 17
                self.parts.append(text(x, place, label, anchor="middle", more=FAINT))
                taken = x + half + 4
        middle = (left + right) / 2
        place = self.y.start + 35
        self.parts.append(
            text(middle, place, self.axes.x_title, anchor="middle", more=FAINT)
        )

    def draw_curve(self, curve: Curve) -> None:
        """Line, marks, and upright lines from quartile to quartile."""
        places = [(self.x(point.x), self.y(point.y)) for point in curve.points]
        self.parts.append(polyline(places, curve.player))
        for (x, y), point in zip(places, curve.points, strict=True):
            low, high = self.y(point.low), self.y(point.high)
            self.parts.append(line(x, low, x, high, class_of(curve.player)))
            hint = f"{curve.player}, {short(point.x)}: {short(point.y)}"
            self.parts.append(mark(x, y, curve.player, hint=hint))


def curves_chart(title: str, axes: Axes, panels: Sequence[Panel]) -> str:
    """Panels side by side on the same axes, with one legend."""
    curves = [curve for panel in panels for curve in panel.curves]
    players = list(dict.fromkeys(curve.player for curve in curves))
    points = [point for curve in curves for point in curve.points]
    xs = sorted({point.x for point in points})
    ends = [end for point in points for end in (point.low, point.high)]
    low, high = bounds(ends, is_log=axes.is_y_log)
    top, bottom, height = 112, 318, 368
    body = [text(EDGE, 30, title, more=TITLE), *legend(players, EDGE, 54)]
    room = (WIDTH - 2 * EDGE) / len(panels)
    for index, panel in enumerate(panels):
        left = EDGE + index * room + 48
        right = EDGE + (index + 1) * room - 14
        x_low, x_high = (xs[0], xs[-1]) if len(xs) > 1 else (xs[0] / 2, xs[0] * 2)
        frame = Frame(
            axes,
            Scale(x_low, x_high, left + 8, right, axes.is_x_log),
            Scale(low, high, bottom, top, axes.is_y_log),
            xs,
        )
        frame.draw_grid()
        # The first is drawn last, above the others.
        for curve in reversed(panel.curves):
            frame.draw_curve(curve)
        heading = ", ".join(filter(None, (panel.heading, axes.y_title)))
        body += [text(left - 40, 88, heading), *frame.parts]
    return picture(WIDTH, height, title, players, body)


def legend(players: Sequence[str], x: float, y: float) -> list[str]:
    """Marks and names in a row."""
    parts: list[str] = []
    for player in players:
        parts.append(polyline([(x, y - 4), (x + 22, y - 4)], player))
        parts.append(mark(x + 11, y - 4, player))
        parts.append(text(x + 28, y, player))
        x += 42 + 6.7 * len(player)
    return parts


@dataclass(frozen=True)
class Row:
    """Ratios of one workload by rival; a row without is a heading."""

    label: str
    ratios: dict[str, float] = field(default_factory=dict)


def ratios_chart(title: str, note: str, rows: Sequence[Row]) -> str:
    """A dot for each rival in each row: how many times its rate ours is."""
    rivals = in_order(name for row in rows for name in row.ratios)
    values = [ratio for row in rows for ratio in row.ratios.values()]
    low, high = bounds([*values, 0.5, 2.0], is_log=True)
    step, top = 17, 128
    bottom = top + step * len(rows)
    x = Scale(low, high, EDGE + 184, WIDTH - EDGE - 16, is_log=True)
    body = [
        text(EDGE, 30, title, more=TITLE),
        text(EDGE, 50, note, more=FAINT),
        *legend(rivals, EDGE, 74),
    ]
    body += [
        text(x(1.0) - 8, 96, "← the other is ahead", anchor="end", more=FAINT),
        text(x(1.0) + 8, 96, "Chopin is ahead →", more=FAINT),
    ]
    for tick in log_ticks(low, high):
        name = "one" if tick == 1 else "grid"
        body.append(line(x(tick), top - 4, x(tick), bottom, name))
        label = f"{short(tick)}x"
        for place in (top - 10, bottom + 16):
            body.append(text(x(tick), place, label, anchor="middle", more=FAINT))
    for number_, row in enumerate(rows):
        y = top + step * (number_ + 0.5)
        if not row.ratios:
            bold = ' style="font-weight:600"'
            body.append(text(EDGE, y + 4, row.label, more=bold))
            continue
        body.append(text(EDGE + 172, y + 4, row.label, anchor="end"))
        body.append(line(x.start, y, x.end, y, "grid"))
        for rival, ratio in row.ratios.items():
            hint = f"{row.label}: {short(ratio)} times {rival}"
            body.append(mark(x(ratio), y, rival, hint=hint))
    return picture(WIDTH, bottom + 30, title, rivals, body)
