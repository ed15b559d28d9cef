"""Augmentation: a function of its key alone, masks stay masks, and what cannot work is said before training."""

import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from segexp.data.labels.modes import MULTILABEL
from segexp.data.transforms import Augment, Foreground, random_crop
from segexp.errors import ConfigError, DataError

CONF = Path(__file__).resolve().parents[2] / "conf" / "augment"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CONF.parents[1] / "src")}
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))


def group(name):
    return yaml.safe_load((CONF / f"{name}.yaml").read_text())["transforms"]


def scene(size=(96, 120), channels=3, dtype=np.uint8, seed=0):
    """Return smooth random classes 0, 1, 2 and a noisy image of them."""
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.normal(size=size), (0, 0), 8)
    mask = np.digitize(smooth, np.quantile(smooth, [0.5, 0.8])).astype(np.uint8)
    unit = np.clip(0.2 + 0.25 * mask[..., None] + rng.normal(0, 0.03, (*size, channels)), 0, 1)
    scale = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    return (unit * scale).astype(dtype), mask


def digest(augment, key):
    image, mask = augment(*scene(), key=key)
    return image.tobytes() + mask.tobytes()


def digests(name, keys):
    augment = Augment(group(name), crop=64)
    return [digest(augment, key) for key in keys]


def test_all_groups_are_found():
    assert {"none", "flips", "light", "medical", "elastic"} <= set(NAMES)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("name", NAMES)
def test_every_group_runs_on_every_kind_of_image(name, channels, dtype):
    augment = Augment(group(name), crop=(64, 48))
    augment.check(channels, dtype)
    image, mask = scene(channels=channels, dtype=dtype)
    before = image.copy(), mask.copy()
    for index in range(8):
        changed, labels = augment(image, mask, key=(0, 0, index))
        assert changed.shape == (64, 48, channels)
        assert labels.shape == (64, 48)
        assert changed.dtype == (np.uint8 if dtype == np.uint8 else np.float32)
        assert labels.dtype == np.uint8
        assert set(np.unique(labels)) <= {0, 1, 2, 255}
        assert changed.flags.c_contiguous
        assert dtype == np.uint8 or (changed.min() >= 0 and changed.max() <= 1)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(mask, before[1])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_result_depends_on_the_key_alone(name):
    keys = [(7, epoch, index) for epoch in range(2) for index in range(6)]
    forward = digests(name, keys)
    assert forward == digests(name, keys[::-1])[::-1]
    assert len(set(forward)) == len(keys)
    assert forward != digests(name, [(8, epoch, index) for _, epoch, index in keys])


@pytest.mark.slow
def test_forked_workers_give_the_same_result():
    augment, keys = Augment(group("elastic"), crop=64), [(7, 0, index) for index in range(4)]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.starmap(digest, [(augment, key) for key in keys]) == [digest(augment, key) for key in keys]


@pytest.mark.slow
def test_fresh_interpreters_give_the_same_result():
    """A spawned worker knows the object from its pickle alone."""
    augment, keys = Augment(group("elastic"), crop=64), [(7, 0, index) for index in range(4)]
    code = (
        "import pickle, sys\n"
        "augment, image, mask, keys = pickle.load(sys.stdin.buffer)\n"
        "results = [augment(image, mask, key=key) for key in keys]\n"
        "sys.stdout.buffer.write(pickle.dumps([i.tobytes() + m.tobytes() for i, m in results]))\n"
    )
    sent = pickle.dumps((augment, *scene(), keys))
    done = subprocess.run([sys.executable, "-c", code], input=sent, stdout=subprocess.PIPE, check=True, env=ENVIRONMENT)
    assert pickle.loads(done.stdout) == [digest(augment, key) for key in keys]


def test_flips_are_independent():
    augment = Augment(group("flips"))
    image = np.array([[[0], [1]], [[2], [3]]], np.uint8)
    seen = [int(augment(image, image[..., 0] * 0, key=(0, 0, index))[0][0, 0, 0]) for index in range(400)]
    counts = np.bincount(seen, minlength=4)
    assert counts.sum() == 400
    assert (abs(counts - 100) < 40).all()


@pytest.mark.parametrize("name", ["Affine", "ElasticTransform", "Perspective", "GridDistortion", "RandomRotate90"])
def test_image_and_mask_move_together(name):
    arguments = {"Affine": {"rotate": [-30, 30], "scale": [0.8, 1.2]}, "ElasticTransform": {"alpha": 400, "sigma": 16}}
    augment = Augment([{"name": name, "p": 1.0, **arguments.get(name, {})}], crop=128)
    mask = (scene((256, 256))[1] > 0).astype(np.uint8)
    for index in range(5):
        changed, labels = augment(mask[..., None] * 200, mask, key=(0, 0, index))
        known = labels != 255
        a, b = (changed[..., 0] > 100) & known, (labels == 1) & known
        assert (a & b).sum() / (a | b).sum() > 0.97
        assert known.mean() > 0.85


def test_plain_crop_is_a_part_of_the_image():
    _, mask = scene((40, 50))
    rows = np.repeat(np.arange(40, dtype=np.uint8)[:, None], 50, 1)
    columns = np.repeat(np.arange(50, dtype=np.uint8)[None], 40, 0)
    places = set()
    for index in range(60):
        where, labels = Augment(crop=(16, 24))(np.stack([rows, columns], -1), mask, key=(0, 0, index))
        top, left = map(int, where[0, 0])
        places.add((top, left))
        np.testing.assert_array_equal(labels, mask[top : top + 16, left : left + 24])
    assert min(top for top, _ in places) <= 2
    assert max(top for top, _ in places) >= 22
    assert len(places) > 40


def test_small_images_are_padded_with_ignore():
    image, mask = scene((20, 30))
    changed, labels = Augment(crop=64)(image, mask, key=(0, 0, 0))
    assert changed.shape == (64, 64, 3)
    assert (labels != 255).sum() == 20 * 30
    inside = labels[labels != 255].reshape(20, 30)
    np.testing.assert_array_equal(inside, mask)
    np.testing.assert_array_equal(changed[labels != 255].reshape(20, 30, 3), image)
    assert changed[labels == 255].mean() > 20  # mirrored, not black


def test_pixels_from_outside_are_ignored_after_a_shift():
    augment = Augment([{"name": "Affine", "translate_px": {"x": 10, "y": 0}, "p": 1.0}])
    image, mask = scene((64, 64))
    changed, labels = augment(image, mask, key=(0, 0, 0))
    assert (labels[:, :10] == 255).all()
    np.testing.assert_array_equal(labels[:, 10:], mask[:, :-10])
    np.testing.assert_array_equal(changed[:, 10:], image[:, :-10])


def test_crop_bent_inside_a_large_image_is_whole():
    image, mask = scene((256, 256))
    labels = [Augment(group("medical"), crop=96)(image, mask, key=(0, 0, index))[1] for index in range(40)]
    assert np.mean([(label == 255).mean() for label in labels]) < 0.05


def test_whole_image_keeps_its_size_or_its_turned_size():
    shapes = {Augment(group("elastic"))(*scene((60, 90)), key=(0, 0, index))[1].shape for index in range(12)}
    assert shapes == {(60, 90), (90, 60)}
    assert Augment(group("light"))(*scene((61, 91)), key=(0, 0, 0))[0].shape == (61, 91, 3)


def test_own_class_by_dotted_path(tmp_path, monkeypatch):
    (tmp_path / "my_transforms.py").write_text(
        "import albumentations as A\n"
        "class Darker(A.ImageOnlyTransform):\n"
        "    def __init__(self, by=10, p=0.5):\n"
        "        super().__init__(p=p)\n"
        "        self.by = by\n"
        "    def apply(self, img, **params):\n"
        "        return img - img // self.by\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    augment = Augment([{"name": "my_transforms.Darker", "by": 2, "p": 1.0}])
    augment.check(3)
    image, mask = scene()
    np.testing.assert_array_equal(augment(image, mask, key=(0,))[0], image - image // 2)
    with pytest.raises(ConfigError, match=r"my_transforms.Darker has no argument 'bye'. Did you mean by"):
        Augment([{"name": "my_transforms.Darker", "bye": 2}])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "HorizontalFlipp"}, r"albumentations has no transform 'HorizontalFlipp'.*Did you mean HorizontalFlip"),
        ({"name": "Affine", "rotation": 5}, r"Affine has no argument 'rotation'. Did you mean rotate"),
        ({"name": "GaussNoise", "var_limit": 5}, r"no argument 'var_limit'. It is now std_range."),
        ({"name": "HorizontalFlip", "alpha": 1}, r"HorizontalFlip has no argument 'alpha'. Known names: p\."),
        ({"name": "Affine", "scale": "big"}, r"Affine refuses its arguments: scale.*Arguments of Affine: .*rotate"),
        (
            {"name": "HorizontalFlip", "p": 3},
            r"HorizontalFlip refuses its arguments: p; Input should be less than or equal to 1",
        ),
        ({"name": "ShiftScaleRotate"}, r"Please use Affine transform instead"),
        ({"name": "Affine", "mask_interpolation": 1}, r"mask_interpolation=1. 0 \(nearest\).*Remove mask_interpolation"),
        ({"HorizontalFlip": {}}, r"holds \{'HorizontalFlip': \{\}\}. a mapping with a name.*\{name: HorizontalFlip, p: 0.5\}"),
        ({"name": "no_such.Thing"}, r"cannot import no_such.Thing: No module named 'no_such'"),
        ({"name": "pathlib.Path"}, r"pathlib.Path is no transform. a class that derives from albumentations"),
        ({"name": "OneOf", "transforms": [{"name": "Blurr"}]}, r"no transform 'Blurr'.*Blur"),
    ],
)
def test_refused_before_training(spec, message):
    with pytest.raises(ConfigError, match=message):
        Augment([spec])


@pytest.mark.parametrize(
    ("spec", "channels", "dtype", "message"),
    [
        (
            {"name": "HueSaturationValue"},
            1,
            np.uint8,
            r"HueSaturationValue fails on images of 1 channel\(s\), uint8: .*grayscale",
        ),
        ({"name": "HueSaturationValue"}, 5, np.uint8, r"expects 1-channel or 3-channel images"),
        ({"name": "CLAHE"}, 5, np.uint16, r"CLAHE fails on images of 5 channel\(s\), uint16"),
        ({"name": "ToGray"}, 1, np.uint8, r"ToGray fails .*: The image is already gray"),
        ({"name": "OneOf", "transforms": [{"name": "ColorJitter"}]}, 5, np.uint8, r"ColorJitter fails on images of 5"),
        (
            {"name": "Resize", "height": 32, "width": 32},
            3,
            np.uint8,
            r"\(96, 96, 3\) into \(32, 32, 3\).*data.size and data.crop",
        ),
        ({"name": "Normalize"}, 3, np.uint8, r"turns uint8 into float32"),
        ({"name": "Normalize"}, 3, np.float32, r"leave 0..1 \(normalisation comes later"),
        ({"name": "Affine", "rotate": 45, "fill_mask": 7}, 3, np.uint8, r"new values into the mask: \[7\]"),
    ],
)
def test_dry_run_finds_what_cannot_work(spec, channels, dtype, message):
    with pytest.raises(ConfigError, match=message):
        Augment([spec]).check(channels, dtype)


def test_other_messages():
    image, mask = scene(dtype=np.float32)
    with pytest.raises(DataError, match=r"a float image runs from .* to .*. 0 to 1 before augmentation"):
        Augment(group("medical"))(image * 40 - 3, mask, key=(0,))
    assert Augment()(image * 40, mask, key=(0,))[0].max() > 1
    for crop in (0, (1, 2, 3)):
        with pytest.raises(ConfigError, match=r"data.crop=.* one side, or height and width"):
            Augment(crop=crop)


@pytest.mark.slow
def test_import_does_not_bring_albumentations():
    code = "import sys, segexp.data.transforms; assert 'albumentations' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=ENVIRONMENT)


def places(height=60, width=80):
    """An image whose two channels are the row and the column of each pixel."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns], axis=2).astype(np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def mask():
    """Class 1 in one pixel, class 2 in a large square, some of it ignored."""
    made = np.zeros((60, 80), np.uint8)
    made[10:50, 10:50] = 2
    made[20:30, 20:30] = 255
    made[55, 75] = 1
    return made


def test_every_class_is_drawn_as_often_as_another_and_each_of_its_pixels_too(mask):
    foreground, generator = Foreground(mask), rng()
    drawn = [foreground.draw(mask, 1.0, generator) for _ in range(4000)]
    classes = np.array([mask[place] for place in drawn])
    assert set(classes) == {1, 2}
    assert abs((classes == 1).mean() - 0.5) < 0.03
    rows, columns = np.array([place for place in drawn if mask[place] == 2]).T
    assert {rows.min(), columns.min()} == {10}
    assert {rows.max(), columns.max()} == {49}
    allowed = np.argwhere(mask == 2)
    assert abs(rows.mean() - allowed[:, 0].mean()) < 1.5
    assert abs(columns.mean() - allowed[:, 1].mean()) < 1.5


def test_every_pixel_can_be_drawn():
    mask = np.zeros((5, 7), np.uint8)
    mask[0, 0] = mask[2, 3] = mask[2, 6] = mask[4, 6] = 1
    foreground, generator = Foreground(mask), rng()
    drawn = {foreground.draw(mask, 1.0, generator) for _ in range(200)}
    assert drawn == {(0, 0), (2, 3), (2, 6), (4, 6)}
    assert all(isinstance(number, int) for place in drawn for number in place)


def test_the_share_is_how_often_a_crop_is_laid_around_foreground(mask):
    foreground, generator = Foreground(mask), rng()
    drawn = [foreground.draw(mask, 0.33, generator) for _ in range(4000)]
    assert abs(np.mean([place is not None for place in drawn]) - 0.33) < 0.03
    assert all(foreground.draw(mask, 0.0, generator) is None for _ in range(50))


@pytest.mark.parametrize("value", [0, 255])
def test_without_foreground_nothing_is_drawn(value):
    mask = np.full((20, 20), value, np.uint8)
    assert Foreground(mask).draw(mask, 1.0, rng()) is None


def test_a_window_lies_around_the_pixel_as_far_as_the_image_goes(mask):
    def corner(around):
        image, _ = random_crop(places(), mask, (20, 30), 0, rng(), around)
        assert image.shape == (20, 30, 2)
        return tuple(int(value) for value in image[0, 0])

    assert corner((30, 40)) == (20, 25)
    assert corner((0, 0)) == (0, 0)
    assert corner((59, 79)) == (40, 50)
    image, _ = random_crop(places(), mask, (20, 30), 4, rng(), (30, 40))
    assert image.shape == (28, 38, 2)
    assert tuple(image[0, 0]) == (16, 21)  # the margin lies around the window


def test_a_window_larger_than_the_image_is_laid_at_random_as_before(mask):
    with_pixel, without = (random_crop(places(), mask, (100, 100), 0, rng(3), around) for around in ((5, 5), None))
    np.testing.assert_array_equal(with_pixel[0], without[0])
    assert (with_pixel[1] == 255).sum() >= 100 * 100 - 60 * 80


def test_the_crop_holds_the_pixel_and_depends_on_the_key_alone(mask):
    augment, foreground = Augment(crop=16), Foreground(mask)

    def draw(index):
        return augment(places(), mask, key=(0, 0, index), around=lambda r: foreground.draw(mask, 1.0, r))

    crops = [draw(index) for index in range(60)]
    assert all(((part == 1) | (part == 2)).any() for _, part in crops)
    assert 15 < sum((part == 1).any() for _, part in crops) < 45  # one pixel of 4800, in half of the crops
    for index in (0, 7):
        np.testing.assert_array_equal(draw(index)[0], crops[index][0])


def test_a_crop_that_is_laid_anywhere_is_the_one_of_before(mask):
    """A share that draws None leaves the rest of the sample's draws as they follow: the same place for the same draws."""
    augment = Augment(crop=16)
    plain = augment(places(), mask, key=(0, 0, 1))
    never = augment(places(), mask, key=(0, 0, 1), around=lambda _: None)
    np.testing.assert_array_equal(plain[0], never[0])
    np.testing.assert_array_equal(plain[1], never[1])


def test_a_pixel_of_an_overlapping_class_may_have_others():
    mask = np.zeros((60, 80), np.uint8)
    mask[10:50, 10:50] = 1
    mask[20:24, 20:24] = 3
    mask[30:40, 30:40] = 255
    foreground, generator = Foreground(mask, MULTILABEL), rng()
    drawn = [foreground.draw(mask, 1.0, generator) for _ in range(2000)]
    found = np.array([mask[place] for place in drawn])
    assert set(found) == {1, 3}
    assert abs((found == 3).mean() - (0.5 + 0.5 * 16 / 1500)) < 0.04, "half of the draws are for the small class"
