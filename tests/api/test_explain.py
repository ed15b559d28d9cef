"""The command on a small network: what it writes, says and refuses, and what a second time does."""

import csv
import re
import threading

import numpy as np
import pytest
import tifffile
import torch

from fixtures.configs import train_config
from segexp.checkpoint import describe
from segexp.cli.explain import main
from segexp.data.io.images import read_image, write_png
from segexp.data.preprocessing import Preprocessing
from segexp.explainability.folder import NAME
from segexp.models import UNet
from segexp.types import DataSpec, Source

FOUND = {"count": 4, "mean": [0.5], "std": [0.25], "low": [0.0], "high": [1.0], "p_low": [0.0], "p_high": [1.0]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose U-Net calls bright pixels cells: its way down is drawn at random, its last layer sees the image."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    model = {"_target_": "segexp.models.UNet", "in_channels": 1, "num_classes": 2, "width": 4, "depth": 3}
    network = UNet(1, 2, width=4, depth=3)
    for step in range(40):
        images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(step))
        images = torch.nn.functional.avg_pool2d(images, 5, 1, 2)
        if step == 0:
            optimizer = torch.optim.Adam(network.parameters(), 1e-2)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), (images[:, 0] > 0.5).long()).backward()
        optimizer.step()
    data = {"image": "{id}.png", "mask": "{id}_mask.png", "classes": {"background": 0, "cell": 255}, "max_pixels": 6000}
    data |= {"ignore": [], "threshold": None}
    spec = DataSpec("toy", ("background", "cell"), 1, ((0, 0, 0), (230, 159, 0)))
    config = train_config({"model": model, "trainer": {"channels_last": True}, "data": data})
    content = describe(config, spec, Preprocessing(1, None, (0.0, 255.0)), "ab12", "32", FOUND)
    (folder / "checkpoints").mkdir()
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": weights, "segexp": content}, folder / "checkpoints" / "best.ckpt")
    return folder


@pytest.fixture
def images(tmp_path):
    """`in/a.png` and `in/sub/b.png` with a bright disc each and masks beside them, `in/dark.png` without."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    y, x = np.mgrid[:40, :52]
    rng = np.random.default_rng(0)
    for name, centre in (("a", (12, 14)), ("sub/b", (25, 40)), ("dark", None)):
        disc = np.zeros((40, 52), bool) if centre is None else (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 64
        write_png(folder / f"{name}.png", (rng.integers(0, 60, disc.shape) + 180 * disc).astype(np.uint8))
        if centre is not None:
            write_png(folder / f"{name}_mask.png", (255 * disc).astype(np.uint8))
    return folder


@pytest.fixture
def explain(run, images, tmp_path, monkeypatch, capfd):
    """Type an explain command in the test's folder; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def typed(*words):
        given = {word.partition("=")[0] for word in words}
        usual = [w for w in (f"checkpoint={run}", "input=in", "output=out") if w.partition("=")[0] not in given]
        code = main([*usual, *words, "gpus=0"])
        return (code, *capfd.readouterr())

    typed.out = tmp_path / "out"
    return typed


def rows(folder):
    with (folder / NAME).open(newline="", encoding="utf-8") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_pictures_and_a_table(explain, run):
    code, out, err = explain("values=true")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == lines[-1] == "Explanations: out"
    assert lines[1:4] == [
        f"Network: {run}/checkpoints/best.ckpt (background, cell)",
        "Question: what speaks for cell, by seg_gradcam (layer down.1), its score over the pixels predicted as it",
        "Input: in, 3 images",
    ]
    assert "Nothing to explain in 1: dark.png: cell is not predicted in it" in lines
    found = rows(explain.out)
    assert list(found) == ["a.png", "dark.png", "sub/b.png"]
    assert found["dark.png"] | {"checkpoint": ""} == {
        **dict.fromkeys(found["dark.png"], ""),
        "file": "dark.png",
        "target": "cell",
        "method": "seg_gradcam",
        "layer": "layer down.1",
        "region": "predicted",
        "region_pixels": "0",
        "note": "cell is not predicted in it",
    }
    for name, row in found.items():
        if name != "dark.png":
            picture = explain.out / row["picture"]
            assert picture == explain.out / "seg_gradcam_cell" / name
            sheet = read_image(Source(picture))
            assert sheet.shape[1] > 4 * 300, "input, truth, prediction, heat"
            values = np.load(picture.with_suffix(".npz"))["values"]
            assert (values.shape, values.dtype) == ((40, 52), np.float32)
            peak = np.unravel_index(values.argmax(), values.shape)
            assert (int(row["peak_row"]), int(row["peak_column"])) == peak
            assert row["peak_inside"] in ("yes", "no")
            assert 0 <= float(row["inside"]) <= 1
            assert float(row["region_share"]) == pytest.approx(int(row["region_pixels"]) / 2080, abs=1e-4)
    assert not (explain.out / "seg_gradcam_cell" / "dark.png").exists()


def test_the_same_command_again_does_what_is_missing(explain):
    explain()
    picture = explain.out / "seg_gradcam_cell" / "a.png"
    before = {path: path.stat().st_mtime_ns for path in explain.out.rglob("*.png")}
    _, out, _ = explain()
    assert re.search(r"0 images explained in \d+\.\d s; 3 done before \(overwrite=true explains them again\)", out)
    picture.unlink()
    _, out, _ = explain()
    assert "1 image explained" in out
    assert picture.exists()
    others = {path: time for path, time in before.items() if path != picture}
    assert {path: path.stat().st_mtime_ns for path in others} == others
    assert len(rows(explain.out)) == 3
    assert "2 images explained" in explain("overwrite=true")[1]


def test_another_question_is_another_one(explain):
    explain()
    _, out, _ = explain("layer=up.0")
    assert "2 images explained" in out, "the same file, asked otherwise"
    assert {row["layer"] for row in rows(explain.out).values()} == {"layer up.0"}
    _, out, _ = explain("method=gradcam++", "values=true")
    assert "3 images explained" in out, "gradcam++ needs no region"
    with (explain.out / NAME).open(newline="") as file:
        kept = [(row["file"], row["method"]) for row in csv.DictReader(file)]
    assert len(kept) == 6
    assert "Note in 1: dark.png: cell is not predicted in it" in out


def test_values_asked_for_later_are_made(explain):
    explain()
    assert "2 images explained" in explain("values=true")[1]
    assert "0 images explained" in explain("values=true")[1]


def test_an_output_within_the_input_is_no_input(explain):
    for _ in range(2):
        code, out, _ = explain("output=in")
        assert code == 0
        assert "Input: in, 3 images" in out
    assert "3 done before" in out


@pytest.mark.parametrize("method", ["gradcam", "integrated_gradients", "occlusion"])
def test_every_method_from_the_command_line(explain, method):
    code, out, _ = explain("input=in/a.png", f"method={method}")
    assert code == 0
    signed = method != "gradcam"
    assert f"what speaks for {'and against ' if signed else ''}cell, by {method} (" in out
    assert (explain.out / f"{method}_cell" / "a.png").exists()


def test_a_box(explain):
    code, out, _ = explain("box=[2,3,20,30]", "target=background", "method=occlusion", "window=8")
    assert code == 0
    assert "by occlusion (window 8), its score over the box 2,3,20,30" in out
    assert {row["region_pixels"] for row in rows(explain.out).values()} == {str(18 * 27)}
    _, out, _ = explain("box=[2,60,20,70]")
    assert "Nothing to explain in 3: a.png: the box lies outside of its 40x52 pixels, " in out


def test_true_pixels(explain, images):
    code, out, err = explain("region=truth", "target=0")
    assert code == 1, "no mask is known of one of them"
    assert "2 images explained" in out
    assert err == (
        "segexp: 1 of 3 images could not be explained: dark.png (its true mask is not known, which region=truth needs). All "
        "others were. Fix or remove these files; the same command then continues.\n"
    )
    write_png(images / "dark_mask.png", np.zeros((40, 52), np.uint8))
    code, out, _ = explain("region=truth")
    assert code == 0
    assert "Nothing to explain in 1: dark.png: cell is not in its true mask" in out
    assert int(rows(explain.out)["a.png"]["region_pixels"]) == 193


def test_true_pixels_without_any_mask(explain, images):
    for mask in images.rglob("*_mask.png"):
        mask.unlink()
    code, _, err = explain("region=truth")
    assert code == 2
    assert err == (
        "segexp: region=truth asks about true pixels, and no true mask lies beside the images of in. Masks with the names of "
        "the images, or an ending such as _mask more, were expected. Type truth=DIR or 'truth=\"DIR/{id}_mask.png\"'; or "
        "region=predicted.\n"
    )


def test_what_cannot_be_explained_is_named_and_does_not_stop_the_others(explain, images):
    (images / "broken.png").write_bytes(b"no picture")
    write_png(images / "small.png", np.full((9, 40), 200, np.uint8))
    write_png(images / "large.png", np.full((90, 80), 200, np.uint8))
    tifffile.imwrite(images / "bands.tif", np.zeros((40, 40, 5), np.uint8), photometric="minisblack", planarconfig="contig")
    code, out, err = explain()
    assert code == 1
    assert "2 images explained" in out
    assert out.splitlines()[-1] == "Explanations: out"
    assert err.startswith("segexp: 4 of 7 images could not be explained: bands.tif (has 5 channels, and the network takes 1), ")
    assert "small.png (" in err
    assert "large.png (its 90x80 pixels are more than max_pixels=6000, and one pass must see all of it)" in err
    assert err.endswith("All others were. Fix or remove these files; the same command then continues.\n")
    for name in ("broken.png", "small.png", "bands.tif"):
        (images / name).unlink()
    code, out, _ = explain("max_pixels=0", "method=gradcam")
    assert code == 0
    assert "4 images explained" in out


REFUSED = [
    (["target=cel"], 2, "target=cel is no class of the network. It has background (0), cell (1). Did you mean cell?"),
    (["layer=dwn.1"], 2, "layer=dwn.1 is no module of the network UNet, which has pool, drop, stem, "),
    (["method=lime"], 2, "method is 'lime' (text); expected gradcam | gradcam++ | seg_gradcam | "),
    (
        ["region=box"],
        2,
        "region=box has no box. Type for example 'box=[40,60,120,160]' for top, left, bottom and right in pixels.",
    ),
    (["box=[1,2,3]"], 2, "box is [1, 2, 3] (a list); expected "),
    (
        ["box=[5,2,5,9]"],
        2,
        "box=[5, 2, 5, 9] has no pixel. Its order is [top,left,bottom,right], and bottom and right are not ",
    ),
    (["box=[1,2,5,9]", "region=truth"], 2, "box=[1, 2, 5, 9] and region=truth are two answers to one question. Leave one of "),
    (
        ["layer=up.1", "method=occlusion"],
        2,
        "layer=up.1 is of no use for method=occlusion, which looks at pixels. Leave it out.",
    ),
    (["steps=9"], 2, "steps=9 is of no use for method=seg_gradcam. Leave it out, or type method=integrated_gradients."),
    (["window=9"], 2, "window=9 is of no use for method=seg_gradcam. Leave it out, or type method=occlusion."),
    (["input=nowhere"], 1, "input=nowhere does not exist (from "),
    (["-m"], 2, "-m is on the command line. One network is explained at a time. Leave -m out."),
    (["output=a.png"], 2, "output=a.png names a file. A folder was expected: "),
    (["truth=nowhere"], 2, "truth=nowhere is neither a folder nor a pattern. "),
]


@pytest.mark.parametrize(("words", "expected", "message"), REFUSED, ids=[words[0] for words, _, _ in REFUSED])
def test_what_is_refused(explain, words, expected, message):
    code, out, err = explain(*words)
    assert (code, out) == (expected, "")
    assert err.removeprefix("segexp: ").startswith(message)
    assert err.count("\n") == 1
    assert not explain.out.exists()


def test_several_networks_are_refused(explain, run, tmp_path):
    (tmp_path / "copy.ckpt").write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    code, _, err = explain(f"checkpoint=[{run},copy.ckpt]")
    said = "segexp: checkpoint names 2 networks. One network is explained at a time. Type checkpoint="
    assert (code, err) == (2, f"{said}{run}/checkpoints/best.ckpt.\n")


def test_an_output_that_cannot_be_written_stops_with_a_word(explain, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "out/x.png")

    monkeypatch.setattr("segexp.explainability.folder.write_png", full)
    code, _, err = explain()
    assert code == 1
    assert err.startswith("segexp: out/x.png cannot be written (No space left on device). ")


def test_no_room_for_gradients_is_said(explain, monkeypatch):
    def none(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr("segexp.explainability.explainer.Explainer.explain", none)
    code, _, err = explain()
    assert code == 1
    assert "a.png (there is not enough memory for it; cut out what is asked about, or type method=occlusion, without " in err


def test_no_row_is_lost_by_a_killed_process(explain):
    explain("method=gradcam")
    table = explain.out / NAME
    whole = table.read_text()
    lines = whole.splitlines(keepends=True)
    table.write_text("".join(lines[:2]) + lines[2][:9])  # a kill while the second row is written
    code, out, _ = explain("method=gradcam")
    assert code == 0
    assert "2 images explained" in out
    assert "1 done before" in out
    assert table.read_text() == whole


def test_two_at_the_same_time_share_the_images(explain, run, capfd):
    from segexp.api.explain import explain as call

    together = threading.Barrier(2)

    def work():
        together.wait(30)
        call(run, "in", output="out", method="gradcam", gpus=0)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    out = capfd.readouterr().out
    assert sum(map(int, re.findall(r"(\d+) images? explained", out))) == 3
    shared = (explain.out / NAME).read_text()
    assert len(rows(explain.out)) == 3
    assert sorted(path.name for path in explain.out.iterdir()) == [NAME, "gradcam_cell"]
    (explain.out / NAME).unlink()
    explain("method=gradcam")
    assert (explain.out / NAME).read_text() == shared, "complete and in order"


def test_another_network_under_the_same_name_is_another_question(explain, run, tmp_path):
    copy = tmp_path / "copy.ckpt"
    copy.write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    explain(f"checkpoint={copy}")
    values = torch.load(copy, weights_only=True)
    next(iter(values["state_dict"].values())).mul_(1.01)
    torch.save(values, copy)
    assert "; " not in explain(f"checkpoint={copy}", "input=in/a.png")[1].partition("explained in")[2].splitlines()[0]
