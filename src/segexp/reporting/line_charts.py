"""Drawings with one or more lines and a scale: training curves, reliability diagrams.

Up to eight lines have colours that colour-blind readers can tell apart (Okabe and Ito), a lighter set on dark paper.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from segexp.reporting.charts import short
from segexp.reporting.html import Html, element

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 20, 42
POINTS = 60
"""Lines with no more points than these show them, each with its values."""
MOST = 600
"""Points of a line that are drawn; of more every second, third … is left out."""

STYLE = """
:root{--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#a8568a;--c4:#56b4e9;--c5:#5c5c5c;--c6:#b87a00;--c7:#8a7f00}
@media (prefers-color-scheme:dark){:root{--c0:#5fb0e8;--c1:#ff8f4a;--c2:#3fd0a4;--c3:#e29cc4;--c4:#9bd8ff;--c5:#b5b5b5;
--c6:#f0b13c;--c7:#e8dc50}}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}
.c6{--c:var(--c6)}.c7{--c:var(--c7)}
svg .line{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}svg .point{fill:var(--c)}
svg .grid-line{stroke:var(--line);stroke-width:1}svg .guide{stroke:var(--soft);stroke-width:1;stroke-dasharray:4 3}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(21rem,100%),1fr));gap:1.2rem 1.6rem;margin:.8rem 0}
.legend{display:flex;flex-wrap:wrap;gap:.1rem .9rem;font-size:.82rem;color:var(--soft);margin:0 0 .3rem}
.legend span::before{content:"";display:inline-block;width:.9em;height:.25em;background:var(--c);margin-right:.4em;
vertical-align:.25em}
figure h3{margin:0 0 .2rem}
""".replace("\n", "")


@dataclass(frozen=True)
class Line:
    """One curve; `x` and `y` are of one length, points whose y is not finite are left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def curves(
    lines: Sequence[Line],
    title: str,
    across: str,
    *,
    span: tuple[float, float] | None = None,
    guide: tuple[float, str] | None = None,
    diagonal: bool = False,
) -> Html:
    """Return a figure with one scale for all lines, or nothing where there is no point.

    Args:
        lines: up to eight.
        title: what goes upwards.
        across: what goes to the right.
        span: both ends of the upward scale; by default those of the values.
        guide: a place on the horizontal axis that is marked, and why.
        diagonal: draw where both axes are equal, on scales from 0 to 1.
    """
    kept = [line for line in map(_finite, lines[:8]) if line.x]
    if not kept:
        return Html("")
    places = [place for line in kept for place in line.x]
    heights = [height for line in kept for height in line.y]
    left, right = (0.0, 1.0) if diagonal else (min(places), max(places))
    if left == right:
        left, right = left - 0.5, right + 0.5
    rows = ticks(*(span or (min(heights), max(heights))))
    low, high = (rows[0], rows[-1]) if span is None else span
    frame = Frame(left, right, low, high, WIDTH if diagonal else HEIGHT)
    drawn = frame.scale(rows, across, whole=not diagonal)
    if diagonal:
        drawn += frame.segment((0, 0), (1, 1))
    if guide is not None and left <= guide[0] <= right:
        drawn += frame.segment((guide[0], low), (guide[0], high), guide[1])
    drawn += "".join(_drawn(line, n, frame) for n, line in enumerate(kept))
    names = [element("span", line.name, class_=f"c{n}") for n, line in enumerate(kept)]
    legend = element("div", *names, class_="legend") if len(kept) > 1 else Html("")
    alt = f"{title} over {across}: {', '.join(line.name for line in kept)}"
    return element("figure", element("h3", title), legend, drawing(drawn, alt, height=frame.height))


@dataclass(frozen=True)
class Frame:
    """Where values lie on the drawing."""

    left: float
    right: float
    low: float
    high: float
    height: int = HEIGHT

    def x(self, value: float) -> float:
        """Return the pixel of a value on the horizontal axis."""
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.left) / (self.right - self.left)

    def y(self, value: float) -> float:
        """Return the pixel of a value on the vertical axis."""
        share = (value - self.low) / (self.high - self.low)
        return TOP + (self.height - TOP - BOTTOM) * (1 - min(max(share, -0.02), 1.02))

    def scale(self, rows: Sequence[float], across: str, *, whole: bool = False) -> str:
        """Return a line and a number for each of the rows, and numbers along the bottom.

        Args:
            rows: values with a line.
            across: name of the horizontal axis.
            whole: number whole values only.
        """
        drawn = self.lines(rows)
        for column in ticks(self.left, self.right):
            if self.left - 1e-9 <= column <= self.right + 1e-9 and (not whole or column.is_integer()):
                drawn += self.below(self.x(column), short(column))
        middle = {"x": f"{(LEFT + WIDTH - RIGHT) / 2:.0f}", "y": f"{self.height - 6}", "text-anchor": "middle"}
        return drawn + element("text", across, **middle)

    def lines(self, rows: Sequence[float]) -> str:
        """Return a line and a number for each of the rows."""
        digits = max((len(f"{row:.6g}".partition(".")[2]) for row in rows if "e" not in f"{row:.6g}"), default=0)
        drawn = ""
        for row in rows:
            y = self.y(row)
            drawn += f'<line class="grid-line" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            text = f"{row:.{digits}f}" if "e" not in f"{row:.6g}" else f"{row:.2g}"
            drawn += element("text", text, x=f"{LEFT - 6}", y=f"{y + 4:.1f}", **{"text-anchor": "end"})
        return drawn

    def below(self, x: float, text: str) -> str:
        """Return a word below the drawing, in the middle of a pixel column."""
        return element("text", text, x=f"{x:.1f}", y=f"{self.height - BOTTOM + 17}", **{"text-anchor": "middle"})

    def segment(self, start: tuple[float, float], end: tuple[float, float], text: str = "") -> str:
        """Return a dashed line, with a word above its end."""
        x1, y1, x2, y2 = self.x(start[0]), self.y(start[1]), self.x(end[0]), self.y(end[1])
        anchor, shift = ("end", 4) if x2 > (LEFT + WIDTH) / 2 else ("start", -4)
        place = {"x": f"{x2 + shift:.1f}", "y": f"{y2 - 6:.1f}", "text-anchor": anchor}
        word = element("text", text, **place) if text else ""
        return f'<line class="guide" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>{word}'


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers, the first no more than `low` and the last no less than `high`."""
    if not high > low:
        half = abs(low) / 10 or 0.5
        low, high = low - half, high + half
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return [round(n * step, 12) for n in range(first, last + 1)]


def drawing(shapes: str, alt: str, width: int = WIDTH, height: int = HEIGHT) -> Html:
    """Return shapes as a picture."""
    return Html(f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(alt)}">{shapes}</svg>')


def _finite(line: Line) -> Line:
    pairs = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
    step = -(-len(pairs) // MOST) or 1
    kept = pairs[::step] + ([pairs[-1]] if pairs and (len(pairs) - 1) % step else [])
    return Line(line.name, [x for x, _ in kept], [y for _, y in kept])


def _drawn(line: Line, number: int, frame: Frame) -> str:
    places = [(frame.x(x), frame.y(y)) for x, y in zip(line.x, line.y, strict=True)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    drawn = f'<polyline class="line" points="{points}"/>'
    if len(places) <= POINTS:
        for (x, y), value, at in zip(places, line.y, line.x, strict=True):
            title = element("title", f"{line.name}, {short(at)}: {value:.4g}")
            drawn += f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="3">{title}</circle>'
    return f'<g class="c{number}">{drawn}</g>'
