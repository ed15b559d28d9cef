"""Photographs with an EXIF orientation beside masks without one: the right reading is told by sizes, else by borders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fixtures.checks import only
from fixtures.configs import data_config
from segexp.api.check import examine_remedied
from segexp.checks.exif import lone_orientation
from segexp.checks.issues import Examination
from segexp.checks.propose_config import propose_config
from segexp.checks.run import quick_checks, run_checks
from segexp.config.schema import DataConfig
from segexp.data.datamodule import SegmentationDataModule
from segexp.data.statistics import make_reader
from segexp.data.transforms import Augment
from segexp.errors import DataError
from segexp.types import Case, Source

CLASSES = {"background": 0, "cell": 255}


def photographs(root: Path, orientation: int, size: tuple[int, int] = (48, 48), count: int = 8, **how: Any) -> DataConfig:
    """Discs on noise with an EXIF orientation; the masks are drawn on the stored pixels, or as `turned` by Pillow's method.

    `seen` is by how much the discs are brighter.
    """
    rng, (height, width) = np.random.default_rng(0), size
    down, right = np.mgrid[:height, :width]
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for n in range(count):
        disc = (down - rng.integers(8, height - 8)) ** 2 + (right - rng.integers(8, width - 8)) ** 2 < 40
        array = np.clip(rng.normal(80, 8, (height, width)) + how.get("seen", 100) * disc, 0, 255).astype(np.uint8)
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(array).save(root / f"images/c{n}.jpg", quality=95, exif=exif)
        mask = Image.fromarray(disc.astype(np.uint8) * 255)
        (mask.transpose(how["turned"]) if "turned" in how else mask).save(root / f"masks/c{n}.png")
    patterns = {"image": "images/{id}.jpg", "mask": "masks/{id}.png"}
    return data_config(patterns, root=str(root), classes=CLASSES, channels=1, ignore=[], threshold=None)


def examined(data: DataConfig) -> Examination:
    return run_checks(data, alignment=False)


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_borders_tell_that_masks_were_drawn_on_the_stored_pixels(tmp_path: Path, orientation: int) -> None:
    data = photographs(tmp_path, orientation)
    found = examined(data)
    finding = only(found, "exif")
    assert str(finding) == (
        f"warning: 8 of 8 images carry an EXIF orientation ({orientation}) and their masks carry none: c0, c1, c2, c3, c4, c5 "
        "and 2 more. The borders of the masks lie on edges of the images as they are stored (8 of 8). Type data.exif=ignore."
    )
    remedied, said = examine_remedied(found, 0)
    assert (remedied.data.exif, said) == ("ignore", "data.exif")
    assert only(remedied, "exif").level == "note"
    proposal = propose_config(remedied, data)
    assert proposal is not None
    assert proposal.values["exif"] == "ignore"


def test_masks_of_turned_photographs_need_nothing(tmp_path: Path) -> None:
    data = photographs(tmp_path, 6, turned=Image.Transpose.ROTATE_270)
    finding = only(examined(data), "exif")
    assert finding.level == "note"
    assert finding.found.endswith("The borders of the masks lie on edges of the images as they are turned (8 of 8)")
    assert only(examined(data.changed(exif="ignore")), "exif").remedy == {"exif": "apply"}


@pytest.mark.parametrize("how", [{"seen": 0}, {"count": 4}])
def test_what_borders_do_not_tell_is_said(tmp_path: Path, how: dict[str, int]) -> None:
    data = photographs(tmp_path, 6, **how)
    finding = only(examined(data), "exif")
    assert (finding.level, finding.remedy) == ("warning", {})
    assert str(finding).endswith(
        "Masks may lie otherwise than the images, and their borders do not tell it. Look at the overlays; if masks lie wrong, "
        "type data.exif=ignore."
    )
    assert only(examined(data.changed(exif="ignore")), "exif").level == "note"


def test_sizes_tell_the_reading(tmp_path: Path) -> None:
    data = photographs(tmp_path, 6, size=(40, 56))
    found = examined(data)
    finding = only(found, "size")
    image, mask = tmp_path / "images" / "c0.jpg", tmp_path / "masks" / "c0.png"
    told = f"{mask} is 40x56 (height x width) and its image {image} is 56x40, turned by the EXIF orientation 6"
    assert told in finding.found
    assert (finding.do, finding.remedy) == ("Type data.exif=ignore", {"exif": "ignore"})
    assert not [each for each in found.findings if each.kind == "exif"]
    case = found.cases[0]
    with pytest.raises(DataError) as caught:
        make_reader(data)(case)
    assert str(caught.value) == (
        f"{told}. A mask is drawn on the image as it is stored, or as it is turned. Type data.exif=ignore."
    )
    remedied, _ = examine_remedied(found, 0)
    assert not remedied.failed
    assert only(remedied, "exif").found.endswith("By their sizes the masks lie on the images as they are stored")
    decoded = make_reader(remedied.data)(remedied.cases[0])
    assert decoded.image.shape[:2] == decoded.mask.shape == (40, 56)
    assert decoded.image[decoded.mask == 1].mean() > decoded.image[decoded.mask == 0].mean() + 80


def test_a_training_warns(tmp_path: Path) -> None:
    data = photographs(tmp_path, 6)
    for exif, warned in (("apply", True), ("ignore", False)):
        made = SegmentationDataModule(data.changed(exif=exif, batch_size=1, cache="ram"), Augment([]), seed=0)
        made.setup()
        assert ("exif" in [each.kind for each in quick_checks(made) if each.level != "note"]) is warned


def test_a_mask_with_the_orientation_of_its_image_is_turned_with_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.jpg", "a.png", "a.tif", "plain.png"):
        Image.new("L", (20, 30)).save(tmp_path / name, exif=None if name == "plain.png" else exif)
    image = Source(tmp_path / "a.jpg")
    for mask, found in (("a.png", 1), ("a.tif", 1), ("plain.png", 6)):
        assert lone_orientation(Case("a", image, (Source(tmp_path / mask),))) == found
