"""Augmentation of image and mask; the only module that imports albumentations.

Augmentation is a pure function of (seed, epoch, index).

Legend: C channels, H W pixels.
"""

import copy
import importlib
import inspect
import os
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from segexp.data.labels.modes import MULTICLASS, LabelMode
from segexp.errors import ConfigError, DataError, nearest
from segexp.types import IGNORE

Array = np.ndarray[Any, np.dtype[Any]]
Place = tuple[int, int]
"""Row and column of a pixel."""
Draw = Callable[[np.random.Generator], Place | None]
"""Draws the centre of the next crop, or None for a uniformly random crop."""


class Foreground:
    """Index of the foreground pixels of a mask, for drawing random ones quickly.

    Holds cumulative row counts per class: a few kilobytes for any mask.
    """

    def __init__(self, mask: Array, labelling: LabelMode = MULTICLASS) -> None:
        """Index a mask (H, W) uint8 whose values mean what `labelling` says."""
        self.label_mode = labelling
        present = map(int, labelling.present(mask))
        self.until = {k: np.cumsum(np.count_nonzero(labelling.has(mask, k), axis=1)) for k in present}

    def draw(self, mask: Array, share: float, rng: np.random.Generator) -> Place | None:
        """Return, with probability `share`, a random pixel of a random class (uniform over classes) of the mask; else None."""
        if rng.random() >= share or not self.until:
            return None
        index, until = list(self.until.items())[int(rng.integers(len(self.until)))]
        number = int(rng.integers(until[-1]))
        row = int(np.searchsorted(until, number, side="right"))
        columns = np.flatnonzero(self.label_mode.has(mask[row], index))
        return row, int(columns[number - int(until[row])])  # negative index: from the end of the row


def random_crop(
    image: Array, mask: Array, size: Sequence[int], margin: int, rng: np.random.Generator, around: Place | None = None
) -> tuple[Array, Array]:
    """Crop a random window plus a margin from an image and its mask.

    Args:
        image: (H, W, C).
        mask: (H, W) uint8 class index.
        size: height and width of the window; may exceed the image, which then lies at a random position in it.
        margin: pixels added on each side.
        rng: draws the position.
        around: centre of the window as far as the image allows; None draws the position.

    Returns:
        New arrays of `size` + 2 `margin`; pixels outside the image are mirrored, and 255 in the mask.
    """
    picks: list[slice | Array] = []
    outside: list[Array] = []
    for axis, (side, wanted) in enumerate(zip(image.shape[:2], size, strict=True)):
        if around is None or wanted >= side:
            start = int(rng.integers(min(0, side - wanted), max(0, side - wanted) + 1)) - margin
        else:
            start = min(max(0, around[axis] - wanted // 2), side - wanted) - margin
        places = np.arange(start, start + wanted + 2 * margin)
        outside.append((places < 0) | (places >= side))
        folded = np.abs(places) % max(1, 2 * (side - 1))
        mirrored = np.minimum(folded, 2 * (side - 1) - folded) if side > 1 else np.zeros_like(places)
        picks.append(mirrored if outside[-1].any() else slice(start, start + len(places)))  # a slice is faster
    rows, columns = picks
    image, mask = image[rows][:, columns].copy(), mask[rows][:, columns].copy()
    mask[outside[0]] = IGNORE
    mask[:, outside[1]] = IGNORE
    return image, mask


def crop_size(crop: int | Sequence[int] | None) -> tuple[int, int] | None:
    """Return height and width of `data.crop`: a side, a pair, or None.

    Raises:
        ConfigError: it is none of these.
    """
    if crop is None:
        return None
    sides = (crop, crop) if isinstance(crop, int) else tuple(crop)
    if len(sides) != 2 or min(sides) < 1:
        raise ConfigError(f"data.crop={crop}", "one side, or height and width, in pixels", "Write for example data.crop=256")
    return sides[0], sides[1]


MARGIN = 8
"""Margin around the crop for deforming transforms: this fraction of its side, 1 / MARGIN."""
EXACT = {"HorizontalFlip", "VerticalFlip", "RandomRotate90", "Transpose", "D4", "SquareSymmetry"}
"""Spatial transforms that need no pixels from outside."""
RENAMED = {
    "alpha_affine": "a separate Affine",
    "always_apply": "p=1",
    "mask_value": "fill_mask",
    "rotate_limit": "rotate",
    "scale_limit": "scale",
    "shift_limit": "translate_percent",
    "value": "fill",
    "var_limit": "std_range",
}
"""Arguments of older albumentations versions and their replacements."""


class Augment:
    """Random crop and albumentations transforms of an image and its mask.

    Pixels from outside the image are mirrored (black beyond the margin) and 255 in the mask. 16-bit images become float32 in
    [0, 1].
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]] = (), crop: int | Sequence[int] | None = None) -> None:
        """Build the transforms.

        Args:
            transforms: mappings with `name`, an albumentations class or the dotted path of a subclass, and its arguments.
                OneOf, SomeOf and Sequential take `transforms`.
            crop: side, or height and width, of the random crop; None keeps the whole image.

        Raises:
            ConfigError: a name or an argument does not exist, or a value is refused.
        """
        self.crop = crop_size(crop)
        self.transforms = [_build(spec) for spec in transforms]
        leaves = _leaves(self.transforms)
        spatial = _albumentations().DualTransform
        self.bends = any(isinstance(leaf, spatial) and _name(leaf) not in EXACT for leaf in leaves)
        self.turns = any(_name(leaf) in EXACT - {"HorizontalFlip", "VerticalFlip"} for leaf in leaves)
        self.compose = _compose(self.transforms) if self.transforms else None

    def __call__(self, image: Array, mask: Array, *, key: tuple[int, ...], around: Draw | None = None) -> tuple[Array, Array]:
        """Return the augmented image and mask as new arrays.

        Args:
            image: (H, W, C) uint8, uint16, or float32 in [0, 1].
            mask: (H, W) uint8 class index, 255 = ignore.
            key: of the random generator: (seed, epoch, index).
            around: draws the centre of the crop; None crops anywhere.

        Raises:
            DataError: a float image is outside [0, 1].
        """
        sequence = np.random.SeedSequence(key)
        rng = np.random.default_rng(sequence)
        size = self.crop or image.shape[:2]
        window = (max(size), max(size)) if self.turns and self.crop else size
        margin = -(-max(window) // MARGIN) if self.bends else 0
        image, mask = random_crop(image, mask, window, margin, rng, around(rng) if around else None)
        image = _to_unit(image)
        if self.compose is not None:
            _require_unit(image)
            # One shared generator: with separate seeds, all transforms would draw the same numbers.
            self.compose.set_random_state(rng, random.Random(int(sequence.generate_state(1, np.uint64)[0])))
            image, mask = _apply(self.compose, image, mask)
        height, width = self.crop or (image.shape[0] - 2 * margin, image.shape[1] - 2 * margin)
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        inner = slice(top, top + height), slice(left, left + width)
        return np.ascontiguousarray(image[inner]), np.ascontiguousarray(mask[inner])

    def check(self, channels: int, dtype: Any = np.uint8) -> None:
        """Run every transform on a synthetic image, so that failures occur before training.

        Raises:
            ConfigError: a transform does not fit the data.
        """
        rng = np.random.default_rng(0)
        image = _to_unit(_made_up(rng, channels, np.dtype(dtype)))
        mask = rng.integers(0, 2, image.shape[:2], dtype=np.uint8)
        for leaf in _leaves(self.transforms):
            for trial in range(3):
                problem = _trial(leaf, image, mask, trial)
                if problem:
                    raise ConfigError(
                        f"augment: {_name(leaf)} fails on images of {channels} channel(s), {np.dtype(dtype)}: {problem}",
                        "transforms that keep shape, type, the range 0..1 and the classes of the data",
                        f"Remove {_name(leaf)} from augment.transforms, or choose another set: augment=medical",
                    )


def _build(spec: Mapping[str, Any]) -> Any:
    """Build a transform, including nested ones, from plain data."""
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        raise ConfigError(
            f"augment.transforms holds {spec!r}", "a mapping with a name", "Write for example {name: HorizontalFlip, p: 0.5}"
        )
    arguments = {key: value for key, value in spec.items() if key != "name"}
    name, cls = spec["name"], _find(spec["name"])
    parameters = set(inspect.signature(cls.__init__).parameters) - {"self"}
    for argument in arguments:
        if argument not in parameters:
            renamed = f"It is now {RENAMED[argument]}. " if argument in RENAMED else ""
            raise ConfigError(f"augment: {name} has no argument {argument!r}", do=renamed + nearest(argument, parameters))
    if arguments.get("mask_interpolation"):
        raise ConfigError(
            f"augment: {name} has mask_interpolation={arguments['mask_interpolation']}",
            "0 (nearest), for classes cannot be mixed",
            "Remove mask_interpolation",
        )
    if {"border_mode", "fill_mask"} <= parameters:
        arguments.setdefault("fill_mask", IGNORE)
    if "transforms" in arguments:
        arguments["transforms"] = [_build(inner) for inner in arguments["transforms"]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return cls(**{key: _tuples(value) for key, value in arguments.items()})
    except (ValueError, TypeError, UserWarning) as error:
        raise ConfigError(
            f"augment: {name} refuses its arguments: {_short(error)}",
            do=f"Arguments of {name}: {', '.join(sorted(parameters))}",
        ) from error


def _find(name: str) -> Any:
    """Return a transform class by its albumentations name or dotted path."""
    library = _albumentations()
    kinds = (library.BasicTransform, library.BaseCompose)
    if "." not in name:
        known = [key for key, value in vars(library).items() if inspect.isclass(value) and issubclass(value, kinds)]
        if name not in known:
            raise ConfigError(
                f"augment: albumentations has no transform {name!r}",
                "a transform's class name, or the dotted path of your own",
                nearest(name, known),
            )
        return getattr(library, name)
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"augment: cannot import {name}: {error}", "a class that Python finds", "Check the path and PYTHONPATH"
        ) from error
    if not (inspect.isclass(found) and issubclass(found, kinds)):
        raise ConfigError(
            f"augment: {name} is no transform", "a class that derives from albumentations.DualTransform or ImageOnlyTransform"
        )
    return found


def _albumentations() -> Any:
    """Import albumentations lazily, without its online version check."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    return importlib.import_module("albumentations")


def _compose(transforms: list[Any]) -> Any:
    return _albumentations().Compose(transforms, mask_interpolation=0, strict=True)


def _leaves(transforms: Sequence[Any]) -> list[Any]:
    """Return the transforms inside OneOf, SomeOf and Sequential."""
    group = _albumentations().BaseCompose
    return [leaf for item in transforms for leaf in (_leaves(item.transforms) if isinstance(item, group) else [item])]


def _name(transform: Any) -> str:
    return type(transform).__name__


def _apply(compose: Any, image: Array, mask: Array) -> tuple[Array, Array]:
    result = compose(image=image, mask=mask)
    image, mask = result["image"], result["mask"]
    return (image[..., None] if image.ndim == 2 else image), mask


def _trial(leaf: Any, image: Array, mask: Array, seed: int) -> str:
    """Apply a transform with p=1; return what is wrong, or an empty string."""
    leaf = copy.deepcopy(leaf)
    leaf.p = 1.0
    compose = _compose([leaf])
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            after, labels = _apply(compose, image.copy(), mask.copy())
    except Exception as error:
        return _short(error)
    if after.shape != image.shape or labels.shape != mask.shape:
        return f"it turns shape {image.shape} into {after.shape} (sizes are set by data.size and data.crop)"
    if after.dtype != image.dtype:
        return f"it turns {image.dtype} into {after.dtype}"
    if after.dtype.kind == "f" and not (after.min() >= -1e-4 and after.max() <= 1 + 1e-4):
        return "its values leave 0..1 (normalisation comes later, by data.normalize)"
    strange = set(np.unique(labels).tolist()) - {*np.unique(mask).tolist(), IGNORE}
    return f"it puts new values into the mask: {sorted(strange)[:5]}" if strange else ""


def _made_up(rng: np.random.Generator, channels: int, dtype: np.dtype[Any]) -> Array:
    """Return a noisy gradient (96, 96, C), full range for integers and 0 to 1 for floats."""
    slope = np.linspace(0, 1, 96)[:, None, None]
    unit = (slope + rng.random((96, 96, channels))) / 2
    return np.asarray((unit * np.iinfo(dtype).max if dtype.kind == "u" else unit).astype(dtype))


def _to_unit(image: Array) -> Array:
    """Return 16-bit images as float32 in [0, 1], as brightness transforms expect."""
    return image.astype(np.float32) / 65535 if image.dtype == np.uint16 else image


def _require_unit(image: Array) -> None:
    if image.dtype.kind == "f" and not (image.min() >= 0 and image.max() <= 1):
        raise DataError(
            f"a float image runs from {image.min():g} to {image.max():g}",
            "0 to 1 before augmentation",
            "Scale it when it is read, or use augment=none",
        )


def _tuples(value: Any) -> Any:
    """Convert lists of plain data to tuples, as albumentations expects."""
    if isinstance(value, list) and not any(hasattr(item, "apply") or hasattr(item, "transforms") for item in value):
        return tuple(_tuples(item) for item in value)
    return value


def _short(error: Exception | Warning) -> str:
    """Return the facts of a (pydantic) exception in one line."""
    lines = [line.strip().split(" [type=")[0] for line in str(error).splitlines() if line.strip()]
    facts = [line for line in lines if "validation error" not in line and not line.startswith("For further")]
    return "; ".join(facts[:4]) or type(error).__name__
