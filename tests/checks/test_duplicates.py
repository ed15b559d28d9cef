"""Copies of pictures: found whatever was done to them, while neighbouring slices are no copies."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fixtures.checks import typed
from segexp.checks.duplicates import (
    ORIENTATIONS,
    check_contradictions,
    check_copies,
    check_equal,
    find_copies,
    neighbour_likeness,
    perceptual_hashes,
)
from segexp.checks.issues import CaseFacts
from segexp.checks.scan import SIDE, CaseScan, image_thumbnail, label_thumbnail, one_hot, to_gray
from segexp.data.synthetic.lesion import lesion
from segexp.data.synthetic.organ import organ
from segexp.types import Case, Source


def lesions(count: int, size: int = 256) -> list[np.ndarray]:
    return [lesion(np.random.default_rng((9, n)), (size * 3 // 4, size))[0] for n in range(count)]


def slices(patients: int, count: int) -> list[np.ndarray]:
    def one(patient: int, n: int) -> np.ndarray:
        return organ(np.random.default_rng(patient), np.random.default_rng((patient, n)), 192, 2 * (n + 0.5) / count - 1)[0]

    return [one(patient, n)[..., None] for patient in range(patients) for n in range(count)]


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    decoded = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_UNCHANGED)
    return decoded.reshape(*decoded.shape[:2], -1)


def scaled(image: np.ndarray, factor: float) -> np.ndarray:
    resized = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    return resized.reshape(*resized.shape[:2], -1)


CHANGES = {
    "jpeg": lambda a: jpeg(a, 50),
    "brighter": lambda a: np.clip(a * 0.9 + 20.0, 0, 255).astype(np.uint8),
    "darker": lambda a: (a * 0.7).astype(np.uint8),
    "gamma": lambda a: (255 * (a / 255) ** 1.3).astype(np.uint8),
    "half": lambda a: scaled(a, 0.5),
    "double": lambda a: scaled(a, 2),
    "deep": lambda a: a.astype(np.uint16) * 200,
}


def found(images: list[np.ndarray], groups: list[str | None] | None = None) -> list[tuple[int, int, str]]:
    pictures = [image_thumbnail(image) for image in images]
    return find_copies(pictures, groups or [None] * len(images), [str(n) for n in range(len(images))])


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("family", ["lesions", "slices"])
def test_changed_copies_are_found_and_nothing_else(family, change):
    images = lesions(12) if family == "lesions" else slices(2, 8)
    assert found(images) == []
    if change == "deep" and family == "slices":
        return  # stretching each picture by itself changes the contrast of slices
    assert found([*images, CHANGES[change](images[3])]) == [(3, len(images), "")]


@pytest.mark.parametrize("way", [name for name in ORIENTATIONS if name])
def test_mirrored_and_turned_copies_are_found(way):
    images = lesions(8)
    turned = np.stack([ORIENTATIONS[way](images[5][..., c]) for c in range(3)], axis=2)
    ((first, second, how),) = found([*images, turned])
    assert (first, second) == (5, 8)
    mirror = {"turned by 90 degrees": "turned by 270 degrees", "turned by 270 degrees": "turned by 90 degrees"}
    assert how in (way, mirror.get(way))


def test_copies_within_a_group_or_known_as_equal_are_left_out():
    images = lesions(4)
    images.append(CHANGES["darker"](images[0]))
    assert found(images, ["a", "b", "c", "d", "a"]) == []
    assert found(images, ["a", "b", "c", "d", "e"]) == [(0, 4, "")]
    pictures = [image_thumbnail(image) for image in images]
    assert find_copies(pictures, [None] * 5, ["same", "b", "c", "d", "same"]) == []
    blank = [np.full((SIDE, SIDE, 1), value, np.uint8) for value in (3, 4)]
    assert find_copies(blank, [None] * 2, ["a", "b"]) == []
    assert find_copies([], [], []) == []


def test_slices_of_a_scan_are_alike_and_other_pictures_are_not():
    near, far = neighbour_likeness([image_thumbnail(image) for image in slices(2, 8)])
    assert near > 0.6
    assert far < 0.3
    near, far = neighbour_likeness([image_thumbnail(image) for image in lesions(8)])
    assert abs(near) < 0.3
    assert abs(far) < 0.3


def test_hashes_of_all_orientations():
    picture = image_thumbnail(lesions(1)[0])
    own = perceptual_hashes(picture)
    assert own.dtype == np.uint64
    assert len(set(own.tolist())) == len(ORIENTATIONS)
    mirrored = perceptual_hashes(np.ascontiguousarray(picture[:, ::-1]))
    assert np.bitwise_count(mirrored[0] ^ own[list(ORIENTATIONS).index("mirrored")]) <= 2


def look_of(name: str, digest: str, picture: np.ndarray, split: str | None, group: str | None = None) -> CaseScan:
    case = Case(name, Source(Path(f"{name}.png")), (Source(Path(f"{name}_mask.png")),), split, group)
    return CaseScan(case, CaseFacts(name, (9, 9), 1, "uint8", 0, 255, {}), 1, digest, False, picture)


def test_findings_tell_the_splits_and_what_to_move():
    pictures = [image_thumbnail(image) for image in lesions(3)]
    looks = [
        look_of("train/a", "1", pictures[0], "train"),
        look_of("train/b", "1", pictures[0], "train"),
        look_of("val/c", "1", pictures[0], "val"),
        look_of("val/d", "2", pictures[1], "val"),
        look_of("train/e", "3", (pictures[1] * 0.8).astype(np.uint8), "train"),
        look_of("train/f", "4", pictures[2], "train"),
    ]
    cases = [look.case for look in looks]
    splits = {case.id: str(case.split) for case in cases}
    across, within = check_equal(cases, splits, {look.case.id: look.digest for look in looks})
    assert across.found == "1 pair of cases in different splits shows the same picture: train/a = val/c"
    assert (across.level, across.cases) == ("error", ("train/a", "val/c"))
    assert across.do.endswith("move one of each out of the data folder (val/c.png and its mask)")
    assert within.found == "1 pair of cases in one split shows the same picture: train/a = train/b"
    assert within.level == "warning"
    (near,) = check_copies(looks, splits)
    assert (near.level, near.kind, near.cases) == ("warning", "near_duplicate", ("val/d", "train/e"))
    assert "val/d.png and its mask" in near.do


def test_with_a_random_split_a_table_can_keep_copies_together():
    cases = [look_of(name, "", np.zeros((1, 1, 1)), None).case for name in "abc"]
    (finding,) = check_equal(cases, {"a": "train", "b": "val", "c": "train"}, {"a": "x", "b": "x", "c": ""})
    assert "a (train) = b (val)" in finding.found
    assert typed(finding.do) == {"groups": {"file": "groups.csv", "match": "{id}", "column": "group"}}


def test_equal_pictures_with_different_masks():
    cases = [look_of(name, "", np.zeros((1, 1, 1)), None).case for name in "abcd"]
    equal = dict.fromkeys("abcd", "x")
    (finding,) = check_contradictions(cases, equal, {"a": "1", "b": "1", "c": "2", "d": ""})
    assert (finding.level, finding.cases) == ("error", ("a", "c"))
    assert "a and c (a_mask.png against c_mask.png)" in finding.found
    assert check_contradictions(cases, equal, {}) == []
    assert check_contradictions(cases, {}, dict.fromkeys("abcd", "1")) == []


def test_small_versions():
    image = np.zeros((256, 512, 4), np.float32)
    image[:, 256:] = 1000
    small = image_thumbnail(image)
    assert (small.shape, small.dtype) == ((SIDE, SIDE, 3), np.uint8)
    assert (small[0, 0, 0], small[0, -1, 0]) == (0, 255)
    assert to_gray(small).shape == (SIDE, SIDE)
    labels = np.zeros((2000, 1000), np.uint8)
    labels[:, 500:] = 3
    labels[1000:] = 255
    small = label_thumbnail(labels)
    assert (small[0, 0], small[0, -1], small[-1, 0]) == (0, 3, 255)
    assert set(np.unique(small)) == {0, 3, 255}
    spread = one_hot(small, 4)
    assert spread.shape == (4, SIDE, SIDE)
    assert spread[3].mean() == pytest.approx(0.25, abs=0.02)
    assert spread[:, -1].sum() == 0
