"""From an exported file to a segmenter: what is refused, with what words."""

import json
import shutil

import numpy as np
import pytest
import torch

from segexp import errors
from segexp.atomic import SEAL, sealed
from segexp.checkpoint.files import sidecar_path
from segexp.deployment.metadata import sidecar_content, write_sidecar
from segexp.deployment.runtime import ProgramRunner, check_device, check_runtime, load_exported, open_runner, runs_on
from segexp.errors import CheckpointError, ConfigError, DeviceError


@pytest.fixture
def file(tmp_path, segmenter):
    """A file of no use with a sidecar that is right."""
    (tmp_path / "net.onnx").write_bytes(b"a network")
    write_sidecar(tmp_path / "net.onnx", sidecar_content(segmenter(), "onnx", "fp32", "logits", 20))
    return tmp_path / "net.onnx"


def test_no_such_file(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        load_exported(tmp_path / "gone.onnx")
    assert str(caught.value) == (
        f"model={tmp_path / 'gone.onnx'} does not exist. A file that python -m segexp.export wrote was expected. Look at its "
        "folder."
    )


def test_a_level_to_prune_to(file):
    with pytest.raises(ConfigError) as caught:
        load_exported(file, prune_to=2)
    assert str(caught.value) == (
        "model.prune_to=2 with the exported net.onnx. A file is as it was exported. Type python -m segexp.export "
        "checkpoint=RUN "
        f"output={file} model.prune_to=2."
    )


def test_a_file_with_the_preprocessing_inside(file, segmenter):
    write_sidecar(file, sidecar_content(segmenter(), "onnx", "fp32", "classes", 20))
    with pytest.raises(CheckpointError) as caught:
        load_exported(file)
    assert str(caught.value) == (
        f"{file} has the preprocessing inside and returns classes: it takes whole pictures, and predict shows a network "
        "windows and "
        "views of them. An export without include_preprocessing was expected. Export again without include_preprocessing for "
        "predict; this file is for programs of your own."
    )


def test_a_broken_file_with_a_sound_sidecar(file):
    with pytest.raises(CheckpointError, match=r"net\.onnx cannot be read as ONNX: it is truncated, or another kind of file"):
        load_exported(file)


def test_a_format_of_another_version(file):
    values = json.loads(sidecar_path(file).read_text())
    del values[SEAL]
    sidecar_path(file).write_text(json.dumps(sealed({**values, "format": "coreml"})))
    with pytest.raises(CheckpointError, match=r"net\.onnx\.json names the format coreml\. Install the version that wrote it\."):
        load_exported(file)


def test_a_runtime_that_is_not_installed(file, monkeypatch):
    monkeypatch.setattr(errors, "find_spec", lambda package: None)
    with pytest.raises(ConfigError) as caught:
        load_exported(file)
    assert str(caught.value) == (
        f"{file} needs onnxruntime, which is not installed. The extra export brings it. Type pip install 'segexp[export]'."
    )
    with pytest.raises(ConfigError, match=r"net\.xml needs openvino, .* pip install 'segexp\[openvino\]'"):
        check_runtime(file.with_name("net.xml"), "openvino")


def test_a_gpu_that_the_runtime_lacks(file, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError) as caught:
        load_exported(file, "cuda:0")
    assert str(caught.value) == (
        f"{file} cannot run on cuda:0: onnxruntime {onnxruntime.__version__} was built without CUDA. The package "
        "onnxruntime-gpu "
        "was expected. Type pip install onnxruntime-gpu, or gpus=0 for the CPU."
    )
    with pytest.raises(DeviceError, match=r"cannot run on mps\. The CPU or a CUDA GPU was expected\. Type gpus=0"):
        check_device(file, "onnx", "mps")
    with pytest.raises(DeviceError, match=r"is OpenVINO's, and runs on the CPU here\. gpus=0 was expected\. Type gpus=0"):
        check_device(file, "openvino", "cuda:0")


def test_a_gpu_that_the_machine_lacks(file, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    for kind in ("onnx", "torch_export"):
        with pytest.raises(DeviceError, match=r"cannot run on cuda:1\. A CUDA GPU was expected\. Type gpus=0"):
            check_device(file, kind, "cuda:1")
    assert runs_on(file, "cpu")
    assert not runs_on(file, "cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runs_on(file, "cuda:0")
    assert not runs_on(file.with_name("net.xml"), "cuda:0")


@pytest.mark.slow
def test_a_file_with_the_sidecar_of_another_format(written, tmp_path):
    shutil.copy(written / "net.pt2", tmp_path / "net.onnx")
    values = json.loads(sidecar_path(written / "net.onnx").read_text())
    write_sidecar(tmp_path / "net.onnx", {key: value for key, value in values.items() if key != "sha256"})
    with pytest.raises(CheckpointError, match="cannot be read as ONNX"):
        load_exported(tmp_path / "net.onnx")


pytestmark = pytest.mark.slow
KINDS = {"onnx": "net.onnx", "torch_export": "net.pt2", "torchscript": "net.pt", "openvino": "net.xml"}
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_the_class_scores_of_the_network_at_any_size(kind, written, segmenter):
    network, file = segmenter().network, open_runner(written / KINDS[kind], kind, "fp32")
    for batch, height, width in ((1, 64, 64), (3, 97, 131), (1, 17, 40)):
        image = torch.randn(batch, 1, height, width)
        with torch.inference_mode():
            torch.testing.assert_close(file(image), network(image), atol=2e-5, rtol=1e-4)


@every_kind
def test_images_in_another_memory_format(kind, written):
    file = open_runner(written / KINDS[kind], kind, "fp32")
    image = torch.randn(2, 1, 32, 48)
    with torch.inference_mode():
        turned = file(image.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2))
        torch.testing.assert_close(turned, file(image), atol=1e-6, rtol=1e-6)
        first = file(image)
        kept = first.clone()
        file(torch.randn(2, 1, 32, 48))
    assert torch.equal(first, kept), "what is returned is not written over by the next call"


@every_kind
def test_a_loaded_file_is_a_segmenter(kind, written, segmenter):
    own, exported = segmenter(), load_exported(written / KINDS[kind])
    image = np.random.default_rng(0).integers(0, 256, (45, 61, 1), np.uint8)
    torch.testing.assert_close(exported.probabilities(image), own.probabilities(image), atol=2e-5, rtol=1e-4)
    assert (exported.spec, exported.preprocessing, exported.device) == (own.spec, own.preprocessing, torch.device("cpu"))
    assert exported.origin.split_hash == "ab12"


@every_kind
def test_a_truncated_file(kind, written, tmp_path):
    title = {"onnx": "ONNX", "torch_export": "torch.export", "torchscript": "TorchScript", "openvino": "OpenVINO"}[kind]
    broken = tmp_path / KINDS[kind]
    whole = (written / KINDS[kind]).read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    if kind == "openvino":
        shutil.copy(written / "net.bin", tmp_path)
    with pytest.raises(CheckpointError) as caught:
        open_runner(broken, kind, "fp32")
    text = str(caught.value)
    assert text.startswith(f"{broken} cannot be read as {title}: it is truncated, or another kind of file (")
    assert text.endswith("A file that python -m segexp.export wrote was expected. Copy it again from where it was exported.")


def test_a_gpu_that_onnxruntime_was_built_without(written, monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ValueError, match="CUDAExecutionProvider"):
        open_runner(written / "net.onnx", "onnx", "fp32", "cuda:0")


def test_a_program_has_one_mode(written):
    program = open_runner(written / "net.pt2", "torch_export", "fp32")
    assert isinstance(program, ProgramRunner)
    assert program.eval() is program
