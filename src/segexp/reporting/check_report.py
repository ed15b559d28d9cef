"""check.html: the verdict, each finding with the cases that it names, what the data are like, and a look at them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from segexp.checks.issues import LEVELS, CaseFacts, Examination, Finding
from segexp.config.schema import DataConfig
from segexp.data.labels import multilabel
from segexp.data.labels.multilabel import Labels, OverlappingTable
from segexp.data.labels.spec import rgb
from segexp.data.layout.infer_classes import spread
from segexp.errors import DataError, SegexpError, sentence
from segexp.evaluation.label_errors import Disagreement
from segexp.evaluation.summary_text import number
from segexp.reporting import charts as draw
from segexp.reporting.charts import curves
from segexp.reporting.gallery import STYLE, views
from segexp.reporting.html import (
    Html,
    charts,
    code,
    details,
    document,
    element,
    facts,
    figure,
    gallery,
    inline,
    notice,
    paragraph,
    picture,
    section,
    table,
)
from segexp.reporting.overlays import Album, intensities
from segexp.types import IGNORE, DataSpec
from segexp.visualization import CORRECT, FALSE_ALARM, MISSED, WRONG_CLASS

SHOWN = 12
"""Mask values, sizes and the like that are listed; the rest is counted."""


@dataclass(frozen=True)
class ClassFacts:
    """One class over all readable cases.

    Attributes:
        name: as in data.classes.
        colour: in overlays.
        values: the mask values that were met and mean it, the most frequent first.
        share: of all labelled pixels.
        cases: in how many cases it occurs.
    """

    name: str
    colour: tuple[int, int, int]
    values: tuple[str, ...]
    share: float
    cases: int


def name_of(data: DataConfig) -> str:
    """Return what the data are called: the folder's name where nobody said."""
    return Path(data.root).resolve().name or "data" if data.name == "auto" else data.name


def verdict(examination: Examination) -> str:
    """Return in one sentence whether these data can be trained on."""
    counts = Counter(finding.level for finding in examination.findings)
    errors, warnings = (_counted(counts[level], level) for level in LEVELS[:2])
    if counts["error"]:
        return f"{errors}: training cannot work as it stands, or its scores would be wrong."
    if counts["warning"]:
        return f"No error, {warnings}: training will run; look at the warnings before you trust it."
    return "Nothing found that stands in the way of training."


def facts_of(examination: Examination) -> list[tuple[str, str]]:
    """Return names and values of what the pictures are like."""
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
    if others := unclaimed(facts, table):
        found.append(("values of no class", _few(list(others))))
    found.append(("pixels", ", ".join(f"{each.name} {share_text(each.share)}" for each in classes)))
    empty = sum(sum(each.shares[1:]) == 0 for each in facts if each.shares)
    found.append(("masks without foreground", f"{empty} of {len(facts)}"))
    return found


def cases_text(examination: Examination) -> str:
    """Return how many cases each split has."""
    counts = Counter(examination.splits.values())
    parts = [f"{counts[split]} {split}" for split in ("train", "val", "test") if counts[split]]
    return f"{len(examination.cases)}" + (f" ({', '.join(parts)})" if parts else "")


def label_table(data: DataConfig) -> Labels | None:
    """Return the class table of a data section, None while it has none that can be used."""
    try:
        return multilabel.label_table(data)
    except SegexpError:
        return None


def class_of(value: str, table: Labels) -> int | None:
    """Return the class index of a mask value such as "255" or "#3C1098"; 255 when it is ignored, None when nobody claims it.

    Of labels that overlap, the first class that the value can stand for.
    """
    if isinstance(table, OverlappingTable):
        meant = [(index, class_of(value, table.of(name))) for index, name in enumerate(table.names[1:], start=1)]
        return next((index if found == 1 else found for index, found in meant if found is not None), None)
    pixel = np.array([[rgb(value)]], np.uint8) if value.startswith("#") else _number(value)
    try:
        return int(table.encode(pixel)[0, 0])
    except DataError:
        return None


def class_facts(examination: Examination, table: Labels) -> list[ClassFacts]:
    """Return one entry per class, and one for ignored pixels where there are any."""
    if isinstance(table, OverlappingTable):
        return _overlapping_facts(examination, table)
    pixels: Counter[str] = Counter()
    seen: Counter[int] = Counter()
    meaning: dict[str, int | None] = {}
    for each in examination.facts.values():
        pixels.update(each.values)
        for value in each.values:
            meaning.setdefault(value, class_of(value, table))
        seen.update({meaning[value] for value in each.values} - {None})  # type: ignore[arg-type]
    of = {index: [v for v, _ in pixels.most_common() if meaning[v] == index] for index in (*range(len(table.names)), IGNORE)}
    sums = {index: sum(pixels[value] for value in values) for index, values in of.items()}
    labelled = max(1, sum(sums[index] for index in range(len(table.names))))
    found = [
        ClassFacts(name, colour, tuple(of[index]), sums[index] / labelled, seen[index])
        for index, (name, colour) in enumerate(zip(table.names, table.palette, strict=True))
    ]
    if of[IGNORE]:
        found.append(ClassFacts("(ignored)", (128, 128, 128), tuple(of[IGNORE]), sums[IGNORE] / labelled, seen[IGNORE]))
    return found


def _overlapping_facts(examination: Examination, table: OverlappingTable) -> list[ClassFacts]:
    """Return one entry per class by the pixels that have it; the first one is those that have none."""
    known = [each for each in examination.facts.values() if each.shares]
    weights = np.array([each.size[0] * each.size[1] for each in known], float)
    shares = np.array([each.shares for each in known]).reshape(len(known), len(table.names))
    totals = (shares * weights[:, None]).sum(axis=0) / max(weights.sum(), 1)
    cases = (shares > 0).sum(axis=0)
    return [
        ClassFacts(name, colour, tuple(map(str, values)), float(totals[k]), int(cases[k]))
        for k, ((name, values), colour) in enumerate(zip(table.classes.items(), table.palette, strict=True))
    ]


def unclaimed(facts: Iterable[CaseFacts], table: Labels) -> dict[str, int]:
    """Return the mask values that no class claims, with their pixels, the most frequent first."""
    pixels: Counter[str] = Counter()
    for each in facts:
        pixels.update(each.values)
    return {value: count for value, count in pixels.most_common() if class_of(value, table) is None}


def share_text(share: float) -> str:
    """Return a share of the pixels: 12.3 %, or as many digits as tell it from zero."""
    return f"{100 * share:.1f} %" if share >= 0.001 or not share else f"{100 * share:.1g} %"


def _sizes(facts: Iterable[CaseFacts]) -> str:
    counts = Counter(each.size for each in facts)
    if len(counts) <= 4:
        return _tally(f"{height}x{width}" for each in facts for height, width in [each.size])
    ordered = sorted(counts, key=lambda size: size[0] * size[1])
    small, large = ordered[0], ordered[-1]
    return f"{len(counts)} sizes from {small[0]}x{small[1]} to {large[0]}x{large[1]}"


def _tally(texts: Iterable[str]) -> str:
    """Return what occurs; how often, where it is not all the same."""
    counts = Counter(texts)
    if len(counts) == 1:
        return next(iter(counts))
    return _few([f"{text} ({count})" for text, count in counts.most_common()])


def _few(texts: Iterable[str]) -> str:
    listed = list(texts)
    more = len(listed) - SHOWN
    return (", ".join(listed[:SHOWN]) or "none") + (f" and {more} more" if more > 0 else "")


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


def _number(value: str) -> np.ndarray:
    number = float(value)
    whole = number.is_integer() and 0 <= number <= 65535
    return np.array([[number]], (np.uint8 if number <= 255 else np.uint16) if whole else np.float32)


PER_SPLIT = 8
"""Cases of each split on the contact sheet."""
LARGE, SMALL = 320, 160
"""Longest side of a picture in pixels."""
MANY = 12
"""A finding about more cases than these shows small pictures, to be unfolded."""
ROOM = 11_000_000
"""Characters of markup for pictures: check.html stays below 15 MB."""


def check_page(examination: Examination, more: Sequence[Html] = ()) -> str:
    """Return the page.

    Args:
        examination: of the data.
        more: sections that follow the findings, such as the trial fit and the proposed configuration.
    """
    classes = label_table(examination.data)
    cases = {case.id: case for case in examination.cases}
    album = Album(cases, classes, Path(examination.data.root), ROOM)
    look = _contact_sheet(examination, album, classes)  # first, for there is always room for it
    findings = _findings(examination.findings, album)
    body = [_verdict(examination), findings, *more, _facts(examination, classes), _distributions(examination, classes), look]
    return document(f"Check of {name_of(examination.data)}", *body, subtitle=examination.data.root, style=STYLE)


def _verdict(examination: Examination) -> Html:
    levels = {finding.level for finding in examination.findings}
    level = next((level for level in ("error", "warning") if level in levels), "good")
    return notice(level, verdict(examination))


def _findings(findings: Sequence[Finding], album: Album) -> Html:
    if not findings:
        return Html("")
    also: dict[str, list[str]] = defaultdict(list)
    for finding in findings:
        for case in finding.cases:
            also[case].append(finding.kind)
    return section("Findings", *(_finding(finding, album, also) for finding in findings))


def _finding(finding: Finding, album: Album, kinds: dict[str, list[str]]) -> Html:
    """Return one finding with all cases that it names; a case that others name too says so."""
    content = [paragraph(sentence(finding.do))]
    captions = {}
    for case in finding.cases:
        others = [kind for kind in dict.fromkeys(kinds[case]) if kind != finding.kind]
        if others:
            captions[case] = f"also {', '.join(others)}".replace("_", " ")
    if finding.cases:
        many = len(finding.cases) > MANY
        shown = gallery(list(album.figures(finding.cases, SMALL if many else LARGE, captions)), small=many)
        content.append(details(f"{len(finding.cases)} cases", shown) if many else shown)
    return notice(finding.level, sentence(finding.found), *content)


def _facts(examination: Examination, classes: Labels | None) -> Html:
    content = [facts([("layout", examination.layout), *facts_of(examination)])]
    if classes is not None and examination.facts:
        rows = [
            (
                Html(f'<span class="key" style="background:rgb{each.colour}"></span>{element("span", each.name)}'),
                ", ".join(each.values[:8]) + (" …" if len(each.values) > 8 else "") or "none met",
                share_text(each.share),
                f"{each.cases} of {len(examination.facts)}",
            )
            for each in class_facts(examination, classes)
        ]
        content.append(table(("class", "mask values", "share of pixels", "in cases"), rows, numbers=(2, 3)))
    return section("What the data are", *content)


def _distributions(examination: Examination, classes: Labels | None) -> Html:
    found = list(examination.facts.values())
    if not found:
        return Html("")
    values, count = intensities(examination.cases)
    label = f"intensity, from {count} images"
    drawn = [draw.histogram(values, label, "Histogram of the intensities", 64, "pixels", root=True)]
    if len(set(sides := [max(each.size) for each in found])) > 1:
        drawn.insert(0, draw.histogram(sides, "longest side, pixels", "Histogram of the longest sides"))
    shares = [each.shares for each in found if each.shares]
    if classes is not None and shares:
        named = class_facts(examination, classes)[: len(classes.names)]
        drawn.insert(0, draw.shares(classes.names, [each.share for each in named], classes.palette, "Share of each class"))
        for index, name in list(enumerate(classes.names))[1:9]:
            percents = [100 * share[index] for share in shares]
            drawn.append(draw.histogram(percents, f"% {name} in a mask", f"Histogram of the share of {name}"))
    return section("Distributions", charts(drawn))


def _contact_sheet(examination: Examination, album: Album, classes: Labels | None) -> Html:
    """Return some cases of each split, evenly spread, with their masks over them."""
    content = []
    if classes is not None:
        keys = "".join(
            f'<span class="key" style="background:rgb{colour}"></span>{element("span", name)} &ensp;'
            for name, colour in list(zip(classes.names, classes.palette, strict=True))[1:]
        )
        content.append(paragraph(Html(keys)))
    of_split: dict[str, list[str]] = defaultdict(list)
    for case in examination.cases:
        of_split[examination.splits.get(case.id, "not split")].append(case.id)
    groups = {case.id: f"group {case.group}" for case in examination.cases if case.group is not None}
    for split in sorted(of_split, key=lambda name: ("train", "val", "test", "not split").index(name)):
        names = of_split[split]
        content.append(element("h3", f"{split}: {min(PER_SPLIT, len(names))} of {len(names)}"))
        content.append(gallery(list(album.figures(spread(names, PER_SPLIT), LARGE, groups))))
    return section("A look at the cases", *content) if of_split else Html("")


Point = tuple[int, float, float, float]
"""Steps done, seconds, training loss, Dice."""


def fit_section(words: str, learned: bool, points: Sequence[Point], drawn: np.ndarray[Any, np.dtype[Any]]) -> Html:
    """Return what came out of letting the network learn a few pictures by heart.

    Args:
        words: the verdict.
        learned: whether learning works.
        points: the course of the training, at least one.
        drawn: (H, W, 3) uint8: input, truth, prediction and errors.
    """
    steps, _, losses, dice = zip(*points, strict=True)
    chart = curves([("Dice", steps, dice), ("loss", steps, losses)], "steps", "Dice and loss over the steps")
    rows = [(str(step), f"{seconds:.0f}", f"{loss:.4f}", f"{score:.4f}") for step, seconds, loss, score in points]
    return section(
        "Trial fit",
        notice("good" if learned else "error", words),
        charts([chart]),
        details("Course of the training", table(("step", "seconds", "loss", "Dice"), rows, numbers=range(4))),
        figure(picture(drawn, "The pictures, their truth, the prediction and its errors", quality=None)),
    )


def proposal_section(text: str, command: str) -> Html:
    """Return the proposed configuration and how to train with it."""
    return section(
        "Proposed configuration",
        paragraph("An ordinary file to correct. To train with it:"),
        code(command),
        code(text, file=True),
    )


Array = np.ndarray[Any, np.dtype[Any]]

"""Cases with pictures."""
LISTED = 100
"""Cases in the table; label_errors.csv has all."""
CAPTIONS = ("image", "given mask", "prediction", "where they differ")


def disputes_section(
    ranking: Sequence[Disagreement],
    notes: Sequence[str],
    spec: DataSpec,
    look: Callable[[Disagreement], tuple[Array, Array, Array]],
) -> Html:
    """Return the section.

    Args:
        ranking: the most doubtful first.
        notes: sentences about it.
        spec: classes and colours.
        look: gives image (H, W, C), given mask (H, W) and prediction (H, W) of a case.
    """
    shown = []
    for rank, each in enumerate(ranking[:SHOWN], start=1):
        drawn = views(*look(each), spec.palette, overlapping=spec.overlapping)
        figures = [figure(picture(a, f"{each.case.id}: {name}"), name) for a, name in zip(drawn, CAPTIONS, strict=True)]
        head = (element("strong", f"{rank}. {each.case.id}"), f" \u00b7 {_scores(each)}")
        shown += [element("p", *head, class_="shot-head")]
        shown += [element("div", *figures, class_="shots")]
    rows = [
        (str(n), each.case.id, number(each.quality), number(each.dice), str(each.only_given), str(each.only_predicted))
        for n, each in enumerate(ranking[:LISTED], start=1)
    ]
    heading = ("rank", "case", "label quality", "Dice", "pixels only given", "pixels only predicted")
    return section(
        "Masks to look at first",
        notice("note", "A ranking, not a verdict: the network may be wrong, and then these are its hardest cases."),
        paragraph(" ".join(notes)),
        paragraph(
            "Label quality says how well the mask agrees with the probabilities of the network, beside the network's own mask: "
            "from 0, surely wrong, to 1; what the network doubts counts little. Dice is that of mask and prediction."
        ),
        _keys(spec),
        *shown,
        details(f"The first {len(rows)} of {len(ranking)}", table(heading, rows, numbers=(0, 2, 3, 4, 5))),
    )


def _scores(each: Disagreement) -> str:
    return f"label quality {number(each.quality)} \u00b7 Dice {number(each.dice)}"


def _keys(spec: DataSpec) -> Html:
    """Return what the colours mean."""
    masks = list(zip(spec.classes, spec.palette, strict=True))[1:]
    differ = [("in both", CORRECT), ("only in the given mask", MISSED), ("only in the prediction", FALSE_ALARM)]
    differ += [("another class", WRONG_CLASS)] if len(spec.classes) > 2 else []
    lines = [paragraph(text, *(_key(*one) for one in entries)) for text, entries in (("Masks: ", masks), ("Differ: ", differ))]
    return element("div", *lines, class_="keys")


def _key(name: str, colour: Sequence[int]) -> Html:
    box = Html(f'<span class="key" style="background:rgb({",".join(map(str, colour))})"></span>')
    return element("span", inline(box, name))


COLOURS = dict(zip(LEVELS, ("bold red", "bold yellow", "bold cyan"), strict=True))


def print_examination(console: Console, examination: Examination) -> None:
    """Print layout, facts and findings, each with what to type."""
    console.print(sentence(examination.layout), markup=False)
    grid = Table.grid(padding=(0, 2))
    for name, value in facts_of(examination):
        grid.add_row(Text(name, style="dim"), Text(value))
    console.print(grid)
    for level in LEVELS:
        found = [finding for finding in examination.findings if finding.level == level]
        if found:
            console.print(f"\n{level.capitalize()}s ({len(found)})", style=COLOURS[level])
        for finding in found:
            console.print(f"- {sentence(finding.found)}\n  {sentence(finding.do)}", markup=False)
