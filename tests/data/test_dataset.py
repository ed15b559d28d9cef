import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from segexp.data import dataset
from segexp.data.cache import DiskStore, RamStore
from segexp.data.dataset import (
    EpochSampler,
    EvalDataset,
    ShareSampler,
    TrainDataset,
    collate_eval,
    collate_train,
)
from segexp.data.preprocessing import Preprocessing
from segexp.data.statistics import DecodedCase
from segexp.data.transforms import Augment, Foreground

PREPROCESSING = Preprocessing(3, value_range=(0.0, 1000.0), mean=(0.5,) * 3, std=(0.25,) * 3)


def leave(image, mask, *, key):
    """Change nothing."""
    return image, mask


def shake(image, mask, *, key):
    """Draw a flip and a brightness from the key, as a true augmentation does."""
    rng = np.random.default_rng(np.random.SeedSequence(key))
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    gain = rng.uniform(0.5, 1.0)
    return (image * gain).astype(image.dtype), mask


def pictures(count=6, dtype=np.uint8, sizes=((20, 30),)):
    rng = np.random.default_rng(0)
    made = []
    for n in range(count):
        height, width = sizes[n % len(sizes)]
        image = (rng.random((height, width, 3)) * (255 if dtype == np.uint8 else 1000)).astype(dtype)
        made.append(DecodedCase(image, rng.integers(0, 3, (height, width)).astype(np.uint8)))
    return made


def training(store=None, members=range(6), augment=shake, seed=7, repeat=1):
    return TrainDataset(store or RamStore(pictures()), list(members), augment, PREPROCESSING, seed, repeat)


def equal(a, b):
    return a[0].equal(b[0]) and a[1].equal(b[1]) and a[2] == b[2]


# Training samples --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_an_item_is_the_picture_normalised(dtype):
    made = pictures(dtype=dtype)
    image, mask, index = training(RamStore(made), members=[4, 2], augment=leave)[0, 1]
    assert index == 1  # position in the split, not in the store
    unit = made[2].image.astype(np.float64) / (255 if dtype == np.uint8 else 1000)
    np.testing.assert_allclose(image.numpy(), (unit.transpose(2, 0, 1) - 0.5) / 0.25, atol=1e-5)
    np.testing.assert_array_equal(mask.numpy(), made[2].mask)
    assert (image.dtype, mask.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_training_and_scoring_see_the_same_without_augmentation(dtype):
    store = RamStore(pictures(dtype=dtype))
    drawn = training(store, augment=leave)
    scored = EvalDataset(store, range(6), PREPROCESSING)
    for n in range(6):
        torch.testing.assert_close(drawn[0, n][0], scored[n].image)


def test_wide_images_reach_the_augmentation_on_the_unit_scale_and_bytes_as_they_are():
    seen = []

    def look(image, mask, *, key):
        seen.append((image.dtype, float(image.min()), float(image.max())))
        return image, mask

    beyond = DecodedCase(np.array([[[-5, 0, 500]], [[1000, 1200, 3]]], np.float32).repeat(16, 1), np.zeros((2, 16), np.uint8))
    training(RamStore([beyond]), [0], look)[0, 0]
    training(RamStore(pictures(1)), [0], look)[0, 0]
    assert seen[0] == (np.float32, 0.0, 1.0)
    assert seen[1][0] == np.uint8
    assert seen[1][2] > 200


def test_the_augmentation_is_told_seed_epoch_and_position():
    keys = []

    def note(image, mask, *, key):
        keys.append(key)
        return image, mask

    made = training(members=[0, 1], augment=note, seed=7, repeat=2)
    for position in range(4):
        made[5, position]
    assert keys == [(7, 5, 0), (7, 5, 1), (7, 5, 2), (7, 5, 3)]


def test_an_item_is_a_pure_function_of_seed_epoch_and_position():
    made = training()
    first = made[3, 2]
    for other in ((0, 0), (3, 1), (9, 5)):
        made[other]
    torch.manual_seed(99)
    np.random.seed(99)
    assert equal(made[3, 2], first)
    assert equal(training()[3, 2], first)
    assert not equal(made[4, 2], first)
    assert not equal(training(seed=8)[3, 2], first)


def test_repeating_draws_the_same_pictures_with_other_augmentation():
    made = training(members=[1, 4], repeat=3)
    assert len(made) == 6
    items = [made[0, position] for position in range(6)]
    assert [index for _, _, index in items] == [0, 1, 0, 1, 0, 1]
    assert not items[0][0].equal(items[2][0])
    assert not items[2][0].equal(items[4][0])


def test_image_at_the_working_size_takes_its_mask_along():
    image = np.zeros((20, 30, 3), np.uint8)
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 20:40], mask[0, 0] = 2, 255
    store = RamStore([DecodedCase(image, mask)])
    drawn = training(store, [0], leave)[0, 0]
    assert drawn[1].shape == (20, 30)
    assert set(drawn[1].unique().tolist()) <= {0, 2, 255}
    assert (drawn[1] == 2).sum() == 50
    sample = EvalDataset(store, [0], PREPROCESSING)[0]
    assert sample.image.shape == (3, 20, 30)
    assert sample.mask.shape == (40, 60)  # scored at its own size
    assert sample.mask.dtype == torch.uint8


def test_a_store_is_not_changed_by_what_happens_to_its_pictures(tmp_path):
    for store in (RamStore(pictures()), DiskStore.write(tmp_path / "s", pictures())):
        training(store)[0, 0]
        sample = EvalDataset(store, [0], PREPROCESSING)[0]
        sample.mask[:] = 9
        sample.image[:] = 9
        np.testing.assert_array_equal(store[0].image, pictures()[0].image)
        np.testing.assert_array_equal(store[0].mask, pictures()[0].mask)


@pytest.mark.parametrize("length", [0, 3])
def test_scoring_set_follows_its_members(length):
    made = EvalDataset(RamStore(pictures()), [5, 0, 2][:length], PREPROCESSING)
    assert len(made) == length
    for n, member in enumerate([5, 0, 2][:length]):
        assert made[n].position == n
        np.testing.assert_array_equal(made[n].mask.numpy(), pictures()[member].mask)


def epochs_seen(workers, store):
    """Return everything a loader gives in three epochs."""
    epoch = [0]
    made = training(store, repeat=2)
    sampler = EpochSampler(len(made), 7, lambda: epoch[0])
    loader = DataLoader(
        made,
        batch_size=4,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate_train,
        persistent_workers=workers > 0,
    )
    seen = []
    for epoch[0] in range(3):
        seen += list(loader)
    return seen


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_the_number_of_workers_changes_nothing(tmp_path, kind):
    store = RamStore(pictures()) if kind == "ram" else DiskStore.write(tmp_path / "s", pictures())
    alone = epochs_seen(0, store)
    assert len(alone) == 9
    for workers in (1, 3):
        for a, b in zip(alone, epochs_seen(workers, store), strict=True):
            assert a["index"] == b["index"]
            assert a["image"].equal(b["image"])
            assert a["mask"].equal(b["mask"])
    assert [b["index"] for b in alone[:3]] != [b["index"] for b in alone[3:6]]


# Order -------------------------------------------------------------------------------------------------------------------


def order(length=20, seed=7, epoch=0, rank=0, world=1):
    return list(EpochSampler(length, seed, lambda: epoch, rank, world))


def test_order_is_a_pure_function_of_seed_and_epoch():
    first = order(epoch=3)
    torch.manual_seed(99)
    np.random.seed(99)
    assert order(epoch=3) == first
    assert order(epoch=4) != [(4, position) for _, position in first]
    assert order(epoch=3, seed=8) != first


def test_order_holds_each_position_once_with_its_epoch():
    assert sorted(order(epoch=5)) == [(5, position) for position in range(20)]
    assert [position for _, position in order()] != list(range(20))


def test_one_sampler_follows_the_epoch_and_a_resumed_one_joins_in():
    epoch = [0]
    sampler = EpochSampler(9, 1, lambda: epoch[0])
    whole = []
    for epoch[0] in range(4):
        whole.append(list(sampler))
    resumed = EpochSampler(9, 1, lambda: 3)
    assert list(resumed) == whole[3]
    assert len({tuple(position for _, position in each) for each in whole}) == 4


@pytest.mark.parametrize("length", [12, 13, 15, 2])
@pytest.mark.parametrize("world", [2, 3, 4])
def test_shards_of_the_processes_are_disjoint_and_of_one_length(length, world):
    shards = [order(length, epoch=2, rank=rank, world=world) for rank in range(world)]
    together = [position for shard in shards for _, position in shard]
    assert len(set(together)) == len(together) == length // world * world
    assert {len(shard) for shard in shards} == {length // world} == {len(EpochSampler(length, 7, int, 0, world))}


def test_what_a_shard_leaves_out_comes_in_another_epoch():
    left_out = [
        set(range(5)) - {p for rank in range(2) for _, p in order(5, epoch=epoch, rank=rank, world=2)} for epoch in range(20)
    ]
    assert all(len(each) == 1 for each in left_out)
    assert len(set().union(*left_out)) > 1


@pytest.mark.parametrize("length", [0, 1, 7, 12])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_each_case_is_scored_by_one_process(length, world):
    samplers = [ShareSampler(length, rank, world) for rank in range(world)]
    together = [position for sampler in samplers for position in sampler]
    assert sorted(together) == list(range(length))
    assert sum(len(sampler) for sampler in samplers) == length


# Batches -----------------------------------------------------------------------------------------------------------------


def test_images_of_different_sizes_make_one_batch_whose_padding_is_ignored():
    made = training(RamStore(pictures(3, sizes=((20, 30), (26, 18), (17, 17)))), range(3), leave)
    items = [made[0, position] for position in range(3)]
    batch = collate_train(items)
    assert batch["image"].shape == (3, 3, 26, 30)
    assert batch["mask"].shape == (3, 26, 30)
    assert (batch["image"].dtype, batch["mask"].dtype) == (torch.float32, torch.int64)
    assert batch["index"] == [0, 1, 2]
    for n, (image, mask, _) in enumerate(items):
        height, width = mask.shape
        assert batch["image"][n, :, :height, :width].equal(image)
        assert batch["mask"][n, :height, :width].equal(mask)
        assert (batch["mask"][n] == 255).sum() == 26 * 30 - height * width
        assert batch["image"][n].abs().sum() == pytest.approx(image.abs().sum().item(), rel=1e-5)  # padded by the mean


def test_images_of_one_size_are_stacked_as_they_are():
    made = training(augment=leave)
    batch = collate_train([made[0, 3], made[0, 1]])
    assert batch["index"] == [3, 1]
    assert batch["mask"].max() < 255
    assert batch["image"][1].equal(made[0, 1][0])


def test_padding_does_not_reach_the_loss():
    small, large = (torch.zeros(1, size, size) for size in (16, 20))
    batch = collate_train([(small, torch.zeros(16, 16, dtype=torch.long), 0), (large, torch.ones(20, 20).long(), 1)])
    logits = torch.zeros(2, 2, 20, 20)
    logits[0, 1, 16:], logits[0, 1, :, 16:] = 1e3, 1e3  # very wrong in the padding
    loss = torch.nn.functional.cross_entropy(logits, batch["mask"], ignore_index=255)
    assert loss.item() == pytest.approx(np.log(2))


def test_scored_samples_stay_apart():
    made = EvalDataset(RamStore(pictures(4, sizes=((20, 30), (26, 18)))), range(4), PREPROCESSING)
    loader = DataLoader(made, batch_size=3, sampler=ShareSampler(4), collate_fn=collate_eval)
    groups = list(loader)
    assert [len(group) for group in groups] == [3, 1]
    assert [sample.position for group in groups for sample in group] == [0, 1, 2, 3]
    assert groups[0][1].image.shape == (3, 26, 18)


# Crops around the foreground ---------------------------------------------------------------------------------------------


def speck(dtype=np.uint8, size=(40, 60)):
    """A picture with one pixel of class 2, in its corner; the mask has twice the working size."""
    mask = np.zeros(size, np.uint8)
    mask[:2, :2] = 2
    rng = np.random.default_rng(1)
    return DecodedCase((rng.random((size[0] // 2, size[1] // 2, 3)) * 200).astype(dtype), mask)


def cropping(share, pictures, seed=0):
    members = range(len(pictures))
    return TrainDataset(RamStore(pictures), members, Augment(crop=8), PREPROCESSING, seed, repeat=50, foreground_crops=share)


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 5), (0.33, 20, 46), (1.0, 100, 100)])
def test_so_many_crops_hold_foreground(share, low, high):
    made = cropping(share, [speck(), speck(np.float32)])
    assert low <= sum(bool((made[3, n][1] == 2).any()) for n in range(100)) <= high


def test_crops_around_the_foreground_are_a_pure_function_of_seed_epoch_and_position():
    made = cropping(0.5, [speck(), speck()])
    first = [made[2, n] for n in range(6)]
    for n in (5, 0, 3):
        assert equal(made[2, n], first[n])
        assert equal(cropping(0.5, [speck(), speck()])[2, n], first[n])
    assert not all(equal(a, b) for a, b in zip(first, [made[3, n] for n in range(6)], strict=True))


def test_a_mask_is_counted_once(monkeypatch):
    counted = []
    monkeypatch.setattr(dataset, "Foreground", lambda mask, labels: counted.append(mask.shape) or Foreground(mask, labels))
    made = cropping(0.5, [speck(), speck()])
    for epoch in range(3):
        for position in range(4):
            made[epoch, position]
    assert counted == [(20, 30)] * 2  # at the working size


def test_without_a_share_an_augmentation_is_asked_as_before():
    """Augmentations of one's own that know no `around` go on working."""
    assert equal(training(augment=shake)[0, 1], training(augment=shake)[0, 1])
    plain = TrainDataset(RamStore([speck()]), [0], Augment(crop=8), PREPROCESSING, 0)
    assert equal(cropping(0.0, [speck()])[4, 0], plain[4, 0])
