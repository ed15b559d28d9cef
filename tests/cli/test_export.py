"""The export command on a small trained run, and predict and evaluate on what it leaves, without the checkpoint."""

import json
import os
import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segexp.checkpoint import load_segmenter, store_postprocessing
from segexp.cli.export import main
from segexp.cli.predict import main as predict
from segexp.data.synthetic.datasets import make_demo
from segexp.deployment import certificate
from segexp.deployment.verification import Latency
from segexp.inference.segmenter import Segmenter

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Time what is timed for a moment."""
    monkeypatch.setattr("segexp.deployment.verification.FEWEST", 2)
    monkeypatch.setattr("segexp.deployment.verification.MOST", 3)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Sixteen generated slices for training, eight for validation."""
    return make_demo(tmp_path_factory.mktemp("pictures"), "organ", count=24, size=64)


@pytest.fixture(scope="module")
def run(tmp_path_factory, train, small, pictures):
    """A run in float32 of pictures that are made smaller."""
    run = tmp_path_factory.mktemp("exported") / "run"
    words = [f"data.root={pictures}", "data.size=48", "trainer.precision=32", "trainer.max_epochs=3", f"run_dir={run}"]
    assert train(*small, *words) == 0
    return run


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """A folder with the run as net.onnx, net.pt2 and net.xml, and no checkpoint anywhere near."""
    folder = tmp_path_factory.mktemp("files")
    for name, kind in (("net.onnx", "onnx"), ("net.pt2", "torch_export"), ("net.xml", "openvino")):
        assert main([f"checkpoint={run}", f"output={folder / name}", f"format={kind}"]) == 0
    return folder


@pytest.fixture
def export(tmp_path, monkeypatch, capfd):
    """Type an export command in an empty folder; returns exit code, what was printed, and the error."""
    monkeypatch.chdir(tmp_path)

    def command(*words):
        code = main([str(word) for word in words])
        out, err = capfd.readouterr()
        return code, out, err.removeprefix("segexp: ").rstrip("\n")

    return command


def masks(folder):
    return {path.name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(folder.glob("*.png"))}


def same(one, other):
    assert len(one) == len(other) > 0
    for name, mask in one.items():
        np.testing.assert_array_equal(mask, other[name], err_msg=name)


def test_the_first_and_the_last_line_say_where(run, export, tmp_path):
    code, out, err = export(f"checkpoint={run}", "output=deep/net.pt", "format=torchscript")
    assert (code, err) == (0, "")
    first, *_, last = out.splitlines()
    assert first == f"Network: {run / 'checkpoints' / 'best.ckpt'} (background, liver), to deep/net.pt"
    assert last == "File: deep/net.pt, with net.pt.json, and the certificate in net.pt.certificate.html"
    assert "The file gives what the network gives." in out
    assert "  Dice on 8 validation cases: " in out
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == [
        "net.pt",
        "net.pt.certificate.html",
        "net.pt.certificate.json",
        "net.pt.json",
    ]
    found = json.loads((tmp_path / "deep" / "net.pt.certificate.json").read_text())
    scores = json.loads((run / "metrics.json").read_text())["scores"]
    assert found["dice"]["before"]["mean"] == pytest.approx(scores["val/dice"], abs=1e-6)
    assert found["dice"]["difference"]["mean"] == 0
    page = (tmp_path / "deep" / "net.pt.certificate.html").read_text()
    assert "A validation image" in page
    assert 'src="http' not in page


def test_a_relative_checkpoint(run, export, monkeypatch):
    monkeypatch.chdir(run.parent)
    code, out, err = export("checkpoint=run", "output=relative.pt", "format=torchscript")
    assert (code, err) == (0, "")
    assert out.startswith("Network: run/checkpoints/best.ckpt (background, liver), to relative.pt\n")
    assert (run.parent / "relative.pt").is_file()


def test_without_the_data_there_is_noise_and_no_dice(run, export, tmp_path):
    code, out, _ = export(f"checkpoint={run}", "output=net.pt", "format=torchscript", "data.root=gone")
    assert code == 0
    line = "gone is not there: the file is compared on noise, and Dice is not measured. data.root=DIR says where it is."
    assert line in out.splitlines()
    assert "  Dice: not measured" in out.splitlines()
    assert json.loads((tmp_path / "net.pt.certificate.json").read_text())["dice"] is None


REFUSED = [
    (["output=a.onnx", "format=onx"], 2, "format=onx is not a format. Did you mean onnx?"),
    (
        ["output=a.pt"],
        2,
        "output=a.pt does not end as a file of format=onnx does. ONNX files end in .onnx. Type output=a.onnx.",
    ),
    (["output=a.onnx", "opset=9"], 2, "opset=9 is older than what is written."),
    (["output=a.onnx", "precision=fp8"], 2, "precision is 'fp8' (text); expected fp32 | bf16 | fp16 | int8."),
    (["output=a.onnx", "precision=bf16"], 2, "format=onnx precision=bf16: ONNX Runtime has no convolution in bfloat16"),
    (
        ["output=a.onnx", "returns=classes"],
        2,
        "returns=classes is for include_preprocessing=true: without it a file returns class scores, which predict needs. Type "
        "include_preprocessing=true, or leave returns out.",
    ),
    (
        ["output=a.onnx", "precision=int8", "include_preprocessing=true"],
        2,
        "precision=int8 with include_preprocessing=true: the bytes of a picture would be calibrated as layers are. Type "
        "include_preprocessing=false.",
    ),
    (["output=a.onnx", "precision=int8", "calibration=3"], 2, "calibration=3. At least 8 were expected"),
    (["output=a.onnx", "precision=fp16", "data.root=gone"], 1, "precision=fp16 without the validation images of the run."),
    (["output=a.onnx", "precison=fp16"], 2, "precison"),
    (["output=a.onnx", "model.prune_to=1"], 2, "model.prune_to=1, and the network of "),
    (["output=a.onnx", "-m"], 2, "-m is on the command line. One checkpoint is exported at a time. Leave -m out."),
    (["format=onnx"], 2, "output has no value."),
    (["output=file/a.onnx"], 1, "file cannot be written (File exists). A folder that can be written and has room was expected"),
    (["output=folder.onnx"], 2, "output=folder.onnx is a folder. "),
]


@pytest.mark.parametrize(("words", "code", "text"), REFUSED, ids=[" ".join(words) for words, _, _ in REFUSED])
def test_what_is_refused(words, code, text, run, export, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.onnx").mkdir()
    found, _, err = export(f"checkpoint={run}", *words)
    assert found == code, err
    assert text in err
    assert err.count("\n") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.onnx"]


def test_too_few_training_images_to_calibrate_with(run, export, monkeypatch):
    monkeypatch.setattr("segexp.deployment.quantization.FEWEST", 17)
    code, _, err = export(f"checkpoint={run}", "output=a.onnx", "precision=int8")
    assert code == 2
    assert err.startswith("The training split has 16 images to calibrate with. At least 17 were expected")


def test_a_package_that_is_missing_is_named_before_all_else(export, monkeypatch):
    monkeypatch.setattr("segexp.errors.find_spec", lambda package: None)
    code, out, err = export("checkpoint=nowhere", "output=a.onnx")
    assert (code, out) == (2, "")
    assert err.endswith("which are not installed. The extra export brings them. Type pip install 'segexp[export]'.")


def test_a_run_of_16_bit_pictures_takes_no_bytes(run, export, monkeypatch):
    own = load_segmenter(run)
    deep = replace(own, preprocessing=replace(own.preprocessing, value_range=(0.0, 4095.0)))
    monkeypatch.setattr("segexp.api.loading.load_segmenter", lambda *_, **__: deep)
    code, _, err = export(f"checkpoint={run}", "output=a.onnx", "include_preprocessing=true")
    assert code == 2
    assert err.startswith("include_preprocessing=true, and the run was trained on images of values from 0 to 4095")


def test_the_preprocessing_inside(run, export, tmp_path, pictures):
    from segexp.data.io.images import read_image
    from segexp.deployment.runtime import open_runner
    from segexp.inference.postprocessing import Postprocessing
    from segexp.types import Source

    copy = tmp_path / "copy.ckpt"
    shutil.copy(run / "checkpoints" / "best.ckpt", copy)
    store_postprocessing(copy, {"parameters": Postprocessing(0.4, min_area=9).as_dict()})
    words = ["output=whole.onnx", "include_preprocessing=true", "returns=classes"]
    code, out, err = export(f"checkpoint={copy}", *words)
    assert (code, err) == (0, "")
    outside = "Not in the file, but in its sidecar: the post-processing components under 9 pixels dropped"
    assert outside in out.splitlines()
    subject = replace(load_segmenter(copy), precision="32", postprocessing=Postprocessing(0.4))
    for path in sorted((pictures / "val").glob("???.png"))[:3]:
        image = read_image(Source(path), 1)
        with torch.inference_mode():
            (found,) = open_runner(tmp_path / "whole.onnx", "onnx", "fp32")(torch.from_numpy(image[None]))
        np.testing.assert_array_equal(found.numpy(), subject.classes(image))
    code = predict([f"model={tmp_path / 'whole.onnx'}", f"input={pictures / 'val'}", "output=masks", "gpus=0"])
    assert code == 1
    assert not (tmp_path / "masks").exists()


@pytest.fixture
def fast(monkeypatch):
    """Decide how long the network, the file and the float32 file take; returns what decides."""

    def decide(file):
        times = {"torch": 30.0, "file": file, "float": 10.0}
        monkeypatch.setattr(
            "segexp.deployment.certificate.time_alternately",
            lambda calls: [Latency(ms, ms, 2) for ms in list(times.values())[: len(calls)]],
        )

    return decide


def test_int8_that_is_slower_keeps_the_float_file(run, export, tmp_path, fast):
    fast(12.0)
    code, out, err = export(f"checkpoint={run}", "output=i.onnx", "precision=int8", "calibration=8")
    assert code == 1
    assert "int8 is no success here: " in err
    assert (
        "it is not faster than the float32 file (12.0 ms for 10.0 ms). i.onnx holds the float32 network, which is kept." in err
    )
    assert err.endswith("Type accept=true to keep the file in fewer bits all the same.")
    assert "The file gives what the network gives." in out
    assert json.loads((tmp_path / "i.onnx.json").read_text())["precision"] == "fp32"
    assert not list(tmp_path.glob(".*"))


def test_int8_that_is_faster_and_as_good_is_a_success(run, export, tmp_path, fast, monkeypatch):
    fast(5.0)
    monkeypatch.setattr(certificate, "FALL", 0.2)
    code, out, err = export(f"checkpoint={run}", "output=i.onnx", "precision=int8", "calibration=8")
    assert (code, err) == (0, "")
    assert "Dice holds, and the file is faster than in float32." in out.splitlines()
    found = json.loads((tmp_path / "i.onnx.certificate.json").read_text())
    assert (found["precision"], found["int8"]["layers"]) == ("int8", 8)
    assert set(found["latency"]) >= {"torch", "file", "float"}
    assert found["dice"]["after"]["cases"] == 8


def test_int8_that_is_worse_is_kept_where_it_is_accepted(run, export, tmp_path, fast, monkeypatch):
    fast(5.0)
    monkeypatch.setattr(certificate, "FALL", -1.0)
    words = [f"checkpoint={run}", "output=i.onnx", "precision=int8", "calibration=8"]
    code, out, _ = export(*words, "accept=true")
    assert code == 0
    assert "No success: Dice falls by " in out
    assert "; kept because it was asked for." in out
    assert json.loads((tmp_path / "i.onnx.json").read_text())["precision"] == "int8"


@pytest.mark.parametrize("name", ["net.onnx", "net.pt2", "net.xml"])
@pytest.mark.parametrize("words", [[], ["max_pixels=1024", "tta=flips"]], ids=["whole", "windows and flips"])
def test_predict_gives_the_masks_of_the_checkpoint(name, words, run, exported, pictures, tmp_path):
    common = [f"input={pictures / 'val'}", "gpus=0", *words]
    assert predict([f"model={exported / name}", f"output={tmp_path / 'file'}", *common]) == 0
    assert predict([f"checkpoint={run}", f"output={tmp_path / 'run'}", *common]) == 0
    same(masks(tmp_path / "file"), masks(tmp_path / "run"))
    assert len({mask.sum() for mask in masks(tmp_path / "run").values()}) > 1, "they tell something"


def test_a_run_and_a_file_are_an_ensemble(run, exported, pictures, tmp_path, capfd):
    common = [f"input={pictures / 'val'}", "gpus=0", "uncertainty=true"]
    assert predict([f"checkpoint=[{run},{exported / 'net.onnx'}]", f"output={tmp_path / 'both'}", *common]) == 0
    assert predict([f"checkpoint={run}", f"output={tmp_path / 'run'}", *common]) == 0
    same(masks(tmp_path / "both"), masks(tmp_path / "run"))


def test_evaluate_gives_the_scores_of_the_run(run, exported, evaluate, tmp_path):
    words = ["gpus=0", "pictures=0", f"output={tmp_path / 'scores'}"]
    assert evaluate(f"checkpoint={exported / 'net.onnx'}", *words) == 0
    found = json.loads((tmp_path / "scores" / "metrics.json").read_text())["scores"]
    expected = json.loads((run / "metrics.json").read_text())["scores"]
    assert set(found) == set(expected)
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["net.onnx", "net.pt2"])
@pytest.mark.parametrize("words", ["evaluate tune=postprocess", "export output=again.onnx", "explain input=. output=why"])
def test_what_needs_the_trained_network_refuses_an_exported_file(name, words, exported, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    before = (exported / name).read_bytes()
    command, *others = words.split()
    assert import_module(f"segexp.cli.{command}").main([f"checkpoint={exported / name}", *others]) == 1
    found, expected, do = capfd.readouterr().err.split(". ", 2)
    assert found == f"segexp: checkpoint={exported / name} is an exported file"
    assert expected == "A trained network was expected: a run directory or a .ckpt file"
    assert do == f"Type checkpoint=RUN with the run that it was exported from; {name}.json names it.\n"
    assert (exported / name).read_bytes() == before
    assert list(tmp_path.iterdir()) == []


PREDICT_REFUSED = [
    (
        ["model={file}", "checkpoint={run}"],
        2,
        "model={file} beside checkpoint={run}. One of them says which network predicts. ",
    ),
    (["model={file}", "model.prune_to=1"], 2, "model.prune_to=1 with the exported net.onnx. A file is as it was exported."),
    (["model=gone.onnx"], 1, "model=gone.onnx does not exist. A file that python -m segexp.export wrote was expected."),
    (["model=foreign.onnx"], 1, "foreign.onnx has no foreign.onnx.json beside it. An export of segexp was expected; "),
    (["model=half.onnx"], 1, "half.onnx.json belongs to another file than half.onnx: its sha256 differs."),
]


@pytest.mark.parametrize(("words", "code", "text"), PREDICT_REFUSED, ids=[words[-1] for words, _, _ in PREDICT_REFUSED])
def test_what_predict_refuses(words, code, text, run, exported, pictures, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    whole = (exported / "net.onnx").read_bytes()
    Path("foreign.onnx").write_bytes(whole)
    Path("half.onnx").write_bytes(whole[: len(whole) // 2])
    shutil.copy(exported / "net.onnx.json", "half.onnx.json")
    typed = [word.format(file=exported / "net.onnx", run=run) for word in words]
    assert predict([*typed, f"input={pictures / 'val'}", "output=masks", "gpus=0"]) == code
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert text.format(file=exported / "net.onnx", run=run) in err
    assert not Path("masks").exists()


def test_a_pruned_network_is_exported_pruned(tmp_path, tmp_path_factory, train, small, export, pictures):
    run = tmp_path_factory.mktemp("pruned") / "run"
    network = ["model=unetpp", "model.width=2", "model.depth=3", "deep_supervision=true", "trainer.precision=32"]
    words = [word for word in small if not word.startswith("model")]
    assert train(*words, *network, f"data.root={pictures}", "trainer.max_epochs=1", f"run_dir={run}") == 0
    code, _, err = export(f"checkpoint={run}", "output=l1.pt", "format=torchscript", "model.prune_to=1")
    assert (code, err) == (0, "")
    assert (tmp_path / "l1.pt.certificate.json").is_file()
    common = [f"input={pictures / 'val'}", "gpus=0"]
    assert predict(["model=l1.pt", "output=file", *common]) == 0
    assert predict([f"checkpoint={run}", "model.prune_to=1", "output=run", *common]) == 0
    same(masks(tmp_path / "file"), masks(tmp_path / "run"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(run, export, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    code, _, err = export(f"checkpoint={run}", "output=closed/a.onnx")
    assert code == 1
    assert err.startswith("closed cannot be written (Permission denied). ")


def test_liver_slices_get_the_same_masks(real_data, train, tmp_path):
    root = real_data / "liver"
    words = ["data=liver", f"data.root={root}", "data.size=128", "model=unet", "model.width=4", "model.depth=3"]
    words += ["callbacks=none", "trainer.gpus=0", "data.num_workers=0", "data.batch_size=16"]
    words += ["trainer.precision=32", "trainer.max_epochs=1"]
    assert train(*words, f"run_dir={tmp_path / 'run'}") == 0
    assert main([f"checkpoint={tmp_path / 'run'}", f"output={tmp_path / 'liver.onnx'}"]) == 0
    common = [f"input={root / 'val'}", "gpus=0"]
    assert predict([f"model={tmp_path / 'liver.onnx'}", f"output={tmp_path / 'file'}", *common]) == 0
    assert predict([f"checkpoint={tmp_path / 'run'}", f"output={tmp_path / 'masks'}", *common]) == 0
    found = masks(tmp_path / "file")
    assert len(found) == 20
    same(found, masks(tmp_path / "masks"))


def test_the_help_names_every_key(capfd):
    from omegaconf import OmegaConf

    assert main(["--help"]) == 0
    text = capfd.readouterr().out
    keys = set(OmegaConf.load(Path(__file__).parents[2] / "conf" / "export.yaml")) - {"defaults", "hydra", "data", "model"}
    assert [key for key in sorted(keys) if f"{key}=" not in text] == []
    assert "model.prune_to=" in text


def test_an_exported_segmenter_is_one_like_any_other(exported):
    from segexp.api.loading import checkpoint_files, device_for, load_members

    files = checkpoint_files([str(exported / "net.onnx"), str(exported / "net.onnx")])
    assert files == [exported / "net.onnx"]
    assert device_for(files, 0) == "cpu"
    (member,) = load_members(files, "cpu", [])
    assert isinstance(member, Segmenter)
    assert str(member.origin.file) == str(exported / "net.onnx")
