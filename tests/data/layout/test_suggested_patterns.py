"""Patterns for folders whose layout is not known, from names and a few values."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from segexp.data.layout.suggested_patterns import root_override, suggest_patterns
from segexp.errors import DataError

NOISE = np.random.default_rng(0).integers(0, 255, (16, 16), np.uint8)
MASK = np.where(np.arange(16) < 5, 255, 0)[None].repeat(16, 0).astype(np.uint8)
SPLIT = ("train",) * 4 + ("val",) * 2


def files(root: Path, image: str, mask: str, count: int = 6) -> list[str]:
    names = []
    for n in range(count):
        for pattern, array in ((image, NOISE), (mask, MASK)):
            names.append(pattern.format(n, kind=n % 3, split=SPLIT[n]))
            (root / names[-1]).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / names[-1]), array)
    return sorted(names)


@pytest.mark.parametrize(
    ("image", "mask", "overrides"),
    [
        ("b/n{:02}.png", "a/n{:02}.png", "'data.image=\"b/{id}.png\"' 'data.mask=\"a/{id}.png\"'"),
        ("images/n{}.png", "masks/0/n{}.png", "'data.image=\"images/{id}.png\"' 'data.mask=\"masks/0/{id}.png\"'"),
        ("a_{:02}.png", "a_{:02}_gm_seg.png", "'data.image=\"{id}.png\"' 'data.mask=\"{id}_gm_seg.png\"'"),
        ("raw/{:02}.tif", "l/labels{:08}.png", "'data.image=\"raw/0{id}.tif\"' 'data.mask=\"l/labels0000000{id}.png\"'"),
        (
            "kind{kind}/Imgs/n{}.bmp",
            "kind{kind}/Imgs/n{}.png",
            "'data.image=\"kind{{group}}/Imgs/{id}.bmp\"' 'data.mask=\"kind{{group}}/Imgs/{id}.png\"'",
        ),
        (
            "{split}/Data/n{}.png",
            "{split}/Ground/n{}.png",
            "'data.image=\"{{split}}/Data/{id}.png\"' 'data.mask=\"{{split}}/Ground/{id}.png\"'",
        ),
    ],
)
def test_files_are_paired_by_what_their_names_share(tmp_path, image, mask, overrides):
    found = suggest_patterns(tmp_path, files(tmp_path, image, mask))
    assert found is not None
    assert found.overrides == overrides.replace("{{", "{").replace("}}", "}")
    assert found.pairs == 6


def test_nothing_is_suggested_for_files_without_partners(tmp_path):
    names = [f"images/{n}.jpg" for n in range(5)] + ["annotations.json"]
    assert suggest_patterns(tmp_path, names) is None
    assert suggest_patterns(tmp_path, [*names, "other/0.jpg"]) is None, "one pair of six files tells nothing"
    assert suggest_patterns(tmp_path, []) is None


def test_slices_of_volumes_stay_together(tmp_path, monkeypatch):
    monkeypatch.setattr("segexp.data.layout.suggested_patterns.page_count", lambda _: 12)
    monkeypatch.setattr("segexp.data.layout.suggested_patterns.read_mask", broken)
    found = suggest_patterns(tmp_path, [f"{folder}/v{n}.nii.gz" for folder in ("images", "labels") for n in range(2)])
    assert found is not None
    patterns = "'data.image=\"images/{id}.nii.gz[{page}]\"' 'data.mask=\"labels/{id}.nii.gz[{page}]\"'"
    assert found.overrides == f"{patterns} 'data.groups=\"^(.*)/\"'"


def broken(_):
    raise DataError("it cannot be read")


def test_a_folder_with_a_blank_in_its_name_is_quoted():
    assert root_override("sets/soft") == "data=auto data.root=sets/soft"
    assert root_override("my sets") == "data=auto 'data.root=\"my sets\"'"
