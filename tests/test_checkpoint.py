"""Checkpoints: one file rebuilds the segmenter, nothing else is needed, and nothing in it is run."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segexp.checkpoint import SCHEMA, describe, find_checkpoint, load_segmenter, read_checkpoint
from segexp.errors import CheckpointError
from segexp.models import UNet
from segexp.preprocessing import Preprocessing
from segexp.types import DataSpec

MODEL = {"_target_": "segexp.models.UNet", "in_channels": 1, "num_classes": 2, "width": 2, "depth": 2}
SPEC = DataSpec("toy", ("background", "thing"), 1, ((0, 0, 0), (255, 128, 0)))
CONFIG: dict[str, Any] = {"model": MODEL, "trainer": {"channels_last": True}, "data": {"max_pixels": None}}


def written(path: Path, **changes: Any) -> tuple[Path, UNet]:
    """A checkpoint of a small U-Net, as training writes it."""
    torch.manual_seed(1)
    network = UNet(1, 2, width=2, depth=2)
    content = describe(
        {**CONFIG, **changes.pop("config", {})}, SPEC, Preprocessing(1, 24, mean=(0.4,), std=(0.2,)), "ab12", "32", {}
    )
    weights = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": weights, "segexp": {**content, **changes}}, path)
    return path, network.eval()


def test_it_rebuilds_everything(tmp_path: Path) -> None:
    path, network = written(tmp_path / "best.ckpt")
    segmenter = load_segmenter(path)
    assert segmenter.spec == SPEC
    assert segmenter.preprocessing == Preprocessing(1, 24, mean=(0.4,), std=(0.2,))
    assert segmenter.facts["split_hash"] == "ab12"
    assert not segmenter.network.training
    image = np.random.default_rng(0).integers(0, 255, (40, 48, 1)).astype(np.uint8)
    with torch.no_grad():
        logits = network(segmenter.preprocessing.prepare(image)[None])
    expected = torch.nn.functional.interpolate(logits, size=(40, 48), mode="bilinear", align_corners=False)[0].argmax(0)
    assert segmenter.classes(image).tolist() == expected.tolist()


def test_it_holds_plain_values_only(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt")
    values = torch.load(path, weights_only=True)["segexp"]
    assert values["schema"] == SCHEMA
    assert set(values["versions"]) == {"segexp", "torch", "pytorch-lightning", "numpy", "python"}


def test_a_run_directory_means_its_best_weights(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    last, _ = written(tmp_path / "checkpoints" / "last.ckpt")
    assert find_checkpoint(tmp_path) == last
    best, _ = written(tmp_path / "checkpoints" / "best.ckpt")
    assert find_checkpoint(tmp_path) == best
    assert find_checkpoint(tmp_path / "checkpoints") == best


def test_no_such_run_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "run_one").mkdir()
    with pytest.raises(CheckpointError, match=r"checkpoint=.*run_on does not exist.*Did you mean run_one"):
        find_checkpoint(tmp_path / "run_on")
    with pytest.raises(CheckpointError, match=r"is a folder without checkpoints/best\.ckpt"):
        find_checkpoint(tmp_path / "run_one")


@pytest.mark.parametrize("kind", ["truncated", "text", "empty", "code"])
def test_a_broken_file_is_named(kind: str, tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt")
    data = path.read_bytes()
    contents = {"truncated": data[: len(data) // 2], "text": b"not a checkpoint", "empty": b"", "code": pickle.dumps(Path("x"))}
    path.write_bytes(contents[kind])
    with pytest.raises(CheckpointError, match=r"best\.ckpt cannot be read as a checkpoint.*name another one with checkpoint="):
        read_checkpoint(path)


def test_a_foreign_file_says_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"model": {"w": torch.zeros(1)}, "epoch": 3}, path)
    with pytest.raises(CheckpointError, match=r"other\.pt is a torch file but not one of segexp's: it holds model, epoch"):
        read_checkpoint(path)


def test_another_form_names_the_version_that_wrote_it(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt", schema=99, versions={"segexp": "9.9"})
    with pytest.raises(
        CheckpointError, match=r"has form 99 and this segexp .* reads form 1.*Install the version that wrote it \(9\.9\)"
    ):
        read_checkpoint(path)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt", config={"model": {**MODEL, "width": 4}})
    with pytest.raises(CheckpointError, match=r"The weights in .*best\.ckpt do not fit the network it names"):
        load_segmenter(path)


def test_a_network_of_a_stranger_is_not_built(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt", config={"model": {"_target_": "os.getcwd"}})
    with pytest.raises(CheckpointError, match=r"trust=\[os\]"):
        load_segmenter(path)
