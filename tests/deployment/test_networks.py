"""Every network of conf/model leaves the framework, but for those that docs/export.md names.

Each program gives what its network gives; those with operations that no other has are written and read back.
"""

import re
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from hydra.utils import get_class
from omegaconf import OmegaConf

from segexp.config.composition import register_resolvers
from segexp.deployment import formats as writing
from segexp.deployment.formats import FORMATS
from segexp.deployment.inspection import is_known_operation
from segexp.deployment.modules import NetworkModule
from segexp.deployment.runtime import open_runner

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "export.md"
FILES = {path.stem: path for path in sorted((ROOT / "conf" / "model").glob("*.yaml"))}
SMALL = yaml.safe_load((Path(__file__).resolve().parents[1] / "small_networks.yaml").read_text(encoding="utf-8"))
"""The networks of libraries, and what makes each of them small; the others have a `width`."""
SHALLOW = {"attention_unet": 3, "unet_paper": 4, "unetpp": 3}
"""Levels of those whose capture takes long at their own; 97 by 131 pixels are no multiple of their strides either."""
RELOADED = ("pspnet", "unet", "unetpp")
"""Networks whose .pt2 file is written and read back; reading takes as long as capturing."""
COVERED = {
    "deeplabv3": ("fcn", "deeplabv3plus"),
    "dilated": ("deeplabv3plus",),
    "resunet": ("deeplabv3plus",),
    "unet_encoder": ("manet",),
    "unetpp_encoder": ("manet",),
}
"""Networks that are captured, and not written as ONNX: all of their operations are in files of these others."""
every_network = pytest.mark.parametrize("name", FILES)


def not_exported():
    """The networks that docs/export.md excludes."""
    (names,) = re.findall(r"Not exported:\s*(.+?)\.(?:\s|$)", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    return set() if names.strip("`* ") == "none" else set(re.findall(r"\w+", names))


@pytest.fixture(scope="module")
def documented():
    """The text of the page."""
    if not DOCS.is_file():
        pytest.skip("docs/export.md, which names the networks that are exported, is not written yet")
    return DOCS.read_text(encoding="utf-8")


def test_the_page_names_every_network(documented):
    rows = set(re.findall(r"^\|\s*`(\w+)`", documented, flags=re.MULTILINE))
    assert rows & set(FILES) == set(FILES) - not_exported()
    assert not_exported() <= set(FILES)


def network(name):
    """A small edition of a network, whose statistics are those of noise."""
    register_resolvers()
    facts = {"data": {"channels": 3, "num_classes": 2}, "deep_supervision": None}
    config = OmegaConf.create({**facts, "model": OmegaConf.load(FILES[name])})
    arguments = OmegaConf.to_container(config.model, resolve=True)
    small = SMALL.get(name, {"width": 4}) | ({"depth": SHALLOW[name]} if name in SHALLOW else {})
    torch.manual_seed(0)
    made = get_class(arguments.pop("_target_"))(**(arguments | small))
    made.train()
    with torch.no_grad():
        made(torch.randn(4, 3, 64, 64))
    return made.eval()


def operations(program):
    """The names of a program's operations, as its file has them."""
    targets = {node.target for node in program.graph.nodes if node.op == "call_function"}
    aten = {f"torch.ops.{target}" for target in targets if isinstance(target, torch._ops.OpOverload)}
    return aten | {
        f"{target.__module__}.{target.__name__}" for target in targets if not isinstance(target, torch._ops.OpOverload)
    }


@cache
def captured(name):
    """The program of a network on pictures of 45 by 70 pixels; from half to all of what a test of it takes."""
    return writing.capture_program(NetworkModule(network(name)), torch.zeros(2, 3, 45, 70))


@pytest.mark.slow
@pytest.mark.parametrize("name", COVERED)
def test_what_is_not_written_has_no_operation_of_its_own(name):
    others = set().union(*(operations(captured(other)) for other in COVERED[name]))
    assert not set(COVERED) & set(COVERED[name])
    assert operations(captured(name)) - others == set()


@pytest.mark.slow
@every_network
def test_the_files_give_what_the_network_gives(name, tmp_path, monkeypatch):
    if DOCS.is_file() and name in not_exported():
        pytest.skip(f"docs/export.md says why {name} is not exported")
    own = network(name)
    module, example = NetworkModule(own), torch.zeros(2, 3, 45, 70)
    least = max(
        16, own.stride
    )  # torch.export guards against maps of a single pixel, so the smallest size is one above the stride
    program = captured(name)
    monkeypatch.setattr(writing, "capture_program", lambda *_: program)
    assert [target for target in operations(program) if not is_known_operation(target)] == []  # it loads without trust=
    runners = {"captured": program.module()}
    for kind in () if name in COVERED else ("onnx", "torch_export") if name in RELOADED else ("onnx",):
        file = tmp_path / f"net{FORMATS[kind].suffix}"
        writing.write_program(module, example, file) if kind == "torch_export" else writing.write_onnx(
            module, example, file, "logits"
        )
        runners[kind] = open_runner(file, kind, "fp32")
    for kind, exported in runners.items():
        for batch, height, width in ((3, 97, 131), (1, least + 1, least + 2), (3, 64, 40)):
            image = torch.randn(batch, 3, height, width)
            with torch.inference_mode():
                expected, found = own(image).softmax(dim=1), exported(image).softmax(dim=1)
            assert found.shape == (batch, 2, height, width), kind
            assert float((expected - found).abs().max()) < 1e-4, (kind, batch, height, width)
