import multiprocessing
import operator
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segexp.data import cache as store
from segexp.data.cache import DiskStore, RamStore, UncachedStore, available_memory, cache_folder, choose_cache, store_key
from segexp.data.preprocessing import resize_image, resize_mask
from segexp.data.statistics import DecodedCase
from segexp.types import Case, Source

KINDS = [(dtype, channels) for dtype in (np.uint8, np.uint16, np.float32) for channels in (1, 3)]


def picture(n, dtype=np.uint8, channels=3):
    rng = np.random.default_rng(n)
    size = (17 + n, 23)
    return DecodedCase((rng.random((*size, channels)) * 60000).astype(dtype), rng.integers(0, 4, (31 + n, 19)).astype(np.uint8))


def same(a, b):
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.mask, b.mask)
    assert (a.image.dtype, a.mask.dtype) == (b.image.dtype, b.mask.dtype)


@pytest.mark.parametrize(("dtype", "channels"), KINDS)
def test_all_stores_give_identical_pictures(tmp_path, dtype, channels):
    truth = [picture(n, dtype, channels) for n in range(4)]
    cases = [Case(str(n), Source(Path(str(n))), ()) for n in range(4)]
    stores = (
        RamStore(iter(truth)),
        DiskStore.write(tmp_path / "s", iter(truth)),
        DiskStore(tmp_path / "s"),
        UncachedStore(lambda case: truth[int(case.id)], cases),
    )
    for made in stores:
        for n in (2, 0, 3, 1, 2):
            same(made[n], truth[n])


def test_different_kinds_live_in_one_file(tmp_path):
    truth = [picture(n, dtype, channels) for n, (dtype, channels) in enumerate(KINDS)]
    made = DiskStore.write(tmp_path / "s", truth)
    for n, expected in enumerate(truth):
        found = made[n]
        same(found, expected)
        assert found.image.ctypes.data % found.image.itemsize == 0  # aligned: fast, and safe on every machine


def test_pictures_on_disk_cannot_be_written_to_but_can_be_resized(tmp_path):
    found = DiskStore.write(tmp_path / "s", [picture(0)])[0]
    with pytest.raises(ValueError, match="read-only"):
        found.image[0] = 0
    assert resize_image(found.image, (40, 40)).shape == (40, 40, 3)
    assert resize_mask(found.mask, (40, 40)).shape == (40, 40)


def test_a_disk_store_travels_without_its_bytes(tmp_path):
    made = DiskStore.write(tmp_path / "s", [picture(n) for n in range(20)])
    same(made[1], picture(1))  # opened here
    parcel = pickle.dumps(made)
    assert len(parcel) < 4000
    same(pickle.loads(parcel)[1], picture(1))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the test forks a process")
def test_a_disk_store_works_in_another_process(tmp_path):
    made = DiskStore.write(tmp_path / "s", [picture(n) for n in range(3)])
    same(made[0], picture(0))
    with multiprocessing.get_context("fork").Pool(1) as pool:
        same(pool.apply(operator.getitem, (made, 2)), picture(2))


def test_writing_what_is_there_keeps_it(tmp_path):
    DiskStore.write(tmp_path / "s", [picture(0)])
    before = (tmp_path / "s" / "pictures.bin").stat().st_mtime_ns
    same(DiskStore.write(tmp_path / "s", [picture(0)])[0], picture(0))
    assert (tmp_path / "s" / "pictures.bin").stat().st_mtime_ns == before
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_another_process_may_be_faster(tmp_path):
    def pictures():
        yield picture(0)
        DiskStore.write(tmp_path / "s", [picture(0)])  # meanwhile, elsewhere

    same(DiskStore.write(tmp_path / "s", pictures())[0], picture(0))
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def damage(path, place=0):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["pictures.bin", "index.json", "missing", "a file"])
def test_a_damaged_cache_is_written_anew(tmp_path, name, monkeypatch):
    monkeypatch.setenv("SEGEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "store_key", lambda *_: "key")
    folder, cases = tmp_path / "cache" / "key", [Case(str(n), Source(Path(str(n))), ()) for n in range(2)]
    reads = []

    def reader(case):
        reads.append(case.id)
        return picture(int(case.id))

    store.open_store(reader, cases, "disk")
    store.open_store(reader, cases, "disk")
    assert len(reads) == 2
    if name == "missing":
        (folder / "index.json").unlink()
    elif name == "a file":
        shutil.rmtree(folder)
        folder.touch()
    else:
        damage(folder / name, 40)
    with pytest.warns(UserWarning, match=r"The image cache .*key is damaged\. It is written anew\."):
        made = store.open_store(reader, cases, "disk")
    assert len(reads) == 4
    same(made[1], picture(1))
    same(DiskStore(folder)[0], picture(0))


def test_an_exception_while_writing_leaves_nothing(tmp_path):
    def pictures():
        yield picture(0)
        assert not (tmp_path / "s").exists()
        raise RuntimeError("a broken file")

    with pytest.raises(RuntimeError, match="a broken file"):
        DiskStore.write(tmp_path / "s", pictures())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the test forks a process")
def test_a_process_killed_while_writing_leaves_no_folder_of_the_final_name(tmp_path):
    def pictures():
        yield picture(0)
        os._exit(9)

    child = multiprocessing.get_context("fork").Process(target=DiskStore.write, args=(tmp_path / "s", pictures()))
    child.start()
    child.join(30)
    assert child.exitcode == 9
    assert not (tmp_path / "s").exists()
    same(DiskStore.write(tmp_path / "s", [picture(0)])[0], picture(0))


def test_a_folder_that_cannot_be_renamed_to_is_told(tmp_path):
    (tmp_path / "s").write_text("a file stands here")
    with pytest.raises(OSError, match="s'"):
        DiskStore.write(tmp_path / "s", [picture(0)])
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


# Key ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cases(tmp_path):
    made = []
    for n in range(2):
        (tmp_path / f"{n}.png").write_bytes(b"image")
        (tmp_path / f"{n}_mask.png").write_bytes(b"mask")
        made.append(Case(str(n), Source(tmp_path / f"{n}.png"), (Source(tmp_path / f"{n}_mask.png"),)))
    return made


def test_the_key_is_a_short_name_and_stays(cases):
    assert store_key(cases, ("reader", 3)) == store_key(list(cases), ("reader", 3))
    assert len(store_key(cases, "reader")) == 16
    assert store_key(cases, "reader").isalnum()


def test_the_key_changes_with_what_is_read_and_how(cases, tmp_path, monkeypatch):
    keys = [store_key(cases, "reader"), store_key(cases, "another reader"), store_key(cases[:1], "reader")]
    keys.append(store_key(cases[::-1], "reader"))  # the store goes by position
    for how in ({"orientation": "LPS"}, {"exif": False}):
        keys.append(store_key([replace(case, image=replace(case.image, **how)) for case in cases], "reader"))
    (tmp_path / "0_mask.png").write_bytes(b"longer mask")
    keys.append(store_key(cases, "reader"))
    stat = (tmp_path / "0.png").stat()
    os.utime(tmp_path / "0.png", ns=(stat.st_atime_ns, stat.st_mtime_ns + 10_000_000))
    keys.append(store_key(cases, "reader"))
    paged = [Case(c.id, Source(c.image.path, page), c.masks) for page, c in enumerate(cases)]
    keys.append(store_key(paged, "reader"))
    monkeypatch.setattr(store, "__version__", "another")  # which may decode in another way
    keys.append(store_key(paged, "reader"))
    assert len(set(keys)) == len(keys)


# Where -------------------------------------------------------------------------------------------------------------------


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGEXP_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("SEGEXP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "segexp"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "segexp"


@pytest.mark.parametrize(("needed", "chosen"), [(0, "ram"), (299, "ram"), (300, "disk"), (10**15, "disk")])
def test_auto_takes_memory_while_there_is_plenty(monkeypatch, needed, chosen):
    monkeypatch.setattr(store, "available_memory", lambda: 900)
    assert choose_cache("auto", needed) == chosen


@pytest.mark.parametrize("cache", ["ram", "disk", "none"])
def test_a_word_is_taken_as_it_stands(cache):
    assert choose_cache(cache, 10**15) == cache


def test_available_memory_is_bytes():
    assert 2**20 < available_memory() < 2**50


def test_a_cache_keeps_which_pixels_hold_data_and_knows_how_they_were_read(tmp_path):
    truth = [replace(picture(0), valid=np.random.default_rng(0).random((17, 23)) < 0.5), picture(1)]
    made = DiskStore.write(tmp_path / "s", truth)
    np.testing.assert_array_equal(made[0].valid, truth[0].valid)
    assert made[1].valid is None
    (tmp_path / "a.tif").touch()
    cases = [[Case("a", Source(tmp_path / "a.tif"), ()).with_nodata(nodata)] for nodata in (None, -9999, "nan", "none")]
    cases.append([Case("a", Source(tmp_path / "a.tif", orientation="RAS"), ())])
    assert len({store_key(each, "reader") for each in cases}) == 5
