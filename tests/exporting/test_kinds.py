"""Formats, packages, precisions, opsets and file names: what is refused before anything heavy is imported."""

from pathlib import Path

import pytest

from segexp.errors import ConfigError
from segexp.exporting import kinds
from segexp.exporting.kinds import FORMATS, check_format, is_exported


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
    monkeypatch.setattr(kinds, "find_spec", lambda package: None if package == "onnxscript" else object())
    assert refused() == (
        "format=onnx needs onnxscript, which is not installed. They come with the extra export. Type pip install "
        "'segexp[export]'."
    )
    monkeypatch.setattr(kinds, "find_spec", lambda package: None)
    assert refused("openvino", output="a.xml") == (
        "format=openvino needs openvino, onnx, onnxruntime, onnxscript, which are not installed. They come with the extra "
        "openvino. Type pip install 'segexp[openvino]'."
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
