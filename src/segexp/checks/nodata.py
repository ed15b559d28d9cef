"""Pixels without data: how many are left out, and values that look like nodata and are not declared.

Legend: H W pixels, C channels.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from segexp.checks.issues import Finding
from segexp.config.schema import DataConfig
from segexp.errors import listed, pluralise

if TYPE_CHECKING:
    from segexp.checks.scan import CaseScan

Array = np.ndarray[Any, np.dtype[Any]]

CUSTOMARY = (-999, -9999, -99999, -32767, -32768)
"""Values that software writes for nodata; nearer to the others than its whole span, they are still no measurement."""
NEAR = 0.1
"""Minimum distance of such a value from the others, as a share of their span."""
ORDINARY = (0, 1, 255)
"""Values that borders, backgrounds and saturated pixels have in ordinary images."""
RICH = 12
"""Minimum number of other values in an image: those of a drawn picture have no typical span."""
SHARE = 0.005
"""Minimum share of the pixels of an image, so that a few defective pixels of a camera do not count."""


@dataclass(frozen=True)
class Extremes:
    """Lowest and highest values of one channel, without those that lie far outside of the others.

    Attributes:
        low: minimum of the others, infinite if there are none.
        high: maximum of the others.
        distinct: number of values of a sample of the others.
        outliers: share of the pixels by value.
    """

    low: float
    high: float
    distinct: int
    outliers: Mapping[float, float] = field(default_factory=dict)


def find_extremes(image: Array, valid: Array | None) -> tuple[Extremes, ...]:
    """Return the extremes of each channel of an image (H, W, C); none for 8-bit images, whose values are all near."""
    pixels = image.reshape(-1, image.shape[2]) if valid is None else image[valid]
    if image.dtype == np.uint8 or not len(pixels):
        return ()
    return tuple(_extremes(pixels[:, c]) for c in range(image.shape[2]))


def _extremes(values: Array) -> Extremes:
    count, outliers = len(values), {}
    for find in (np.min, np.max, np.min, np.max):  # two at each end
        value = find(values) if len(values) else 0
        others = values[values != value]
        if value not in ORDINARY and (not len(others) or _is_far(float(value), float(others.min()), float(others.max()))):
            outliers[float(str(value))] = (len(values) - len(others)) / count
            values = others
    if not len(values):
        return Extremes(np.inf, -np.inf, 0, outliers)
    some = values[:: max(1, len(values) // 4096)]
    return Extremes(float(values.min()), float(values.max()), len(np.unique(some)), outliers)


def _is_far(value: float, low: float, high: float) -> bool:
    """Return whether a value is further below `low` or above `high` than these are apart."""
    return max(low - value, value - high) >= (high - low) * (NEAR if value in CUSTOMARY else 1)


def check_nodata(scans: "Sequence[CaseScan]", data: DataConfig) -> list[Finding]:
    """Return findings on nodata pixels of the images, on values that look like them, and on the nodata values of masks."""
    outlying = [] if data.nodata == "none" else _outlying(scans, data.nodata)
    return [*_declared(scans, data), *outlying, *_of_classes(scans)]


def _declared(scans: "Sequence[CaseScan]", data: DataConfig) -> list[Finding]:
    some = [scan for scan in scans if scan.nodata]
    if not some and scans and data.nodata not in (None, "none"):
        text = f"No pixel of the {len(scans)} images has the value data.nodata={data.nodata}"
        return [Finding("warning", "nodata", text, "Type the value that the files hold, or leave data.nodata out")]
    if not some:
        return []
    by = "their tag GDAL_NODATA" + ("" if data.nodata is None else f" or data.nodata={data.nodata}")
    share = sum(scan.nodata for scan in some) / sum(scan.facts.size[0] * scan.facts.size[1] for scan in scans)
    text = f"{len(some)} of {len(scans)} images have pixels without data by {by}, {share:.2%} of all pixels; they are ignored"
    do = "Nothing, if that is right; type data.nodata=none if they are pixels like others"
    return [Finding("note", "nodata", text, do, tuple(scan.case.id for scan in some))]


def _outlying(scans: "Sequence[CaseScan]", taken: float | str | None) -> list[Finding]:
    """Return a finding for each value far outside of all others; the first has a remedy, unless data.nodata is `taken`."""
    shares: dict[float, dict[str, float]] = defaultdict(dict)
    ranges: dict[float, tuple[float, float]] = {}
    for channel in range(max((len(scan.extremes) for scan in scans), default=0)):
        own = {scan.case.id: scan.extremes[channel] for scan in scans if len(scan.extremes) > channel}
        low, high = min(each.low for each in own.values()), max(each.high for each in own.values())
        if max(each.distinct for each in own.values()) < RICH:
            continue
        for name, each in own.items():
            for value, share in each.outliers.items():
                if _is_far(value, low, high):
                    shares[value][name] = max(share, shares[value].get(name, 0))
                    ranges.setdefault(value, (low, high))
    images = {scan.case.id: scan.case.image for scan in scans}
    findings: list[Finding] = []
    for value, of in sorted(shares.items(), key=lambda item: -sum(item[1].values())):
        name = max(of, key=lambda name: of[name])
        if of[name] < SHARE:
            continue
        number = int(value) if value.is_integer() and abs(value) < 1 << 53 else value
        text = (
            f"{pluralise(len(of), 'image')} of {len(scans)} hold{'s' * (len(of) == 1)} the value {number} far outside of all "
            f"others, {ranges[value][0]:g} to {ranges[value][1]:g}, in up to {of[name]:.0%} of the pixels ({images[name]})"
        )
        do, keys = f"type data.nodata={number}, and such pixels are ignored", {"nodata": number}
        if taken is not None:
            do, keys = f"write {taken}, which is data.nodata, in its place", {}
        do = f"If it means that there are no data, {do}"
        findings.append(Finding("warning", "outlier", text, do, tuple(of), keys))
        taken = taken if taken is not None else number
    return findings


def _of_classes(scans: "Sequence[CaseScan]") -> list[Finding]:
    """Return a finding for each class whose value is the nodata value of masks."""
    found: dict[tuple[int, str], list[str]] = defaultdict(list)
    for scan in scans:
        for mask in scan.masks:
            if mask.nodata is not None:
                found[mask.nodata].append(str(mask.source))
    findings = []
    for (value, name), files in found.items():
        declare, are = ("declares", "is") if len(files) == 1 else ("declare", "are")
        text = f"{pluralise(len(files), 'mask')} {declare} {value} as nodata (GDAL_NODATA), the value of the class {name}, and "
        text += f"{are} read as this class: {listed(files, 3)}"
        do = f"Nothing, if {value} is {name}; to ignore it, remove it from data.classes and type 'data.ignore=[{value}]'"
        findings.append(Finding("warning", "nodata_class", text, do))
    return findings
