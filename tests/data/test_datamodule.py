import json
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fixtures.configs import data_config
from fixtures.nodata import write_strips
from segexp.config.schema import DataConfig
from segexp.data import datamodule
from segexp.data.cache import DiskStore, RamStore, UncachedStore
from segexp.data.datamodule import SegmentationDataModule, init_worker
from segexp.data.io.images import read_mask, write_png
from segexp.data.labels.class_table import LabelTable
from segexp.data.labels.multilabel import label_table
from segexp.data.mixing import CutMix
from segexp.data.splits import split_hash
from segexp.data.synthetic.datasets import make_demo
from segexp.data.transforms import Augment
from segexp.errors import ConfigError, DataError
from segexp.types import Case, Source

FLIPS = [{"name": "HorizontalFlip", "p": 0.5}, {"name": "RandomBrightnessContrast", "p": 0.5}]
DATA = {
    "name": "organ",
    "image": "{split}/{id}.png",
    "mask": "{split}/{id}_mask.png",
    "groups": {"file": "mapping.csv", "match": "{split}/{name}", "column": "scan"},
    "classes": {"background": 0, "liver": 255},
    "ignore": [],
    "threshold": None,
    "channels": 1,
    "size": None,
    "crop": None,
    "repeat": 1,
    "normalize": "dataset",
    "val_fraction": 0.2,
    "test_fraction": 0.0,
    "folds": None,
    "fold": None,
    "cache": "ram",
}


@pytest.fixture(scope="module")
def organ(tmp_path_factory):
    """Twelve slices: six of one scan for training, six of another for validation."""
    return make_demo(tmp_path_factory.mktemp("organ"), "organ", count=12, size=64)


@pytest.fixture
def loose(tmp_path):
    """Fourteen images 20 to 33 pixels high, no split, two to a patient."""
    rng = np.random.default_rng(0)
    for n in range(14):
        shape = (20 + n, 40 - n)
        mask = rng.integers(0, 2, shape)
        write_png(tmp_path / "pictures" / f"p{n // 2}_{n}.png", (mask * 90 + rng.integers(0, 60, shape)).astype(np.uint8))
        write_png(tmp_path / "masks" / f"p{n // 2}_{n}.png", (mask * 255).astype(np.uint8))
    return {"root": str(tmp_path), "image": "pictures/{group}_{id}.png", "mask": "masks/{group}_{id}.png", "groups": None}


def section(root=None, **keys):
    """The data section, read two at a time in this process."""
    return data_config({**DATA, **({"root": str(root)} if root else {}), "batch_size": 2, "num_workers": 0}, **keys)


def module(root=None, *, seed=0, transforms=FLIPS, ready=True, **keys):
    data = section(root, **keys)
    made = SegmentationDataModule(data, Augment(transforms, crop=data.crop), seed=seed)
    if ready:
        made.setup()
    return made


def at_epoch(made, epoch, rank=0, world=1):
    """Pretend that a trainer is there."""
    progress = SimpleNamespace(current=SimpleNamespace(processed=epoch))
    loop = SimpleNamespace(epoch_progress=progress)
    made.trainer = SimpleNamespace(current_epoch=epoch, fit_loop=loop, global_rank=rank, world_size=world)
    return made


def same(a, b):
    return a["index"] == b["index"] and a["image"].equal(b["image"]) and a["mask"].equal(b["mask"])


# What is known of the data -----------------------------------------------------------------------------------------------


def test_classes_and_channels_are_known_before_any_file_is_read(tmp_path):
    made = module(tmp_path / "nowhere", ready=False)
    assert (made.spec.name, made.spec.classes, made.spec.channels, made.spec.num_classes) == (
        "organ",
        ("background", "liver"),
        1,
        2,
    )
    assert len(made.spec.palette) == 2


def test_the_fingerprint_is_of_the_training_split_alone(organ):
    made = module(organ)
    masks = [made.store[n].mask for n in made.members("train")]
    pixels = np.concatenate([made.store[n].image.ravel() for n in made.members("train")]) / 255
    assert made.fingerprint.count == len(masks)
    assert made.fingerprint.mean == pytest.approx([pixels.mean()], rel=1e-5)
    assert made.fingerprint.class_share[1] == pytest.approx(np.mean([mask.mean() for mask in masks]))
    assert made.preprocessing.mean == tuple(made.fingerprint.mean)


def test_setting_up_twice_reads_once(organ, monkeypatch):
    made = module(organ)
    monkeypatch.setattr(datamodule, "find_data_cases", lambda _: pytest.fail("read again"))
    made.setup("fit")


def test_the_pass_over_the_pictures_can_be_watched(organ):
    seen = []

    def track(pictures, count):
        for picture in pictures:
            seen.append(count)
            yield picture

    made = SegmentationDataModule(section(organ), Augment(), track=track)
    made.setup()
    assert seen == [12] * 12


# Splits ------------------------------------------------------------------------------------------------------------------


def test_a_split_found_on_disk_is_kept(organ):
    made = module(organ)
    for split in ("train", "val"):
        cases = made.cases_of(split)
        assert cases
        assert {case.split for case in cases} == {split}
        assert [made.cases[n] for n in made.members(split)] == cases
    assert not set(made.members("train")) & set(made.members("val"))
    assert made.members("test") == []


def test_a_seeded_split_keeps_patients_together(loose):
    made = module(**loose, val_fraction=0.3, test_fraction=0.15)
    groups = {split: {case.group for case in made.cases_of(split)} for split in ("train", "val", "test")}
    assert {split: len(each) for split, each in groups.items()} == {"train": 4, "val": 2, "test": 1}
    assert not groups["train"] & groups["val"] | groups["train"] & groups["test"] | groups["val"] & groups["test"]
    assert made.splits == module(**loose, val_fraction=0.3, test_fraction=0.15).splits
    assert made.splits != module(**loose, val_fraction=0.3, test_fraction=0.15, seed=1).splits


def test_each_case_is_validated_in_one_fold(loose):
    seen = [case.id for fold in range(7) for case in module(**loose, folds=7, fold=fold).cases_of("val")]
    assert len(seen) == len(set(seen)) == 14


def test_the_split_is_written_and_hashed(organ, loose):
    made = module(organ)
    rows = made.split_rows()
    assert {row["id"]: row["split"] for row in rows} == made.splits
    assert made.split_hash() == split_hash(rows) == module(organ, size=32, cache="none").split_hash()
    assert module(**loose).split_hash() != module(**loose, seed=1).split_hash()


# Caches, workers, epochs -------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGEXP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_every_cache_gives_the_same_batches_and_samples(organ, cache):
    made = {kind: module(organ, cache=kind, size=48, crop=32, repeat=2) for kind in ("ram", "disk", "none")}
    made["disk again"] = module(organ, cache="disk", size=48, crop=32, repeat=2)
    kinds = [type(each.store) for each in made.values()]
    assert kinds == [RamStore, DiskStore, UncachedStore, DiskStore]
    first = made["ram"]
    batches, samples = list(first.train_dataloader()), list(first.val_dataloader())
    assert len(batches) == 2 * len(first.members("train")) // 2
    for other in made.values():
        assert other.preprocessing == first.preprocessing
        assert other.fingerprint == first.fingerprint
        assert all(same(a, b) for a, b in zip(batches, other.train_dataloader(), strict=True))
        for (a,), (b,) in zip(samples, other.val_dataloader(), strict=True):
            assert a.position == b.position
            assert a.image.equal(b.image)
            assert a.mask.equal(b.mask)


def test_the_disk_cache_is_where_segexp_cache_says_and_is_used_again(organ, cache, monkeypatch):
    module(organ, cache="disk")
    (folder,) = cache.iterdir()
    monkeypatch.setattr("segexp.data.cache.read_all", lambda *_: pytest.fail("decoded again"))
    module(organ, cache="disk")
    monkeypatch.undo()
    monkeypatch.setenv("SEGEXP_CACHE", str(cache))
    module(organ, cache="disk", size=32)
    assert len(list(cache.iterdir())) == 2
    assert folder.is_dir()


def test_a_cache_that_cannot_be_written_is_told(organ, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SEGEXP_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError) as caught:
        module(organ, cache="disk")
    assert str(tmp_path / "file") in str(caught.value)
    assert "data.cache=ram" in str(caught.value)


def test_auto_asks_for_the_decoded_size(organ, monkeypatch):
    asked = []
    monkeypatch.setattr("segexp.data.cache.choose_cache", lambda cache, needed: asked.append((cache, needed)) or "ram")
    module(organ, cache="auto")
    module(organ, cache="auto", size=32)
    assert asked == [("auto", 12 * 2 * 64 * 64), ("auto", 12 * (32 * 32 + 64 * 64))]  # image and mask, a byte each


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("kind", ["ram", "disk", "none"])
def test_the_number_of_workers_changes_no_batch(organ, cache, kind):
    def epochs(workers):
        made = module(organ, num_workers=workers, cache=kind)
        loader = made.train_dataloader()
        return [batch for epoch in range(2) for batch in loader if at_epoch(made, epoch + 1)]

    alone = epochs(0)
    for workers in (1, 3):
        assert all(same(a, b) for a, b in zip(alone, epochs(workers), strict=True))


def test_each_epoch_has_its_own_order_and_augmentation_and_a_resumed_one_the_same(organ):
    made = module(organ)
    loader = made.train_dataloader()
    seen = [list(loader) for epoch in range(3) if at_epoch(made, epoch)]
    orders = [[n for batch in batches for n in batch["index"]] for batches in seen]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(len(made.members("train"))))
    assert orders[0] != orders[1]
    again = list(at_epoch(module(organ), 2).train_dataloader())
    assert all(same(a, b) for a, b in zip(seen[2], again, strict=True))


def test_the_global_generator_is_not_touched(organ):
    made = module(organ)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert len(list(made.train_dataloader())) == 3
    assert torch.rand(2).equal(expected)


def test_processes_share_training_and_validation(organ):
    shares = [at_epoch(module(organ, batch_size=1), 0, rank, 2) for rank in range(2)]
    trained = [batch["index"][0] for made in shares for batch in made.train_dataloader()]
    scored = [sample.position for made in shares for batch in made.val_dataloader() for sample in batch]
    assert len(trained) == len(set(trained)) == len(shares[0].members("train")) // 2 * 2
    assert sorted(scored) == list(range(len(shares[0].members("val"))))


# Batches -----------------------------------------------------------------------------------------------------------------


def test_a_batch_is_what_network_and_loss_take(organ):
    made = module(organ, crop=[32, 48], batch_size=3)
    for batch in made.train_dataloader():
        assert (batch["image"].shape, batch["image"].dtype) == ((3, 1, 32, 48), torch.float32)
        assert (batch["mask"].shape, batch["mask"].dtype) == ((3, 32, 48), torch.int64)
        assert set(batch["mask"].unique().tolist()) <= {0, 1, 255}


def test_images_of_many_sizes_go_into_one_batch(loose):
    made = module(**loose, batch_size=5, transforms=[])
    (batch, *_) = made.train_dataloader()
    sizes = [made.store[made.members("train")[n]].mask.shape for n in batch["index"]]
    assert batch["mask"].shape == (5, max(h for h, _ in sizes), max(w for _, w in sizes))
    for mask, (height, width) in zip(batch["mask"], sizes, strict=True):
        assert (mask != 255).sum() == height * width


@pytest.mark.parametrize(("size", "expected"), [(None, (64, 64)), (48, (48, 48)), (0.5, (32, 32)), ([32, 40], (32, 40))])
def test_scoring_sees_the_working_size_and_keeps_the_mask(organ, size, expected):
    made = module(organ, size=size)
    for (sample,) in made.val_dataloader():
        assert sample.image.shape == (1, *expected)
        assert (sample.mask.shape, sample.mask.dtype) == ((64, 64), torch.uint8)
    assert made.preprocessing.size == (tuple(size) if isinstance(size, list) else size)


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_validation_holds_each_case_once_in_order(organ, batch_size):
    made = module(organ)
    groups = list(made.val_dataloader(batch_size))
    assert [sample.position for group in groups for sample in group] == list(range(len(made.members("val"))))
    assert max(map(len, groups)) <= batch_size


def test_a_last_batch_that_is_not_full_is_left_out(organ):
    made = module(organ, batch_size=4)
    assert [len(batch["index"]) for batch in made.train_dataloader()] == [4] * (len(made.members("train")) // 4)


# What these data cannot give ---------------------------------------------------------------------------------------------


def test_a_batch_larger_than_the_training_set(organ):
    with pytest.raises(ConfigError) as caught:
        module(organ, batch_size=40, repeat=2)
    text = str(caught.value)
    assert "data.batch_size=40 is more than the 12 training samples of an epoch (6 images, data.repeat=2)" in text
    assert "Type data.batch_size=12 or less, or a higher data.repeat" in text
    assert module(organ, batch_size=12, repeat=2).train_dataloader()


@pytest.mark.parametrize(("size", "crop", "side"), [(None, 65, 64), (32, 48, 32), (None, [64, 80], 64), (0.5, [33, 16], 32)])
def test_a_crop_larger_than_every_image(organ, size, crop, side):
    with pytest.raises(ConfigError) as caught:
        module(organ, size=size, crop=crop)
    text = str(caught.value)
    assert f"data.crop={crop} is larger than every training image" in text
    assert f"data.size={size}" in text
    assert f"{side}x{side} (height x width)" in text
    assert f"Type data.crop={side} or less, or data.crop=null" in text


def test_a_crop_that_fits_some_images_is_taken(loose):
    batch = next(iter(module(**loose, crop=30).train_dataloader()))
    assert batch["image"].shape[2:] == (30, 30)


def test_a_layout_that_nobody_named_is_no_pattern(organ):
    with pytest.raises(ConfigError, match=r"^data\.image is ''\. A pattern of file names is needed"):
        module(organ, image=None)


def test_both_problems_are_found_before_a_picture_is_decoded(organ, monkeypatch):
    monkeypatch.setattr("segexp.data.cache.read_all", lambda *_: pytest.fail("decoded first"))
    for change in ({"batch_size": 40}, {"crop": 65}):
        with pytest.raises(ConfigError):
            module(organ, **change)


def test_masks_of_one_class_are_told(tmp_path):
    for n in range(4):
        write_png(tmp_path / f"{n}.png", np.full((20, 20), 9 * n, np.uint8))
        write_png(tmp_path / f"{n}_mask.png", np.zeros((20, 20), np.uint8))
    with pytest.raises(DataError, match="background"):
        module(tmp_path, image="{id}.png", mask="{id}_mask.png", groups=None)


# Worker processes --------------------------------------------------------------------------------------------------------


class Asked(torch.utils.data.Dataset):
    """Tells how a worker process is set up."""

    def __len__(self):
        return 1

    def __getitem__(self, _):
        import cv2

        return os.getpid(), signal.getsignal(signal.SIGINT) == signal.SIG_IGN, torch.get_num_threads(), cv2.getNumThreads()


def test_a_worker_ignores_ctrl_c_and_takes_one_thread():
    loader = DataLoader(Asked(), num_workers=1, worker_init_fn=init_worker, batch_size=None)
    ((process, ignores, torch_threads, cv2_threads),) = loader
    assert process != os.getpid()
    assert ignores
    assert torch_threads == cv2_threads == 1


def test_workers_stay_between_epochs(organ):
    assert module(organ, num_workers=1).train_dataloader().persistent_workers
    assert not module(organ, num_workers=0).train_dataloader().persistent_workers


# Crops around the foreground, and what the pass leaves for the check ------------------------------------------------------


def test_crops_around_the_foreground_need_a_crop(organ):
    with pytest.raises(ConfigError) as caught:
        module(organ, foreground_crops=0.33)
    assert str(caught.value) == (
        "data.foreground_crops=0.33 with data.crop=null. Whole images contain all of their foreground; only crops can be "
        "centred on it. Type data.crop=64, or data.foreground_crops=0."
    )


def test_crops_around_the_foreground_are_the_same_for_any_number_of_workers(organ):
    settings = {"crop": 16, "foreground_crops": 0.8, "repeat": 2, "transforms": FLIPS}
    alone, together = (list(at_epoch(module(organ, num_workers=n, **settings), 1).train_dataloader()) for n in (0, 2))
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))
    plain = list(at_epoch(module(organ, **{**settings, "foreground_crops": 0.0}), 1).train_dataloader())
    held = [sum(float((batch["mask"] == 1).any(-1).any(-1).sum()) for batch in batches) for batches in (alone, plain)]
    assert held[0] > held[1]


def test_the_pass_leaves_a_glance_at_each_picture(organ):
    made = module(organ)
    assert len(made.image_stats) == len(made.cases) == 12
    assert len({seen.checksum for seen in made.image_stats}) == 12
    assert [seen.empty for seen in made.image_stats] == [not (made.store[n].mask == 1).any() for n in range(12)]


# Further pictures, and several in one -------------------------------------------------------------------------------------


def test_pictures_with_pseudo_labels_take_part_in_training_alone(organ, tmp_path):
    made = module(organ)
    before = made.split_hash(), made.fingerprint.as_dict(), made.split_rows(), len(made.scoring_set("val"))
    write_png(tmp_path / "mask.png", np.where(np.eye(64, dtype=bool), 1, 255).astype(np.uint8))
    image = made.cases_of("val")[0].image
    made.add_pseudo_labels([Case(str(n), image, (Source(tmp_path / "mask.png"),)) for n in range(4)], 0.25)
    assert (made.split_hash(), made.fingerprint.as_dict(), made.split_rows(), len(made.scoring_set("val"))) == before
    drawn = [(n, mask) for batch in made.train_dataloader() for n, mask in zip(batch["index"], batch["mask"], strict=True)]
    assert sorted(n for n, _ in drawn)[:6] == [0, 1, 2, 3, 4, 5]
    assert len(drawn) == 8, "a quarter of an epoch"
    assert all((set(mask.unique().tolist()) == {1, 255}) == (n >= 6) for n, mask in drawn)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_mixes_is_asked_for_the_training_samples_alone(organ, workers):
    plain, made = module(organ), module(organ, num_workers=workers)
    made.mix = CutMix(1.0)
    pairs = list(zip(at_epoch(plain, 2).train_dataloader(), at_epoch(made, 2).train_dataloader(), strict=True))
    assert all(one["index"] == other["index"] and not one["image"].equal(other["image"]) for one, other in pairs)
    assert len(pairs) == 3
    for one, other in zip(plain.val_dataloader(), made.val_dataloader(), strict=True):
        assert one[0].image.equal(other[0].image)


def test_objects_of_any_number_are_one_class_from_the_files_to_the_checkpoint(loose, tmp_path):
    rng = np.random.default_rng(1)
    share = 0.0
    for path in (tmp_path / "masks").glob("*.png"):
        mask = np.where(read_mask(Source(path)) > 0, rng.integers(1, 60_000, read_mask(Source(path)).shape), 0)
        share += float((mask > 0).mean()) / 14
        write_png(path, mask.astype(np.uint16))
    made = module(**loose, classes={"background": 0, "cell": "any"}, val_fraction=0.5)
    sizes = [picture.mask.size for picture in (made.store[n] for n in range(14))]
    found = [int((made.store[n].mask == 1).sum()) / sizes[n] for n in range(14)]
    assert sum(found) / 14 == pytest.approx(share)
    assert made.fingerprint.class_share[1] == pytest.approx(
        sum(found[n] * sizes[n] for n in made.members("train")) / sum(sizes[n] for n in made.members("train"))
    )
    kept = DataConfig.model_validate(json.loads(json.dumps(made.data.plain())))
    assert label_table(kept) == LabelTable({"background": 0, "cell": "any"})


@pytest.fixture
def rare(tmp_path):
    """Sixteen images of 16 x 16; the masks of two hold the class."""
    rng = np.random.default_rng(0)
    for n in range(16):
        write_png(tmp_path / "images" / f"c{n}.png", rng.integers(0, 60, (16, 16)).astype(np.uint8))
        write_png(
            tmp_path / "masks" / f"c{n}.png",
            np.full((16, 16), 255 * (n in (3, 11))).astype(np.uint8) * np.eye(16, dtype=np.uint8),
        )
    return {"root": str(tmp_path), "image": "images/{id}.png", "mask": "masks/{id}.png", "groups": None}


@pytest.mark.parametrize("cache", ["ram", "none"])
def test_a_random_split_gives_validation_one_of_two_masks_with_foreground(rare, cache):
    for seed in range(5):
        made = module(**rare, seed=seed, cache=cache, transforms=[])
        assert {made.splits["c3"], made.splits["c11"]} == {"train", "val"}
        assert (len(made.members("train")), made.fingerprint.count, made.stratified) == (13, 13, True)
        assert made.held_classes()["c3"] == {1}
        images = np.stack([made.store[n].image for n in made.members("train")]) / 255
        assert made.fingerprint.mean == pytest.approx([images.mean()]), "measured on the cases that train"


def test_each_case_is_decoded_once_on_the_way_to_a_stratified_split(rare, monkeypatch):
    read, seen = datamodule.Reader.__call__, []
    monkeypatch.setattr(datamodule.Reader, "__call__", lambda self, case: seen.append(case.id) or read(self, case))
    module(**rare, cache="ram", transforms=[])
    assert sorted(seen) == sorted(f"c{n}" for n in range(16))


def test_a_run_to_resume_keeps_the_split_that_it_stored_or_that_of_its_seed(rare):
    found = {}
    for seed in range(6):
        made = module(**rare, seed=seed, transforms=[])
        out = made.held_out()
        plain = SegmentationDataModule(section(**rare), Augment([]), seed=seed, held_out={})
        plain.setup()
        assert not plain.held_out()
        assert (made.split_hash() == plain.split_hash()) is (out == {})
        if out:
            again = SegmentationDataModule(section(**rare), Augment([]), seed=seed, held_out=out)
            again.setup()
            assert again.splits == made.splits
            found = out
    assert found, "at least one of the seeds puts both masks into train"
    assert set(found) == {"val", "test"}


@pytest.mark.parametrize(
    ("value", "tag", "nodata"), [(-9999, "-9999", None), (np.nan, "nan", None), (np.nan, None, "nan"), (0, None, 0)]
)
@pytest.mark.parametrize("cache", ["ram", "none"])
def test_pixels_without_data_are_ignored_after_augmentation_and_in_scores(tmp_path, value, tag, nodata, cache):
    """The noise that holds data is from 5000 to 8000, so that the network sees values from -3 to 3 deviations."""
    root = write_strips(tmp_path, value, tag)
    flips = [{"name": "HorizontalFlip", "p": 0.5}, {"name": "Affine", "rotate": [-20, 20], "p": 0.5}]
    data = SegmentationDataModule.from_folder(
        root, augment=flips, nodata=nodata, batch_size=2, num_workers=0, cache=cache, val_fraction=0.25, size=24
    )
    data.setup()
    assert data.fingerprint.low[0] == 0
    assert data.fingerprint.high[0] == 1
    assert 0.2 < data.fingerprint.mean[0] < 0.4
    for batch in data.train_dataloader():
        assert (batch["mask"] == 255).sum() >= 2 * 24 * 4
        assert batch["image"].abs().max() < 3.5
    sample = data.scoring_set("val")[0]
    assert (sample.mask[:, :6] == 255).all()
    assert (sample.mask[:, 6:] != 255).all()
    assert sample.image[0, :, :4].std() < 1e-5, "the mean of the image"
