"""check.html: verdict, findings with their cases, statistics of the data, and sample cases.

To add an optional section: a dataclass like `OverfitTest` here, and a template with the name in its `template`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from rich.console import Console
from rich.table import Table as TextTable
from rich.text import Text

from segexp.checks.issues import LEVELS, CaseFacts, Examination, Finding, class_shares
from segexp.config.schema import DataConfig
from segexp.data.labels import multilabel
from segexp.data.labels.class_table import UNCLAIMED
from segexp.data.labels.multilabel import Labels, OverlappingTable
from segexp.data.labels.spec import rgb
from segexp.data.layout.infer_classes import evenly_spread
from segexp.errors import DataError, SegexpError, pluralise, sentence
from segexp.evaluation.label_errors import LabelQuality
from segexp.evaluation.summary_text import format_score
from segexp.reporting.case_images import draw_views
from segexp.reporting.charts import Chart, Series, bar_chart, histogram, line_chart
from segexp.reporting.images import ColourKey, Figure, ThumbnailBudget, colour_keys, embed_array, sample_intensities
from segexp.reporting.rendering import Notice, render
from segexp.reporting.tables import Table
from segexp.types import IGNORE, DataSpec
from segexp.visualization import Array, error_kinds

MAX_LISTED = 12
"""Maximum number of listed mask values, sizes etc."""
CASES_PER_SPLIT = 8
"""Number of sample cases of each split."""
LARGE, SMALL = 320, 160
"""Longest side of an image in pixels."""
MANY_CASES = 12
"""Findings about more cases show small, collapsed images."""
PICTURE_BUDGET = 11_000_000
"""Maximum characters of the page for images; check.html stays below 15 MB."""
MAX_CLASSES = 8
"""Maximum number of foreground classes with a histogram."""
DISPUTED_CASES = 12
"""Number of disputed masks with images."""
RANKED_CASES = 100
"""Number of disputed masks in the table; label_errors.csv has all."""
DISPUTE_VIEWS = ("image", "given mask", "prediction", "where they differ")
DIFFERENCES = {
    "correct": "in both",
    "missed": "only in the given mask",
    "false alarm": "only in the prediction",
    "wrong class": "another class",
}
"""What the kinds of an error map mean where the mask may be wrong."""
LEVEL_STYLES = dict(zip(LEVELS, ("bold red", "bold yellow", "bold cyan"), strict=True))

Step = tuple[int, float, float, float]
"""Steps, seconds, training loss, Dice."""


@dataclass(frozen=True)
class ClassFacts:
    """One class over all readable cases.

    Attributes:
        name: as in data.classes.
        colour: in overlays.
        values: its mask values that occur, the most frequent first.
        share: of all labelled pixels.
        cases: number of cases in which it occurs.
    """

    name: str
    colour: tuple[int, int, int]
    values: tuple[str, ...]
    share: float
    cases: int


def dataset_name(data: DataConfig) -> str:
    """Return the name of the data set; by default the folder name."""
    return Path(data.root).resolve().name or "data" if data.name == "auto" else data.name


def check_verdict(examination: Examination) -> str:
    """Return a sentence on whether the data are suitable for training."""
    counts = Counter(finding.level for finding in examination.findings)
    errors, warnings = (pluralise(counts[level], level) for level in LEVELS[:2])
    if counts["error"]:
        return f"{errors}: training cannot work as it stands, or its scores would be wrong."
    if counts["warning"]:
        return f"No error, {warnings}: training will run; look at the warnings before you trust it."
    return "Nothing found that stands in the way of training."


def dataset_facts(examination: Examination) -> list[tuple[str, str]]:
    """Return names and values of the properties of the data."""
    facts = list(examination.facts.values())
    found = [("cases", cases_text(examination))]
    groups = {case.group for case in examination.cases if case.group is not None}
    if groups:
        found.append(("groups kept together", str(len(groups))))
    if not facts:
        return [*found, ("readable", "none")]
    found += [
        ("sizes (height x width)", _sizes(facts)),
        ("channels", _tally(str(each.channels) for each in facts)),
        ("values stored as", _tally(each.dtype for each in facts)),
        ("intensities", f"{min(f.low for f in facts):g} to {max(f.high for f in facts):g}"),
    ]
    table = label_table(examination.data)
    if table is None:
        return [*found, ("mask values", _tally(value for each in facts for value in each.values))]
    classes = class_facts(examination, table)
    found.append(("mask values", "; ".join(f"{_few(each.values)} = {each.name}" for each in classes)))
    if others := unclaimed_values(facts, table):
        found.append(("values of no class", _few(list(others))))
    known = [each for each in facts if each.shares]
    if known:
        found.append(("pixels", ", ".join(f"{each.name} {format_share(each.share)}" for each in classes)))
    if known and table.background:
        found.append(("masks without foreground", f"{sum(not any(each.shares[1:]) for each in known)} of {len(known)}"))
    if not table.background:
        found.append(("background", "none, every class counts"))
    return found


def cases_text(examination: Examination) -> str:
    """Return the number of cases of each split as text."""
    counts = Counter(examination.splits.values())
    parts = [f"{counts[split]} {split}" for split in ("train", "val", "test") if counts[split]]
    how = "; stratified by class" if examination.stratified else ""
    return f"{len(examination.cases)}" + (f" ({', '.join(parts)}{how})" if parts else "")


def label_table(data: DataConfig) -> Labels | None:
    """Return the class table of a data section; None if it is incomplete or invalid."""
    try:
        return multilabel.label_table(data)
    except SegexpError:
        return None


def class_index(value: str, table: Labels) -> int | None:
    """Return the class index of a mask value such as "255" or "#3C1098"; 255 if ignored, None if unassigned.

    For overlapping labels, the first class with the value.
    """
    if isinstance(table, OverlappingTable):
        meant = [(index, class_index(value, table.of(name))) for index, name in enumerate(table.names[1:], start=1)]
        return next((index if found == 1 else found for index, found in meant if found is not None), None)
    if table.annotated:
        code = table.code(0 if value == "0" else value)
        return None if code == UNCLAIMED else code
    pixel = np.array([[rgb(value)]], np.uint8) if value.startswith("#") else _number(value)
    try:
        return int(table.encode(pixel)[0, 0])
    except DataError:
        return None


def class_facts(examination: Examination, table: Labels) -> list[ClassFacts]:
    """Return one entry per class (of overlapping ones, the first is for none), and one for ignored pixels if there are any."""
    facts = examination.facts.values()
    known = [each for each in facts if each.shares]
    shares = class_shares(known) or [0.0] * len(table.names)
    cases = [sum(each.shares[k] > 0 for each in known) for k in range(len(table.names))]
    if isinstance(table, OverlappingTable):
        values = {index: tuple(map(str, each)) for index, each in enumerate(table.classes.values())}
    else:
        values = _values_by_class(facts, table)
    found = [
        ClassFacts(name, colour, values.get(k, ()), shares[k], cases[k])
        for k, (name, colour) in enumerate(zip(table.names, table.palette, strict=True))
    ]
    if IGNORE in values:
        share = sum(each.ignored for each in known) / max(1, sum(each.labelled for each in known))
        found.append(ClassFacts("(ignored)", (128, 128, 128), values[IGNORE], share, sum(each.ignored > 0 for each in known)))
    return found


def _values_by_class(facts: Iterable[CaseFacts], table: Labels) -> dict[int, tuple[str, ...]]:
    """Return the mask values that occur by class index, the most frequent first."""
    found: dict[int, tuple[str, ...]] = {}
    for value in _count_values(facts):
        index = class_index(value, table)
        if index is not None:
            found[index] = (*found.get(index, ()), value)
    return found


def _count_values(facts: Iterable[CaseFacts]) -> dict[str, int]:
    """Return the pixels by mask value, the most frequent first."""
    pixels: Counter[str] = Counter()
    for each in facts:
        pixels.update(each.values)
    return dict(pixels.most_common())


def unclaimed_values(facts: Iterable[CaseFacts], table: Labels) -> dict[str, int]:
    """Return the mask values without a class and their pixel counts, the most frequent first."""
    return {value: count for value, count in _count_values(facts).items() if class_index(value, table) is None}


def format_share(share: float) -> str:
    """Return a share of the pixels: 12.3 %, with enough digits to differ from zero."""
    return f"{100 * share:.1f} %" if share >= 0.001 or not share else f"{100 * share:.1g} %"


def _sizes(facts: Iterable[CaseFacts]) -> str:
    counts = Counter(each.size for each in facts)
    if len(counts) <= 4:
        return _tally(f"{height}x{width}" for each in facts for height, width in [each.size])
    ordered = sorted(counts, key=lambda size: size[0] * size[1])
    small, large = ordered[0], ordered[-1]
    return f"{len(counts)} sizes from {small[0]}x{small[1]} to {large[0]}x{large[1]}"


def _tally(texts: Iterable[str]) -> str:
    """Return the distinct texts, with their counts if there are several."""
    counts = Counter(texts)
    if len(counts) == 1:
        return next(iter(counts))
    return _few([f"{text} ({count})" for text, count in counts.most_common()])


def _few(texts: Iterable[str]) -> str:
    listed = list(texts)
    more = len(listed) - MAX_LISTED
    return (", ".join(listed[:MAX_LISTED]) or "none") + (f" and {more} more" if more > 0 else "")


def _number(value: str) -> np.ndarray:
    number = float(value)
    whole = number.is_integer() and 0 <= number <= 65535
    return np.array([[number]], (np.uint8 if number <= 255 else np.uint16) if whole else np.float32)


@dataclass(frozen=True)
class FindingBox:
    """A finding with images of its cases, small and collapsed if there are many."""

    notice: Notice
    figures: Sequence[Figure]
    many: bool


@dataclass(frozen=True)
class ClassRow:
    """A class in the table of classes."""

    key: ColourKey
    values: str
    share: str
    cases: str


@dataclass(frozen=True)
class OverfitTest:
    """Result of the overfit test."""

    verdict: Notice
    charts: Sequence[Chart]
    course: Table
    pictures: Figure
    template: ClassVar[str] = "check_overfit_test.html.j2"


@dataclass(frozen=True)
class Proposal:
    """A proposed configuration, and the command that trains with it."""

    text: str
    command: str
    template: ClassVar[str] = "check_proposal.html.j2"


@dataclass(frozen=True)
class DisputedMasks:
    """A ranking of masks by their disagreement with held-out predictions.

    Attributes:
        notes: sentences about the ranking.
        legend: colours.
        rows: rank and id, scores, and views of the first ones.
        table: of more masks.
        total: number of masks.
        caution: how to interpret the ranking.
    """

    notes: str
    legend: Sequence[tuple[str, Sequence[ColourKey]]]
    rows: Sequence[tuple[str, str, Sequence[Figure]]]
    table: Table
    total: int
    caution: Notice
    template: ClassVar[str] = "check_disputes.html.j2"


CheckSection = OverfitTest | Proposal | DisputedMasks


def check_page(examination: Examination, sections: Sequence[CheckSection] = ()) -> str:
    """Return the page.

    Args:
        examination: of the data.
        sections: shown after the findings.
    """
    classes = label_table(examination.data)
    cases = {case.id: case for case in examination.cases}
    thumbnails = ThumbnailBudget(cases, classes, Path(examination.data.root), PICTURE_BUDGET)
    samples = _sample_cases(examination, thumbnails)  # first, so that they fit into the budget
    levels = {finding.level for finding in examination.findings}
    level = next((level for level in ("error", "warning") if level in levels), "good")
    return render(
        "check.html.j2",
        title=f"Check of {dataset_name(examination.data)}",
        subtitle=examination.data.root,
        verdict=Notice(level, check_verdict(examination)),
        findings=_finding_boxes(examination.findings, thumbnails),
        sections=sections,
        facts=[("layout", examination.layout), *dataset_facts(examination)],
        classes=_class_rows(examination, classes) if classes is not None and examination.facts else [],
        charts_shown=distribution_charts(examination, classes),
        keys=colour_keys(classes.names, classes.palette, classes.background) if classes is not None else [],
        samples=samples,
    )


def _finding_boxes(findings: Sequence[Finding], thumbnails: ThumbnailBudget) -> list[FindingBox]:
    """Return the findings with their cases; captions name other findings about the same case."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for finding in findings:
        for case in finding.cases:
            kinds[case].append(finding.kind)
    found = []
    for finding in findings:
        captions = {}
        for case in finding.cases:
            others = [kind for kind in dict.fromkeys(kinds[case]) if kind != finding.kind]
            if others:
                captions[case] = f"also {', '.join(others)}".replace("_", " ")
        many = len(finding.cases) > MANY_CASES
        figures = list(thumbnails.figures(finding.cases, SMALL if many else LARGE, captions))
        found.append(FindingBox(Notice(finding.level, sentence(finding.found), [sentence(finding.do)]), figures, many))
    return found


def _class_rows(examination: Examination, classes: Labels) -> list[ClassRow]:
    return [
        ClassRow(
            ColourKey(each.name, each.colour),
            ", ".join(each.values[:8]) + (" …" if len(each.values) > 8 else "") or "none met",
            format_share(each.share),
            f"{each.cases} of {len(examination.facts)}",
        )
        for each in class_facts(examination, classes)
    ]


def distribution_charts(examination: Examination, classes: Labels | None) -> list[Chart]:
    """Return charts of class shares, image sides, intensities and class shares per mask, as far as known."""
    found = list(examination.facts.values())
    if not found:
        return []
    values, count = sample_intensities(examination.cases)
    label = "Histogram of the intensities"
    charts = [histogram(values, f"intensity, from {count} images", label, bins=64, unit="pixel", root_scale=True)]
    if len(set(sides := [max(each.size) for each in found])) > 1:
        charts.insert(0, histogram(sides, "longest side, pixels", "Histogram of the longest sides"))
    shares = [each.shares for each in found if each.shares]
    if classes is not None and shares:
        known = class_facts(examination, classes)[: len(classes.names)]
        charts.insert(0, bar_chart(classes.names, [each.share for each in known], classes.palette, "Share of each class"))
        first = int(classes.background)
        for index, name in list(enumerate(classes.names))[first : first + MAX_CLASSES]:
            percents = [100 * share[index] for share in shares]
            charts.append(histogram(percents, f"% {name} in a mask", f"Histogram of the share of {name}"))
    return [chart for chart in charts if chart is not None]


def _sample_cases(examination: Examination, thumbnails: ThumbnailBudget) -> list[tuple[str, int, list[Figure]]]:
    """Return evenly spread cases of each split with overlays: split, number of its cases, figures."""
    of_split: dict[str, list[str]] = defaultdict(list)
    for case in examination.cases:
        of_split[examination.splits.get(case.id, "not split")].append(case.id)
    groups = {case.id: f"group {case.group}" for case in examination.cases if case.group is not None}
    ordered = sorted(of_split.items(), key=lambda item: ("train", "val", "test", "not split").index(item[0]))
    return [
        (split, len(names), list(thumbnails.figures(evenly_spread(names, CASES_PER_SPLIT), LARGE, groups)))
        for split, names in ordered
    ]


def fit_section(words: str, learned: bool, steps: Sequence[Step], pictures: Array) -> OverfitTest:
    """Return the section of the overfit test.

    Args:
        words: the verdict.
        learned: whether the test is passed.
        steps: progress of the training, at least one.
        pictures: (H, W, 3) uint8: input, mask, prediction and errors.
    """
    numbers, _, losses, dice = zip(*steps, strict=True)
    charts = [line_chart([Series(name, numbers, values)], name, "steps") for name, values in (("Dice", dice), ("Loss", losses))]
    rows = [(str(step), f"{seconds:.0f}", f"{loss:.4f}", f"{score:.4f}") for step, seconds, loss, score in steps]
    caption = "The pictures, their truth, the prediction and its errors"
    return OverfitTest(
        Notice("good" if learned else "error", words),
        [chart for chart in charts if chart is not None],
        Table(("step", "seconds", "loss", "Dice"), rows, range(4)),
        Figure(embed_array(pictures, caption, quality=None), caption),
    )


def proposal_section(text: str, command: str) -> Proposal:
    """Return the proposed configuration and how to train with it."""
    return Proposal(text, command)


def disputes_section(
    ranking: Sequence[LabelQuality],
    notes: Sequence[str],
    spec: DataSpec,
    look: Callable[[LabelQuality], tuple[Array, Array, Array]],
) -> DisputedMasks:
    """Return the section of disputed masks.

    Args:
        ranking: lowest label quality first.
        notes: sentences about it.
        spec: classes and colours.
        look: returns image (H, W, C), given mask (H, W) and prediction (H, W) of a case.
    """
    shown = []
    for rank, each in enumerate(ranking[:DISPUTED_CASES], start=1):
        drawn = draw_views(*look(each), spec.palette, overlapping=spec.overlapping, background=spec.background)
        pairs = zip(drawn, DISPUTE_VIEWS, strict=True)
        figures = [Figure(embed_array(view, f"{each.case.id}: {name}"), name) for view, name in pairs]
        scores = f"label quality {format_score(each.quality)} \u00b7 Dice {format_score(each.dice)}"
        shown.append((f"{rank}. {each.case.id}", scores, figures))
    rows = [
        (
            str(n),
            each.case.id,
            format_score(each.quality),
            format_score(each.dice),
            str(each.only_given),
            str(each.only_predicted),
        )
        for n, each in enumerate(ranking[:RANKED_CASES], start=1)
    ]
    heads = ("rank", "case", "label quality", "Dice", "pixels only in the mask", "pixels only in the prediction")
    kinds = error_kinds(len(spec.classes), spec.background)
    legend = [
        ("Masks: ", colour_keys(spec.classes, spec.palette, spec.background)),
        ("Differences: ", [ColourKey(DIFFERENCES[name], colour) for name, colour in kinds.items()]),
    ]
    table = Table(heads, rows, (0, 2, 3, 4, 5))
    caution = Notice("note", "A ranking, not a verdict: the network may be wrong, and then these are its hardest cases.")
    return DisputedMasks(" ".join(notes), legend, shown, table, len(ranking), caution)


def print_examination(console: Console, examination: Examination) -> None:
    """Print layout, properties and findings with their remedies."""
    console.print(sentence(examination.layout), markup=False)
    lines = TextTable.grid(padding=(0, 2))
    for name, value in dataset_facts(examination):
        lines.add_row(Text(name, style="dim"), Text(value))
    console.print(lines)
    for level in LEVELS:
        found = [finding for finding in examination.findings if finding.level == level]
        if found:
            console.print(f"\n{level.capitalize()}s ({len(found)})", style=LEVEL_STYLES[level])
        for finding in found:
            console.print(f"- {sentence(finding.found)}\n  {sentence(finding.do)}", markup=False)
