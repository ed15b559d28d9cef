import numpy as np
import pytest
from torch.utils.data import DataLoader

from segexp.data.cache import DiskStore, RamStore, UncachedStore, open_store
from segexp.data.dataset import EpochSampler, TrainDataset, collate_train
from segexp.data.io.images import write_png
from segexp.data.mixing import CutMix, Mixed
from segexp.data.preprocessing import Preprocessing
from segexp.data.pseudo_dataset import ConcatLabeledPseudo, PseudoReader
from segexp.data.statistics import DecodedCase
from segexp.types import Case, Source

PLAIN = Preprocessing(1, mean=(0.0,), std=(1.0,))


def noted(image, mask, *, key):
    """Write the key into the first pixels of the image, so that a sample tells what it was drawn from."""
    image = image.copy()
    image[0, : len(key), 0] = key
    return image, mask


def samples(count, first, repeat=1, seed=5):
    store = RamStore([DecodedCase(np.full((8, 8, 1), first + n, np.uint8), np.full((8, 8), n, np.uint8)) for n in range(count)])
    return TrainDataset(store, range(count), noted, PLAIN, seed, repeat)


def values(made, epoch=0):
    """Which picture each sample of an epoch is of."""
    return [round(float(made[epoch, n][0][0, -1, -1]) * 255) for n in range(len(made))]


def together(labelled=4, others=20, share=0.5, **more):
    return ConcatLabeledPseudo(samples(labelled, 0, **more), samples(others, 100, **more), share)


@pytest.mark.parametrize(
    ("labelled", "others", "share", "repeat", "count"),
    [(4, 20, 0.5, 1, 4), (4, 3, 0.5, 1, 3), (4, 20, 0.75, 1, 12), (4, 20, 0.2, 1, 1), (10, 20, 0.6, 1, 15), (4, 5, 0.5, 3, 12)],
)
def test_never_more_than_the_share_of_an_epoch(labelled, others, share, repeat, count):
    made = together(labelled, others, share, repeat=repeat)
    assert len(made) == labelled * repeat + count
    assert count / len(made) <= share + 1e-9


def test_each_epoch_has_all_labelled_pictures_and_others_in_turn():
    made = together()
    drawn = [values(made, epoch) for epoch in range(40)]
    assert all(each[:4] == [0, 1, 2, 3] for each in drawn)
    assert all(len(set(each[4:])) == 4 for each in drawn), "none of them twice"
    assert {value for each in drawn for value in each[4:]} == set(range(100, 120))
    assert drawn[0] != drawn[1]


def test_a_sample_is_a_pure_function_of_seed_epoch_and_position():
    made = together()
    first = made[3, 6]
    for other in ((0, 0), (4, 5), (3, 1)):
        made[other]
    again = together()[3, 6]
    assert first[0].equal(again[0])
    assert values(made, 3) == values(together(), 3)
    assert values(made, 3) != values(together(seed=6), 3)
    keys = {tuple((made[2, n][0][0, 0, :3] * 255).round().int().tolist()) for n in range(8)}
    assert keys == {(5, 2, n) for n in range(8)}, "no two samples share their chance"


def test_positions_tell_the_picture_the_labelled_ones_first():
    made = together()
    assert [made[0, n][2] for n in range(4)] == [0, 1, 2, 3]
    assert [made[0, n][2] - 4 + 100 for n in range(4, 8)] == values(made)[4:]


@pytest.mark.parametrize("mixed", [False, True])
def test_the_number_of_workers_changes_nothing(mixed):
    seen = []
    for workers in (0, 2):
        made = Mixed(together(), CutMix(0.5), 5) if mixed else together()
        loader = DataLoader(
            made, 2, sampler=EpochSampler(len(made), 5, lambda: 3), num_workers=workers, collate_fn=collate_train
        )
        seen.append([(batch["image"], batch["mask"], batch["index"]) for batch in loader])
    for one, other in zip(*seen, strict=True):
        assert one[0].equal(other[0])
        assert one[1].equal(other[1])
        assert one[2] == other[2]


@pytest.fixture
def cases(tmp_path):
    rng = np.random.default_rng(0)
    made = []
    for n in range(3):
        write_png(tmp_path / f"{n}.png", rng.integers(0, 256, (30, 40)).astype(np.uint8))
        write_png(tmp_path / f"{n}_mask.png", rng.choice(np.array([0, 1, 5, 255], np.uint8), (30, 40)))
        made.append(Case(str(n), Source(tmp_path / f"{n}.png"), (Source(tmp_path / f"{n}_mask.png"),)))
    return made


@pytest.mark.parametrize(
    ("cache", "kind"), [("ram", RamStore), ("disk", DiskStore), ("none", UncachedStore), ("auto", RamStore)]
)
def test_pictures_are_kept_as_asked_and_masks_are_read_as_they_are(cases, cache, kind, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "segexp.data.cache.choose_cache", lambda cache, needed: "ram" if cache == "auto" and needed == 4896 else cache
    )
    for _ in range(2):
        store = open_store(PseudoReader(1, 24), cases, cache, samples=4)
        assert isinstance(store, kind)
        for n in range(3):
            assert store[n].image.shape == (18, 24, 1)
            assert store[n].mask.shape == (30, 40)
            assert set(np.unique(store[n].mask)) == {0, 1, 5, 255}
