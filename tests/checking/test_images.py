"""Images: channels and depths that differ, blank and dark ones, masks in their place."""

from pathlib import Path

import numpy as np
import pytest

from segexp.checking.images import check_images
from segexp.checking.survey import digest, look_at, picture_digest, surveyed
from segexp.data.files.images import write_png
from segexp.data.labels.table import LabelTable
from segexp.types import Case, Source

DATA = {"channels": 1, "image": "{id}.png", "mask": "{id}_mask.png"}


@pytest.fixture
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(20, 220, (40, 50), np.uint8) for _ in range(6)]


def looks_of(root: Path, images: list[np.ndarray], masks: list[np.ndarray] | None = None):
    rng = np.random.default_rng(1)
    cases = []
    for n, image in enumerate(images):
        mask = masks[n] if masks else (rng.random(image.shape[:2]) > 0.5).astype(np.uint8) * 255
        write_png(root / f"{n}.png", image)
        write_png(root / f"{n}_mask.png", mask)
        cases.append(Case(str(n), Source(root / f"{n}.png"), (Source(root / f"{n}_mask.png"),)))
    looks, faults = surveyed(cases, LabelTable({"a": 0, "b": 255}))
    assert not faults
    return looks


def told(looks, **data) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(finding.level, finding.kind, finding.cases) for finding in check_images(looks, {**DATA, **data})]


def test_nothing_to_say(tmp_path, images):
    looks = looks_of(tmp_path, images)
    assert told(looks) == told(looks, channels=None) == []
    assert told(looks_of(tmp_path, [np.dstack([image] * 3) for image in images])) == []
    assert [look.facts.channels for look in looks] == [1] * 6
    assert check_images([], DATA) == []


def test_gray_among_colour(tmp_path, images):
    colour = [np.dstack([image, image // 2, image]) for image in images]
    mixed = looks_of(tmp_path, [*colour[:4], images[4], np.dstack([images[5]] * 3)])
    assert told(mixed, channels=3) == [("warning", "channels", ("4", "5"))]
    (finding,) = check_images(mixed, {**DATA, "channels": 3})
    assert finding.found == "2 of 6 images are gray, the others colour: 4, 5"
    assert finding.do.endswith("with data.channels=3 all are read alike")
    looks = looks_of(tmp_path, colour)
    assert told(looks, channels=1) == [("warning", "channels", ())]
    assert told(looks, channels=2) == [("error", "channels", tuple("012345"))]
    assert "Type data.channels=3" in check_images(looks, {**DATA, "channels": 2})[0].do
    assert told(looks_of(tmp_path, images), channels=3) == [("note", "channels", ())]


def test_bit_depths(tmp_path, images):
    deep = images[0].astype(np.uint16) * 256
    looks = looks_of(tmp_path, [deep, *images[1:]])
    assert told(looks) == [("error", "bit_depth", ("0",))]
    assert looks[0].facts.dtype == "uint16"
    assert looks[0].picture.dtype == np.uint8
    assert looks[0].picture.max() == 255
    assert told(looks_of(tmp_path, [image.astype(np.uint16) * 256 for image in images])) == []


def test_blank_dark_and_tiny_images(tmp_path, images):
    images[1] = np.full_like(images[1], 7)
    images[2] = images[2] // 40
    images[3] = np.ascontiguousarray(images[3][:12])
    looks = looks_of(tmp_path, images)
    assert told(looks) == [("error", "tiny", ("3",)), ("warning", "blank", ("1",)), ("warning", "dark", ("2",))]
    assert f"1 image has one value everywhere: {tmp_path}/1.png (all 7)" in check_images(looks, DATA)[1].found
    dark = looks_of(tmp_path, [image // 40 for image in images])
    assert ("warning", "dark") not in [found[:2] for found in told(dark)]


def test_a_mask_in_the_place_of_an_image(tmp_path, images):
    masks = [(image > 128).astype(np.uint8) * 255 for image in images]
    assert told(looks_of(tmp_path, [*images[:5], masks[5]], masks)) == [("error", "mask_as_image", ("5",))]
    assert told(looks_of(tmp_path, [*images[:5], masks[2]])) == [("error", "mask_as_image", ("5",))]
    assert told(looks_of(tmp_path, masks, masks)) == [("error", "mask_as_image", tuple("012345"))]
    drawings = [np.where(mask > 0, np.uint8(250), np.uint8(5)) for mask in masks]
    assert told(looks_of(tmp_path, drawings)) == []


def test_images_and_masks_exchanged(tmp_path, images):
    masks = [(image > 128).astype(np.uint8) * 255 for image in images]
    (finding,) = check_images(looks_of(tmp_path, masks, images), DATA)
    assert finding.kind == "exchanged"
    assert finding.do == "Type 'data.image=\"{id}_mask.png\"' 'data.mask=\"{id}.png\"'"


def test_digests(images):
    image = images[0][..., None]
    assert digest(image) == digest(images[0]) == digest(np.dstack([images[0]] * 3))
    assert digest(image) != digest(image.astype(np.uint16))
    assert digest(image) != digest(images[0].reshape(50, 40))
    assert picture_digest(image) == digest(image)
    assert picture_digest(np.full((4, 4, 3), 9, np.uint8)) == ""
    assert picture_digest(np.full((4, 4, 3), (9, 8, 7), np.uint8)) == ""


def test_what_is_seen_of_a_broken_case(tmp_path, images):
    looks_of(tmp_path, images)
    (tmp_path / "0.png").write_bytes(b"")
    write_png(tmp_path / "1_mask.png", images[1][:20])
    case = Case("0", Source(tmp_path / "0.png"), (Source(tmp_path / "0_mask.png"),))
    look, (fault,) = look_at(case, None)
    assert look is None
    assert fault.kind == "unreadable"
    case = Case("1", Source(tmp_path / "1.png"), (Source(tmp_path / "1_mask.png"), Source(tmp_path / "gone.png")))
    look, faults = look_at(case, LabelTable({"a": 0, "b": 255}))
    assert look is not None
    assert look.labels is None
    assert look.mask_digest == ""
    assert [fault.kind for fault in faults] == ["size", "unreadable"]


def test_several_masks_of_one_image(tmp_path, images):
    parts = np.zeros((2, 40, 50), np.uint8)
    parts[0, :10], parts[1, 30:] = 255, 255
    write_png(tmp_path / "i.png", images[0])
    for n, part in enumerate(parts):
        write_png(tmp_path / f"{n}.png", part)
    case = Case("i", Source(tmp_path / "i.png"), tuple(Source(tmp_path / f"{n}.png") for n in range(2)))
    look, _ = look_at(case, LabelTable({"a": 0, "b": 255}))
    assert look is not None
    assert look.facts.shares == pytest.approx((0.5, 0.5))
    assert look.facts.values == {"0": 3000, "255": 1000}
    assert look.raw_digest == ""
