"""Examine a data set: everything that is wrong with it, and what it is like, from one pass over its pictures."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from segexp.checks.alignment import check_alignment
from segexp.checks.duplicates import check_contradictions, check_copies, check_equal
from segexp.checks.files import check_faults, check_images, check_inventory, check_splits, problem_finding
from segexp.checks.issues import Examination, Finding, ordered
from segexp.checks.leakage import check_groups, check_names, check_series
from segexp.checks.mask_values import check_shares, check_values, classes_line
from segexp.checks.scan import CaseScan, Track, digest, scan_cases
from segexp.config.schema import DataConfig
from segexp.data.autoconfig import FACTS, check_open, completed_section
from segexp.data.datamodule import SegmentationDataModule
from segexp.data.labels.multilabel import Labels, OverlappingTable, label_table
from segexp.data.layout.discovery import discover_layout
from segexp.data.layout.infer_classes import channels_of, classes_of
from segexp.data.layout.inventory import Inventory, take_inventory
from segexp.data.splits import split_as
from segexp.errors import DataError, SegexpError, listed
from segexp.types import Case


@dataclass
class ResolvedDataset:
    """What is examined.

    Attributes:
        data: the data section with what was open filled in; `classes` and `channels` stay None where nothing tells them.
        layout: the layout in words and why it was taken.
        inventory: the files.
        recognised: nobody named the classes: they are what the masks hold.
        findings: what kept anything from being found out, and keys that training needs to be told.
    """

    data: DataConfig
    layout: str
    inventory: Inventory
    recognised: bool = False
    findings: list[Finding] = field(default_factory=list)


def resolve_dataset(data: DataConfig) -> ResolvedDataset:
    """Fill in what is open in a data section.

    Raises:
        DataError: the folder is missing, or no layout fits it.
        ConfigError: a pattern or the groups are wrong, or labels that overlap are to be found out.
    """
    check_open(data)
    if data.family:
        data, words = completed_section(data)
        return ResolvedDataset(data, words, _inventory(data))
    if data.image is None:
        return _recognised(data)
    settled = ResolvedDataset(data, _as_configured(data), _inventory(data))
    _resolve_classes(settled)
    _channels(settled)
    return settled


def _recognised(data: DataConfig) -> ResolvedDataset:
    found = discover_layout(Path(data.root), strict=False)
    given = {key: value for key, value in data.plain().items() if key in FACTS and value not in (None, [])}
    data = data.changed(**{**found.layout, **given})
    findings = [
        problem_finding(problem, "classes") for problem in found.problems if data.classes is None or data.channels is None
    ]
    words = f"Layout of {data.root}: {found.name}. {found.reason}"
    return ResolvedDataset(data, words, _inventory(data), "classes" not in given and data.classes is not None, findings)


def _inventory(data: DataConfig) -> Inventory:
    image, mask = data.image or "", data.mask or ""
    return take_inventory(Path(data.root), image, mask, groups=data.groups, optional=data.optional_masks)


def _as_configured(data: DataConfig) -> str:
    mask = ", ".join(f"{k}: {text}" for k, text in data.mask.items()) if isinstance(data.mask, dict) else data.mask
    return f"Layout of {data.root}: as configured. image={data.image} mask={mask}"


def _resolve_classes(settled: ResolvedDataset) -> None:
    """Propose classes where the configuration has none."""
    if settled.data.classes is not None or not settled.inventory.cases:
        return
    try:
        found = classes_of([case.masks for case in settled.inventory.cases], strict=False)
    except DataError as problem:
        settled.findings.append(problem_finding(problem, "classes"))
        return
    keys = {"classes": found.classes, "ignore": found.ignore, "threshold": found.threshold}
    line = classes_line(found.classes, found.ignore, found.threshold)
    settled.data, settled.recognised = settled.data.changed(**keys), True
    do = f"Type {line}, with names of your own; the first one is the background"
    settled.findings.append(Finding("error", "classes", f"data.classes is not given. {found.reason}", do))


def _channels(settled: ResolvedDataset) -> None:
    """Propose channels where the configuration has none."""
    if settled.data.channels is not None or not settled.inventory.cases:
        return
    try:
        count = channels_of([case.image for case in settled.inventory.cases], strict=False)
    except DataError as problem:
        settled.findings.append(problem_finding(problem, "channels"))
        return
    settled.data = settled.data.changed(channels=count)
    text = f"data.channels is not given; the images have {count}"
    settled.findings.append(Finding("error", "channels", text, f"Type data.channels={count}"))


def run_checks(
    data: DataConfig, *, seed: int = 0, track: Track = lambda seen, _: seen, threads: int = 4, alignment: bool = True
) -> Examination:
    """Find out what a data set is like and everything that is wrong with it, stopping at nothing.

    Args:
        data: `image` None: recognise the layout.
        seed: of the split, as in training, and of the model that looks for masks which do not lie on their image.
        track: wraps the pass over all pictures (iterator, count), for a progress bar.
        threads: that decode.
        alignment: look for exchanged, inverted and shifted masks; this takes most of the time.

    Raises:
        ConfigError: a key of `data` is wrong: a pattern, a class table, the groups.
    """
    try:
        settled = resolve_dataset(data)
    except DataError as problem:
        return Examination(data, f"Nothing was found in {data.root}", findings=[problem_finding(problem, "layout")])
    data, inventory, root = settled.data, settled.inventory, Path(settled.data.root)
    table = label_table(data) if data.classes else None
    cases = list(inventory.cases)
    found = Examination(data, settled.layout, cases, findings=settled.findings)
    found.findings += check_inventory(inventory, data.image or "", data.mask or "")
    found.findings += _split(found, seed)
    looks, faults = scan_cases(cases, table, track=track, threads=threads)
    found.facts = {look.case.id: look.facts for look in looks}
    found.findings += check_faults(faults, root)
    found.findings += _leaks(looks, found, root)
    odd = check_images(looks, data)
    found.findings += odd
    if any(finding.kind == "exchanged" for finding in odd):
        table = None  # nothing that could be said of the masks would mean anything
    if table:
        found.findings += _values(looks, table, recognised=settled.recognised)
        found.findings += check_shares(looks, found.splits, table, crops=data.crop is not None)
    if table and alignment:
        found.findings += check_alignment(looks, seed=seed, threads=threads)
    found.findings = ordered(found.findings)
    return found


def _values(looks: Sequence[CaseScan], table: Labels, *, recognised: bool) -> list[Finding]:
    """Return findings on the values of the masks; of labels that overlap, of the files of each class by themselves."""
    if not isinstance(table, OverlappingTable):
        return check_values(looks, table, recognised=recognised)
    findings = []
    for name in table.names[1:]:
        own = [look.of_class(name) for look in looks]
        findings += check_values([look for look in own if look.masks], table.of(name))
    return findings


def _split(found: Examination, seed: int) -> list[Finding]:
    """Assign the splits as training would."""
    if not found.cases:
        return []
    try:
        found.splits = split_as(found.data, found.cases, seed)
    except SegexpError as problem:
        return [problem_finding(problem, "split")]
    return check_splits(found.splits.values())


def _leaks(looks: Sequence[CaseScan], found: Examination, root: Path) -> list[Finding]:
    """Return what is on both sides of the split, or twice on one."""
    digests = {look.case.id: look.digest for look in looks}
    masks = {look.case.id: look.mask_digest for look in looks}
    return [
        *check_groups(found.cases, found.splits),
        *check_names(found.cases, found.splits, root),
        *check_series(looks, found.splits, root),
        *check_equal(found.cases, found.splits, digests),
        *check_contradictions(found.cases, digests, masks),
        *check_copies(looks, found.splits),
    ]


def split_checks(
    cases: Sequence[Case],
    splits: Mapping[str, str],
    digests: Mapping[str, str] | None = None,
    mask_digests: Mapping[str, str] | None = None,
    root: Path | None = None,
) -> list[Finding]:
    """Return findings on equal pictures across the split and on leakage by groups and names, errors first.

    Args:
        cases: all cases.
        splits: "train", "val" or "test" by case id.
        digests: `image_digest` of each decoded image by case id; without it, pictures are not compared.
        mask_digests: `digest` of the class indices by case id; without it, masks of equal pictures are not compared.
        root: folder in which tables that tell of groups are looked for.
    """
    return ordered(
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
"""Share of training masks without foreground that is worth a word."""


def run_preflight_checks(data: SegmentationDataModule, say: Callable[[str], None]) -> None:
    """Say what is worth a word before training, and refuse what would make the scores wrong.

    Raises:
        DataError: a training picture is also in val or test, a group is torn apart, or equal pictures have different masks,
            and data.allow_leakage is not true.
    """
    findings = quick_checks(data)
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


def quick_checks(data: SegmentationDataModule) -> list[Finding]:
    """Return what can be told of data that were just set up, errors first."""
    equal, masks = find_equal_images(data)
    return ordered([*split_checks(data.cases, data.splits, equal, masks), *check_class_shares(data)])


def find_equal_images(data: SegmentationDataModule) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return a name for each set of equal images, and for their masks, by the ids of the cases that have an equal one.

    Only images with the same checksum are compared; those of one value everywhere tell nothing and are left out.
    """
    alike: dict[int, list[int]] = defaultdict(list)
    for position, seen in enumerate(data.glances):
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
    """Yield what the shares of the classes in the training masks tell."""
    shares = data.fingerprint.class_share
    foreground = 1 - shares[0] if data.spec.overlapping else sum(shares[1:])  # where classes overlap, some pixels have two
    counted = list(zip(data.spec.classes, shares, strict=True))[int(data.spec.overlapping) :]  # all pixels may have a class
    absent = [name for name, share in counted if not share]
    if absent:
        yield Finding(
            "warning",
            "absent",
            f"No training mask has a pixel of {listed(absent)}",
            "It cannot be learned: check its value in data.classes, or remove it",
        )
    training = data.members("train")
    empty = [data.cases[n].id for n in training if data.glances[n].empty]
    if len(empty) > MANY * len(training):
        yield Finding(
            "warning",
            "empty",
            f"{len(empty)} of {len(training)} training masks have no foreground: {listed(empty)}",
            "Check that these are the right masks",
            tuple(empty),
        )
    if 0 < foreground < LITTLE:
        crops = "data.foreground_crops=0.33" if data.data.crop else "data.crop=256 data.foreground_crops=0.33"
        yield Finding(
            "warning",
            "rare",
            f"Only {100 * foreground:.2g} % of the training pixels are foreground",
            f"Type {crops}, so that more of it is met, or class weights for the loss",
        )
