"""Findings on files, splits, class shares, and on what an examination goes by."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from fixtures.checks import OPEN, typed
from fixtures.configs import data_config
from segexp.checks.files import check_images, check_inventory, check_splits
from segexp.checks.mask_values import check_shares
from segexp.checks.run import resolve_dataset
from segexp.checks.scan import digest, image_digest, scan_case, scan_cases
from segexp.data.io.images import write_png
from segexp.data.labels.class_table import LabelTable
from segexp.data.layout.inventory import Inventory
from segexp.errors import DataError
from segexp.types import Case, Source

BOTH = ("{split}/{id}.png", "{split}/{id}_mask.png")
CASE = Case("a", Source(Path("a.png")), (Source(Path("a_mask.png")),))


def test_files_that_are_left_over():
    inventory = Inventory(
        (CASE,),
        lone_images=tuple(f"train/{n}.png" for n in range(12)),
        lone_masks=("train/x_mask.png",),
        expected="train/0_mask.png",
        unlabelled=("test/1.png",),
        unused=("train/overview.jpg",),
    )
    images, mask, test, unused = check_inventory(inventory, *BOTH)
    assert images.found.startswith("12 of 13 images have no mask: train/0.png, train/1.png")
    assert images.found.endswith("and 2 more (for train/0.png it would be train/0_mask.png)")
    assert len(images.cases) == 12
    assert mask.found == "1 mask has no image: train/x_mask.png"
    patterns = "data.image ({split}/{id}.png) or data.mask ({split}/{id}_mask.png)"
    assert (
        images.do == mask.do == f"Add what is missing or move the rest out of the folder; or correct the patterns, {patterns}"
    )
    assert unused.do.endswith(f"otherwise widen a pattern: {patterns}")
    assert (test.level, unused.level) == ("note", "note")
    assert check_inventory(Inventory((CASE,)), *BOTH) == []


def test_problems_with_one_advice_are_one_finding():
    problems = [DataError(f"{n} and {n} both have the id {n}", "Each its own", "Remove one") for n in range(12)]
    problems.append(DataError("'dev2' is not a split", "A split", "Rename it"))
    twins, word, none = check_inventory(Inventory((), problems=tuple(problems)), *BOTH)
    assert twins.found.startswith("0 and 0 both have the id 0; 1 and 1")
    assert twins.found.endswith(" and 2 more")
    assert twins.do == "Each its own. Remove one."
    assert word.found == "'dev2' is not a split"
    assert none.kind == "no_case"


def test_empty_splits():
    assert check_splits(["train", "val", "val"]) == []
    (finding,) = check_splits(["train", "test"])
    assert (finding.level, finding.found) == ("error", "No case is in the split val")


def looks_of(root: Path, masks: list[np.ndarray], table: LabelTable):
    cases = []
    for n, mask in enumerate(masks):
        write_png(root / f"{n}.png", np.random.default_rng(n).integers(0, 255, mask.shape, np.uint8))
        write_png(root / f"{n}_mask.png", mask)
        cases.append(Case(str(n), Source(root / f"{n}.png"), (Source(root / f"{n}_mask.png"),)))
    return scan_cases(cases, table)[0]


def part(share: float, value: int = 255) -> np.ndarray:
    mask = np.zeros((50, 40), np.uint8)
    mask[: round(50 * share)] = value
    return mask


BINARY = LabelTable({"background": 0, "thing": 255})
WHOLE = data_config()


def test_masks_of_one_value(tmp_path):
    (finding,) = check_shares(looks_of(tmp_path, [part(0)] * 4, BINARY), {}, BINARY, WHOLE)
    assert (finding.level, finding.kind) == ("error", "one_value")
    assert finding.found.startswith("Every mask of the 4 images is all one value (background)")
    looks = looks_of(tmp_path, [part(0), part(0), part(0.5)], BINARY)
    (finding,) = check_shares(looks, {"0": "train", "1": "train", "2": "val"}, BINARY, WHOLE)
    assert finding.found.startswith("Every mask of the 2 training images is all one value")
    assert check_shares([], {}, BINARY, WHOLE) == []


def test_empty_masks_and_rare_foreground(tmp_path):
    looks = looks_of(tmp_path, [part(0), part(0.1), part(0.02), part(0)], BINARY)
    empty, rare = check_shares(looks, dict.fromkeys("0123", "train"), BINARY, WHOLE)
    assert (empty.level, empty.cases) == ("note", ("0", "3"))
    assert rare.found == "Few pixels of the training masks are thing (3.00%)"
    assert "whole images" in rare.do
    assert "Type data.foreground_crops=0.33" in check_shares(looks, {}, BINARY, data_config(crop=32))[1].do
    (empty, _) = check_shares(looks_of(tmp_path, [part(0), part(0), part(0.1)], BINARY), {}, BINARY, WHOLE)
    assert empty.level == "warning"
    assert check_shares(looks_of(tmp_path, [part(0.5), part(0.2)], BINARY), {}, BINARY, WHOLE) == []


def test_classes_that_never_occur(tmp_path):
    table = LabelTable({"background": 0, "one": 1, "two": 2, "three": 3})
    looks = looks_of(tmp_path, [part(0.5, 1), part(0.5, 1), part(0.5, 2)], table)
    never, held = check_shares(looks, {"0": "train", "1": "train", "2": "val"}, table, WHOLE)
    assert never.found == "No mask has a pixel of the class three"
    assert "data.classes.three=VALUE" in never.do
    assert held.found.startswith("The class two occurs in no training mask, but in 2")
    assert held.cases == ("2",)


def test_values_of_no_class_do_not_count(tmp_path):
    looks = looks_of(tmp_path, [part(0.5), part(0.5, 9)], BINARY)
    assert check_shares(looks, {}, BINARY, WHOLE) == []


def test_what_an_examination_goes_by(copy):
    root, data = copy()
    assert resolve_dataset(data).findings == []
    found = resolve_dataset(data.changed(**OPEN))
    assert found.recognised
    assert found.findings == []
    assert found.data.channels == 1
    given = resolve_dataset(data.changed(**{**OPEN, "classes": {"a": 0, "b": 255}, "groups": "^(..)"}))
    assert not given.recognised
    assert given.data.classes == {"a": 0, "b": 255}
    assert {case.group for case in given.inventory.cases} == {"tr", "va"}
    classes, channels = resolve_dataset(data.changed(classes=None, channels=None)).findings
    assert typed(classes.do) == {"classes": {"background": 0, "foreground": 255}}
    assert typed(channels.do) == {"channels": 1}
    for path in root.glob("*/*_mask.png"):
        path.write_bytes(b"")
    broken = resolve_dataset(data.changed(**OPEN))
    assert broken.data.classes is None
    assert "None of the 24 masks can be read" in broken.findings[0].found
    with pytest.raises(DataError, match="does not exist"):
        resolve_dataset(data.changed(root=str(root / "none")))


def test_generated_data_are_generated(tmp_path, copy):
    _, data = copy()
    found = resolve_dataset(data.changed(**OPEN, family="organ", root=str(tmp_path / "new")))
    assert len(found.inventory.cases) == 48
    assert found.layout.startswith("Generated pictures (organ) in ")
    assert not found.recognised


DATA = data_config(channels=1, image="{id}.png", mask="{id}_mask.png")


@pytest.fixture
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(20, 220, (40, 50), np.uint8) for _ in range(6)]


def looks_of_images(root: Path, images: list[np.ndarray], masks: list[np.ndarray] | None = None):
    rng = np.random.default_rng(1)
    cases = []
    for n, image in enumerate(images):
        mask = masks[n] if masks else (rng.random(image.shape[:2]) > 0.5).astype(np.uint8) * 255
        write_png(root / f"{n}.png", image)
        write_png(root / f"{n}_mask.png", mask)
        cases.append(Case(str(n), Source(root / f"{n}.png"), (Source(root / f"{n}_mask.png"),)))
    looks, faults = scan_cases(cases, LabelTable({"a": 0, "b": 255}))
    assert not faults
    return looks


def told(looks, **data) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(finding.level, finding.kind, finding.cases) for finding in check_images(looks, DATA.changed(**data))]


def test_nothing_to_say(tmp_path, images):
    looks = looks_of_images(tmp_path, images)
    assert told(looks) == told(looks, channels=None) == []
    assert told(looks_of_images(tmp_path, [np.dstack([image] * 3) for image in images])) == []
    assert [look.facts.channels for look in looks] == [1] * 6
    assert check_images([], DATA) == []


def test_transparency_and_overviews_are_named(tmp_path, images):
    cases = []
    for n, image in enumerate(images):
        with tifffile.TiffWriter(tmp_path / f"{n}.tif") as file:
            four = np.dstack([image, image[::-1], image, image if n else np.full_like(image, 255)])
            file.write(four, photometric="rgb", extrasamples=["unassalpha"], metadata=None)
            file.write(four[::2, ::2], photometric="rgb", extrasamples=["unassalpha"], metadata=None, subfiletype=1)
        write_png(tmp_path / f"{n}.png", (image > 99).astype(np.uint8))
        cases.append(Case(str(n), Source(tmp_path / f"{n}.tif"), (Source(tmp_path / f"{n}.png"),)))
    looks, _ = scan_cases(cases, None, 3)
    transparency, left_out = check_images(looks, DATA.changed(channels=3))
    assert (transparency.kind, transparency.cases) == ("transparency", ("1", "2", "3", "4", "5"))
    assert transparency.found.startswith("5 images of 4 channels, one of them declared as transparency (alpha) and left out: ")
    assert typed(transparency.do) == {"channels": 4}
    assert left_out.level == "note"
    assert "masks are left out: 6 pages of 6 TIFF files, such as" in left_out.found
    looks, _ = scan_cases(cases, None, 4)
    assert [finding.kind for finding in check_images(looks, DATA.changed(channels=4))] == ["left_out"]
    assert {look.facts.channels for look in looks} == {4}


def test_gray_among_colour(tmp_path, images):
    colour = [np.dstack([image, image // 2, image]) for image in images]
    mixed = looks_of_images(tmp_path, [*colour[:4], images[4], np.dstack([images[5]] * 3)])
    assert told(mixed, channels=3) == [("warning", "channels", ("4", "5"))]
    (finding,) = check_images(mixed, DATA.changed(channels=3))
    assert finding.found == "2 of 6 images are gray, the others colour: 4, 5"
    assert finding.do.endswith("all are read with 3 channels")
    looks = looks_of_images(tmp_path, colour)
    assert told(looks, channels=1) == [("warning", "channels", ())]
    assert told(looks, channels=2) == [("error", "channels", tuple("012345"))]
    assert "Type data.channels=3" in check_images(looks, DATA.changed(channels=2))[0].do
    assert told(looks_of_images(tmp_path, images), channels=3) == [("note", "channels", ())]


def test_bit_depths(tmp_path, images):
    deep = images[0].astype(np.uint16) * 256
    looks = looks_of_images(tmp_path, [deep, *images[1:]])
    assert told(looks) == [("error", "bit_depth", ("0",))]
    assert looks[0].facts.dtype == "uint16"
    assert looks[0].picture.dtype == np.uint8
    assert looks[0].picture.max() == 255
    assert told(looks_of_images(tmp_path, [image.astype(np.uint16) * 256 for image in images])) == []


def test_blank_dark_and_tiny_images(tmp_path, images):
    images[1] = np.full_like(images[1], 7)
    images[2] = images[2] // 40
    images[3] = np.ascontiguousarray(images[3][:12])
    looks = looks_of_images(tmp_path, images)
    assert told(looks) == [("error", "tiny", ("3",)), ("warning", "blank", ("1",)), ("warning", "dark", ("2",))]
    assert f"1 image has one value everywhere: {tmp_path}/1.png (all 7)" in check_images(looks, DATA)[1].found
    dark = looks_of_images(tmp_path, [image // 40 for image in images])
    assert ("warning", "dark") not in [found[:2] for found in told(dark)]


def test_a_mask_in_the_place_of_an_image(tmp_path, images):
    masks = [(image > 128).astype(np.uint8) * 255 for image in images]
    assert told(looks_of_images(tmp_path, [*images[:5], masks[5]], masks)) == [("warning", "mask_as_image", ("5",))]
    assert told(looks_of_images(tmp_path, [*images[:5], masks[2]])) == [("warning", "mask_as_image", ("5",))]
    assert told(looks_of_images(tmp_path, masks, masks)) == [("warning", "mask_as_image", tuple("012345"))]
    drawings = [np.where(mask > 0, np.uint8(250), np.uint8(5)) for mask in masks]
    assert told(looks_of_images(tmp_path, drawings)) == []


def test_images_and_masks_exchanged(tmp_path, images):
    masks = [(image > 128).astype(np.uint8) * 255 for image in images]
    (finding,) = check_images(looks_of_images(tmp_path, masks, images), DATA)
    assert finding.kind == "exchanged"
    assert finding.do == "Type 'data.image=\"{id}_mask.png\"' 'data.mask=\"{id}.png\"'"


def test_digests(images):
    image = images[0][..., None]
    assert digest(image) == digest(images[0]) == digest(np.dstack([images[0]] * 3))
    assert digest(image) != digest(image.astype(np.uint16))
    assert digest(image) != digest(images[0].reshape(50, 40))
    assert image_digest(image) == digest(image)
    assert image_digest(np.full((4, 4, 3), 9, np.uint8)) == ""
    assert image_digest(np.full((4, 4, 3), (9, 8, 7), np.uint8)) == ""


def test_what_is_seen_of_a_broken_case(tmp_path, images):
    looks_of_images(tmp_path, images)
    (tmp_path / "0.png").write_bytes(b"")
    write_png(tmp_path / "1_mask.png", images[1][:20])
    case = Case("0", Source(tmp_path / "0.png"), (Source(tmp_path / "0_mask.png"),))
    look, (fault,) = scan_case(case, None)
    assert look is None
    assert fault.kind == "unreadable"
    case = Case("1", Source(tmp_path / "1.png"), (Source(tmp_path / "1_mask.png"), Source(tmp_path / "gone.png")))
    look, faults = scan_case(case, LabelTable({"a": 0, "b": 255}))
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
    look, _ = scan_case(case, LabelTable({"a": 0, "b": 255}))
    assert look is not None
    assert look.facts.shares == pytest.approx((0.5, 0.5))
    assert look.facts.values == {"0": 3000, "255": 1000}
    assert look.raw_digest == ""
