"""Exported torch files with one change: none is opened by torch, and what is refused is named."""

import sys
from pathlib import Path

import pytest
import torch

from segexp.deployment import runtime
from segexp.deployment.inspection import Unknown, _check_expression, _checked_script, inspected_program, inspected_script
from segexp.deployment.runtime import load_exported, open_runner
from segexp.errors import CheckpointError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import hostile_files

sys.path.pop(0)

PROGRAMS, SCRIPTS = hostile_files.PROGRAMS, hostile_files.SCRIPTS
FOUND = {
    "pickled weight": "the pickled entry 'weight_999'",
    "pickled object": "the entry 'data/constants/opaque_obj_0'",
    "pickled example": "a pickled entry 'sample_inputs' that is more than tensors",
    "compiled library": "the entry 'data/aotinductor/model/lib.so'",
    "name of an argument": "an argument that is no name",
    "type of the result": "an argument of the type collections.defaultdict",
    "operation from_file": "the operation 'torch.ops.aten.from_file.default'",
    "from_file": "the operation 'torch.from_file'",
    "class of C++": "the operation '__torch__.torch.classes.dist_c10d.FileStore.__init__'",
    "__setstate__": "the function __setstate__",
}


@pytest.fixture
def place(tmp_path, written):
    """Good files to change."""
    found = hostile_files.Place(tmp_path)
    found.exported = written
    return found


@pytest.fixture
def closed(monkeypatch):
    """Torch's loaders, which must not be called."""
    for module, name in ((torch.export, "load"), (torch.jit, "load")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("torch opened it"))


@pytest.mark.slow
@pytest.mark.parametrize("case", [*PROGRAMS, *SCRIPTS])
def test_a_changed_file_is_not_opened(case, place, closed, tmp_path):
    write, kind = (PROGRAMS[case], "torch_export") if case in PROGRAMS else (SCRIPTS[case], "torchscript")
    with pytest.raises(CheckpointError) as caught:
        open_runner(write(place, tmp_path), kind, "fp32")
    text = str(caught.value)
    assert f" holds {FOUND.get(case, '')}" in text
    assert "which could run code or touch files when it is opened." in text
    assert "An ONNX file can hold nothing else, so it needs no trust. If you know who made the file, type trust=true" in text
    assert not place.ran()


@pytest.mark.slow
def test_guards_are_not_evaluated_and_trust_opens_a_file_as_it_is(place, tmp_path, monkeypatch):
    path = hostile_files.HARMLESS["guards as code"](place, tmp_path)
    assert load_exported(path).spec.classes == ("background", "liver")
    assert not place.ran()
    opened = []
    monkeypatch.setattr(runtime, "inspected_program", lambda path: pytest.fail("it was inspected"))
    monkeypatch.setattr(torch.export, "load", lambda path: opened.append(path) or torch.export.export)
    with pytest.raises(CheckpointError, match=r"cannot be read as torch\.export"):  # this stands in for no program
        load_exported(path, trust=True)
    assert opened == [path]


@pytest.mark.slow
def test_what_is_inspected_is_what_torch_reads(written):
    for inspect, name in ((inspected_program, "net.pt2"), (inspected_script, "net.pt")):
        assert inspect(written / name).getvalue() != (written / name).read_bytes()
        with pytest.raises(Exception, match="not a zip file"):
            inspect(written / "net.onnx")


@pytest.mark.parametrize(
    "text",
    ["Add(Symbol('s73', positive=True, integer=True), Integer(-2))", "2*s0 + FloorDiv(s1, 4)", "Max(1, s0) <= u0", "True"],
)
def test_sizes_are_expressions_of_symbols(text):
    _check_expression(text)


@pytest.mark.parametrize(
    "text", ["os", "Symbol('a b')", "Integer.x", "(lambda: 1)()", "Symbol(name=f'{s0}')", "[s0][0]", "s0()()"]
)
def test_other_expressions_are_not(text):
    with pytest.raises(Unknown, match="the expression"):
        _check_expression(text)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("x = torch.relu(image)", ""),
        ("x = (self.network).forward1(image, )", ""),
        ("x = torch.pad(image, [1, 1], 'reflect')", ""),
        ("x = save(image)", "the operation 'save'"),
        ("x = [torch.save][0]('a')", "the operation '\\[torch.save\\]"),
        ("x = torch.relu('/etc/passwd')", "the text '/etc/passwd'"),
        ("import os", "a Import in its code"),
        ("x = torch.ops.load_library('a')", "the operation 'torch.ops.load_library'"),
        ("x = self.classes.a", "the name 'self.classes'"),
    ],
)
def test_lines_of_torchscript(line, found):
    source = f"class Net(Module):\n  def forward(self, image: Tensor) -> Tensor:\n    {line}\n    return image\n".encode()
    if not found:
        assert "image" in _checked_script(source)
        return
    with pytest.raises(Unknown, match=found):
        _checked_script(source)
