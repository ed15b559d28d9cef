"""A trained UNet++ pruned to a level: by load_segmenter, and typed after evaluate and predict."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.configs import train_config
from segexp.api.loading import load_members
from segexp.checkpoint import describe, load_segmenter, read_checkpoint
from segexp.checkpoint.loading import with_pruning
from segexp.config.schema import Component
from segexp.data.preprocessing import Preprocessing
from segexp.errors import ConfigError
from segexp.evaluation.tune_postprocessing import check_tunable
from segexp.models import UNetPlusPlus
from segexp.types import DataSpec

DEEP = {"in_channels": 1, "num_classes": 2, "width": 2, "depth": 4, "deep_supervision": True}
MODEL = {"_target_": "segexp.models.UNetPlusPlus", **DEEP}
SPEC = DataSpec("toy", ("background", "thing"), 1, ((0, 0, 0), (255, 128, 0)))


def written(path: Path, **changes: Any) -> UNetPlusPlus:
    """Write a checkpoint of a small UNet++ as training does; returns the network."""
    torch.manual_seed(1)
    network = UNetPlusPlus(**(DEEP | changes))
    network(torch.randn(2, 1, 32, 32))
    config = train_config({"model": MODEL | changes, "data": {"max_pixels": None}})
    content = describe(config, SPEC, Preprocessing(1, mean=(0.4,), std=(0.2,)), "ab12", "32", {})
    torch.save({"state_dict": {f"network.{k}": v for k, v in network.state_dict().items()}, "segexp": content}, path)
    return network.eval()


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_pruned_segmenter_gives_what_the_head_gives(level: int, tmp_path: Path) -> None:
    network = written(tmp_path / "best.ckpt")
    segmenter = load_segmenter(tmp_path / "best.ckpt", prune_to=level)
    image = np.random.default_rng(0).integers(0, 255, (37, 50, 1)).astype(np.uint8)
    with torch.no_grad():
        heads = network.forward_scales(segmenter.preprocessing.prepare(image)[None])[::-1]
        torch.testing.assert_close(segmenter.probabilities(image), heads[level - 1][0].softmax(dim=0))
    whole = load_segmenter(tmp_path / "best.ckpt")
    few, all_ = (sum(p.numel() for p in each.network.parameters()) for each in (segmenter, whole))
    assert few < all_ if level < 3 else few == all_
    (member,) = load_members([tmp_path / "best.ckpt"], "cpu", [], level)
    assert torch.equal(member.probabilities(image), segmenter.probabilities(image))


def test_the_file_stays_that_of_the_whole_network(tmp_path: Path) -> None:
    written(tmp_path / "best.ckpt")
    before = (tmp_path / "best.ckpt").read_bytes()
    assert load_segmenter(tmp_path / "best.ckpt", prune_to=1).origin.config.model.arguments["prune_to"] == 1
    assert (tmp_path / "best.ckpt").read_bytes() == before
    assert read_checkpoint(tmp_path / "best.ckpt")["segexp"]["config"]["model"] == MODEL


def test_a_level_beyond_the_depth_names_those_that_there_are(tmp_path: Path) -> None:
    written(tmp_path / "best.ckpt")
    with pytest.raises(ConfigError) as caught:
        load_segmenter(tmp_path / "best.ckpt", prune_to=4)
    assert str(caught.value) == (
        "model.prune_to is 4. One of 1, 2, 3: a UNet++ of depth 4 has the levels L1 to L3. Set model.prune_to=3 or less, or "
        "leave it out for the whole network."
    )
    with pytest.raises(ConfigError, match=r"best\.ckpt cannot be used: model\.prune_to is 4\. One of 1, 2, 3"):
        load_members([tmp_path / "best.ckpt"], "cpu", [], 4)


def test_a_network_trained_without_heads(tmp_path: Path) -> None:
    written(tmp_path / "best.ckpt", deep_supervision=False)
    with pytest.raises(ConfigError) as caught:
        load_segmenter(tmp_path / "best.ckpt", prune_to=2)
    assert str(caught.value) == (
        f"model.prune_to=2, and {tmp_path / 'best.ckpt'} was trained without deep supervision: its inner levels have no heads. "
        "A run that was trained with deep_supervision=true. Train it again with that, or leave model.prune_to out."
    )


def test_a_network_that_cannot_be_pruned() -> None:
    with pytest.raises(ConfigError) as caught:
        with_pruning(Component(_target_="segexp.models.UNet", deep_supervision=True), 2, Path("runs/best.ckpt"))
    assert str(caught.value) == (
        "model.prune_to=2, and the network of runs/best.ckpt is segexp.models.UNet, which has no levels to prune to. A network "
        "that learned to predict at each of its levels: model=unetpp trained with deep_supervision=true. Name such a run, or "
        "leave model.prune_to out."
    )


def test_a_network_that_was_trained_pruned(tmp_path: Path) -> None:
    written(tmp_path / "best.ckpt", prune_to=2)
    assert load_segmenter(tmp_path / "best.ckpt", prune_to=1).network.level == 1
    with pytest.raises(ConfigError, match=r"was trained with model\.prune_to=2\. One of 1, 2\. Type model\.prune_to=2 or less"):
        load_segmenter(tmp_path / "best.ckpt", prune_to=3)


def test_post_processing_is_chosen_for_the_whole_network() -> None:
    with pytest.raises(ConfigError, match=r"model\.prune_to=2 with tune=postprocess\. .* chosen for its whole network\. Leave"):
        check_tunable(None, [], 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, train: Any, small: list[str]) -> Path:
    """A run of a small UNet++ with deep supervision."""
    directory = tmp_path_factory.mktemp("pruning") / "run"
    words = [word for word in small if not word.startswith("model")]
    network = ("model=unetpp", "model.width=2", "model.depth=3", "deep_supervision=true")
    assert train(*words, *network, "trainer.max_epochs=1", f"run_dir={directory}") == 0
    return directory


@pytest.mark.slow
def test_evaluate_and_predict_at_a_level(
    run: Path, slices: Path, evaluate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from segexp.cli.predict import main
    from segexp.data.io.images import read_mask
    from segexp.types import Source

    monkeypatch.chdir(tmp_path)
    for level in (1, 2, None):
        typed = f"model.prune_to={'null' if level is None else level}"
        assert evaluate(f"checkpoint={run}", typed, "metrics=none", f"output=scores{level}", "pictures=0", "gpus=0") == 0
        found = json.loads((tmp_path / f"scores{level}" / "metrics.json").read_text())
        assert found.get("prune_to") == level
        assert main([f"checkpoint={run}", f"input={slices / 'val'}", f"output=masks{level}", typed, "gpus=0"]) == 0
        dice = []
        for file in (tmp_path / f"masks{level}").glob("*.png"):
            mask = read_mask(Source(file), indices=True) == 255
            truth = read_mask(Source(slices / "val" / f"{file.stem}_mask.png"), indices=True) == 255
            dice.append(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
        assert np.mean(dice) == pytest.approx(found["scores"]["val/dice"], abs=1e-5), "both see the same network"
    capfd.readouterr()
    for words, text in (
        (["model.prune_to=3"], "model.prune_to is 3. One of 1, 2: a UNet++ of depth 3 has the levels L1 to L2."),
        (["model.prune_to=0"], "model.prune_to is 0 (a whole number); expected"),
        (["model.prune_too=1"], "prune_too"),
        (["model=unetpp"], "model"),
        (["model.prune_to=1", "tune=postprocess"], "model.prune_to=1 with tune=postprocess."),
    ):
        assert evaluate(f"checkpoint={run}", *words, "gpus=0") == 2
        assert text in capfd.readouterr().err
