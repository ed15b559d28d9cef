"""Overlapping classes: each has its own mask files, and a pixel can belong to several.

Each file is a two-class mask of background and its class, by the values in `data.classes`. A file of annotated shapes may be
that of all classes.

Legend: K classes, H W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segexp.config.overrides import shell_words
from segexp.config.schema import FIRST, DataConfig
from segexp.data.annotations.files import is_annotation
from segexp.data.labels.class_table import LabelTable, merge_masks, read_labels
from segexp.data.labels.modes import MAX_LABELS, join_layers
from segexp.data.labels.spec import Colour, class_colours, own_colour, parse_classes, parse_values
from segexp.errors import ConfigError, listed, nearest
from segexp.types import Case

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OverlappingTable:
    """Mask values of overlapping classes.

    Attributes:
        classes: values by name, background first; foreground classes may share values.
        ignore: values ignored by loss and metrics, in the file of any class; they become 255.
        threshold: for soft masks.
        annotated: masks are drawn from annotated shapes, and values are their labels.
    """

    classes: Mapping[str, Any]
    ignore: Any = ()
    threshold: float | None = None
    annotated: bool = False

    def __post_init__(self) -> None:
        """Validate and normalise.

        Raises:
            ConfigError: more than 7 foreground classes, or invalid values, see `LabelTable`.
        """
        object.__setattr__(self, "classes", parse_classes(self.classes, self.annotated))
        object.__setattr__(self, "ignore", parse_values(self.ignore, "data.ignore", empty=True, labels=self.annotated))
        if len(self.classes) > MAX_LABELS + 1:
            raise ConfigError(
                f"data.classes names {len(self.classes) - 1} foreground classes that may overlap",
                f"At most {MAX_LABELS} are possible, beside the background",
                "Leave some out of data.classes and data.mask; classes that exclude each other need no data.labels=overlapping",
            )
        for name in self.names[1:]:
            self.of(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by index."""
        return tuple(self.classes)

    @property
    def background(self) -> bool:
        """True: it is where no class is."""
        return True

    @property
    def palette(self) -> tuple[Colour, ...]:
        """One colour per class: its first own colour if unique, else a distinct colour-blind safe one."""
        own = [own_colour(values) for values in self.classes.values()]
        kept = [colour if colour is not None and own.count(colour) == 1 else None for colour in own]
        return class_colours(kept)

    def of(self, name: str) -> LabelTable:
        """Return the two-class table of the files of one class."""
        own = {each: self.classes[each] for each in (self.names[0], name)}
        others = {str(value) for each in self.names[1:] for value in self.classes[each]} - set(map(str, self.classes[name]))
        return LabelTable(own, self.ignore, self.threshold, annotated=self.annotated, others=tuple(sorted(others)))

    def read(self, case: Case, size: tuple[int, ...] | None = None) -> Array:
        """Read the masks of a case, (H, W) uint8 bit sets (`segexp.data.labels.modes`); classes without a file are absent.

        All masks must have `size` (None: any common size).

        Raises:
            DataError: a file is broken, has an unclaimed value, or another size.
        """
        layers: dict[str, Array] = {}
        for name in dict.fromkeys(case.classes):
            own = [mask for mask, each in zip(case.masks, case.classes, strict=True) if each == name]
            layers[name] = read_labels(own, self.of(name), case.image, size)
        nowhere = np.zeros_like(next(iter(layers.values())))
        return join_layers([layers.get(name, nowhere) for name in self.names[1:]])


Labels = LabelTable | OverlappingTable
"""Label table of a data set."""


def table_of(labels: Labels, case: Case, number: int) -> LabelTable:
    """Return the label table of the mask file at position `number` of a case."""
    return labels.of(case.classes[number]) if isinstance(labels, OverlappingTable) else labels


def merge_case_masks(labels: Labels, case: Case, encoded: Sequence[Array]) -> Array:
    """Merge the encoded mask files of a case, (H, W) uint8.

    Raises:
        DataError: their sizes differ.
    """
    if not isinstance(labels, OverlappingTable):
        return merge_masks(encoded)
    layers = {name: np.zeros_like(encoded[0]) for name in labels.names[1:]}
    for name in dict.fromkeys(case.classes):
        layers[name] = merge_masks([mask for mask, each in zip(encoded, case.classes, strict=True) if each == name])
    return join_layers(list(layers.values()))


def label_table(data: DataConfig) -> Labels:
    """Return the label table of a data section.

    Raises:
        ConfigError: the class table is wrong, `data.background` names no class, or `data.mask`, `data.labels` and
            `data.optional_masks` are inconsistent.
    """
    _check_background(data)
    classes, mask, overlapping, optional = data.classes, data.mask, data.multilabel, data.optional_masks
    if not overlapping:
        if isinstance(mask, Mapping):
            raise ConfigError(
                f"data.mask has a pattern for each of {listed(mask)}, and data.labels is exclusive",
                "Classes that exclude each other are read from one pattern, by the values in the masks",
                "Type data.labels=overlapping, or one pattern: 'data.mask=\"masks/{id}.png\"'",
            )
        if optional:
            raise ConfigError(
                f"data.optional_masks={listed(optional)} with data.labels=exclusive",
                "Only where each class has files of its own can one be missing",
                "Leave data.optional_masks out, or type data.labels=overlapping",
            )
        annotated = isinstance(mask, str) and is_annotation(mask)
        return LabelTable(classes or {}, data.ignore, data.threshold, data.background is not None, annotated)
    annotated = any(map(is_annotation, mask.values() if isinstance(mask, Mapping) else [mask or ""]))
    table = OverlappingTable(classes or {}, data.ignore, data.threshold, annotated)
    _check_patterns(mask, table.names)
    _check_optional(optional, table.names)
    return table


def _check_background(data: DataConfig) -> None:
    background, names = data.background, list(data.classes or {})
    if background is None and data.multilabel:
        raise ConfigError(
            "data.background=null with data.labels=overlapping",
            "Where classes may overlap, a pixel without any of them is background",
            "Leave data.background out",
        )
    if names and background not in (None, FIRST, *names):
        raise ConfigError(
            f"data.background={background} is no class of data.classes",
            f"One of {listed(names, 12)} was expected, or null where none is the background. {nearest(str(background), names)}",
            f"Type {shell_words({'data.background': names[0]})}, or data.background=null",
        )


def _check_patterns(mask: Any, names: tuple[str, ...]) -> None:
    if isinstance(mask, str) and is_annotation(mask):
        return
    example = shell_words({"data.mask": {name: f"masks/{{id}}_{name}.png" for name in names[1:]}})
    if not isinstance(mask, Mapping):
        raise ConfigError(
            f"data.labels=overlapping with data.mask={mask}",
            "Classes that may overlap are read from files of their own: a pattern for each foreground class",
            f"Type {example}",
        )
    for name in mask:
        if name not in names[1:]:
            known = f"{names[0]} is the background, where no other class is" if name == names[0] else nearest(name, names[1:])
            raise ConfigError(
                f"data.mask names {name}, which is no foreground class of data.classes",
                f"A pattern for each of {listed(names[1:], MAX_LABELS)} was expected. {known}",
                f"Type {example}",
            )
    lacking = [name for name in names[1:] if name not in mask]
    if lacking:
        raise ConfigError(
            f"data.mask has no pattern for {listed(lacking, MAX_LABELS)}",
            f"With data.labels=overlapping each of {listed(names[1:], MAX_LABELS)} has files of its own",
            f"Type {example}",
        )


def _check_optional(optional: list[str], names: tuple[str, ...]) -> None:
    for name in optional:
        if name not in names[1:]:
            raise ConfigError(
                f"data.optional_masks names {name}, which is no foreground class of data.classes", do=nearest(name, names[1:])
            )
    if set(optional) == set(names[1:]):
        raise ConfigError(
            f"data.optional_masks names every class, {listed(optional, MAX_LABELS)}",
            "One class at least has a file for each image: else an image that nobody labelled would be one without anything",
            "Leave out the class whose mask is always there",
        )
