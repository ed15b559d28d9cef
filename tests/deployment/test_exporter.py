"""An export from start to end: what lies under the final name, and what does not."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from segexp.deployment import exporter
from segexp.deployment.exporter import export_segmenter, side_by_side, trial_size
from segexp.deployment.formats import FORMATS, ExportError, write_onnx
from segexp.deployment.plan import ExportRequest, check_export_data
from segexp.deployment.runtime import Runner, load_exported, open_runner
from segexp.errors import DataError
from segexp.inference.folder_runner import progress

pytestmark = pytest.mark.slow


def make_quietly(segmenter, material, output, **more):
    """Export without a word; returns what was made and what was said."""
    kind = more.pop("kind", "onnx")
    wanted = ExportRequest(
        kind, more.pop("precision", "fp32"), more.pop("returns", "logits"), more.pop("opset", 20), output, **more
    )
    said = []
    return export_segmenter(segmenter, wanted, material, said.append, progress), said


def few():
    """A network of three layers, whose classes both occur."""
    torch.manual_seed(3)
    first, second, last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 2, 1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", FORMATS)
def test_the_file_its_sidecar_and_its_certificate_and_nothing_else(kind, segmenter, material, tmp_path):
    file = tmp_path / "new" / f"net.v1{FORMATS[kind].suffix}"
    subject = segmenter()
    made, said = make_quietly(subject, material(subject), file, kind=kind)
    assert made.file == file
    own = [file.name, f"{file.name}.json", f"{file.name}.certificate.json", f"{file.name}.certificate.html"]
    assert names(file.parent) == sorted([*own, *(["net.v1.bin"] if kind == "openvino" else [])])
    assert said == [f"Writing {FORMATS[kind].title} …"]
    found = json.loads((file.parent / own[2]).read_text())
    assert found["verdict"] == "The file gives what the network gives."
    assert [(each["batch"], each["height"], each["width"]) for each in found["agreement"]] == [
        (batch, *size) for size in ((48, 32), (37, 31), (64, 48)) for batch in (1, 3)
    ]
    assert max(each["largest"] for each in found["agreement"]) < 1e-4
    assert sum(each["changed"] for each in found["agreement"]) == 0
    assert (found["format"], found["opset"]) == (kind, 20 if kind in ("onnx", "openvino") else None)
    sidecar = json.loads((file.parent / own[1]).read_text())
    assert sidecar["sha256"] == found["sha256"]
    assert found["bytes"]["file"] == sum(path.stat().st_size for path in file.parent.iterdir() if path.suffix in (
        FORMATS[kind].suffix, ".bin"))  # fmt: skip
    assert "The file gives what the network gives." in (file.parent / own[3]).read_text()
    image = np.random.default_rng(9).integers(0, 256, (33, 47, 1), np.uint8)
    torch.testing.assert_close(load_exported(file).probabilities(image), subject.probabilities(image), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("opset", [18, 23])
def test_the_oldest_and_the_newest_opset(opset, segmenter, material, tmp_path):
    import onnx

    subject = segmenter(few())
    make_quietly(subject, material(subject), tmp_path / "net.onnx", opset=opset)
    model = onnx.load(tmp_path / "net.onnx")
    assert [each.version for each in model.opset_import if each.domain == ""] == [opset]
    assert json.loads((tmp_path / "net.onnx.json").read_text())["opset"] == opset


@pytest.mark.parametrize(
    ("returns", "kind"), [("classes", "onnx"), ("probabilities", "torchscript"), ("classes", "torchscript")]
)
def test_bytes_in(returns, kind, segmenter, material, tmp_path):
    subject = segmenter(channels=3, size=(40, 56), mean=(0.4, 0.5, 0.6), std=(0.25, 0.25, 0.2))
    file = tmp_path / f"net{FORMATS[kind].suffix}"
    made, _ = make_quietly(subject, material(subject), file, kind=kind, returns=returns)
    assert made.certificate.wrong == ""
    image = np.random.default_rng(9).integers(0, 256, (2, 53, 71, 3), np.uint8)
    with torch.inference_mode():
        found = open_runner(file, kind, "fp32")(torch.from_numpy(image))
    for each, picture in zip(found, image, strict=True):
        if returns == "classes":
            np.testing.assert_array_equal(each.numpy(), subject.classes(picture))
        else:
            torch.testing.assert_close(each, subject.probabilities(picture), atol=1e-5, rtol=1e-4)


def test_a_run_that_sees_large_pictures_through_windows(segmenter, material, tmp_path):
    """The file of the network is shown windows by predict; one with the preprocessing inside has none, and is no worse."""
    subject = replace(segmenter(), max_pixels=400)
    make_quietly(subject, material(subject), tmp_path / "net.onnx")
    assert json.loads((tmp_path / "net.onnx.json").read_text())["max_pixels"] == 400
    made, _ = make_quietly(subject, material(subject), tmp_path / "whole.pt", kind="torchscript", returns="probabilities")
    assert made.certificate.wrong == ""
    assert json.loads((tmp_path / "whole.pt.json").read_text())["max_pixels"] is None
    assert subject.max_pixels == 400


class Noisy(Runner):
    """A runner that adds something to what a file gives."""

    def __init__(self, own, by):
        super().__init__()
        self.own, self.by = own, by

    def forward(self, image):
        return self.own(image) + self.by


@pytest.mark.parametrize(
    ("by", "words"), [(0.01, "a probability differs by 0.0"), (math.nan, "a probability is no number (at")]
)
def test_a_file_that_gives_something_else_leaves_nothing_and_the_old_one_as_it_was(
    by, words, segmenter, material, tmp_path, monkeypatch
):
    def broken(*arguments):
        return Noisy(open_runner(*arguments), torch.tensor([by, 0.0]).reshape(1, 2, 1, 1))

    monkeypatch.setattr(exporter, "open_runner", broken)
    (tmp_path / "net.pt").write_text("an older file")
    subject = segmenter()
    with pytest.raises(ExportError) as caught:
        make_quietly(subject, material(subject), tmp_path / "net.pt", kind="torchscript")
    assert str(caught.value).startswith(f"The TorchScript file does not give what the network gives: {words}")
    assert str(caught.value).endswith(
        "The same probabilities and classes were expected; nothing is written under the final name. Type another format or "
        "opset, and report the network."
    )
    assert names(tmp_path) == ["net.pt"]
    assert (tmp_path / "net.pt").read_text() == "an older file"


class Branching(nn.Module):
    """A network whose way depends on what it sees."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(1, 2, 1)

    def forward(self, image):
        found = self.body(image)
        return -found if image.sum() > 0 else found


@pytest.mark.parametrize(("kind", "title"), [("onnx", "torch.export"), ("torch_export", "torch.export")])
def test_a_network_that_cannot_be_exported(kind, title, segmenter, material, tmp_path):
    subject = segmenter(Branching())
    with pytest.raises(ExportError) as caught:
        make_quietly(subject, material(subject), tmp_path / f"net{FORMATS[kind].suffix}", kind=kind)
    assert str(caught.value).startswith(f"The network cannot be written as {title}: ")
    assert str(caught.value).endswith(
        "Operations that the exporter knows, for any batch, height and width, were expected. Type another format; "
        "SEGEXP_DEBUG=1 shows where in the network it fails."
    )
    assert names(tmp_path) == []


def test_a_trace_that_took_one_of_two_ways_is_found_out(segmenter, material, tmp_path):
    subject = segmenter(Branching())
    with pytest.raises(ExportError, match="TorchScript file does not give what the network gives"):
        make_quietly(subject, replace(material(subject), images=[np.full((48, 40, 1), 255, np.uint8)]),
                     tmp_path / "net.pt", kind="torchscript")  # fmt: skip
    assert names(tmp_path) == []


def test_ctrl_c_leaves_nothing(segmenter, material, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporter, "certify", interrupted)
    subject = segmenter()
    with pytest.raises(KeyboardInterrupt):
        make_quietly(subject, material(subject), tmp_path / "net.pt", kind="torchscript")
    assert names(tmp_path) == []


@pytest.mark.parametrize(("kind", "precision"), [("torch_export", "bf16"), ("onnx", "fp16"), ("onnx", "int8")])
def test_fewer_bits_are_written_measured_and_kept_where_asked_for(kind, precision, segmenter, material, tmp_path):
    subject, file = segmenter(few()), tmp_path / f"net{FORMATS[kind].suffix}"
    made, said = make_quietly(subject, material(subject, 8), file, kind=kind, precision=precision, accept=True)
    assert said[:2] == [f"Writing {FORMATS[kind].title} …", f"Writing {precision} …"]
    assert set(made.certificate.latencies) == {"torch", "file", "float"}
    assert max(each.largest for each in made.certificate.agreements) > 2e-5, "it is in fewer bits"
    found = json.loads(Path(f"{file}.certificate.json").read_text())
    assert found["precision"] == precision
    assert found["verdict"].startswith("No success: its Dice is not known, for there are no validation images")
    assert found["verdict"].endswith("; kept because it was asked for.")
    assert ("int8" in found) == (precision == "int8")
    exported = load_exported(file)
    image = material(subject).images[0]
    apart = (exported.probabilities(image) - subject.probabilities(image)).abs()
    assert apart.mean() < 0.05
    assert not list(tmp_path.glob(".export-*"))


def test_openvino_in_bf16_is_the_float32_file_in_another_mood(segmenter, material, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    calls = []
    monkeypatch.setattr(exporter, "write_onnx", lambda *given: (calls.append(given), write_onnx(*given)))
    subject, file = segmenter(few()), tmp_path / "net.xml"
    make_quietly(subject, material(subject), file, kind="openvino", precision="bf16", accept=True)
    assert len(calls) == 1, "the network is written once"
    assert sorted(path.suffix for path in tmp_path.glob("net.*")) == [".bin", ".html", ".json", ".json", ".xml"]
    assert json.loads(Path(f"{file}.json").read_text())["precision"] == "bf16"


def test_fewer_bits_that_are_no_success_leave_the_float32_file(segmenter, material, tmp_path):
    subject = segmenter()
    wanted = ExportRequest("torchscript", "bf16", "logits", 20, tmp_path / "net.pt")
    said = []
    with pytest.raises(ExportError) as caught:
        export_segmenter(subject, wanted, material(subject), said.append, progress)
    assert str(caught.value).startswith("bf16 is no success here: its Dice is not known, for there are no validation images")
    assert str(caught.value).endswith(
        f"{tmp_path / 'net.pt'} holds the float32 network, which is kept. Type accept=true to keep the file in fewer bits all "
        "the same."
    )
    assert said[2].startswith("Certificate\n")
    assert said[2].endswith("The file gives what the network gives.")
    assert json.loads((tmp_path / "net.pt.json").read_text())["precision"] == "fp32"
    image = material(subject).images[0]
    torch.testing.assert_close(load_exported(tmp_path / "net.pt").probabilities(image), subject.probabilities(image))


@pytest.mark.parametrize("precision", ["int8", "bf16", "fp16"])
def test_fewer_bits_are_not_judged_without_the_data(precision, segmenter, material):
    with pytest.raises(DataError) as caught:
        check_export_data(material(segmenter()), precision)
    assert str(caught.value) == (
        f"precision={precision} without the validation images of the run. What fewer bits do to Dice is measured on them. Type "
        "data.root=DIR, where the images are now; or precision=fp32."
    )
    check_export_data(material(segmenter()), "fp32")


@pytest.mark.parametrize(
    ("values", "crop", "returns", "expected"),
    [
        ({}, None, "logits", (48, 40)),
        ({"size": (64, 32)}, None, "logits", (64, 32)),
        ({"size": 96}, None, "logits", (96, 80)),
        ({"size": 4000}, None, "logits", (512, 512)),
        ({"size": 96}, (24, 32), "logits", (24, 32)),
        ({"size": 96}, (24, 32), "classes", (48, 40)),
    ],
)
def test_the_size_that_an_export_is_tried_about(values, crop, returns, expected, segmenter, material):
    subject = segmenter(**values)
    assert trial_size(subject, replace(material(subject), crop=crop), returns) == expected


@pytest.mark.parametrize("values", [{}, {"channels": 3}, {"channels": 5}, {"classes": 3, "overlapping": True}])
def test_the_network_and_the_file_side_by_side(values, segmenter, material):
    subject = segmenter(**values)
    file = Noisy(subject.network, 0.0)
    (one, first), (other, second) = side_by_side(subject, file, material(subject).images[0])
    assert (one, other) == ("PyTorch, float32", "this file")
    assert first.shape == (48, 40, 3)
    np.testing.assert_array_equal(first, second)
