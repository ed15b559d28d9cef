"""Exported files as networks: the same numbers from each format, and words about what is no such file."""

import shutil

import numpy as np
import pytest
import torch

from segexp.errors import CheckpointError
from segexp.exporting.loading import load_exported
from segexp.exporting.running import ProgramRunner, runner

pytestmark = pytest.mark.slow
KINDS = {"onnx": "net.onnx", "torch_export": "net.pt2", "torchscript": "net.pt", "openvino": "net.xml"}
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_the_class_scores_of_the_network_at_any_size(kind, written, segmenter):
    network, file = segmenter().network, runner(written / KINDS[kind], kind, "fp32")
    for batch, height, width in ((1, 64, 64), (3, 97, 131), (1, 17, 40)):
        image = torch.randn(batch, 1, height, width)
        with torch.inference_mode():
            torch.testing.assert_close(file(image), network(image), atol=2e-5, rtol=1e-4)


@every_kind
def test_images_in_another_memory_format(kind, written):
    file = runner(written / KINDS[kind], kind, "fp32")
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
    assert exported.facts["split_hash"] == "ab12"


@every_kind
def test_a_truncated_file(kind, written, tmp_path):
    title = {"onnx": "ONNX", "torch_export": "torch.export", "torchscript": "TorchScript", "openvino": "OpenVINO"}[kind]
    broken = tmp_path / KINDS[kind]
    whole = (written / KINDS[kind]).read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    if kind == "openvino":
        shutil.copy(written / "net.bin", tmp_path)
    with pytest.raises(CheckpointError) as caught:
        runner(broken, kind, "fp32")
    text = str(caught.value)
    assert text.startswith(f"{broken} cannot be read as {title}: it is truncated, or another kind of file (")
    assert text.endswith("A file that python -m segexp.export wrote was expected. Copy it again from where it was exported.")


def test_a_gpu_that_onnxruntime_was_built_without(written, monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ValueError, match="CUDAExecutionProvider"):
        runner(written / "net.onnx", "onnx", "fp32", "cuda:0")


def test_a_program_has_one_mode(written):
    program = runner(written / "net.pt2", "torch_export", "fp32")
    assert isinstance(program, ProgramRunner)
    assert program.eval() is program
