"""Formats, packages, precisions, opsets and file names: what is refused before anything heavy is imported."""

import logging
import math
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from segexp import errors
from segexp.checkpoint.files import is_exported
from segexp.deployment.formats import (
    FORMATS,
    ExportError,
    capture_program,
    check_format,
    replace_ceil_division,
    silence_exporters,
    spatial_axes,
    write_onnx,
)
from segexp.deployment.formats import convert_export_errors as refused_writing
from segexp.errors import ConfigError


def refused(name="onnx", precision="fp32", opset=20, output="a.onnx"):
    with pytest.raises(ConfigError) as caught:
        check_format(name, precision, opset, Path(output))
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_in_each_of_its_precisions(name):
    for precision in FORMATS[name].precisions:
        check_format(name, precision, 18, Path(f"a{FORMATS[name].suffix}"))
        check_format(name, precision, 23, Path(f"some.where/a.b{FORMATS[name].suffix}"))


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(errors, "find_spec", lambda package: None if package == "onnxscript" else object())
    assert refused() == (
        "format=onnx needs onnxscript, which is not installed. The extra export brings it. Type pip install 'segexp[export]'."
    )
    monkeypatch.setattr(errors, "find_spec", lambda package: None)
    assert refused("openvino", output="a.xml") == (
        "format=openvino needs openvino, onnx, onnxruntime, onnxscript, which are not installed. The extra openvino brings "
        "them. Type pip install 'segexp[openvino]'."
    )
    check_format("torch_export", "fp32", 20, Path("a.pt2"))


def test_an_unknown_format():
    assert refused("onx") == "format=onx is not a format. Did you mean onnx? Type format=onnx."
    assert refused("tflite").startswith("format=tflite is not a format. ")


@pytest.mark.parametrize(
    ("name", "precision", "text"),
    [
        (
            "onnx",
            "bf16",
            "format=onnx precision=bf16: ONNX Runtime has no convolution in bfloat16 on the CPU. ONNX in fp32 or fp16 or int8 "
            "was "
            "expected. Type format=torch_export precision=bf16, or precision=fp32.",
        ),
        (
            "openvino",
            "fp16",
            "format=openvino precision=fp16: OpenVINO calculates in float32 or bfloat16 on the CPU. OpenVINO in fp32 or bf16 "
            "or "
            "int8 was expected. Type format=onnx precision=fp16, or precision=fp32.",
        ),
        (
            "torch_export",
            "int8",
            "format=torch_export precision=int8: torch quantises no segmentation network that could be run elsewhere. "
            "torch.export "
            "in fp32 or bf16 or fp16 was expected. Type format=onnx precision=int8, or precision=fp32.",
        ),
        (
            "torchscript",
            "fp4",
            "format=torchscript precision=fp4: there is no such file. TorchScript in fp32 or bf16 or fp16 was expected. Type "
            "precision=fp32.",
        ),
    ],
)
def test_a_precision_that_a_format_has_not(name, precision, text):
    assert refused(name, precision) == text


def test_an_opset_that_is_not_written():
    assert refused(opset=11) == (
        "opset=11 is older than what is written. An opset of ONNX from 18 to 23 was expected. Type opset=18, or leave it out "
        "for "
        "20."
    )
    assert refused(opset=99).startswith("opset=99 is newer than what is written. ")
    assert refused(opset=99).endswith("Type opset=23, or leave it out for 20.")


@pytest.mark.parametrize(
    ("name", "output", "text"),
    [
        ("onnx", "net.pt", "output=net.pt does not end as a file of format=onnx does. ONNX files end in .onnx. Type "
         "output=net.onnx."),
        ("torch_export", "net", "output=net does not end as a file of format=torch_export does. torch.export files end in "
                                ".pt2. "
         "Type output=net.pt2."),
        ("openvino", "v1.2", "output=v1.2 does not end as a file of format=openvino does. OpenVINO files end in .xml. Type "
         "output=v1.2.xml."),
    ],
)  # fmt: skip
def test_the_ending_of_another_format(name, output, text):
    assert refused(name, output=output) == text


def test_a_folder_is_no_file(tmp_path):
    assert refused(output=str(tmp_path)) == (
        f"output={tmp_path} is a folder. The name of a file of format=onnx was expected. Type output={tmp_path / 'NAME.onnx'}."
    )


def test_which_files_are_exported_ones(tmp_path):
    assert [is_exported(tmp_path / name) for name in ("a.onnx", "a.pt2", "a.xml", "a.ckpt", "a")] == [True] * 3 + [False] * 2
    assert not is_exported(tmp_path / "a.pt"), "some call their checkpoints so"
    (tmp_path / "a.pt.json").touch()
    assert is_exported(tmp_path / "a.pt")
    (tmp_path / "study.xml").mkdir()
    assert not is_exported(tmp_path / "study.xml")


class Padded(nn.Module):
    """Pads to a multiple of three by ceil(a / b), as the encoders of some libraries do."""

    def forward(self, image):
        return nn.functional.pad(image, (0, math.ceil(image.shape[3] / 3) * 3 - image.shape[3]))


def test_sizes_are_rounded_up_in_whole_numbers():
    captured = capture_program(Padded(), torch.zeros(2, 1, 32, 40))
    assert math.ceil not in {node.target for node in captured.graph.nodes}
    for width in (30, 31, 32, 40):
        assert captured.module()(torch.zeros(1, 1, 16, width)).shape == (1, 1, 16, math.ceil(width / 3) * 3)


def test_a_program_without_such_sizes_stays_as_it_is():
    captured = capture_program(nn.Conv2d(1, 2, 1), torch.zeros(2, 1, 32, 40))
    before = [(node.name, node.target) for node in captured.graph.nodes]
    replace_ceil_division(captured.graph_module)
    assert [(node.name, node.target) for node in captured.graph.nodes] == before


@pytest.mark.slow
def test_the_open_axes_have_names_that_can_be_read(tmp_path):
    import onnx

    write_onnx(nn.Conv2d(1, 2, 3, padding=1), torch.zeros(2, 1, 32, 40), tmp_path / "net.onnx", "logits", 19)
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert [each.name for each in (*graph.input, *graph.output)] == ["image", "logits"]
    for value, channels in ((graph.input[0], 1), (graph.output[0], 2)):
        batch, second, height, width = value.type.tensor_type.shape.dim
        assert [batch.dim_param, height.dim_param, width.dim_param] == ["batch", "height", "width"]
        assert second.dim_value == channels
    onnx.checker.check_model(str(tmp_path / "net.onnx"), full_check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"], "weights and all are in one file"


def test_height_and_width_of_bytes_and_of_prepared_images():
    assert spatial_axes(torch.zeros(2, 8, 9, 3, dtype=torch.uint8)) == (1, 2)
    assert spatial_axes(torch.zeros(2, 3, 8, 9)) == (2, 3)


def test_the_exporters_own_last_words():
    with pytest.raises(ExportError) as caught, refused_writing("ONNX"):
        raise RuntimeError("many words\n  UnsupportedError: no operator for this\nand more")
    assert str(caught.value).startswith(
        "The network cannot be written as ONNX: RuntimeError: UnsupportedError: no operator for this. Operations that the "
        "exporter knows, for any batch, height and width, were expected. "
    )
    with pytest.raises(ExportError, match=r"as ONNX: KeyError: KeyError\. "), refused_writing("ONNX"):
        raise KeyError


def test_what_is_interrupted_is_not_refused():
    with pytest.raises(KeyboardInterrupt), refused_writing("ONNX"):
        raise KeyboardInterrupt


def test_the_exporters_are_quiet_and_afterwards_as_before():
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    with silence_exporters():
        assert logger.level == logging.ERROR
        warnings.warn("of their own affairs", stacklevel=1)
    assert logger.level == before
