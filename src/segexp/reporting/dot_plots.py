"""Dot plots: the score of each job of a study by one of the keys that vary in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from segexp.evaluation.summary_text import counted, number
from segexp.reporting.charts import short
from segexp.reporting.html import Html, details, element, table
from segexp.reporting.line_charts import HEIGHT, LEFT, RIGHT, WIDTH, Frame, drawing, ticks

MANY = 6
"""Different numbers from which on they lie on a scale of their own instead of side by side."""
DECADES = 20
"""Largest by smallest number from which on the scale is logarithmic."""
WIDE = 22
"""How far dots of one value are spread, in pixels either way."""

STYLE = """
svg .dot{fill:var(--c0);fill-opacity:.7}svg .mean-mark{stroke:var(--c1);stroke-width:3}
""".replace("\n", "")


@dataclass(frozen=True)
class Dot:
    """One job: its value of the key as typed, its score, its name."""

    value: str
    score: float
    name: str


def dot_plot(key: str, dots: Sequence[Dot], score: str) -> Html:
    """Return a figure with a dot per job and a bar at the mean of each value, and the same in numbers.

    Args:
        key: what varies.
        dots: jobs; those without a score are left out.
        score: name of the score.
    """
    kept = [dot for dot in dots if math.isfinite(dot.score)]
    if not kept:
        return Html("")
    rows = ticks(min(dot.score for dot in kept), max(dot.score for dot in kept))
    values = sorted({dot.value for dot in kept}, key=_natural)
    at = _places(values)
    margin = 0.5 if at == list(range(len(values))) else 0.05 * (at[-1] - at[0])
    frame = Frame(at[0] - margin, at[-1] + margin, rows[0], rows[-1], HEIGHT - 14)
    places = [frame.x(place) for place in at]
    drawn = frame.lines(rows) + _labels(values, places, frame)
    for value, x in zip(values, places, strict=True):
        drawn += _column([dot for dot in kept if dot.value == value], x, frame, score)
    picture = drawing(drawn, f"{score} of {counted(len(kept), 'job')} by {key}", height=HEIGHT - 34)
    return element("figure", element("h3", key), picture, details("in numbers", _table(key, values, kept)))


def _places(values: Sequence[str]) -> list[float]:
    """Return where values lie: side by side, or on a scale where they are many numbers."""
    numbers = [x for x in map(_number, values) if x is not None]
    if len(values) <= MANY or len(numbers) < len(values):
        return [float(n) for n in range(len(values))]
    logarithmic = numbers[0] > 0 and numbers[-1] / numbers[0] >= DECADES
    return [math.log10(x) for x in numbers] if logarithmic else numbers


def _labels(values: Sequence[str], places: Sequence[float], frame: Frame) -> str:
    """Return the values below their places, shortened to the room between them; where that is too little, not all."""
    gaps = [b - a for a, b in pairwise(places)]
    room = max(40.0, min(gaps, default=float(WIDTH - LEFT - RIGHT)))
    drawn, last = "", -room
    for value, x in zip(values, places, strict=True):
        if x - last >= room - 1e-6:
            drawn += frame.below(x, _fitting(value, int(room / 6.8)))
            last = x
    return drawn


def _column(own: Sequence[Dot], x: float, frame: Frame, score: str) -> str:
    """Return the dots of one value, side by side where there are several, and their mean."""
    width = min(WIDE, 5 * (len(own) - 1))
    offsets = np.linspace(-width, width, len(own)) if len(own) > 1 else np.zeros(1)
    drawn = ""
    for dot, offset in zip(sorted(own, key=lambda dot: dot.name), offsets, strict=True):
        title = element("title", f"{dot.name}: {score} {number(dot.score)}")
        drawn += f'<circle class="dot" cx="{x + offset:.1f}" cy="{frame.y(dot.score):.1f}" r="4.5">{title}</circle>'
    if len(own) > 1:
        y = frame.y(float(np.mean([dot.score for dot in own])))
        drawn += f'<line class="mean-mark" x1="{x - 14:.1f}" x2="{x + 14:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return drawn


def _fitting(text: str, room: int) -> str:
    """Return as much of a value as fits into so many characters."""
    value = _number(text)
    text = short(value) if value is not None and len(text) > room else text
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _table(key: str, values: Sequence[str], dots: Sequence[Dot]) -> Html:
    rows = []
    for value in values:
        own = [dot.score for dot in dots if dot.value == value]
        rows.append([value, str(len(own)), number(float(np.mean(own))), number(min(own)), number(max(own))])
    return table((key, "jobs", "mean", "lowest", "highest"), rows, numbers=(1, 2, 3, 4))


def _natural(text: str) -> tuple[int, float, str]:
    value = _number(text)
    return (1, 0.0, text) if value is None else (0, value, text)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
