"""The predict command on a trained network: the masks that validation scored, what it refuses, and how it is interrupted."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from segexp import __version__
from segexp.cli.predict import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["bf16-mixed", "32"])
def run(request, tmp_path_factory, train, small):
    """A run of three epochs, in each precision that a CPU has; its images are smaller than those it works on."""
    run = tmp_path_factory.mktemp("predicting") / "run"
    words = (f"trainer.precision={request.param}", "trainer.max_epochs=3", "data.size=56", f"run_dir={run}")
    assert train(*small, *words) == 0
    return run


@pytest.fixture(scope="module")
def one(tmp_path_factory, train, small):
    """Another run, for what does not depend on the precision."""
    run = tmp_path_factory.mktemp("one") / "run"
    assert train(*small, "trainer.max_epochs=1", f"run_dir={run}") == 0
    return run


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """Type a predict command that is refused; returns exit code and paragraph."""
    monkeypatch.chdir(tmp_path)

    def command(*words):
        code = main([str(word) for word in words])
        out, err = capfd.readouterr()
        assert (out, err.count("\n")) == ("", 1), (out, err)
        assert not (tmp_path / "out").exists()
        return code, err.removeprefix("segexp: ").rstrip("\n")

    return command


def rows(folder):
    with (folder / "review.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read(path):
    from segexp.data.io.images import read_mask
    from segexp.types import Source

    return read_mask(Source(path), indices=True)


def scored(run, root):
    """The masks that scoring the validation split sees, and their confusion matrices."""
    from segexp.checkpoint import load_segmenter
    from segexp.data.cache import UncachedStore
    from segexp.data.dataset import EvalDataset
    from segexp.data.layout.pairing import find_data_cases
    from segexp.data.statistics import make_reader
    from segexp.evaluation.scoring import score_cases

    segmenter = load_segmenter(run)
    data = segmenter.origin.config.data.changed(root=str(root))
    cases = [case for case in find_data_cases(data) if case.split == "val"]
    prepared = EvalDataset(UncachedStore(make_reader(data), cases), range(len(cases)), segmenter.preprocessing)
    masks = score_cases(segmenter, prepared, range(len(cases))).kept
    return {case.image.path: masks[position] for position, case in enumerate(cases)}


def test_the_masks_are_those_that_validation_scored(run, slices, tmp_path):
    assert main([f"checkpoint={run}", f"input={slices / 'val'}", f"output={tmp_path / 'out'}", "labels=true", "gpus=0"]) == 0
    expected = scored(run, slices)
    assert len(expected) == 5
    assert len({mask.sum() for mask in expected.values()}) > 1, "they tell something"
    for image, mask in expected.items():
        np.testing.assert_array_equal(read(tmp_path / "out" / image.name), mask * 255)
        np.testing.assert_array_equal(read(tmp_path / "out" / "labels" / image.name), mask)
    dice = []
    for image, mask in expected.items():
        truth = read(image.with_name(f"{image.stem}_mask.png")) == 255
        dice.append(2 * (truth & (mask == 1)).sum() / (truth.sum() + (mask == 1).sum()))
    with (run / "cases.csv").open(newline="") as file:
        logged = [float(row["dice"]) for row in csv.DictReader(file) if row["split"] == "val" and row["class"] == "liver"]
    assert sorted(dice) == pytest.approx(sorted(logged), abs=1e-6)


def test_masks_beside_the_images_are_no_images(one, slices, tmp_path, capfd):
    for folder, images in ((slices / "val", 5), (slices, 10)):
        assert main([f"checkpoint={one}", f"input={folder}", f"output={tmp_path / folder.name}", "gpus=0"]) == 0
        out = capfd.readouterr().out
        assert f"Input: {folder}, {images} images\n  {images} files left out (masks of images here): " in out
        assert len(rows(tmp_path / folder.name)) == images
        assert {row["flags"] for row in rows(tmp_path / folder.name)} == {""}


REFUSED = [
    (["input=in"], 2, "output has no value. It has no default. Type output=VALUE."),
    (["input=in", "output=out", "tta=flip"], 2, "tta is 'flip' (text); expected none | flips | dihedral."),
    (
        ["input=in", "output=out", "probabilities=zip"],
        2,
        "probabilities is 'zip' (text); expected true or false or npz",
    ),
    (["input=in", "output=out", "postprocess.min_aera=3"], 2, "postprocess.min_aera is not a key of this configuration. "),
    (["input=in", "output=out", "postprocess={min_area: -3}"], 2, "postprocess.min_area is -3 (a whole number); expected "),
    (["input=in", "output=out", "postprocess=largest"], 2, "postprocess is 'largest' (text); expected stored | none or "),
    (["input=in", "output=out", "truth=in"], 2, "truth is shown in the panels alone. Type panel=true, or leave truth out."),
    (["input=in", "output=out", "-m"], 2, "-m is on the command line. Several checkpoints make an ensemble. Type "),
    (
        ["input=nowhere", "output=out"],
        1,
        "input=nowhere does not exist (from {here}). A folder of pictures, ",
    ),
    (["input=empty", "output=out"], 1, "input=empty holds no image; seen there: notes.txt. Files ending in png, jpg, "),
    (["input=in", "output=in"], 2, "What is predicted for in/000.png would be written over in/000.png, which is there already"),
    (["input=in", "output=in/000.png/x"], 1, "in/000.png/x cannot be written (Not a directory). A folder that can be written "),
    (
        ["input=in", "output=mask.png"],
        2,
        "output=mask.png names a file. A folder was expected: masks have their ",
    ),
    (
        ["input=masks", "output=out"],
        1,
        "The first 5 files hold only a handful of different values, as masks do: 000.png (2), 001.png (2), 002.png (2) and "
        "2 more. Images with many values, like those of the training, were expected. Type input=DIR with the folder of the "
        "images; or check=false if these are the images.",
    ),
]


@pytest.mark.parametrize(
    ("words", "code", "paragraph"), REFUSED, ids=lambda value: "_".join(value) if isinstance(value, list) else ""
)
def test_what_is_refused(one, slices, refused, tmp_path, words, code, paragraph):
    for path in (slices / "val").glob("*.png"):
        mask = path.stem.endswith("_mask")
        target = tmp_path / ("masks" if mask else "in") / path.name.replace("_mask", "")
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    found = refused(f"checkpoint={one}", *words)
    assert found[0] == code
    assert found[1].startswith(paragraph.replace("{here}", str(tmp_path)))
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == [f"00{k}.png" for k in range(5)]


def test_checkpoints_that_are_refused(one, refused, tmp_path):
    words = ("input=in", "output=out")
    assert refused(*words) == (2, "checkpoint has no value. It has no default. Type checkpoint=VALUE.")
    code, text = refused("checkpoint=gone", *words)
    assert (code, text[:32]) == (1, "checkpoint=gone does not exist. ")
    (tmp_path / "broken.ckpt").write_bytes((one / "checkpoints" / "best.ckpt").read_bytes()[:500])
    code, text = refused("checkpoint=broken.ckpt", *words)
    assert (code, text[:44]) == (1, "broken.ckpt cannot be read as a checkpoint: ")


def test_another_number_of_channels(one, tmp_path, monkeypatch, capfd):
    import tifffile

    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    tifffile.imwrite("in/five.tif", np.zeros((5, 40, 40), np.uint8), photometric="minisblack", planarconfig="separate")
    assert main([f"checkpoint={one}", "input=in", "output=out", "gpus=0"]) == 1
    assert capfd.readouterr().err == (
        "segexp: 1 of 1 image could not be predicted: five.tif (has 5 channels, and the network takes 1). Fix or remove these "
        "files; the same command then continues.\n"
    )
    assert [row["flags"] for row in rows(tmp_path / "out")] == [
        "not predicted: in/five.tif has 5 channels, and the network takes 1"
    ]


def test_an_interruption_leaves_whole_files_and_the_command_goes_on(one, slices, tmp_path, start):
    (tmp_path / "in").mkdir()
    for number in range(400):
        os.link(slices / "val" / "000.png", tmp_path / "in" / f"{number}.png")
    words = [f"checkpoint={one}", "input=in", "output=out", "overlay=true", "gpus=0"]
    process = start("predict", words, tmp_path)
    process.until(lambda: len(list((tmp_path / "out").glob("*.png"))) >= 5)
    os.kill(process.pid, signal.SIGINT)
    code, out, err = process.ended()
    assert (code, err) == (130, "")
    assert out.splitlines()[-1] == "Masks: out"
    masks = [path for path in (tmp_path / "out").iterdir() if path.suffix == ".png"]
    assert 5 <= len(masks) < 400
    assert {read(path).shape for path in masks} == {(64, 64)}
    assert not list((tmp_path / "out").rglob("*.part"))
    code, out, err = start("predict", words, tmp_path).ended()
    assert (code, err) == (0, "")
    assert " done before (overwrite=true predicts them again)" in out
    assert len(list((tmp_path / "out").glob("*.png"))) == len(list((tmp_path / "out" / "overlay").glob("*.png"))) == 400
    assert len(rows(tmp_path / "out")) == 400


def test_neither_lightning_nor_matplotlib_is_imported(one, slices, tmp_path):
    words = [f"checkpoint={one}", f"input={slices / 'val'}", f"output={tmp_path}", "overlay=true", "gpus=0"]
    code = f"import sys; from segexp.cli.predict import main; print(main({words!r})); print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-2] == "0", done.stderr
    assert not {"pytorch_lightning", "matplotlib", "albumentations", "nibabel", "scipy"} & set(done.stdout.split())


def test_help(capfd):
    assert main(["--help"]) == 0
    out = capfd.readouterr().out
    assert "python -m segexp.predict checkpoint=RUN_OR_FILE input=DIR output=DIR" in out
    assert out.endswith(f"segexp {__version__}\n")
    assert max(map(len, out.splitlines())) <= 110


def test_the_help_names_every_key(capfd):
    from segexp.config.schema import PostprocessConfig, PredictConfig

    assert main(["--help"]) == 0
    named = set(re.findall(r"^  ([a-z_.]+)=", capfd.readouterr().out.partition("Keys\n")[2], flags=re.MULTILINE))
    plain = PredictConfig.model_fields.keys() - {"postprocess", "model"}
    assert named == {*plain, "model.prune_to", *(f"postprocess.{key}" for key in PostprocessConfig.model_fields)}


def test_liver_and_landcover(real_data, tmp_path, train):
    for name, folder, images, words in (
        ("liver", "liver/val", 20, ["data.size=64"]),
        ("landcover", "landcover/Tile 1", 5, ["data.size=64", "data.crop=48"]),
    ):
        run, out = tmp_path / name, tmp_path / f"{name}_out"
        data = [f"data={name}", f"data.root={real_data / name}", *words]
        tiny = [
            "model.width=4",
            "model.depth=2",
            "trainer.max_epochs=1",
            "data.batch_size=4",
            "trainer.gpus=0",
            "callbacks=none",
        ]
        assert train(*data, *tiny, "data.num_workers=0", f"run_dir={run}") == 0
        assert main([f"checkpoint={run}", f"input={real_data / folder}", f"output={out}", "panel=true", "gpus=0"]) == 0
        assert len(rows(out)) == len(list(out.rglob("panels/**/*.png"))) == images
