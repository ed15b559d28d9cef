"""Every experiment file trains as it stands on generated pictures in its native layout; only the size of the job shrinks."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from segexp.cli.train import main
from segexp.config.components import instantiate
from segexp.config.composition import compose, to_plain
from segexp.config.experiment import fit_to_choices
from segexp.config.validation import validate
from segexp.data.io.images import write_png
from segexp.data.synthetic.datasets import make_demo

CONF = Path(__file__).resolve().parents[2] / "conf"
EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
NETWORKS = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))
FAMILIES = {
    "isbi": "membranes",
    "recipe_b": "membranes",
    "liver": "organ",
    "recipe_d": "organ",
    "skin": "lesion",
    "recipe_c": "lesion",
}
SMALL = ["trainer=debug", "trainer.max_epochs=1", "trainer.gpus=0", "trainer.minutes=null", "callbacks=none", "model.width=2"]
SMALL += ["data.val_fraction=0.25"]


def load(file: Path) -> dict[str, Any]:
    """A YAML file."""
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def nested(root: Path) -> Path:
    """Four colour pictures in train/images and train/masks."""
    rng = np.random.default_rng(0)
    for number in range(4):
        mask = np.zeros((64, 96), np.uint8)
        mask[16:48, 20 + number : 60] = 255
        image = np.repeat((rng.integers(0, 90, mask.shape) + mask // 2)[..., None], 3, axis=2).astype(np.uint8)
        write_jpeg(root / "train" / "images" / f"{number}.jpg", image)
        save(root / "train" / "masks" / f"{number}_mask.png", mask)
    return root


def tiles(root: Path) -> Path:
    """Three aerial tiles of two pictures, masks in the colours of land cover, two of them as palette pictures."""
    from PIL import Image

    rng = np.random.default_rng(1)
    colours = np.array([(60, 16, 152), (132, 41, 246), (110, 193, 228), (254, 221, 58), (226, 169, 41)], np.uint8)
    for tile in range(1, 4):
        for part in range(2):
            classes = np.repeat(np.repeat(rng.integers(0, 5, (4, 5)), 160, axis=0), 160, axis=1)
            image = np.clip(classes[..., None] * 40 + rng.integers(0, 60, (*classes.shape, 3)), 0, 255).astype(np.uint8)
            write_jpeg(root / f"Tile {tile}" / "images" / f"image_part_{part}.jpg", image)
            mask = Image.fromarray(colours[classes])
            mask = mask.convert("P", palette=Image.Palette.ADAPTIVE) if tile == 2 else mask
            (root / f"Tile {tile}" / "masks").mkdir(parents=True, exist_ok=True)
            mask.save(root / f"Tile {tile}" / "masks" / f"image_part_{part}.png")
    return root


def write_jpeg(path: Path, image: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95)


def save(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, mask)


def data_for(experiment: str, folder: Path) -> list[str]:
    """The overrides that give an experiment its data and make its crops fit."""
    if experiment in FAMILIES:
        root = make_demo(folder, FAMILIES[experiment], count=8, size=64)
    elif experiment == "recipe_a":
        root = nested(folder / "nested")
    elif experiment == "landcover":
        root = tiles(folder / "tiles")
    else:
        root = folder / "demo"
    crop = ["data.crop=48"] if experiment in ("isbi", "landcover") else []
    return [f"data.root='{root}'", *crop]


def test_there_are_four_published_recipes_and_one_of_ours_per_data_set() -> None:
    assert set(EXPERIMENTS) == {"demo", "recipe_a", "recipe_b", "recipe_c", "recipe_d", "isbi", "landcover", "liver", "skin"}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_trains(experiment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = main([f"experiment={experiment}", *SMALL, *data_for(experiment, tmp_path), "data.batch_size=2", "run_dir=run"])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "val: Dice" in said.out
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").is_file()


def fitted(experiment: str, network: str | None = None, **others: str) -> dict[str, Any]:
    """The checked configuration of an experiment with options that were typed; nothing is read or built."""
    options = others | ({"model": network} if network else {})
    open_facts = ["data.channels=1", "data.classes={background: 0, organ: 255}"] if experiment == "demo" else []
    typed = [f"{group}={name}" for group, name in options.items()]
    words = [f"experiment={experiment}", *typed, "data.root=pictures", "trainer.gpus=0", *open_facts]
    config = compose("train", words)
    fit_to_choices(config, {word.partition("=")[0] for word in words}, {"experiment": experiment, **options}, [CONF])
    values = to_plain(config)
    validate(values)
    return values


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("network", ["dilated", "fpn", "unetpp"])
def test_takes_another_network(experiment, network):
    said = load(CONF / "experiment" / f"{experiment}.yaml").get("model") or {}
    own = load(CONF / "model" / f"{network}.yaml")
    model = fitted(experiment, network)["model"]
    assert set(model) == set(own)
    expected = own | said if set(said) <= set(own) else own
    assert {key: value for key, value in expected.items() if "$" not in str(value)}.items() <= model.items()


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_takes_every_network(network):
    assert len(NETWORKS) >= 13
    for experiment in ("liver", "demo"):
        instantiate(fitted(experiment, network)["model"])


@pytest.mark.parametrize("group", ["loss", "augment"])
def test_takes_every_loss_and_augmentation(group):
    names = [file.stem for file in sorted((CONF / group).glob("*.yaml"))]
    assert len(names) >= 5
    for name in names:
        own, found = load(CONF / group / f"{name}.yaml"), fitted("liver", **{group: name})[group]
        if "ce" in own.get("terms", {}):
            own["terms"]["ce"]["loss"]["class_weights"] = [1.0, 8.0]
        assert found == own


@pytest.fixture
def untrained(monkeypatch, tmp_path):
    """Type a train command in an empty folder that ends before it trains; `untrained.models` is what it would train."""
    monkeypatch.chdir(tmp_path)
    stub = types.ModuleType("segexp.training.run")
    monkeypatch.setitem(sys.modules, "segexp.training.run", stub)

    def command(*words):
        return main([*words, "data.root=pictures", "trainer.gpus=0"])

    command.models = []
    stub.run = lambda config, directory: command.models.append(config.model.arguments)
    return command


def test_what_it_says_to_its_own_network_is_taken_back_for_another_and_that_is_said(untrained, capsys):
    assert untrained("experiment=liver", "model=fpn") == 0
    assert capsys.readouterr().out == (
        "experiment=liver sets model.width=16 for its own network; the chosen one keeps its settings.\n"
    )
    assert untrained("experiment=liver", "model=unetpp") == 0
    assert capsys.readouterr().out == ""
    fpn, unetpp = untrained.models
    assert "width" not in fpn
    assert unetpp["width"] == 16


def test_what_is_typed_is_never_taken_back(untrained, capsys):
    assert untrained("experiment=liver", "model=fpn", "model.width=8") == 2
    assert "model.width is not an argument of segexp.models.EncoderDecoder" in capsys.readouterr().err
    assert untrained.models == []


def test_an_experiment_that_is_wrong_about_its_own_network_is_told_so(untrained, tmp_path, capsys):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "odd.yaml").write_text("# @package _global_\nmodel: {widht: 16}\n")
    own = ["--config-dir", str(tmp_path / "mine"), "experiment=odd", "data=liver"]
    assert untrained(*own) == 2
    assert "model.widht is not an argument of segexp.models.UNet. Did you mean width?" in capsys.readouterr().err
    assert untrained(*own, "model=dilated") == 0
    assert "sets model.widht=16" in capsys.readouterr().out
