"""Findings on files, splits, class shares, and on what an examination goes by."""

from pathlib import Path

import numpy as np
import pytest

from segexp.checking.files import check_inventory, check_splits, short
from segexp.checking.settle import settle
from segexp.checking.shares import check_shares
from segexp.checking.survey import surveyed
from segexp.data.files.images import write_png
from segexp.data.labels.table import LabelTable
from segexp.data.layout.inventory import Inventory
from segexp.errors import DataError
from segexp.types import Case, Source

from .conftest import OPEN, typed

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
    assert typed(images.do) == typed(mask.do) == dict(zip(("image", "mask"), BOTH, strict=True))
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


def test_names_below_the_root():
    assert short(Path("/data/a/b.png"), Path("/data")) == "a/b.png"
    assert short(Path("/other/b.png"), Path("/data")) == "/other/b.png"


def looks_of(root: Path, masks: list[np.ndarray], table: LabelTable):
    cases = []
    for n, mask in enumerate(masks):
        write_png(root / f"{n}.png", np.random.default_rng(n).integers(0, 255, mask.shape, np.uint8))
        write_png(root / f"{n}_mask.png", mask)
        cases.append(Case(str(n), Source(root / f"{n}.png"), (Source(root / f"{n}_mask.png"),)))
    return surveyed(cases, table)[0]


def part(share: float, value: int = 255) -> np.ndarray:
    mask = np.zeros((50, 40), np.uint8)
    mask[: round(50 * share)] = value
    return mask


BINARY = LabelTable({"background": 0, "thing": 255})


def test_masks_of_one_value(tmp_path):
    (finding,) = check_shares(looks_of(tmp_path, [part(0)] * 4, BINARY), {}, BINARY)
    assert (finding.level, finding.kind) == ("error", "one_value")
    assert finding.found.startswith("Every mask of the 4 images is all one value (background)")
    looks = looks_of(tmp_path, [part(0), part(0), part(0.5)], BINARY)
    (finding,) = check_shares(looks, {"0": "train", "1": "train", "2": "val"}, BINARY)
    assert finding.found.startswith("Every mask of the 2 training images is all one value")
    assert check_shares([], {}, BINARY) == []


def test_empty_masks_and_rare_foreground(tmp_path):
    looks = looks_of(tmp_path, [part(0), part(0.1), part(0.02), part(0)], BINARY)
    empty, rare = check_shares(looks, dict.fromkeys("0123", "train"), BINARY)
    assert (empty.level, empty.cases) == ("note", ("0", "3"))
    assert rare.found == "Few pixels of the training masks are thing (3.00%)"
    assert "whole pictures" in rare.do
    assert "Type data.foreground_crops=0.33" in check_shares(looks, {}, BINARY, crops=True)[1].do
    (empty, _) = check_shares(looks_of(tmp_path, [part(0), part(0), part(0.1)], BINARY), {}, BINARY)
    assert empty.level == "warning"
    assert check_shares(looks_of(tmp_path, [part(0.5), part(0.2)], BINARY), {}, BINARY) == []


def test_classes_that_never_occur(tmp_path):
    table = LabelTable({"background": 0, "one": 1, "two": 2, "three": 3})
    looks = looks_of(tmp_path, [part(0.5, 1), part(0.5, 1), part(0.5, 2)], table)
    never, held = check_shares(looks, {"0": "train", "1": "train", "2": "val"}, table)
    assert never.found == "No mask has a pixel of the class three"
    assert "data.classes.three=VALUE" in never.do
    assert held.found.startswith("The class two occurs in no training mask, but in 2")
    assert held.cases == ("2",)


def test_values_of_no_class_do_not_count(tmp_path):
    looks = looks_of(tmp_path, [part(0.5), part(0.5, 9)], BINARY)
    assert check_shares(looks, {}, BINARY) == []


def test_what_an_examination_goes_by(copy):
    root, data = copy()
    assert settle(data).findings == []
    found = settle({**data, **OPEN})
    assert found.recognised
    assert found.findings == []
    assert found.data["channels"] == 1
    given = settle({**data, **OPEN, "classes": {"a": 0, "b": 255}, "groups": "^(..)"})
    assert not given.recognised
    assert given.data["classes"] == {"a": 0, "b": 255}
    assert {case.group for case in given.inventory.cases} == {"tr", "va"}
    classes, channels = settle({**data, "classes": None, "channels": None}).findings
    assert typed(classes.do) == {"classes": {"background": 0, "foreground": 255}}
    assert typed(channels.do) == {"channels": 1}
    for path in root.glob("*/*_mask.png"):
        path.write_bytes(b"")
    broken = settle({**data, **OPEN})
    assert broken.data["classes"] is None
    assert "None of the 24 masks can be read" in broken.findings[0].found
    with pytest.raises(DataError, match="does not exist"):
        settle({**data, "root": str(root / "none")})


def test_generated_data_are_generated(tmp_path, copy):
    _, data = copy()
    found = settle({**data, **OPEN, "family": "organ", "root": str(tmp_path / "new")})
    assert len(found.inventory.cases) == 48
    assert found.layout.startswith("Generated pictures (organ) in ")
    assert not found.recognised
