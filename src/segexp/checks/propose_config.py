"""Propose a complete, commented data configuration for a folder."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from segexp.checks.issues import Examination, class_shares
from segexp.checks.leakage import suggest_groups
from segexp.config.schema import FIRST, DataConfig
from segexp.data.labels.modes import has_label
from segexp.data.layout.infer_classes import evenly_spread, without_background
from segexp.data.preprocessing import SIDE
from segexp.data.statistics import make_reader
from segexp.errors import SegexpError
from segexp.types import IGNORE, Case

WHOLE = 8.0
"""Minimum thickness in pixels of an object at `SIDE` for whole images to be scaled down."""
THIN = 6.0
"""Minimum thickness in pixels that scaling must keep."""
NATIVE = 640
"""Images up to this side keep their resolution."""
BATCH = 8
"""Default of data.batch_size."""


@dataclass(frozen=True)
class Resolution:
    """Values of data.size, data.crop and data.repeat, each with its reason."""

    size: int | float | None
    crop: int | None
    repeat: int
    size_reason: str
    crop_reason: str
    repeat_reason: str


def choose_resolution(sizes: Sequence[tuple[int, int]], widths: Mapping[str, float], training: int) -> Resolution:
    """Choose size, crop and repeat for a number of training images.

    Sizes are (height, width) of the images; widths the thickness in pixels of each foreground class, see `thickness`.
    """
    longest = median(max(size) for size in sizes)
    thin, width = min(widths.items(), key=lambda item: item[1], default=("", float("inf")))
    seen = f"{thin}, {width:.0f} of {longest:.0f} pixels thick," if thin else "nothing thin"
    if longest <= 1.25 * SIDE:
        return _whole(None, "the images are small", training)
    if width * SIDE / longest >= WHOLE:
        reason = f"longest side; {seen} is still {width * SIDE / longest:.0f} pixels thick there; raise it for finer borders"
        return _whole(SIDE, reason, training)
    factor = 1.0
    if longest > NATIVE:
        factor = min(1.0, max(0.25, math.ceil(4 * THIN / width) / 4))
    reason = f"{seen} would be lost in a smaller image" if factor == 1 else f"{seen} is {width * factor:.0f} pixels thick there"
    shortest = [int(min(size) * factor) for size in sizes]
    crop = min(SIDE, max(64, round(min(shortest) / 32) * 32), max(shortest))
    area = sum(height * width for height, width in sizes) / len(sizes) * factor**2
    repeat = min(16, max(1, round(area / crop**2), _repeats_per_batch(training)))
    return Resolution(
        None if factor == 1 else factor,
        crop,
        repeat,
        reason,
        "crops: whole images would be too large, or too small once scaled",
        f"crops per image and epoch; about {area / crop**2:.1f} cover an image",
    )


def _whole(size: int | None, reason: str, training: int) -> Resolution:
    repeat = _repeats_per_batch(training)
    why = "each image once per epoch" if repeat == 1 else f"{training} training images are less than a batch of {BATCH}"
    return Resolution(size, None, repeat, reason, "whole images: objects are seen in full context", why)


def _repeats_per_batch(training: int) -> int:
    return max(1, math.ceil(BATCH / max(1, training)))


Array = np.ndarray[Any, np.dtype[Any]]

MOST_PIXELS = 2**20
"""Larger masks are measured at a lower resolution."""


def thickness(mask: Array) -> dict[int, float]:
    """Return the thickness in pixels of each foreground class of a mask (H, W) uint8, 255 = ignore.

    Four times the mean distance of its pixels to its border: a stripe's width, or two thirds of a disc's diameter.
    """
    scale = min(1.0, (MOST_PIXELS / mask.size) ** 0.5)
    if scale < 1:
        mask = cv2.resize(mask, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    found = {}
    for index in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[1:IGNORE]) + 1:
        inside = (mask == index).astype(np.uint8)
        if inside.all():
            found[int(index)] = min(mask.shape) / scale
            continue
        distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
        found[int(index)] = float(4 * (distance[inside > 0] - 0.5).mean()) / scale
    return found


def median_thickness(masks: Iterable[Array]) -> dict[int, float]:
    """Return the median thickness of each class over masks (H, W), in pixels."""
    values: dict[int, list[float]] = defaultdict(list)
    for mask in masks:
        for index, width in thickness(mask).items():
            values[index].append(width)
    return {index: float(np.median(widths)) for index, widths in sorted(values.items())}


MEASURED = 40
"""Number of masks on which thickness is measured."""
RARE = 0.05
"""Pixel share below which random crops rarely contain a class."""
FOREGROUND_CROPS = 0.33

PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_ .-]*")
RESERVED = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}

Entry = tuple[str, Any, str]
"""Key, value and reason."""


@dataclass(frozen=True)
class Proposal:
    """A proposed data configuration.

    Attributes:
        entries: the keys of the data section with their values and reasons, the name first.
        remarks: lines before the keys.
        shares: pixel share of each class.
    """

    entries: tuple[Entry, ...]
    remarks: tuple[str, ...]
    shares: tuple[float, ...]

    @property
    def values(self) -> dict[str, Any]:
        """Keys of the data section."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value, _ in self.entries}

    @property
    def name(self) -> str:
        """Of the data set and the file (data=NAME)."""
        return str(self.values["name"])

    @property
    def text(self) -> str:
        """Content of the file."""
        return _render(self)

    def renamed(self, name: str) -> "Proposal":
        """Return the proposal under another name."""
        (key, _, reason), *rest = self.entries
        return replace(self, entries=((key, name, reason), *rest))


def apply_remedies(examination: Examination) -> DataConfig:
    """Return the data section of an examination with the remedies of its findings."""
    changes = {key: value for finding in reversed(examination.findings) for key, value in finding.remedy.items()}
    return examination.data.changed(**changes)


def propose_config(examination: Examination, given: DataConfig, taken: Collection[str] = ()) -> Proposal | None:
    """Return a configuration for the examined data, None if layout or classes are unknown.

    Values of `given`, the data section as configured, are kept; the name is none of `taken`.
    """
    data = examination.data
    if not data.classes or not data.image or not examination.facts:
        return None
    root = Path(data.root).resolve()
    classes, classes_reason = _classes(examination, given)
    groups, groups_reason = _groups(examination, given, root)
    chosen = _resolution(examination, classes)
    shares = _shares(examination, classes)
    entries: list[Entry] = [
        ("name", _name(data, root, taken), "of the data set; data=NAME takes this file"),
        ("root", str(root), "the folder; every pattern is relative to it"),
        ("image", data.image, examination.layout.partition(". ")[0].partition(": ")[2] or "as found"),
        ("mask", data.mask, "paired with the image by the fields in braces"),
        *_labels(data),
        *([("exclude", data.exclude, "files that are left out with their partners")] if data.exclude else []),
        *([("orientation", given.orientation, "of volumes, as typed")] if given.orientation else []),
        *([("exif", data.exif, "masks lie on photographs as they are stored")] if data.exif == "ignore" else []),
        ("groups", groups, groups_reason),
        ("classes", classes, classes_reason),
        *_background(examination),
        ("ignore", data.ignore or [], "values of pixels that do not count"),
        ("threshold", data.threshold, _threshold_reason(data)),
        ("channels", data.channels, _channels_reason(examination, given)),
        *([("nodata", data.nodata, "value of pixels without data")] if data.nodata is not None else []),
        *_crop_entries(data, given, chosen, list(classes), shares),
        ("normalize", *_normalize(examination, given)),
        ("val_fraction", data.val_fraction, _val_reason(examination.cases)),
        ("test_fraction", data.test_fraction, "raise it to hold back a test split as well"),
        ("cache", data.cache, "decoded images are cached in memory if they fit, else on disk"),
        ("max_pixels", data.max_pixels, "larger images are predicted in windows, to limit memory"),
    ]
    return Proposal(tuple(entries), _remarks(examination, shares, chosen), tuple(shares))


def _labels(data: DataConfig) -> list[Entry]:
    """Return the entries specific to overlapping labels."""
    if not data.multilabel:
        return []
    return [
        ("labels", "overlapping", "a pixel may have several classes; each class has masks of its own"),
        ("optional_masks", data.optional_masks, "classes that are not there where their file is missing"),
    ]


def _background(examination: Examination) -> list[Entry]:
    """Return the entry on the background where a class can be meant by it, or none."""
    background = examination.data.background
    if background != FIRST:
        return [("background", background, "as configured: the class that means leave out; null for none")]
    if _background_open(examination):
        return [("background", FIRST, "nothing shows that the first class is the background: null if every class counts")]
    return []


def _background_open(examination: Examination) -> bool:
    return any(finding.kind == "background" for finding in examination.findings)


def _classes(examination: Examination, given: DataConfig) -> tuple[dict[str, Any], str]:
    """Return the classes and the reason; of two inferred classes, the rarer one is the foreground."""
    classes = dict(examination.data.classes or {})
    if given.classes:
        return classes, "as configured; the first one is the background"
    if _background_open(examination):
        return without_background(classes, None), "give them names of your own"
    shares = _shares(examination, classes)
    if list(classes) == ["background", "foreground"] and shares[1] > 0.5:
        classes = {"background": classes["foreground"], "foreground": classes["background"]}
        return classes, "nothing says which value is looked for, so the rarer one was taken; the first one is the background"
    return classes, "give them names of your own; the first one is the background"


def _groups(examination: Examination, given: DataConfig, root: Path) -> tuple[Any, str]:
    if given.groups:
        return given.groups, "as configured: cases of one group are never split apart"
    found = examination.data.groups
    if found:
        return found, "cases of one group are never split apart"
    if any(case.group is not None for case in examination.cases):
        return None, "the field {group} of the pattern keeps cases together"
    suggested = suggest_groups(examination.cases, root)
    return suggested or (None, "each case stands alone; type what belongs to one patient or scan, if anything does")


def _resolution(examination: Examination, classes: Mapping[str, Any]) -> Resolution:
    readable = [case for case in examination.cases if case.id in examination.facts]
    read = make_reader(examination.data.changed(classes=classes, size=None))
    masks = []
    for case in evenly_spread(readable, MEASURED):
        try:
            mask = read(case).mask
        except SegexpError:  # reported as a finding
            continue
        if examination.data.multilabel:  # measure each class separately
            masks += [has_label(mask, k) * np.uint8(k) for k in range(1, len(classes))]
        else:
            masks.append(mask)
    names = list(classes)
    widths = {names[index]: width for index, width in median_thickness(masks).items()}
    training = sum(split == "train" for split in examination.splits.values())
    return choose_resolution([facts.size for facts in examination.facts.values()], widths, training)


def _crop_entries(
    data: DataConfig, given: DataConfig, chosen: Resolution, names: Sequence[str], shares: Sequence[float]
) -> list[Entry]:
    """Return the entries size, crop, repeat and foreground_crops; configured values are kept."""
    kept = "as configured"
    size = (data.size, kept) if given.size is not None else (chosen.size, chosen.size_reason)
    crop = (data.crop, kept) if given.crop is not None else (chosen.crop, chosen.crop_reason)
    repeat = (data.repeat, kept) if given.repeat != 1 else (chosen.repeat, chosen.repeat_reason)
    first = int(data.background is not None)
    name, rare = min(zip(names[first:], shares[first:], strict=False), key=lambda pair: pair[1], default=("", 1.0))
    around = (0.0, "crops at random meet every class often enough")
    if crop[0] is None:
        around = (0.0, "whole images contain all of their foreground")
    elif rare < RARE:
        around = (FOREGROUND_CROPS, f"{name} has {rare:.1%} of the pixels only; this share of the crops lies around a class")
    return [("size", *size), ("crop", *crop), ("repeat", *repeat), ("foreground_crops", *around)]


def _normalize(examination: Examination, given: DataConfig) -> tuple[Any, str]:
    if given.normalize != "dataset":
        return given.normalize, "as configured"
    stored = {facts.dtype for facts in examination.facts.values()}
    if stored <= {"uint8"}:
        return "dataset", "8-bit images: minus their mean, divided by their deviation"
    return "percentile", f"{' and '.join(sorted(stored))} values have outliers; between the 0.5th and the 99.5th percentile"


def _shares(examination: Examination, classes: Mapping[str, Any]) -> list[float]:
    """Return the pixel share of each class; `classes` may be reordered."""
    values = [str(value) for value in (examination.data.classes or {}).values()]
    shares = class_shares(examination.facts.values()) or [0.0] * len(values)
    return shares if examination.data.multilabel else [shares[values.index(str(value))] for value in classes.values()]


def _name(data: DataConfig, root: Path, taken: Collection[str]) -> str:
    name = data.name if data.name != "auto" else root.name
    name = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_") or "mine"
    if name[0].isdigit() or name in RESERVED:  # data=null and data=1 mean something else
        name = f"data_{name}"
    return f"{name}_auto" if name in taken else name


def _channels_reason(examination: Examination, given: DataConfig) -> str:
    if given.channels is not None and given.channels == examination.data.channels:
        return "as configured"
    return "as in the images; RGB images with three equal channels count as gray"


def _threshold_reason(data: DataConfig) -> str:
    if data.threshold is None:
        return "the masks hold no values in between"
    return "soft masks: pixels above it are of the class with the higher value"


def _val_reason(cases: Sequence[Case]) -> str:
    if any(case.split == "val" for case in cases):
        return "not used: a val split lies on disk"
    return "of the training cases, drawn from the seed" + (", whole groups" if any(c.group for c in cases) else "")


def _remarks(examination: Examination, shares: Sequence[float], chosen: Resolution) -> tuple[str, ...]:
    lines = [f"# {examination.layout}".replace("\n", " ")]
    errors = sum(finding.level == "error" for finding in examination.findings)
    if errors:
        lines.append(f"# The check found {errors} error{'s' * (errors != 1)}; it cannot be trained as it stands.")
    if chosen.crop is None and examination.data.background is not None and sum(shares[1:]) < RARE:
        lines.append(f"# Only {sum(shares[1:]):.1%} of the pixels are foreground: weigh it in the loss, such as")
        weighed = 2 if examination.data.multilabel else len(shares)
        lines.append(f"# loss.terms.ce.loss.class_weights=[{', '.join(['1.0', *['8.0'] * (weighed - 1)])}]")
    return tuple(lines)


def _render(proposal: Proposal) -> str:
    lines = [*proposal.remarks, "defaults: [_base, _self_]"]
    written = []
    for key, value, reason in proposal.entries:
        if key != "classes":
            written.append((f"{key}: {flow_yaml(value)}", reason))
            continue
        written.append(("classes:", reason))
        pairs = zip(value.items(), proposal.shares, strict=True)
        written += [(f"  {flow_yaml(name)}: {flow_yaml(each)}", f"{share:.1%} of the pixels") for (name, each), share in pairs]
    width = min(56, max(len(text) for text, _ in written))
    return "\n".join([*lines, *(f"{text.ljust(width)}  # {' '.join(reason.split())}" for text, reason in written)]) + "\n"


def flow_yaml(value: Any) -> str:
    """Return a plain value as one-line YAML; ambiguous text is quoted."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{flow_yaml(key)}: {flow_yaml(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(flow_yaml, value))}]"
    if isinstance(value, str):
        safe = PLAIN.fullmatch(value) and value.lower() not in RESERVED and value == value.strip()
        return value if safe else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)
