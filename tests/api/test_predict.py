"""The predict command from one end to the other, with a network whose masks can be told beforehand."""

import csv
import gzip
import os
import re
import shutil
import signal
import threading
from contextlib import suppress

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from fixtures.nodata import save_tiff
from segexp.checkpoint.loading import load_segmenter
from segexp.data.io.images import exif_orientation, read_image
from segexp.inference.folder import _extras
from segexp.inference.folder_runner import load_image
from segexp.types import Source

DEEP = (np.arange(40 * 48).reshape(40, 48) % 97 * 600).astype(np.uint16)


@pytest.fixture
def mixed(tmp_path, ramp, save):
    """A folder of mixed sizes and formats, gray and RGB, with sub-folders, odd names and one truncated file."""
    folder = tmp_path / "in put"
    gray, colour = ramp(), np.dstack([ramp(50, 61, k) for k in range(3)])
    save(folder / "gray.png", gray)
    save(folder / "deep" / "er" / "16 bit.png", DEEP)
    save(folder / "photo.JPG", colour, quality=95)
    save(folder / "flat.tif", ramp(33, 47))
    save(folder / "Ängström µ.bmp", ramp(41, 39))
    save(folder / "rgb.png", colour)
    save(folder / "moving.gif", gray)
    tifffile.imwrite(folder / "stack.tiff", np.stack([ramp(seed=k) for k in range(3)]), photometric="minisblack")
    volume = np.stack([ramp(20, 30, k).T for k in range(4)], axis=2).astype(np.int16)
    image = nibabel.Nifti1Image(volume, np.array([[0, -2, 0, 5], [3, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1.0]]))
    nibabel.save(image, folder / "scan.nii.gz")
    (folder / "cut.png").write_bytes((folder / "rgb.png").read_bytes()[:900])
    (folder / "notes.txt").write_text("no picture")
    return folder


def mask(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def mode(path):
    with Image.open(path) as picture:
        return picture.mode


def bright(gray):
    return np.where(gray / 255 > 0.5, 255, 0).astype(np.uint8)


def rows(folder):
    with (folder / "review.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_folder_of_mixed_sizes_and_formats(run, mixed, predict, tmp_path, ramp):
    told = predict(f"checkpoint={run}", "input='in put'", "output=out")
    out = tmp_path / "out"
    expected = ["deep/er/16 bit", "flat", "gray", "moving", "photo", "rgb", "Ängström µ"]
    assert tree(out) == sorted([*(f"{name}.png" for name in expected), "review.csv", "scan.nii.gz", "stack.tiff"])
    for name, shape in {"gray": (40, 48), "photo": (50, 61), "flat": (33, 47), "Ängström µ": (41, 39)}.items():
        assert mask(out / f"{name}.png").shape == shape
        assert set(np.unique(mask(out / f"{name}.png"))) == {0, 255}
    np.testing.assert_array_equal(mask(out / "gray.png"), bright(ramp()))
    np.testing.assert_array_equal(mask(out / "moving.png"), bright(ramp()))
    pages = tifffile.imread(out / "stack.tiff", key=slice(None))
    np.testing.assert_array_equal(pages, [bright(ramp(seed=k)) for k in range(3)])
    with tifffile.TiffFile(out / "stack.tiff") as file:
        assert {page.compression.name for page in file.pages} == {"ADOBE_DEFLATE"}
    assert told.code == 1
    assert told.err.startswith("segexp: 1 of 10 images could not be predicted: cut.png (cannot be read (")
    assert "All others were. Fix or remove these files" in told.err
    assert told.err.count("\n") == 1
    lines = told.out.splitlines()
    assert lines[0] == lines[-1] == "Masks: out"
    assert "Input: in put, 10 images" in lines
    assert any(line.startswith("9 images predicted (14 pages and slices) in ") for line in lines)


def test_a_volume_keeps_its_geometry(run, mixed, predict, tmp_path, ramp):
    predict(f"checkpoint={run}", "input='in put/scan.nii.gz'", "output=out")
    labels, image = nibabel.load(tmp_path / "out" / "scan.nii.gz"), nibabel.load(mixed / "scan.nii.gz")
    assert labels.shape == (30, 20, 4)
    assert labels.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(labels.affine, image.affine)
    np.testing.assert_array_equal(labels.header.get_zooms(), image.header.get_zooms())
    # int16 values become float32 and the training's range 0 to 255 is theirs too
    np.testing.assert_array_equal(np.asarray(labels.dataobj)[..., 2], (bright(ramp(20, 30, 2)) // 255).T)


def test_the_review_puts_what_is_odd_at_the_top(run, mixed, predict, tmp_path):
    told = predict(f"checkpoint={run}", "input='in put'", "output=out")
    found = rows(tmp_path / "out")
    flags = {row["image"]: row["flags"] for row in found}
    assert len(found) == 7 + 3 + 4 + 1
    assert [bool(row["flags"]) for row in found] == sorted((bool(row["flags"]) for row in found), reverse=True)
    plain = [float(row["entropy"]) for row in found if not row["flags"]]
    assert plain == sorted(plain, reverse=True)
    assert flags["cut.png"].startswith("not predicted: ")
    assert flags["deep/er/16 bit.png"].startswith("16-bit values, training images were 8-bit; bright: mean")
    assert flags["photo.JPG"] == flags["rgb.png"] == "in colour, training images were gray"
    assert flags["gray.png"] == flags["stack.tiff[1]"] == ""
    assert flags["scan.nii.gz[0]"] == "floating point values, training images were 8-bit"
    gray = next(row for row in found if row["image"] == "gray.png")
    assert (gray["mask"], gray["size"], gray["disagreement"]) == ("gray.png", "40x48", "")
    assert float(gray["share_liver"]) == pytest.approx((mask(tmp_path / "out" / "gray.png") > 0).mean(), abs=1e-4)
    assert "7 images unlike the training images: look at the top of out/review.csv" in told.out


def test_everything_that_can_be_asked_for(tmp_path, make_trained_run, predict, ramp, save):
    run = make_trained_run(tmp_path / "three", classes=3)
    save(tmp_path / "in" / "a.png")
    tifffile.imwrite(tmp_path / "in" / "s.tif", np.stack([ramp(seed=k) for k in range(2)]), photometric="minisblack")
    extras = ("overlay=true", "probabilities=true", "labels=true", "panel=true", "uncertainty=true")
    assert predict(f"checkpoint={run}", "input=in", "output=out", "suffix=_seg", *extras).code == 0
    out = tmp_path / "out"
    each = ["overlay/{}.png", "panels/{}.png", "probabilities/{}.npz", "uncertainty/{}.npz", "uncertainty/{}.png"]
    names = [line.format(name) for line in each for name in ("a_seg", "s_seg/0000", "s_seg/0001")]
    assert tree(out) == sorted([*names, "a_seg.png", "s_seg.tif", "labels/a_seg.png", "labels/s_seg.tif", "review.csv"])
    classes = np.digitize(ramp() / 255, [0.335, 0.665]).astype(np.uint8)
    assert mode(out / "a_seg.png") == "P"
    np.testing.assert_array_equal(mask(out / "a_seg.png"), classes)
    assert read_image(Source(out / "a_seg.png"))[0, -1].tolist() == [86, 180, 233]
    np.testing.assert_array_equal(mask(out / "labels" / "a_seg.png"), classes)
    assert mode(out / "labels" / "a_seg.png") == "L"
    assert mode(out / "s_seg.tif") == "P"
    np.testing.assert_array_equal(tifffile.imread(out / "labels" / "s_seg.tif", key=0), mask(out / "s_seg.tif"))
    with np.load(out / "probabilities" / "a_seg.npz") as file:
        stored = dict(file)
    assert stored["probabilities"].dtype == np.float16
    np.testing.assert_array_equal(stored["probabilities"].argmax(0), classes)
    assert stored["classes"].tolist() == ["background", "liver", "tumour"]
    with np.load(out / "uncertainty" / "a_seg.npz") as file:
        unsure = file["uncertainty"]
    assert (unsure.shape, unsure.dtype) == ((40, 48), np.float16)
    assert 0 <= unsure.min() < 0.1 < 0.5 < unsure.max() <= 1
    assert mask(out / "uncertainty" / "a_seg.png").shape[0] == 160
    assert mask(out / "overlay" / "a_seg.png").shape == (40, 48, 3)
    assert mask(out / "overlay" / "a_seg.png")[5, 1].tolist() == [ramp()[5, 1]] * 3


def test_probabilities_as_tiff(run, predict, tmp_path, save):
    save(tmp_path / "in" / "a.png")
    predict(f"checkpoint={run}", "input=in", "output=out", "probabilities=tiff")
    pages = tifffile.imread(tmp_path / "out" / "probabilities" / "a.tif", key=slice(None))
    assert (pages.shape, pages.dtype) == ((2, 40, 48), np.float16)
    np.testing.assert_allclose(pages.sum(0, dtype=np.float32), 1, atol=2e-3)


def test_pages_are_channels_where_their_number_is_the_networks(tmp_path, make_trained_run, predict, ramp):
    three, gray = make_trained_run(tmp_path / "three", channels=3), make_trained_run(tmp_path / "gray")
    (tmp_path / "in").mkdir()
    pages = np.stack([ramp(seed=k) for k in range(3)])
    tifffile.imwrite(tmp_path / "in" / "s.tif", pages, photometric="minisblack")
    assert predict(f"checkpoint={three}", "input=in", "output=out").code == 0
    np.testing.assert_array_equal(mask(tmp_path / "out" / "s.png"), bright(pages.mean(0)))
    assert predict(f"checkpoint={gray}", "input=in", "output=other").code == 0
    assert tree(tmp_path / "other") == ["review.csv", "s.tif"]


def test_a_geotiff_of_four_bands_with_overviews_has_one_mask_in_its_place(tmp_path, make_trained_run, predict, ramp):
    run = make_trained_run(tmp_path / "run", channels=4)
    (tmp_path / "in").mkdir()
    tags = [(33550, 12, 3, (10.0, 10.0, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 54e5, 0.0), True)]
    bands = np.dstack([ramp(seed=k) for k in range(4)])
    with tifffile.TiffWriter(tmp_path / "in" / "s.tif") as file:
        options = {"photometric": "rgb", "extrasamples": ["unassalpha"], "metadata": None}
        file.write(bands, extratags=tags, **options)
        file.write(bands[::2, ::2], subfiletype=1, **options)
    assert predict(f"checkpoint={run}", "input=in", "output=out", "labels=true", "probabilities=tiff").code == 0
    np.testing.assert_array_equal(mask(tmp_path / "out" / "s.tif"), bright(bands.mean(2)))
    assert tree(tmp_path / "out") == ["labels/s.tif", "probabilities/s.tif", "review.csv", "s.tif"]
    for name, pages in (("s.tif", 1), ("labels/s.tif", 1), ("probabilities/s.tif", 2)):
        with tifffile.TiffFile(tmp_path / "out" / name) as file:
            assert len(file.pages) == pages
            assert all(page.tags.valueof(tag[0]) == tag[3] for page in file.pages for tag in tags)


def test_a_rerun_does_what_is_missing(run, mixed, predict, tmp_path):
    (mixed / "cut.png").unlink()
    words = (f"checkpoint={run}", "input='in put'", "output=out")
    assert predict(*words).code == 0
    out = tmp_path / "out"
    before = {name: (out / name).stat().st_mtime_ns for name in tree(out)}
    first = rows(out)
    (out / "gray.png").unlink()
    told = predict(*words)
    assert "1 image predicted in" in told.out
    assert "; 8 done before (overwrite=true predicts them again)" in told.out
    again = {name: (out / name).stat().st_mtime_ns for name in tree(out)}
    assert {name for name in before if before[name] != again[name]} == {"gray.png", "review.csv"}
    assert rows(out) == first, "rows of skipped images are kept"
    told = predict(*words, "overlay=true")
    assert "9 images predicted" in told.out, "an output that was not asked for before is missing"
    assert "0 images predicted" in predict(*words, "overlay=true").out
    assert "9 images predicted" in predict(*words, "overlay=true", "overwrite=true").out


def test_a_broken_picture_is_tried_again(run, predict, tmp_path, save):
    save(tmp_path / "in" / "a.png")
    whole = (tmp_path / "in" / "a.png").read_bytes()
    (tmp_path / "in" / "b.png").write_bytes(whole[:500])
    assert predict(f"checkpoint={run}", "input=in", "output=out").code == 1
    (tmp_path / "in" / "b.png").write_bytes(whole)
    assert predict(f"checkpoint={run}", "input=in", "output=out").code == 0
    assert [row["flags"] for row in rows(tmp_path / "out")] == ["", ""]


def test_equal_names_keep_their_formats(run, predict, tmp_path, save):
    for name in ("a.jpg", "a.png", "b.png"):
        save(tmp_path / "in" / name)
    told = predict(f"checkpoint={run}", "input=in", "output=out")
    assert tree(tmp_path / "out") == ["a.jpg.png", "a.png.png", "b.png", "review.csv"]
    assert "2 files are called alike but for their format, and keep it in their outputs' names: a.jpg, a.png" in told.out


def test_several_inputs_get_a_folder_each(run, predict, tmp_path, save):
    for name in ("x/scans/a.png", "y/scans/a.png", "z/b.png"):
        save(tmp_path / name)
    told = predict(f"checkpoint={run}", "input=[x/scans,y/scans,z]", "output=out")
    assert told.code == 0
    names = ["x/scans/a.png", "x/scans/review.csv", "y/scans/a.png", "y/scans/review.csv", "z/b.png", "z/review.csv"]
    assert tree(tmp_path / "out") == names
    assert told.out.splitlines()[0] == "Masks: out/x/scans, out/y/scans, out/z"
    assert predict(f"checkpoint={run}", "input=[x/scans,z]", "output=[one,two]").code == 0
    assert tree(tmp_path / "two") == ["b.png", "review.csv"]


def test_masks_beside_their_images_are_left_out_and_shown_as_truth(run, predict, tmp_path, ramp, save):
    save(tmp_path / "val" / "1.png")
    save(tmp_path / "val" / "1_mask.png", bright(ramp()))
    told = predict(f"checkpoint={run}", "input=val", "output=out", "panel=true")
    assert "Input: val, 1 image\n  1 file left out (masks of images here): 1_mask.png\n" in told.out
    assert tree(tmp_path / "out") == ["1.png", "panels/1.png", "review.csv"]
    assert mask(tmp_path / "out" / "panels" / "1.png").shape[1] == 3 * (461 + 10) + 10
    assert predict(f"checkpoint={run}", "input=val/1_mask.png", "output=named", "check=false").code == 0
    assert tree(tmp_path / "named") == ["1_mask.png", "review.csv"], "what is named itself is predicted"


def test_truth_elsewhere(run, predict, tmp_path, ramp, save):
    save(tmp_path / "in" / "sub" / "1.png")
    save(tmp_path / "truth" / "sub" / "1_label.png", bright(ramp()))
    wide = 3 * (461 + 10) + 10
    for number, truth in enumerate(("truth", '"truth/{id}_label.png"', '"truth/sub/{id}_label.*"')):
        told = predict(f"checkpoint={run}", "input=in", f"output=out{number}", "panel=true", f"truth={truth}")
        assert told.code == 0
        assert mask(tmp_path / f"out{number}" / "panels" / "sub" / "1.png").shape[1] == wide
    save(tmp_path / "truth" / "sub" / "1_label.png", np.full((40, 48), 9, np.uint8))
    told = predict(f"checkpoint={run}", "input=in", "output=odd", "panel=true", "truth=truth")
    assert told.code == 0
    assert "1 panel without truth: truth/sub/1_label.png has 1920 pixels of the value 9, which no class claims" in told.out


def test_input_and_output_in_one_folder(run, predict, tmp_path, save):
    save(tmp_path / "in" / "a.png")
    save(tmp_path / "in" / "b.jpg")
    told = predict(f"checkpoint={run}", "input=in", "output=in")
    assert told.code == 2
    assert "What is predicted for in/a.png would be written over in/a.png, which is there already" in told.err
    words = (f"checkpoint={run}", "input=in", "output=in", "suffix=_pred", "overlay=true")
    assert predict(*words).code == 0
    names = ["a.png", "a_pred.png", "b.jpg", "b_pred.png", "overlay/a_pred.png", "overlay/b_pred.png", "review.csv"]
    assert tree(tmp_path / "in") == names
    told = predict(*words)
    assert "2 done before" in told.out
    assert "Input: in, 2 images\n  4 files left out (written by an earlier run): a_pred.png" in told.out
    assert tree(tmp_path / "in") == names
    (tmp_path / "in" / "review.csv").unlink()
    shutil.rmtree(tmp_path / "in" / "overlay")
    assert predict(*words[:4], "overwrite=true").code == 0, "known by their suffix"


def test_a_truth_is_never_written_over(run, predict, tmp_path, ramp, save):
    save(tmp_path / "in" / "a.png")
    truth = save(tmp_path / "in" / "a_mask.png", bright(ramp().T[:40].T)).read_bytes()
    told = predict(f"checkpoint={run}", "input=in", "output=in", "suffix=_mask", "overwrite=true")
    assert told.code == 2
    assert "would be written over in/a_mask.png, which is there already as image or mask" in told.err
    assert (tmp_path / "in" / "a_mask.png").read_bytes() == truth


def test_masks_without_suffix_beside_images_of_another_format(run, predict, tmp_path, save):
    save(tmp_path / "in" / "a.jpg")
    for expected in ("1 image predicted", "1 done before"):
        told = predict(f"checkpoint={run}", "input=in", "output=in")
        assert (told.code, expected in told.out) == (0, True)
    assert tree(tmp_path / "in") == ["a.jpg", "a.png", "review.csv"]


def test_an_output_folder_inside_the_input_is_not_read(run, predict, tmp_path, save):
    save(tmp_path / "in" / "a.png")
    for _ in range(2):
        assert predict(f"checkpoint={run}", "input=in", "output=in/masks", "overwrite=true").code == 0
    assert tree(tmp_path / "in") == ["a.png", "masks/a.png", "masks/review.csv"]


def test_an_input_inside_the_output_folder(run, predict, tmp_path, save):
    save(tmp_path / "data" / "raw" / "a.png")
    assert predict(f"checkpoint={run}", "input=data/raw", "output=data").code == 0
    assert tree(tmp_path / "data") == ["a.png", "raw/a.png", "review.csv"]


def test_postprocessing_is_what_was_typed(run, predict, tmp_path, save):
    picture = np.zeros((40, 48), np.uint8)
    picture[5:20, 5:20], picture[10:12, 10:12], picture[30:33, 30:33] = 200, 0, 200
    picture[35:, :] = np.arange(48) * 2  # so that it is no mask
    save(tmp_path / "in" / "a.png", picture)

    def foreground(*words):
        told = predict(f"checkpoint={run}", "input=in", "output=out", "overwrite=true", *words)
        assert told.code == 0, told.err
        return (mask(tmp_path / "out" / "a.png") > 0).sum(), told.out

    assert foreground()[0] == 225 - 4 + 9
    assert foreground("postprocess.min_area=10")[0] == 221
    assert (
        "post-processing: only the largest component of each class, holes filled"
        in foreground("postprocess={largest_component: true, fill_holes: true}")[1]
    )
    assert foreground("postprocess.threshold=0.99999")[0] == 0
    assert foreground("postprocess=none")[0] == 230


def test_an_ensemble_and_views(tmp_path, make_trained_run, predict, save):
    for number, shift in enumerate((0.0, 0.2)):
        make_trained_run(tmp_path / "study" / f"job{number}", shift=shift)
    save(tmp_path / "in" / "a.png")
    assert predict("checkpoint=[study/job0,study/job1]", "input=in", "output=two").code == 0
    told = predict("checkpoint=study", "input=in", "output=out", "tta=flips", "uncertainty=true")
    assert told.code == 0
    assert "study/job0/checkpoints/best.ckpt, study/job1/checkpoints/best.ckpt (background, liver, 8 views)" in told.out
    (row,) = rows(tmp_path / "out")
    assert 0 < float(row["disagreement"]) < 1
    assert 0 < float(row["mutual_information"]) <= float(row["entropy"]) < 1
    np.testing.assert_array_equal(mask(tmp_path / "two" / "a.png"), mask(tmp_path / "out" / "a.png"))


def test_the_window_can_be_typed(tmp_path, make_trained_run, predict, save, ramp):
    run = make_trained_run(tmp_path / "run", data={"max_pixels": 1 << 20})
    save(tmp_path / "in" / "a.png", ramp(200, 300))
    for pixels in (4096, 0):
        words = (f"checkpoint={run}", "input=in", "output=out", f"max_pixels={pixels}", "overwrite=true")
        assert predict(*words).code == 0
        np.testing.assert_array_equal(mask(tmp_path / "out" / "a.png"), bright(ramp(200, 300)))


def test_without_nibabel_only_the_volume_fails(run, predict, tmp_path, save, monkeypatch):
    save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "v.nii.gz").write_bytes(gzip.compress(b"anything"))
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    told = predict(f"checkpoint={run}", "input=in", "output=out")
    assert told.code == 1
    assert "1 of 2 images could not be predicted: v.nii.gz (is a NIfTI volume, and the package nibabel" in told.err
    assert (tmp_path / "out" / "a.png").is_file()


@pytest.fixture
def many(tmp_path, save, ramp):
    """Twenty pictures in `in`."""
    for k in range(20):
        save(tmp_path / "in" / f"{k}.png", ramp(seed=k))
    return tmp_path / "in"


def killed(folder, count):
    """Leave a folder as a killed process does: a mask without a row, a row that is cut off, a part, and its state."""
    lines = (folder / "review.csv").read_text().splitlines(keepends=True)
    (folder / "review.csv").write_text("".join(lines[: count + 1]) + lines[count + 1][:9])
    for line in lines[count + 3 :]:
        (folder / line.partition(",")[0]).unlink()
    (folder / f".7.png.{2**22 + 7}.140.part").touch()
    (folder / ".segexp-predict").mkdir()
    (folder / ".segexp-predict" / "log.jsonl").write_text("{")


def test_no_row_is_lost_by_a_killed_process(run, many, predict, tmp_path):
    words = (f"checkpoint={run}", "input=in", "output=out")
    assert predict(*words).code == 0
    whole = (tmp_path / "out" / "review.csv").read_text()
    killed(tmp_path / "out", 7)
    told = predict(*words)
    assert (told.code, told.err) == (0, "")
    assert "13 images predicted in" in told.out, "two of them have a mask without a row"
    assert "; 7 done before (overwrite=true predicts them again)" in told.out
    assert tree(tmp_path / "out") == sorted([*(f"{k}.png" for k in range(20)), "review.csv"])
    assert (tmp_path / "out" / "review.csv").read_text() == whole


def test_rows_are_written_as_masks_are(run, many, predict, tmp_path, monkeypatch):
    seen = []

    def watched(job, *rest):
        out = tmp_path / "out"
        with suppress(FileNotFoundError):
            seen.append(len(list(out.glob("*.png"))) - len(rows(out)))
        return load_image(job, *rest)

    monkeypatch.setattr("segexp.inference.folder.load_image", watched)
    assert predict(f"checkpoint={run}", "input=in", "output=out").code == 0
    assert max(seen) <= 2, "of each thread that writes, one mask at most is without its row"


def test_sigterm_says_what_is_left_and_how_to_go_on(run, many, predict, tmp_path, monkeypatch):
    def stopping(writer, job, *rest):
        if job.image == "12.png":
            os.kill(os.getpid(), signal.SIGTERM)
        return _extras(writer, job, *rest)

    words = (f"checkpoint={run}", "input=in", "output=out", "overwrite=true")
    with monkeypatch.context() as patch:
        patch.setattr("segexp.inference.folder._extras", stopping)
        told = predict(*words)
    assert (told.code, told.err) == (143, "")
    left = int(
        re.search(
            r"\nStopped by SIGTERM, (\d+) images left; what is written is complete\. The same command, without "
            r"overwrite=true, goes on with the rest\nMasks: out\n$",
            told.out,
        )[1]
    )
    assert f"{20 - left} images predicted in" in told.out
    assert 0 < left <= 20
    assert len(rows(tmp_path / "out")) == len(list((tmp_path / "out").glob("*.png"))) == 20 - left
    assert not list((tmp_path / "out").glob(".*"))
    assert f"{left} images predicted in" in predict(*words[:3]).out


def test_two_at_the_same_time_share_the_images(run, many, predict, tmp_path, capfd):
    """Threads stand for processes: each has a lock of its own."""
    from segexp.api.predict import predict as call

    reports = [None, None]
    together = threading.Barrier(2)

    def work(number):
        together.wait(30)
        reports[number] = call(run, "in", output="out", gpus=0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    done = [report.done for report in reports]
    assert sum(done) <= 20
    out = capfd.readouterr().out
    said = [
        (int(a), int(b or 0), int(c or 0))
        for a, b, c in re.findall(
            r"(\d+) images? predicted in [\d.]+ s(?: \([^)]*\))?(?:; (\d+) by process \d+ on [^;\n]+)?(?:; (\d+) done before)?",
            out,
        )
    ]
    assert sorted(each[0] for each in said) == sorted(done)
    assert {sum(each) for each in said} == {20}, out
    assert tree(tmp_path / "out") == sorted([*(f"{k}.png" for k in range(20)), "review.csv"])
    shared = (tmp_path / "out" / "review.csv").read_text()
    assert predict(f"checkpoint={run}", "input=in", "output=alone").code == 0
    assert (tmp_path / "alone" / "review.csv").read_text() == shared, "complete and in order"


def test_another_network_or_other_settings_in_one_folder_are_refused(run, predict, tmp_path, save, make_trained_run):
    save(tmp_path / "in" / "a.png")
    assert predict(f"checkpoint={run}", "input=in", "output=out").code == 0
    before = (tmp_path / "out" / "a.png").read_bytes()
    other = make_trained_run(tmp_path / "other", shift=0.3)
    for words in (
        (f"checkpoint={other}",),
        (f"checkpoint={run}", "tta=flips"),
        (f"checkpoint={run}", "postprocess.min_area=9"),
    ):
        told = predict(*words, "input=in", "output=out")
        assert (told.code, told.out) == (2, "")
        assert told.err.startswith("segexp: out/review.csv lists 1 mask of another network or other settings (network ")
        assert told.err.endswith("Type output=DIR with another folder, or overwrite=true to predict all images again.\n")
    assert (tmp_path / "out" / "a.png").read_bytes() == before
    shutil.copytree(run, tmp_path / "moved")
    assert "1 done before" in predict("checkpoint=moved", "input=in", "output=out").out, "the same network elsewhere"
    told = predict(f"checkpoint={other}", "input=in", "output=out", "overwrite=true")
    assert "1 image predicted" in told.out
    assert "1 done before" in predict(f"checkpoint={other}", "input=in", "output=out").out


def test_masks_of_a_version_without_settings_are_kept_and_it_is_said(run, many, predict, tmp_path):
    assert predict(f"checkpoint={run}", "input=in", "output=out").code == 0
    table = tmp_path / "out" / "review.csv"
    table.write_text("".join(line.rpartition(",")[0] + "\n" for line in table.read_text().splitlines()))
    told = predict(f"checkpoint={run}", "input=in", "output=out", "tta=flips")
    assert "20 masks of a version that did not record network and settings: kept as done\n" in told.out
    assert "20 done before" in told.out


def test_volumes_are_sliced_as_in_training_and_written_in_their_own_order(make_trained_run, predict, tmp_path, ramp):
    run = make_trained_run(tmp_path / "run", data={"orientation": "RAS"})
    volume = np.stack([ramp(seed=k).T for k in range(3)], axis=2).astype(np.int16)
    affine = np.diag([0.8, 0.8, 5, 1.0])
    stored = {
        "ras": (volume, affine),
        "sra": (volume.transpose(2, 0, 1), affine[:, [2, 0, 1, 3]]),
        "lps": (volume[::-1, ::-1], affine @ np.array([[-1, 0, 0, 47], [0, -1, 0, 39], [0, 0, 1, 0], [0, 0, 0, 1.0]])),
    }
    (tmp_path / "in").mkdir()
    for name, (array, where) in stored.items():
        nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(array), where), tmp_path / "in" / f"{name}.nii.gz")
    assert predict(f"checkpoint={run}", "input=in", "output=out").code == 0
    found = rows(tmp_path / "out")
    assert len(found) == 9
    assert {row["size"] for row in found} == {"40x48"}
    for name, (array, where) in stored.items():
        labels = nibabel.load(tmp_path / "out" / f"{name}.nii.gz")
        np.testing.assert_allclose(labels.affine, where)
        np.testing.assert_array_equal(np.asarray(labels.dataobj), array >= 128, name)


def test_photographs_are_read_as_in_training(make_trained_run, predict, tmp_path, ramp):
    photo, exif = ramp(40, 48), Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "in").mkdir()
    Image.fromarray(photo).save(tmp_path / "in" / "a.png", exif=exif)
    Image.fromarray(photo).save(tmp_path / "in" / "b.tif", tiffinfo={274: 6})
    turned = np.rot90(photo, -1)
    runs = {how: make_trained_run(tmp_path / how, data={"exif": how}) for how in ("apply", "ignore")}
    for how, expected in (("apply", turned), ("ignore", photo)):
        assert predict(f"checkpoint={runs[how]}", "input=in", f"output={how}_out").code == 0
        for name in ("a.png", "b.png"):
            np.testing.assert_array_equal(mask(tmp_path / f"{how}_out" / name), bright(expected))
            assert exif_orientation(Source(tmp_path / f"{how}_out" / name)) == 1
        segmenter = load_segmenter(runs[how] / "checkpoints" / "best.ckpt")
        np.testing.assert_array_equal(segmenter.predict(tmp_path / "in" / "a.png") * np.uint8(255), bright(expected))
    told = predict(f"checkpoint=[{runs['apply']},{runs['ignore']}]", "input=in", "output=both")
    assert told.code == 2
    assert "Some of the networks were trained with data.exif=apply, the others with data.exif=ignore" in told.err


def test_pixels_without_data_are_left_out_by_the_tag_or_the_key(make_trained_run, predict, tmp_path):
    """They are background, and 0 in the probabilities; they change no other pixel and raise no flag."""
    run = make_trained_run(tmp_path / "run", data={"nodata": -32768}, value_range=(5000.0, 8000.0))
    gray = np.random.default_rng(0).uniform(5000, 8000, (40, 48)).astype(np.float32)
    (tmp_path / "in").mkdir()
    for name, value, tag in (("tag", -9999, "-9999"), ("nan", np.nan, "nan"), ("key", -32768, None)):
        array = gray.copy()
        array[:, :9] = value
        save_tiff(tmp_path / f"in/{name}.tif", array, tag)
    assert predict(f"checkpoint={run}", "input=in", "output=out", "probabilities=true").code == 0
    valid, bright = np.mgrid[:40, :48][1] > 8, gray > 6500
    for name in ("tag", "nan", "key"):
        np.testing.assert_array_equal(mask(tmp_path / f"out/{name}.png"), 255 * (valid & bright), name)
        with np.load(tmp_path / f"out/probabilities/{name}.npz") as stored:
            assert not stored["probabilities"][:, ~valid].any()
    assert {row["flags"] for row in rows(tmp_path / "out")} == {""}
