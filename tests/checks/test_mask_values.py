"""Mask values: what no class claims, soft masks, and lines that mend them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from fixtures.checks import typed, write
from segexp.checks.issues import Finding
from segexp.checks.mask_values import check_values, classes_line
from segexp.checks.scan import encode_leniently, scan_case, scan_mask, two_grays
from segexp.data.labels.class_table import LabelTable
from segexp.data.labels.spec import format_value
from segexp.data.layout.infer_classes import infer_classes
from segexp.types import Case, Source

LIVER = {"background": 0, "liver": 255}
LAND = {"land": "#8429F6", "water": "#E2A929"}


def found(tmp_path: Path, masks: list[np.ndarray], classes: dict, *, recognised: bool = False, **more) -> list[Finding]:
    table = LabelTable(classes, **more)
    looks = []
    for n, mask in enumerate(masks):
        image = np.random.default_rng(n).integers(0, 255, mask.shape[:2], np.uint8)
        write(tmp_path / f"{n}.png", image)
        write(tmp_path / f"{n}_mask.png", mask[..., ::-1] if mask.ndim == 3 else mask)
        case = Case(str(n), Source(tmp_path / f"{n}.png"), (Source(tmp_path / f"{n}_mask.png"),))
        look, faults = scan_case(case, table)
        assert look is not None
        assert not faults
        looks.append(look)
    return check_values(looks, table, recognised=recognised)


def square(value: int = 255, size: int = 40) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[10:30, 12:28] = value
    return mask


def colours(*hexes: str) -> np.ndarray:
    return np.repeat(np.array([[tuple(bytes.fromhex(text)) for text in hexes]], np.uint8), 20, axis=0)


def test_right_masks(tmp_path):
    assert found(tmp_path, [square(), square(0)], LIVER) == []
    assert found(tmp_path, [colours("8429F6", "E2A929")], LAND) == []


def test_each_stray_value_is_named_with_its_pixels_and_files(tmp_path):
    masks = [square() for _ in range(4)]
    masks[1][0, :7] = 254
    masks[2][0, :2] = 254
    masks[3][5, 5] = 100
    near, far = found(tmp_path, masks, LIVER)
    assert near.found == (
        f"The mask value 254 belongs to no class: 7 pixels in {tmp_path}/1_mask.png, 2 pixels in {tmp_path}/2_mask.png; "
        "claimed are 0 (background), 255 (liver)"
    )
    assert near.cases == ("1", "2")
    assert (
        near.do == "Type 'data.classes.liver=[255, 254]' to count it as liver, or 'data.ignore=[254]' to leave such pixels out"
    )
    assert "1 pixel in" in far.found
    assert far.do == "Type 'data.ignore=[100]' to leave such pixels out, or give it to a class: 'data.classes.liver=[255, 100]'"


def test_stray_colours(tmp_path):
    (finding,) = found(tmp_path, [colours("8429F6", "000000", "E2A929"), colours("8429F6")], LAND, ignore=["#FFFFFF"])
    assert "The mask value #000000 belongs to no class: 20 pixels" in finding.found
    assert typed(finding.do) == {"ignore": ["#FFFFFF", "#000000"], "classes.water": ["#E2A929", "#000000"]}


def test_another_value_for_a_class_that_never_occurs(tmp_path):
    (finding,) = found(tmp_path, [square(1), square(1), square(0)], LIVER)
    assert finding.found.startswith("2 of 3 masks hold the value 1, which no class claims")
    assert typed(finding.do) == {"classes.liver": 1}
    (finding,) = found(tmp_path, [colours("8429F6", "0000FF")], LAND)
    assert typed(finding.do) == {"classes.water": "#0000FF"}


def test_masks_saved_with_loss(tmp_path):
    rng = np.random.default_rng(0)
    noisy = np.clip(colours(*["8429F6", "E2A929"] * 20).astype(int) + rng.integers(-9, 9, (20, 40, 3)), 0, 255)
    (finding,) = found(tmp_path, [noisy.astype(np.uint8)] * 2, LAND)
    assert "2 masks hold" in finding.found
    assert "Save the masks again without loss (PNG, not JPEG)" in finding.do


def test_a_picture_in_the_place_of_a_mask(tmp_path):
    masks = [square() for _ in range(5)]
    masks[2] = np.random.default_rng(2).integers(0, 255, (40, 40), np.uint8)
    (finding,) = found(tmp_path, masks, LIVER)
    assert (finding.kind, finding.cases) == ("image_as_mask", ("2",))
    assert f"1 mask looks like a picture: {tmp_path}/2_mask.png" in finding.found


@pytest.mark.parametrize("quality", [None, 30, 90])
def test_soft_masks(tmp_path, quality):
    if quality is None:
        soft = cv2.GaussianBlur(square(size=80), (0, 0), 1.0)
    else:
        soft = cv2.imdecode(cv2.imencode(".jpg", square(size=80), [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0)
    (finding,) = found(tmp_path, [soft, square()], LIVER)
    assert finding.kind == "soft_mask"
    assert finding.found.startswith("1 of 2 masks is soft: ")
    assert finding.cases == ("0",)
    assert typed(finding.do) == {"threshold": 127}
    (note,) = found(tmp_path, [soft, square()], LIVER, threshold=127)
    assert note.level == "note"
    (upside,) = found(tmp_path, [soft, square()], {"cell": 255, "edge": 0})
    assert typed(upside.do) == {"threshold": 127}


def test_classes_that_were_made_out_of_a_few_pixels(tmp_path):
    masks = [square(size=80) for _ in range(12)]
    masks[3][:2, :2] = 254
    masks[4][0, :3] = 80
    classes = {"background": 0, "class_80": 80, "class_254": 254, "class_255": 255}
    assert found(tmp_path, masks, classes) == []
    other, near = found(tmp_path, masks, classes, recognised=True)
    assert (near.level, near.cases) == ("warning", ("3",))
    assert typed(near.do)["classes"] == {"background": 0, "class_80": 80, "class_255": [255, 254]}
    assert (other.level, other.cases) == ("warning", ("4",))
    assert typed(other.do)["ignore"] == [80]


def test_soft_borders_that_became_classes(tmp_path):
    small = square(size=80)
    soft = cv2.resize(small, (160, 160), interpolation=cv2.INTER_LINEAR) // 64 * 64
    classes = {"background": 0, "class_64": 64, "class_128": 128, "class_192": 192}
    assert found(tmp_path, [soft, soft], classes) == []
    inferred = infer_classes([[Source(tmp_path / "0_mask.png")], [Source(tmp_path / "1_mask.png")]])
    assert (inferred.classes, inferred.threshold) == ({"background": 0, "foreground": 192}, 96)
    vessels = np.zeros((40, 40), np.uint8)
    vessels[5], vessels[:, 7], vessels[20, :9] = 1, 2, 3
    indices = {"background": 0, "class_1": 1, "class_2": 2, "class_3": 3}
    assert found(tmp_path, [vessels, vessels], indices, recognised=True) == []


def objects(seed: int, count: int = 9) -> np.ndarray:
    """Running numbers of discs that do not touch."""
    rng, mask = np.random.default_rng(seed), np.zeros((96, 96), np.uint8)
    for place, number in zip(rng.permutation(9)[:count], range(1, count + 1), strict=True):
        cv2.circle(mask, (16 + 32 * int(place % 3), 16 + 32 * int(place // 3)), int(rng.integers(5, 13)), number, -1)
    return mask


def test_numbers_of_objects_are_one_class(tmp_path):
    masks = [objects(n, 8 + n % 2) for n in range(6)]
    (finding,) = found(tmp_path, masks, LIVER)
    assert (finding.level, finding.kind, len(finding.cases)) == ("error", "objects", 6)
    assert finding.found == f"The masks number 51 objects: each value but 0 is one piece (most in {tmp_path}/1_mask.png, 9)"
    assert typed(finding.do) == {"classes": {"background": 0, "liver": "any"}}
    (stale,) = found(tmp_path, masks, {"background": 0, "foreground": 9}, threshold=4)
    assert typed(stale.do) == {"classes": {"background": 0, "foreground": "any"}, "threshold": None}
    (upside,) = found(tmp_path, masks, {"cell": 255, "edge": 0}, ignore=[7])
    assert typed(upside.do) == {"classes": {"cell": "any", "edge": 0}, "ignore": [7]}
    taken = {"background": 0, "object": "any"}
    assert found(tmp_path, masks, taken) == []
    (note,) = found(tmp_path, masks, taken, recognised=True)
    assert (note.level, note.kind) == ("note", "objects")


def test_classes_that_may_be_numbers_of_objects(tmp_path):
    masks = [objects(n, 1 + n % 3) for n in range(6)]
    classes = {"background": 0, "class_1": 1, "class_2": 2, "class_3": 3}
    assert found(tmp_path, masks, classes) == []
    (note,) = found(tmp_path, masks, classes, recognised=True)
    assert (note.level, typed(note.do)) == ("note", {"classes": {"background": 0, "object": "any"}})


def test_a_class_that_takes_any_value_takes_no_soft_border(tmp_path):
    soft = cv2.imdecode(cv2.imencode(".jpg", square(size=80), [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0)
    photograph = np.random.default_rng(2).integers(0, 255, (40, 40), np.uint8)
    (finding,) = found(tmp_path, [soft, photograph, square()], {"background": 0, "object": "any"})
    assert finding.found.startswith("2 of 3 masks hold values on slopes, as JPEG, smooth resizing and pictures leave them")
    assert (finding.level, finding.cases) == ("error", ("0", "1"))
    assert typed(finding.do) == {"classes": {"background": 0, "object": 255}, "threshold": 127}


def test_indices_are_named_and_not_parted(tmp_path):
    rng = np.random.default_rng(0)
    masks = [np.kron(rng.choice([*range(11), 255], (12, 12)), np.ones((6, 6), int)).astype(np.uint8) for _ in range(4)]
    named = {"background": 0, **{f"class_{k}": k for k in range(1, 11)}}
    (finding,) = found(tmp_path, masks, LIVER)
    assert finding.kind == "unclaimed"
    assert typed(finding.do) == {"classes": named, "ignore": [255]}
    (warning,) = found(tmp_path, masks, LIVER, threshold=127)
    assert (warning.level, typed(warning.do)["threshold"]) == ("warning", None)
    assert f"such as {tmp_path}/0_mask.png (12 values)" in warning.found
    (few,) = found(tmp_path, [mask % 4 for mask in masks], LIVER)
    assert typed(few.do) == {"classes": {"background": 0, "class_1": 1, "class_2": 2, "class_3": 3}}


def test_probabilities_are_parted_at_one_half(tmp_path):
    soft = cv2.GaussianBlur(square(size=80), (0, 0), 1.0).astype(np.float32) / 255
    tifffile.imwrite(tmp_path / "mask.tif", soft)
    case = Case("0", Source(tmp_path / "mask.tif"), (Source(tmp_path / "mask.tif"),))
    look, _ = scan_case(case, LabelTable(LIVER))
    assert look is not None
    findings = check_values([look], LabelTable(LIVER))
    assert [typed(each.do) for each in findings] == [{"classes": {"background": 0, "foreground": 1}, "threshold": 0.5}]


def test_encoding_goes_on_whatever_is_met():
    table = LabelTable(LIVER)
    mask = square()
    mask[0, 0] = 9
    look = scan_mask(Source(Path("m")), mask, table)
    assert look.unclaimed == {9: 1}
    labels = encode_leniently(mask, table, look)
    assert labels is not None
    assert (labels[0, 0], labels[20, 20], labels[0, 1]) == (255, 1, 0)
    soft = cv2.GaussianBlur(square(size=80), (0, 0), 1.0)
    look = scan_mask(Source(Path("m")), soft, table)
    assert look.soft((0, 255))
    assert look.slope > 0.9
    lines = square()
    lines[10], lines[:, 30] = 100, 130
    assert not scan_mask(Source(Path("m")), lines, table).soft((0, 255))
    np.testing.assert_array_equal(encode_leniently(soft, table, look), soft > 127.5)
    many = np.arange(1600, dtype=np.uint16).reshape(40, 40)
    assert encode_leniently(many, table, scan_mask(Source(Path("m")), many, table)) is None
    half = np.full((4, 4), 0.5, np.float32)
    assert encode_leniently(half, table, scan_mask(Source(Path("m")), half, table)) is None
    assert scan_mask(Source(Path("m")), half, None).unclaimed == {}


def test_two_gray_values():
    assert two_grays(LabelTable({"a": 255, "b": 0})) == (0, 255)
    assert two_grays(LabelTable({"a": 0, "b": [1, 2]})) is None
    assert two_grays(LabelTable({"a": 0, "b": 1, "c": 2})) is None
    assert two_grays(LabelTable(LAND)) is None
    assert two_grays(None) is None


def test_class_tables_as_they_are_typed():
    line = classes_line({"a": 0, "b": [1, 2], "c": "#FF0000"}, [7], 0.5)
    assert line == "'data.classes={a: 0, b: [1, 2], c: \"#FF0000\"}' 'data.ignore=[7]' data.threshold=0.5"
    assert typed(line) == {"classes": {"a": 0, "b": [1, 2], "c": "#FF0000"}, "ignore": [7], "threshold": 0.5}
    assert format_value(("#FF0000",)) == '["#FF0000"]'
