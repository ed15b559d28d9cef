"""Charts as plain geometry, drawn as SVG by `templates/charts.html.j2` in the colours of the page.

Lengths are in drawing units of about one pixel. Up to eight lines have colours that colour-blind readers can distinguish (Okabe
and Ito), lighter ones in dark mode. Every chart has a label and a text description, and its marks show their values on hover.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from segexp.errors import pluralise
from segexp.evaluation.summary_text import format_score
from segexp.metrics.significance import Interval
from segexp.reporting.tables import Table

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 20, 42
"""Margins of the plot area."""
MARKED_POINTS = 60
"""Maximum number of points for which a line shows markers."""
MAX_POINTS = 600
"""Maximum number of points of a line; longer lines are thinned."""
MAX_LINES = 8
CATEGORIES = 6
"""Up to this many distinct numbers are treated as categories in a dot plot."""
LOG_RATIO = 20
"""Minimum ratio of largest to smallest number for a logarithmic scale in a dot plot."""
SPREAD = 22
"""Maximum horizontal spread of the dots of one value."""
NAME_WIDTH, BAR_HEIGHT = 130, 26
"""Width of the names of a bar chart, and height of a bar with its gap."""
INTERVAL_WIDTH = 180


@dataclass(frozen=True)
class Text:
    """A text at a point; `anchor` is "start", "middle" or "end"."""

    x: float
    y: float
    text: str
    anchor: str = "middle"
    strong: bool = False


@dataclass(frozen=True)
class Rule:
    """A straight line; `kind` is its style: "axis", "grid-line", "guide" or "mean-mark"."""

    x1: float
    y1: float
    x2: float
    y2: float
    kind: str


@dataclass(frozen=True)
class Bar:
    """A rectangle; `fill` is a colour such as "#0072b2", "" for the page's own."""

    x: float
    y: float
    width: float
    height: float
    value: str
    fill: str = ""


@dataclass(frozen=True)
class Dot:
    """A point with the text shown on hover."""

    x: float
    y: float
    value: str


@dataclass(frozen=True)
class Curve:
    """A line in the colour `number` (0 to 7), with dots if it has few points."""

    number: int
    points: Sequence[tuple[float, float]]
    dots: Sequence[Dot]


@dataclass(frozen=True)
class Chart:
    """A chart, ready to be drawn.

    Attributes:
        title: above it; may be empty.
        label: its name, for screen readers.
        description: its main numbers, for screen readers.
        height: of the drawing, which is `WIDTH` wide.
        rules: axes, grid lines and guides.
        bars: columns of a histogram or bars of classes.
        curves: lines.
        dots: single points.
        texts: numbers and names.
        legend: names of the curves; empty for a single one.
        table: the data as a table; None if the marks suffice.
    """

    title: str
    label: str
    description: str
    height: int
    rules: Sequence[Rule] = ()
    bars: Sequence[Bar] = ()
    curves: Sequence[Curve] = ()
    dots: Sequence[Dot] = ()
    texts: Sequence[Text] = ()
    legend: Sequence[str] = ()
    table: Table | None = None
    width: int = WIDTH


@dataclass(frozen=True)
class Series:
    """A line of a chart; `x` and `y` have equal length, points with non-finite y are left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class JobScore:
    """A dot of a dot plot: a job, its value of the key as typed, and its score."""

    value: str
    score: float
    job: str


@dataclass(frozen=True)
class IntervalBar:
    """A mean and its interval on a scale; `start` and `length` are None without an interval."""

    mean: float
    start: float | None
    length: float | None
    width: int = INTERVAL_WIDTH


@dataclass(frozen=True)
class Axes:
    """The scales of a chart, with their rules and texts."""

    left: float
    right: float
    low: float
    high: float
    height: int = HEIGHT
    scale: Callable[[float], float] = float
    rules: list[Rule] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)

    def x(self, value: float) -> float:
        """Return the horizontal position of a value."""
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - self.left) / (self.right - self.left), 1)

    def y(self, value: float) -> float:
        """Return the vertical position of a value, clipped near the ends of the scale."""
        low, high = self.scale(self.low), self.scale(self.high)
        share = (self.scale(value) - low) / (high - low)
        return round(TOP + (self.height - TOP - BOTTOM) * (1 - min(max(share, -0.02), 1.02)), 1)

    def add_rows(self, values: Sequence[float], name: str = "") -> None:
        """Add a grid line and a number for each value, and the name of the vertical scale."""
        texts = [f"{value:.6g}" for value in values]
        digits = max((len(text.partition(".")[2]) for text in texts if "e" not in text), default=0)
        for value, text in zip(values, texts, strict=True):
            y = self.y(value)
            shown = f"{value:.2g}" if "e" in text else compact_number(value) if abs(value) >= 1e4 else f"{value:.{digits}f}"
            self.rules.append(Rule(LEFT, y, WIDTH - RIGHT, y, "grid-line"))
            self.texts.append(Text(LEFT - 6, y + 4, shown, "end"))
        if name:
            self.texts.append(Text(LEFT, TOP - 8, name, "start"))

    def add_columns(self, name: str, *, whole: bool = False) -> None:
        """Add numbers (optionally only integers) along the bottom, and the name of the horizontal scale."""
        for value in ticks(self.left, self.right):
            if self.left - 1e-9 <= value <= self.right + 1e-9 and (not whole or value.is_integer()):
                self.add_label(self.x(value), compact_number(value))
        self.texts.append(Text((LEFT + WIDTH - RIGHT) / 2, self.height - 6, name))

    def add_label(self, x: float, text: str) -> None:
        """Add a text below the plot area."""
        self.texts.append(Text(x, self.height - BOTTOM + 17, text))

    def add_guide(self, start: tuple[float, float], end: tuple[float, float], text: str = "") -> None:
        """Add a dashed line with a text at its end."""
        x1, y1, x2, y2 = self.x(start[0]), self.y(start[1]), self.x(end[0]), self.y(end[1])
        self.rules.append(Rule(x1, y1, x2, y2, "guide"))
        if text:
            anchor, shift = ("end", 4) if x2 > (LEFT + WIDTH) / 2 else ("start", -4)
            self.texts.append(Text(x2 + shift, y2 - 6, text, anchor))


def line_chart(
    lines: Sequence[Series],
    title: str,
    x_name: str,
    *,
    y_range: tuple[float, float] | None = None,
    marker: tuple[float, str] | None = None,
    diagonal: bool = False,
) -> Chart | None:
    """Return a chart of one or more lines; None if there is no point.

    Args:
        lines: up to `MAX_LINES`; more are left out.
        title: name of the vertical axis.
        x_name: name of the horizontal axis.
        y_range: of the vertical scale; by default that of the values.
        marker: a marked position on the horizontal scale and its text.
        diagonal: draw the diagonal, on scales from 0 to 1.
    """
    kept = [line for line in map(_finite_points, lines[:MAX_LINES]) if line.x]
    if not kept:
        return None
    places = [place for line in kept for place in line.x]
    values = [value for line in kept for value in line.y]
    left, right = (0.0, 1.0) if diagonal else (min(places), max(places))
    if left == right:
        left, right = left - 0.5, right + 0.5
    rows = ticks(*(y_range or (min(values), max(values))))
    low, high = y_range or (rows[0], rows[-1])
    axes = Axes(left, right, low, high, WIDTH if diagonal else HEIGHT)
    axes.add_rows(rows)
    axes.add_columns(x_name, whole=not diagonal)
    if diagonal:
        axes.add_guide((0, 0), (1, 1))
    if marker is not None and left <= marker[0] <= right:
        axes.add_guide((marker[0], low), (marker[0], high), marker[1])
    names = [line.name for line in kept]
    return Chart(
        title,
        f"{title} over {x_name}: {', '.join(names)}",
        " ".join(_line_in_words(line, x_name) for line in kept),
        axes.height,
        rules=axes.rules,
        curves=[_curve(line, n, axes) for n, line in enumerate(kept)],
        texts=axes.texts,
        legend=names if len(names) > 1 else [],
    )


def _finite_points(line: Series) -> Series:
    pairs = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
    step = -(-len(pairs) // MAX_POINTS) or 1
    kept = pairs[::step] + ([pairs[-1]] if pairs and (len(pairs) - 1) % step else [])
    return Series(line.name, [x for x, _ in kept], [y for _, y in kept])


def _curve(line: Series, position: int, axes: Axes) -> Curve:
    points = [(axes.x(x), axes.y(y)) for x, y in zip(line.x, line.y, strict=True)]
    if len(points) > MARKED_POINTS:
        return Curve(position, points, [])
    values = [f"{line.name}, {compact_number(x)}: {y:.4g}" for x, y in zip(line.x, line.y, strict=True)]
    return Curve(position, points, [Dot(*point, value) for point, value in zip(points, values, strict=True)])


def _line_in_words(line: Series, x_name: str) -> str:
    first, last = (f"{line.y[n]:.4g} at {x_name} {compact_number(line.x[n])}" for n in (0, -1))
    return f"{line.name}: from {first} to {last}, lowest {min(line.y):.4g}, highest {max(line.y):.4g}."


def histogram(
    values: Sequence[float] | np.ndarray,
    x_name: str,
    label: str,
    *,
    bins: int = 24,
    unit: str = "case",
    value_range: tuple[float, float] | None = None,
    root_scale: bool = False,
) -> Chart | None:
    """Return a histogram; None if there are no finite values.

    Args:
        values: numbers; non-finite ones are left out.
        x_name: name of the horizontal scale, with its unit.
        label: for screen readers.
        bins: number of columns; one if all values are equal and no range is given.
        unit: counted objects, singular.
        value_range: of the horizontal scale; by default that of the values.
        root_scale: use square roots of the counts, so that small columns remain visible.
    """
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return None
    low, high = value_range or (float(finite.min()), float(finite.max()))
    if low == high:
        half = abs(low) / 20 or 0.5
        low, high, bins = low - half, high + half, 1
    counts, edges = np.histogram(finite, bins, (low, high))
    axes = Axes(low, high, 0.0, float(max(counts.max(), 1)), HEIGHT - 20, math.sqrt if root_scale else float)
    rows = [row for row in ticks(0.0, axes.high) if row <= axes.high and row.is_integer()]
    axes.add_rows(rows, f"{unit}s, root scale" if root_scale else f"{unit}s")
    axes.add_columns(x_name)
    columns = zip(counts, pairwise(edges), strict=True)
    bars = [_column(count, start, end, unit, axes) for count, (start, end) in columns if count]
    most = int(counts.argmax())
    ends = f"{compact_number(float(finite.min()))} to {compact_number(float(finite.max()))}"
    description = f"{_amount(float(counts.sum()), unit)} from {ends}, most in the column from "
    description += f"{compact_number(edges[most])} to {compact_number(edges[most + 1])}."
    return Chart("", label, description, axes.height, rules=axes.rules, bars=bars, texts=axes.texts)


def _column(count: float, start: float, end: float, unit: str, axes: Axes) -> Bar:
    left, top, bottom = axes.x(start), axes.y(count), axes.y(0)
    width = round(max(axes.x(end) - left - 1, 0.5), 1)
    return Bar(
        left, top, width, round(bottom - top, 1), f"{compact_number(start)} to {compact_number(end)}: {_amount(count, unit)}"
    )


def _amount(count: float, unit: str) -> str:
    return f"{compact_number(count)} {unit if count == 1 else f'{unit}s'}"


def bar_chart(names: Sequence[str], shares: Sequence[float], colours: Sequence[tuple[int, int, int]], label: str) -> Chart:
    """Return a bar chart of class shares.

    Args:
        names: of the classes.
        shares: 0 to 1.
        colours: of the classes.
        label: for screen readers.
    """
    top = max(*shares, 1e-12)
    texts, bars = [], []
    for n, (name, share, colour) in enumerate(zip(names, shares, colours, strict=True)):
        y = n * BAR_HEIGHT
        width = round(max((WIDTH - NAME_WIDTH - 60) * share / top, 1), 1)
        value = f"{share:.1%}" if share >= 0.001 or not share else f"{share:.2g}"
        texts.append(Text(0, y + 17, name if len(name) <= 18 else f"{name[:17]}…", "start"))
        texts.append(Text(NAME_WIDTH + width + 6, y + 17, value, "start", strong=True))
        bars.append(Bar(NAME_WIDTH, y + 4, width, 18, f"{name}: {value}", "#{:02x}{:02x}{:02x}".format(*colour)))
    return Chart("", label, f"{'; '.join(bar.value for bar in bars)}.", len(names) * BAR_HEIGHT + 4, bars=bars, texts=texts)


def dot_plot(key: str, jobs: Sequence[JobScore], score: str) -> Chart | None:
    """Return a dot plot of the jobs by value with the mean of each value, and its table; None if no job has a score.

    Args:
        key: that varies.
        jobs: those without a score are left out.
        score: name of the score.
    """
    known = [job for job in jobs if math.isfinite(job.score)]
    if not known:
        return None
    rows = ticks(min(job.score for job in known), max(job.score for job in known))
    values = sorted({job.value for job in known}, key=_numbers_first)
    at = _value_positions(values)
    margin = 0.5 if at == list(range(len(values))) else 0.05 * (at[-1] - at[0])
    axes = Axes(at[0] - margin, at[-1] + margin, rows[0], rows[-1], HEIGHT - 14)
    axes.add_rows(rows)
    places = [axes.x(place) for place in at]
    _add_value_labels(values, places, axes)
    groups = [sorted((job for job in known if job.value == value), key=lambda job: job.job) for value in values]
    dots = [dot for own, x in zip(groups, places, strict=True) for dot in _job_dots(own, x, axes, score)]
    for own, x in zip(groups, places, strict=True):
        if len(own) > 1:
            y = axes.y(float(np.mean([job.score for job in own])))
            axes.rules.append(Rule(x - 14, y, x + 14, y, "mean-mark"))
    table = Table((key, "jobs", "mean", "lowest", "highest"), list(map(_value_row, values, groups)), (1, 2, 3, 4))
    description = " ".join(f"{value}: mean {mean} of {pluralise(int(jobs), 'job')}." for value, jobs, mean, *_ in table.rows)
    label = f"{score} of {pluralise(len(known), 'job')} by {key}"
    return Chart(key, label, description, HEIGHT - 34, rules=axes.rules, dots=dots, texts=axes.texts, table=table)


def _value_row(value: str, jobs: Sequence[JobScore]) -> list[str]:
    scores = [job.score for job in jobs]
    return [value, str(len(scores)), *map(format_score, (float(np.mean(scores)), min(scores), max(scores)))]


def _value_positions(values: Sequence[str]) -> list[float]:
    """Return the positions of values: evenly spaced categories, or a numeric scale for many numbers."""
    numbers = [x for x in map(_as_number, values) if x is not None]
    if len(values) <= CATEGORIES or len(numbers) < len(values):
        return [float(n) for n in range(len(values))]
    logarithmic = numbers[0] > 0 and numbers[-1] / numbers[0] >= LOG_RATIO
    return [math.log10(x) for x in numbers] if logarithmic else numbers


def _add_value_labels(values: Sequence[str], places: Sequence[float], axes: Axes) -> None:
    """Add the values as labels, shortened to the available width, and thinned if necessary."""
    gaps = [b - a for a, b in pairwise(places)]
    room = max(40.0, min(gaps, default=float(WIDTH - LEFT - RIGHT)))
    last = -room
    for value, x in zip(values, places, strict=True):
        if x - last >= room - 1e-6:
            axes.add_label(x, _shortened(value, int(room / 6.8)))
            last = x


def _job_dots(jobs: Sequence[JobScore], x: float, axes: Axes, score: str) -> list[Dot]:
    """Return the dots of one value, side by side."""
    width = min(SPREAD, 5 * (len(jobs) - 1))
    offsets = np.linspace(-width, width, len(jobs)) if len(jobs) > 1 else np.zeros(1)
    return [
        Dot(round(x + float(offset), 1), axes.y(job.score), f"{job.job}: {score} {format_score(job.score)}")
        for job, offset in zip(jobs, offsets, strict=True)
    ]


def _shortened(text: str, room: int) -> str:
    """Return a value shortened to `room` characters."""
    value = _as_number(text)
    text = compact_number(value) if value is not None and len(text) > room else text
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _numbers_first(text: str) -> tuple[int, float, str]:
    value = _as_number(text)
    return (1, 0.0, text) if value is None else (0, value, text)


def _as_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def interval_bar(interval: Interval, low: float, high: float) -> IntervalBar | None:
    """Return the bar of an interval on the scale from `low` to `high`; None for a mean outside 0 to 1."""
    if not 0 <= interval.mean <= 1:
        return None

    def place(value: float) -> float:
        return round(2 + (INTERVAL_WIDTH - 4) * (min(max(value, low), high) - low) / (high - low), 1)

    mean = place(interval.mean)
    if math.isnan(interval.low):
        return IntervalBar(mean, None, None)
    start = place(interval.low)
    return IntervalBar(mean, start, round(max(place(interval.high) - start, 1), 1))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers that cover the range from `low` to `high`."""
    if not high > low:
        half = abs(low) / 10 or 0.5
        low, high = low - half, high + half
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return [round(n * step, 12) for n in range(first, last + 1)]


def compact_number(value: float) -> str:
    """Return a compact number: 1.2k, 0.034, 256."""
    size = abs(value)
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / (1e3 if letter == 'k' else limit):.3g}{letter}"
    return f"{value:.0f}" if float(value).is_integer() or size >= 100 else f"{value:.3g}"
