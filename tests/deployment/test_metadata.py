"""The JSON beside an exported file: what it holds, and every way in which it is not the right one."""

import json

import pytest

from segexp import __version__
from segexp.atomic import SEAL, sealed
from segexp.checkpoint.files import sidecar_path
from segexp.deployment.metadata import file_digest, parse_sidecar, read_sidecar, sidecar_content, write_sidecar
from segexp.errors import CheckpointError
from segexp.inference.postprocessing import Postprocessing

NUMBERS = {"size": (48, 64), "low": (0.1, 0.1, 0.2), "high": (0.9, 0.8, 0.9), "mean": (0.1, 0.2, 0.3), "std": (0.2, 0.2, 0.3)}


@pytest.fixture
def subject(segmenter):
    return segmenter(channels=3, classes=3, rule=Postprocessing(None, 7), **NUMBERS)


@pytest.fixture
def file(tmp_path, subject):
    (tmp_path / "net.onnx").write_bytes(b"a network")
    write_sidecar(tmp_path / "net.onnx", sidecar_content(subject, "onnx", "fp32", "logits", 20))
    return tmp_path / "net.onnx"


def refused(file):
    with pytest.raises(CheckpointError) as caught:
        parse_sidecar(read_sidecar(file), file)
    return str(caught.value).replace(str(file.parent), "HERE")


def change(file, **values):
    there = json.loads(sidecar_path(file).read_text())
    del there[SEAL]
    sidecar_path(file).write_text(json.dumps(sealed({**there, **values})))


def test_what_is_written_is_read_again(file, subject):
    values = read_sidecar(file)
    assert parse_sidecar(values, file) == (subject.preprocessing, subject.spec, subject.postprocessing)
    assert (values["what"], values["segexp"], values["opset"], values["max_pixels"]) == ("segexp-export", __version__, 20, None)
    assert values["sha256"] == file_digest(file)
    assert values["split_hash"] == "ab12"
    assert sorted(path.name for path in file.parent.iterdir()) == ["net.onnx", "net.onnx.json"]


def test_what_goes_in_and_what_comes_out_is_said(subject, segmenter):
    bare, whole = (sidecar_content(subject, "onnx", "fp32", returns, 20) for returns in ("logits", "classes"))
    assert bare["input"].startswith("images (batch, channels, height, width) float32")
    assert bare["output"].endswith("at the working size; softmax gives probabilities")
    assert whole["input"] == "images (batch, height, width, channels) uint8, as they are on disk"
    assert whole["output"].startswith("class indices (batch, height, width) uint8")
    overlapping = sidecar_content(segmenter(classes=3, overlapping=True), "onnx", "fp32", "logits", 20)
    assert overlapping["output"].endswith("sigmoid of the difference to the first one")
    sets = sidecar_content(segmenter(classes=3, overlapping=True), "onnx", "fp32", "classes", 20)["output"]
    assert sets.startswith("sets of bits, 1 for the first foreground class, 2 for the second, (batch, height, width) uint8")


def test_a_file_without_its_sidecar(file):
    sidecar_path(file).unlink()
    assert refused(file) == (
        "HERE/net.onnx has no net.onnx.json beside it. An export of segexp was expected; its sidecar says which classes there "
        "are "
        "and how a picture is prepared. Copy net.onnx.json from where it was exported, or export it again: python -m "
        "segexp.export "
        "checkpoint=RUN output=HERE/net.onnx."
    )


def test_a_sidecar_that_is_no_json(file):
    sidecar_path(file).write_text('{"what": "segexp-')
    assert refused(file).startswith("HERE/net.onnx.json cannot be read (Unterminated string")
    sidecar_path(file).write_bytes(b"\xff\xfe\x00")
    assert refused(file).startswith("HERE/net.onnx.json cannot be read ('utf-8' codec")


@pytest.mark.parametrize("text", ["[]", "{}", "3", '{"what": "other"}'])
def test_a_sidecar_of_another_program(file, text):
    sidecar_path(file).write_text(text)
    assert refused(file).startswith(
        "HERE/net.onnx.json was not written by segexp. The sidecar of an export of segexp was expected. Export again: "
    )


def test_a_sidecar_of_another_form(file):
    change(file, form=3, segexp="9.0")
    assert refused(file) == (
        f"HERE/net.onnx.json has form 3 and this segexp ({__version__}) reads 1, 2. An export of one of these forms was "
        "expected. Export again, or install the version that wrote it (9.0)."
    )


def test_one_flipped_bit_of_the_sidecar_is_found(file):
    text = sidecar_path(file).read_bytes()
    place = text.index(b"background") + 3
    sidecar_path(file).write_bytes(text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :])
    assert refused(file).startswith(
        "HERE/net.onnx.json was changed or damaged: its checksum differs. The sidecar as the export"
    )


def test_a_sidecar_of_version_0_1_has_no_checksum_of_itself(file):
    values = json.loads(sidecar_path(file).read_text())
    del values[SEAL]
    sidecar_path(file).write_text(json.dumps({**values, "form": 1}))
    assert read_sidecar(file)["returns"] == "logits"
    sidecar_path(file).write_text(json.dumps(values))
    assert "was changed or damaged" in refused(file)


def test_a_sidecar_of_another_file(file):
    file.write_bytes(b"another network")
    assert refused(file).startswith(
        "HERE/net.onnx.json belongs to another file than net.onnx: its sha256 differs. The two files of one export were "
        "expected. "
        "Copy both again from where they were exported, or export again: "
    )


@pytest.mark.parametrize(
    "entry", ["format", "precision", "returns", "spec", "preprocessing", "postprocessing", "max_pixels", "config", "split_hash"]
)
def test_an_entry_that_is_missing(file, entry):
    values = json.loads(sidecar_path(file).read_text())
    del values[entry], values[SEAL]
    sidecar_path(file).write_text(json.dumps(sealed(values)))
    assert refused(file) == (
        f"HERE/net.onnx.json lacks or misnames something ('{entry}'). The sidecar as the export wrote it was expected. Copy it "
        "again from where it was exported."
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": {}},
        {"spec": {"classes": ["a"], "palette": [], "other": 1}},
        {"preprocessing": []},
        {"preprocessing": {"sizes": 3}},
        {"postprocessing": {"threshold": 3}},
        {"postprocessing": None},
    ],
)
def test_an_entry_that_makes_no_sense(file, changes):
    change(file, **changes)
    assert refused(file).startswith("HERE/net.onnx.json lacks or misnames something (")


def test_the_weights_of_openvino_belong_to_the_file(tmp_path):
    for name in ("a.xml", "a.bin", "a.pt2"):
        (tmp_path / name).write_text("same")
    with_weights = file_digest(tmp_path / "a.xml")
    assert with_weights != file_digest(tmp_path / "a.pt2")
    (tmp_path / "a.bin").write_text("other")
    assert file_digest(tmp_path / "a.xml") != with_weights
