"""check.html: the verdict, each finding with the cases that it names, what the data are like, and a look at them."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from segexp.checking.findings import Examination, Finding
from segexp.data.labels.overlapping import Labels
from segexp.data.layout.survey import spread
from segexp.errors import sentence
from segexp.report import charts as draw
from segexp.report.album import Album
from segexp.report.facts import class_facts, facts_of, label_table, name_of, share_text, verdict
from segexp.report.overlays import intensities
from segexp.report.page import (
    Html,
    charts,
    details,
    document,
    element,
    facts,
    gallery,
    notice,
    paragraph,
    section,
    table,
)
from segexp.report.showcase import STYLE

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
    album = Album(cases, classes, Path(str(examination.data["root"])), ROOM)
    look = _contact_sheet(examination, album, classes)  # first, for there is always room for it
    findings = _findings(examination.findings, album)
    body = [_verdict(examination), findings, *more, _facts(examination, classes), _distributions(examination, classes), look]
    return document(f"Check of {name_of(examination.data)}", *body, subtitle=str(examination.data["root"]), style=STYLE)


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
