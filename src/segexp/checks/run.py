"""Run all checks on a data set, in one pass over its images."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from segexp.checks.alignment import check_alignment
from segexp.checks.background import check_background
from segexp.checks.duplicates import check_contradictions, check_copies, check_equal
from segexp.checks.exif import check_exif, turned_cases, turned_training_cases
from segexp.checks.files import check_faults, check_images, check_inventory, check_splits, problem_finding
from segexp.checks.issues import Examination, Finding, sort_findings
from segexp.checks.leakage import check_groups, check_names, check_series
from segexp.checks.mask_values import check_left_out, check_shapes, check_shares, check_values, classes_line
from segexp.checks.nodata import check_nodata
from segexp.checks.scan import CaseScan, Track, digest, scan_cases
from segexp.checks.split_classes import check_split_classes
from segexp.config.schema import DataConfig
from segexp.data.annotations.files import is_annotation, read_image_annotations
from segexp.data.autoconfig import (
    apply_background,
    check_layout_known,
    complete_section,
    configured_layout,
    given_facts,
    has_open_facts,
)
from segexp.data.datamodule import SegmentationDataModule
from segexp.data.labels.multilabel import Labels, OverlappingTable, label_table
from segexp.data.layout.discovery import UnknownLayoutError, discover_layout, infer_facts
from segexp.data.layout.infer_classes import infer_channels, infer_classes, without_background
from segexp.data.layout.inventory import Inventory, take_inventory
from segexp.data.layout.pairing import mask_patterns
from segexp.data.orientation import choose_orientation
from segexp.data.splits import open_cases, split_from_config
from segexp.errors import DataError, SegexpError, listed
from segexp.types import Case


@dataclass
class ResolvedDataset:
    """A data section with the open keys filled in.

    Attributes:
        data: the data section; `classes` and `channels` stay None where they cannot be inferred.
        layout: description of the layout and why it was chosen.
        inventory: the files.
        recognised: the classes were inferred from the masks.
        findings: problems met on the way, and keys that training needs to be given.
    """

    data: DataConfig
    layout: str
    inventory: Inventory
    recognised: bool = False
    findings: list[Finding] = field(default_factory=list)


def resolve_dataset(data: DataConfig) -> ResolvedDataset:
    """Fill in the open keys of a data section.

    Raises:
        DataError: the folder is missing, or no layout fits it.
        ConfigError: a pattern or the groups are wrong, or the layout of overlapping labels is open.
    """
    check_layout_known(data)
    if data.family:
        data, words = complete_section(data)
        return ResolvedDataset(data, words, _inventory(data))
    if data.image is None:
        return _resolve_layout(data)
    orientation, words = choose_orientation(data)
    data = data.changed(orientation=orientation)
    resolved = ResolvedDataset(data, ". ".join(filter(None, (configured_layout(data), words))), _inventory(data))
    if has_open_facts(data):
        return _infer_open_facts(resolved)
    _resolve_classes(resolved)
    _channels(resolved)
    return resolved


def _infer_open_facts(resolved: ResolvedDataset) -> ResolvedDataset:
    """Infer classes and channels of data=auto with typed patterns."""
    given = given_facts(resolved.data)
    facts = infer_facts(resolved.inventory.cases, given, strict=False)
    resolved.data = resolved.data.changed(**{**apply_background(facts.keys, resolved.data), **given})
    resolved.layout += f". {facts.reason}"
    resolved.recognised = "classes" not in given and resolved.data.classes is not None
    resolved.findings += [problem_finding(problem, "classes") for problem in facts.problems if resolved.inventory.cases]
    return resolved


def _resolve_layout(data: DataConfig) -> ResolvedDataset:
    given = given_facts(data)
    found = discover_layout(Path(data.root), known=given, strict=False, exclude=data.exclude, orientation=data.orientation)
    data = data.changed(**{**apply_background(found.layout, data), **given})
    orientation, sentence = choose_orientation(data)
    data = data.changed(orientation=orientation)
    findings = [problem_finding(problem, "classes") for problem in found.problems]
    words = ". ".join(filter(None, (f"Layout of {data.root}: {found.name}", found.reason, sentence)))
    return ResolvedDataset(data, words, _inventory(data), "classes" not in given and data.classes is not None, findings)


def _inventory(data: DataConfig) -> Inventory:
    image, mask = data.image or "", mask_patterns(data) or ""
    found = take_inventory(
        *(Path(data.root), image, mask),
        groups=data.groups,
        optional=data.optional_masks,
        exclude=data.exclude,
        orientation=data.orientation,
        exif=data.exif,
    )
    return replace(found, cases=tuple(case.with_nodata(data.nodata) for case in found.cases))


def _resolve_classes(resolved: ResolvedDataset) -> None:
    """Infer classes where the configuration has none."""
    if resolved.data.classes is not None or not resolved.inventory.cases:
        return
    try:
        found = infer_classes([case.masks for case in resolved.inventory.cases], strict=False)
    except DataError as problem:
        resolved.findings.append(problem_finding(problem, "classes"))
        return
    classes = without_background(found.classes, resolved.data.background)
    keys = {"classes": classes, "ignore": found.ignore, "threshold": found.threshold}
    line = classes_line(classes, found.ignore, found.threshold)
    resolved.data, resolved.recognised = resolved.data.changed(**keys), True
    do = f"Type {line}, with names of your own; the first one is the background"
    resolved.findings.append(Finding("error", "classes", f"data.classes is not given. {found.reason}", do))


def _channels(resolved: ResolvedDataset) -> None:
    """Infer channels where the configuration has none."""
    if resolved.data.channels is not None or not resolved.inventory.cases:
        return
    try:
        count = infer_channels([case.image for case in resolved.inventory.cases], strict=False)
    except DataError as problem:
        resolved.findings.append(problem_finding(problem, "channels"))
        return
    resolved.data = resolved.data.changed(channels=count)
    text = f"data.channels is not given; the images have {count}"
    resolved.findings.append(Finding("error", "channels", text, f"Type data.channels={count}"))


def run_checks(
    data: DataConfig, *, seed: int = 0, track: Track = lambda seen, _: seen, threads: int = 4, alignment: bool = True
) -> Examination:
    """Run all checks on a data set.

    Args:
        data: the data section; without `image` the layout is inferred.
        seed: of the split, as in training, and of the alignment model.
        track: wraps the iterator over all cases (iterator, count), for a progress bar.
        threads: for decoding.
        alignment: search for exchanged, inverted and shifted masks; takes most of the time.

    Raises:
        ConfigError: a pattern, the class table or the groups are wrong.
    """
    try:
        resolved = resolve_dataset(data)
    except DataError as problem:
        return _unresolved(data, problem)
    data, inventory, root = resolved.data, resolved.inventory, Path(resolved.data.root)
    table = label_table(data) if data.classes else None
    cases = list(inventory.cases)
    found = Examination(data, resolved.layout, cases, findings=resolved.findings)
    found.findings += check_inventory(inventory, data.image or "", data.mask or "", test_fraction=data.test_fraction or 0)
    scans, faults = scan_cases(cases, table, data.channels, track=track, threads=threads)
    found.facts = {scan.case.id: scan.facts for scan in scans}
    first = int(data.background is not None)
    held = {scan.case.id: frozenset(k for k, x in enumerate(scan.facts.shares) if x and k >= first) for scan in scans}
    found.findings += _split(found, seed, held)
    found.findings += check_faults(faults, data, inventory.problems)
    found.findings += _leaks(scans, found, root)
    image_findings = check_images(scans, data)
    found.findings += image_findings + check_nodata(scans, data)
    if any(finding.kind == "exchanged" for finding in image_findings):
        table = None  # findings on exchanged masks would be meaningless
    if table:
        found.findings += _values(scans, table, recognised=resolved.recognised)
        found.findings += check_shares(scans, found.splits, table, data, seed=seed)
        counted = dict(list(enumerate(table.names))[first:])
        found.findings += check_split_classes(cases, found.splits, held, counted, data)
        found.findings += check_background(scans, table, data, recognised=resolved.recognised)
        found.findings += check_exif(turned_cases(scans), len(cases), faults)
    if table and alignment:
        found.findings += check_alignment(scans, seed=seed, threads=threads)
    found.findings = sort_findings(found.findings)
    return found


def _unresolved(data: DataConfig, problem: DataError) -> Examination:
    """Return the examination of a folder without cases."""
    finding, root = problem_finding(problem, "layout"), Path(data.root)
    if not isinstance(problem, UnknownLayoutError):
        there = root.is_dir() and any(root.iterdir())
        layout = f"The layout of {root} is not clear" if there else f"Nothing was found in {root}"
        return Examination(data, layout, findings=[finding])
    return Examination(data, f"The layout of {root} is not known", findings=[finding])


def _values(scans: Sequence[CaseScan], table: Labels, *, recognised: bool) -> list[Finding]:
    """Return findings on mask values; for overlapping labels, per class."""
    if table.annotated:
        return check_shapes(scans, table)
    if not isinstance(table, OverlappingTable):
        return check_values(scans, table, recognised=recognised)
    findings = []
    for name in table.names[1:]:
        own = [scan.of_class(name) for scan in scans]
        findings += check_values([scan for scan in own if scan.masks], table.of(name))
    return findings


def _split(found: Examination, seed: int, held: Mapping[str, frozenset[int]]) -> list[Finding]:
    """Assign the splits as training would."""
    if not found.cases:
        return []
    try:
        found.splits = split_from_config(found.data, found.cases, seed, held)
        found.stratified = bool(open_cases(found.data, found.cases))
    except SegexpError as problem:
        return [problem_finding(problem, "split")]
    return check_splits(found.splits.values())


def _leaks(scans: Sequence[CaseScan], found: Examination, root: Path) -> list[Finding]:
    """Return findings on duplicates and leakage."""
    digests = {scan.case.id: scan.digest for scan in scans}
    masks = {scan.case.id: scan.mask_digest for scan in scans}
    return [
        *check_groups(found.cases, found.splits),
        *check_names(found.cases, found.splits, root),
        *check_series(scans, found.splits, root),
        *check_equal(found.cases, found.splits, digests),
        *check_contradictions(found.cases, digests, masks),
        *check_copies(scans, found.splits),
    ]


def split_checks(
    cases: Sequence[Case],
    splits: Mapping[str, str],
    digests: Mapping[str, str] | None = None,
    mask_digests: Mapping[str, str] | None = None,
    root: Path | None = None,
) -> list[Finding]:
    """Return findings on duplicates and leakage that need no thumbnails, errors first.

    Without `digests` (`image_digest` by case id) images are not compared, without `mask_digests` masks; tables of groups are
    searched in `root`.
    """
    return sort_findings(
        [
            *check_groups(cases, splits),
            *check_names(cases, splits, root),
            *check_equal(cases, splits, digests or {}),
            *check_contradictions(cases, digests or {}, mask_digests or {}),
        ]
    )


LITTLE = 0.01
"""Share of the training pixels below which foreground is hard to learn."""
MANY = 0.5
"""Share of empty training masks above which there is a warning."""


def run_preflight_checks(data: SegmentationDataModule, say: Callable[[str], None], monitor: str = "dice") -> None:
    """Print warnings before training, and refuse data with leakage or without what the monitored score is defined by.

    Raises:
        DataError: a training image is also in val or test, a group is in several splits, or equal images have different masks,
            and data.allow_leakage is not true; or no validation mask holds a class of `monitor`.
    """
    findings = quick_checks(data, monitor)
    if undefined := [finding for finding in findings if finding.kind == "undefined_score"]:
        raise DataError(undefined[0].found, "Validation needs masks that hold what is scored", undefined[0].do)
    errors = [finding for finding in findings if finding.level == "error"]
    if errors and not data.data.allow_leakage:
        raise DataError(
            "; ".join(finding.found for finding in errors),
            "What is scored must be new to the network",
            f"{errors[0].do}; or type data.allow_leakage=true to train all the same, with scores that are too good",
        )
    for finding in findings:
        if finding.level != "note":
            say(str(replace(finding, level=finding.level.capitalize())))


def quick_checks(data: SegmentationDataModule, monitor: str = "dice") -> list[Finding]:
    """Return findings on a data module after `setup`, errors first."""
    equal, masks = find_equal_images(data)
    left_out = check_left_out({case.id: case_left_out(case) for case in data.cases})
    classes = [*check_class_shares(data), *check_classes_of_splits(data, monitor)]
    turned = check_exif(turned_training_cases(data), len(data.cases))
    return sort_findings([*split_checks(data.cases, data.splits, equal, masks), *classes, *turned, *left_out])


def check_classes_of_splits(data: SegmentationDataModule, monitor: str) -> list[Finding]:
    """Return findings on the classes of each split of a data module after `setup`, see `check_split_classes`."""
    counted = dict(list(enumerate(data.spec.classes))[data.spec.first :])
    return check_split_classes(data.cases, data.splits, data.held_classes(), counted, data.data, monitor)


def case_left_out(case: Case) -> tuple[str, ...]:
    """Return the kinds of the annotated objects of a case that have no area."""
    shapes = (source for source in dict.fromkeys(case.masks) if is_annotation(source.path))
    return tuple(kind for source in shapes for kind in read_image_annotations(source).left_out)


def find_equal_images(data: SegmentationDataModule) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return identifiers of equal images, and of their masks, by the ids of the cases that have a duplicate.

    Only images with the same checksum are compared; uniform images are skipped.
    """
    alike: dict[int, list[int]] = defaultdict(list)
    for position, seen in enumerate(data.image_stats):
        alike[seen.checksum].append(position)
    images: dict[str, str] = {}
    masks: dict[str, str] = {}
    for positions in alike.values():
        first = data.store[positions[0]].image if len(positions) > 1 else None
        if first is None or first.min() == first.max():
            continue
        for position in positions:
            picture, name = data.store[position], data.cases[position].id
            if np.array_equal(first, picture.image):
                images[name], masks[name] = data.cases[positions[0]].id, digest(picture.mask)
    return images, masks


def check_class_shares(data: SegmentationDataModule) -> Iterable[Finding]:
    """Yield findings on the class shares of the training masks."""
    shares = data.fingerprint.class_share
    foreground = 1 - shares[0] if data.spec.overlapping else sum(shares[data.spec.first :])  # overlapping classes share pixels
    counted = list(zip(data.spec.classes, shares, strict=True))[int(data.spec.overlapping) :]  # background may be absent
    if absent := [name for name, share in counted if not share]:
        text = f"No training mask has a pixel of {listed(absent)}"
        do = "It cannot be learned: check its value in data.classes, or remove it"
        yield Finding("warning", "absent", text, do)
    training = data.members("train")
    empty = [data.cases[n].id for n in training if data.image_stats[n].empty]
    if len(empty) > MANY * len(training):
        text = f"{len(empty)} of {len(training)} training masks have no foreground: {listed(empty)}"
        yield Finding("warning", "empty", text, "Check that these are the right masks", tuple(empty))
    if 0 < foreground < LITTLE:
        crops = (
            "data.foreground_crops=0.33" if data.data.crop else f"data.crop={data.fitting_crop()} data.foreground_crops=0.33"
        )
        text = f"Only {100 * foreground:.2g} % of the training pixels are foreground"
        do = f"Type {crops}, so that more of it is met, or class weights for the loss"
        if data.data.foreground_crops:
            do = "Give class weights to the loss" + (", or a higher data.foreground_crops" * (data.data.foreground_crops < 1))
        yield Finding("warning", "rare", text, do)
