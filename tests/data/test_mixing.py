import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from segexp.config.components import check_signature
from segexp.data.cache import RamStore
from segexp.data.dataset import EpochSampler, TrainDataset, collate_train
from segexp.data.labels.modes import MULTICLASS, MULTILABEL, join_layers
from segexp.data.mixing import ClassMix, CutMix, Mixed, Mosaic
from segexp.data.preprocessing import Preprocessing
from segexp.data.statistics import DecodedCase
from segexp.data.transforms import Augment
from segexp.types import IGNORE

MIXES = [CutMix(1.0), ClassMix(1.0), Mosaic(1.0)]
NAMES = [type(mix).__name__ for mix in MIXES]


def rng(seed=0):
    return np.random.default_rng(seed)


def coded(value, shape=(40, 60), channels=3, dtype=np.uint8):
    """A pair in which each pixel tells its picture, row and column, and the mask says the same as the image.

    The image is (value, row, column), the mask 255 in the first row and column, elsewhere the value in stripes of ten columns.
    """
    rows, columns = np.indices(shape)
    image = np.stack([np.full(shape, value), rows, columns, *([rows] * (channels - 3))], axis=-1)[..., :channels]
    mask = np.where(columns // 10 % 2, value, 0).astype(np.uint8)
    mask[0], mask[:, 0] = IGNORE, IGNORE
    return (image.astype(dtype) if dtype == np.uint8 else (image / 255).astype(dtype)), mask


def agree(image, mask):
    """Whether the mask is the one that belongs to each pixel of images that `coded` made, but for what was mirrored."""
    full = np.rint(image * 255).astype(int) if image.dtype != np.uint8 else image.astype(int)
    value, row, column = full[..., 0], full[..., 1], full[..., 2]
    wanted = np.where((row == 0) | (column == 0), IGNORE, np.where(column // 10 % 2, value, 0))
    return ((mask == wanted) | (mask == IGNORE)).all()


# What is mixed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("mix", MIXES, ids=NAMES)
def test_image_and_mask_stay_together_whatever_the_sizes(mix, dtype):
    own = coded(1, dtype=dtype)
    others = [coded(n, shape, dtype=dtype) for n, shape in ((2, (40, 60)), (3, (25, 80)), (4, (70, 30)))]
    before = [(image.copy(), mask.copy()) for image, mask in (own, *others)]
    for first in range(3):
        for seed in range(8):
            image, mask = mix(own, [*others[first:], *others[:first]][: mix.partners], MULTICLASS, rng(seed))
            assert image.shape == (40, 60, 3)
            assert (image.dtype, mask.dtype, mask.shape) == (dtype, np.uint8, (40, 60))
            assert agree(image, mask)
            assert set(np.unique(mask)) <= {0, 1, 2, 3, 4, IGNORE}
    for pair, kept in zip((own, *others), before, strict=True):
        assert np.array_equal(pair[0], kept[0]), "what was handed in is as it was"
        assert np.array_equal(pair[1], kept[1])


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("mix", MIXES, ids=NAMES)
def test_any_number_of_channels(mix, channels):
    pairs = [(np.full((32, 32, channels), n, np.uint8), np.full((32, 32), n, np.uint8)) for n in range(4)]
    image, mask = mix(pairs[0], pairs[1:][: mix.partners], MULTICLASS, rng())
    assert image.shape == (32, 32, channels)
    assert np.array_equal(image, np.repeat(mask[..., None], channels, axis=2))
    assert (mask > 0).any()


@pytest.mark.parametrize("area", [0.1, 0.5, 0.9])
def test_a_box_covers_its_share_and_comes_from_its_own_place(area):
    own, other = coded(1, (100, 140)), coded(2, (100, 140))
    places = set()
    for seed in range(30):
        image, mask = CutMix(1.0, area)(own, [other], MULTICLASS, rng(seed))
        box = image[..., 0] == 2
        rows, columns = np.flatnonzero(box.any(axis=1)), np.flatnonzero(box.any(axis=0))
        assert box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all(), "a box, and all of it"
        assert box.mean() == pytest.approx(area, abs=0.02)
        assert np.array_equal(mask, np.where(box, other[1], own[1])), "255 is copied as everything else"
        assert np.array_equal(image[..., 1:], own[0][..., 1:]), "at the place it had"
        places.add((rows[0], columns[0], len(rows)))
    assert len(places) > 20


def test_where_the_other_picture_is_smaller_the_box_is_ignored_beyond_it():
    own, other = coded(1, (60, 60)), coded(2, (20, 20))
    for seed in range(10):
        image, mask = CutMix(1.0, 0.9)(own, [other], MULTICLASS, rng(seed))
        assert (mask[image[..., 0] == 2] != IGNORE).sum() <= 19 * 19
        assert ((image[..., 0] == 2) & (mask == IGNORE)).sum() > 1000


def test_of_two_classes_all_of_the_foreground_is_pasted():
    own = np.zeros((8, 8, 1), np.uint8), np.zeros((8, 8), np.uint8)
    labels = np.zeros((8, 8), np.uint8)
    labels[2:5, 2:5], labels[6], own[1][2, 2], own[1][7] = 1, IGNORE, IGNORE, IGNORE
    image, mask = ClassMix(1.0)(own, [(np.full((8, 8, 1), 9, np.uint8), labels)], MULTICLASS, rng())
    assert np.array_equal(image[..., 0] == 9, labels == 1), "neither the background nor what is ignored comes along"
    assert np.array_equal(mask == 1, labels == 1), "what was ignored is known where something was pasted"
    assert np.array_equal(mask == IGNORE, own[1] * (labels != 1) == IGNORE)


def test_half_of_the_classes_are_pasted_each_at_times():
    labels = np.arange(6, dtype=np.uint8).repeat(6).reshape(6, 6)  # the background and five classes
    seen = set()
    for seed in range(60):
        own = np.zeros((6, 6, 1), np.uint8), np.full((6, 6), 7, np.uint8)
        image, mask = ClassMix(1.0)(own, [(labels[..., None], labels)], MULTICLASS, rng(seed))
        chosen = set(np.unique(mask)) - {7}
        assert len(chosen) == 3
        assert np.array_equal(mask, np.where(np.isin(labels, list(chosen)), labels, 7))
        assert np.array_equal(image[..., 0], np.where(mask == 7, 0, labels))
        seen |= {int(k) for k in chosen}
    assert seen == {1, 2, 3, 4, 5}


def test_without_foreground_nothing_is_pasted():
    own, empty = coded(1), (coded(2)[0], np.zeros((40, 60), np.uint8))
    image, mask = ClassMix(1.0)(own, [empty], MULTICLASS, rng())
    assert np.array_equal(image, own[0])
    assert np.array_equal(mask, own[1])


def test_where_labels_overlap_a_pixel_comes_with_all_of_its_classes():
    cell, nucleus = np.zeros((2, 12, 12), np.uint8)
    cell[2:9, 2:9], nucleus[4:6, 4:6] = 1, 1
    labels = join_layers([cell, nucleus])
    labels[11] = IGNORE
    own = np.zeros((12, 12, 1), np.uint8), join_layers([np.eye(12, dtype=np.uint8), np.zeros((12, 12), np.uint8)])
    found = set()
    for seed in range(20):
        image, mask = ClassMix(1.0)(own, [(np.full((12, 12, 1), 9, np.uint8), labels)], MULTILABEL, rng(seed))
        pasted = image[..., 0] == 9
        assert np.array_equal(mask, np.where(pasted, labels, own[1]))
        assert np.array_equal(pasted, cell == 1) or np.array_equal(pasted, nucleus == 1)
        assert set(np.unique(mask)) <= {0, 1, 3}
        found.add(int(pasted.sum()))
    assert found == {49, 4}, "at times the nucleus alone"


def test_a_mosaic_has_a_window_of_each_of_four():
    pairs = [coded(n, shape) for n, shape in ((1, (80, 80)), (2, (80, 80)), (3, (30, 100)), (4, (200, 90)))]
    corners = set()
    for seed in range(30):
        image, mask = Mosaic(1.0, 0.25)(pairs[0], pairs[1:], MULTICLASS, rng(seed))
        which = image[..., 0]
        assert set(np.unique(which)) == {1, 2, 3, 4}
        row, column = int((which[:, 0] == which[0, 0]).sum()), int((which[0] == which[0, 0]).sum())
        assert 20 <= row <= 60
        assert 20 <= column <= 60
        for part in (which[:row, :column], which[:row, column:], which[row:, :column], which[row:, column:]):
            assert (part == part[0, 0]).all()
        assert agree(image, mask)
        corners.add(int(which[0, 0]))
    assert corners == {1, 2, 3, 4}


@pytest.mark.parametrize("mix", [*MIXES, CutMix(1.0, 0.001), Mosaic(1.0, 0.0)])
def test_the_smallest_pictures(mix):
    pairs = [(np.full((2, 3, 1), n, np.uint8), np.full((2, 3), n, np.uint8)) for n in range(4)]
    for seed in range(50):
        image, mask = mix(pairs[0], pairs[1:][: mix.partners], MULTICLASS, rng(seed))
        assert np.array_equal(image[..., 0], mask)


# In the training set -----------------------------------------------------------------------------------------------------


def pictures(sizes=((40, 60),), dtype=np.uint8):
    made = [coded(n + 1, sizes[n % len(sizes)]) for n in range(6)]
    return RamStore([DecodedCase(image if dtype == np.uint8 else image.astype(dtype) / 255, mask) for image, mask in made])


def drawing(mix, store=None, seed=3, crop=None, repeat=2, foreground_crops=0.0):
    augment = Augment([{"name": "HorizontalFlip", "p": 0.5}], crop=crop)
    raw = Preprocessing(3, value_range=(0.0, 1.0), mean=(0.0,) * 3, std=(1.0,) * 3)
    training = TrainDataset(store or pictures(), list(range(6)), augment, raw, seed, repeat, foreground_crops)
    return Mixed(training, mix, seed) if mix else training


def equal(one, other):
    return one[0].equal(other[0]) and one[1].equal(other[1]) and one[2] == other[2]


@pytest.mark.parametrize("mix", MIXES, ids=NAMES)
def test_a_sample_is_a_pure_function_of_seed_epoch_and_position(mix):
    made = drawing(mix)
    first = made[3, 7]
    for other in ((0, 0), (3, 1), (9, 5)):
        made[other]
    np.random.seed(9)
    assert equal(made[3, 7], first)
    assert equal(drawing(mix)[3, 7], first)
    assert not equal(made[4, 7], first)
    assert not equal(drawing(mix, seed=4)[3, 7], first)
    assert not equal(drawing(None)[3, 7], first)


@pytest.mark.parametrize("mix", MIXES, ids=NAMES)
def test_the_number_of_workers_changes_nothing(mix):
    seen = []
    for workers in (0, 2):
        made = drawing(mix, pictures([(40, 60), (30, 40)]))
        sampler = EpochSampler(len(made), 3, lambda: 5)
        loader = DataLoader(made, 2, sampler=sampler, num_workers=workers, collate_fn=collate_train)
        seen.append([(batch["image"], batch["mask"], batch["index"]) for batch in loader])
    assert len(seen[0]) == 6
    assert all(equal(one, other) for one, other in zip(*seen, strict=True))


def test_the_share_that_is_mixed_and_what_is_not():
    plain, made = drawing(None), drawing(CutMix(0.3))
    mixed = [not equal(made[epoch, n], plain[epoch, n]) for epoch in range(40) for n in range(12)]
    assert np.mean(mixed) == pytest.approx(0.3, abs=0.06)
    never = drawing(CutMix(0.0))
    assert all(equal(never[0, n], plain[0, n]) for n in range(12))
    assert [made[0, n][2] for n in range(12)] == [plain[0, n][2] for n in range(12)]


def test_partners_are_all_other_pictures_but_never_the_sample_itself():
    made = drawing(CutMix(1.0, 0.5), repeat=1)
    seen = {tuple(np.unique(np.rint(made[epoch, 2][0][0].numpy() * 255)).astype(int)) for epoch in range(60)}
    assert seen == {(1, 3), (2, 3), (3, 4), (3, 5), (3, 6)}


def test_a_single_picture_is_mixed_with_itself():
    store = RamStore([pictures()[0]])
    raw = Preprocessing(3, mean=(0.0,) * 3, std=(1.0,) * 3)
    training = TrainDataset(store, [0], Augment(crop=24), raw, 0)
    image, mask, index = Mixed(training, Mosaic(1.0), 0)[0, 0]
    assert (image.shape, mask.shape, index) == ((3, 24, 24), (24, 24), 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("mix", MIXES, ids=NAMES)
def test_crops_and_values_other_than_bytes(mix, dtype):
    made = drawing(mix, pictures([(40, 60), (30, 40)], dtype), crop=24, foreground_crops=0.5)
    for n in range(12):
        image, mask, _ = made[0, n]
        assert (image.shape, image.dtype, mask.dtype) == ((3, 24, 24), torch.float32, torch.int64)
        assert agree(image.numpy().transpose(1, 2, 0), mask.numpy())


@pytest.mark.parametrize(
    ("target", "values", "text"),
    [
        ("CutMix", {"p": 1.5}, "mix.p is 1.5 (a number); expected a number, between 0 and 1"),
        ("ClassMix", {"p": -0.5}, "mix.p is -0.5 (a number); expected a number, between 0 and 1"),
        ("CutMix", {"area": 1.0}, "mix.area is 1.0 (a number); expected a number, strictly between 0 and 1"),
        ("Mosaic", {"margin": 0.7}, "mix.margin is 0.7 (a number); expected a number, between 0 and 0.5"),
    ],
)
def test_values_out_of_range(target, values, text):
    found = list(check_signature("mix", {"_target_": f"segexp.data.mixing.{target}", **values}))
    assert found == [text]
