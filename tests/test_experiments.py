"""Every experiment file trains as it stands on generated pictures in its native layout; only the size of the job shrinks."""

from pathlib import Path

import numpy as np
import pytest

from segexp.data.demo import make_demo
from segexp.data.files.images import write_png
from segexp.train import main

EXPERIMENTS = sorted(file.stem for file in (Path(__file__).resolve().parents[1] / "conf" / "experiment").glob("*.yaml"))
FAMILIES = {
    "isbi": "membranes",
    "recipe_b": "membranes",
    "liver": "organ",
    "recipe_d": "organ",
    "skin": "lesion",
    "recipe_c": "lesion",
}
SMALL = ["trainer=debug", "trainer.gpus=0", "trainer.minutes=null", "callbacks=none", "model.width=2", "data.val_fraction=0.25"]


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
    code = main([f"experiment={experiment}", *SMALL, *data_for(experiment, tmp_path), "trainer.batch_size=2", "run_dir=run"])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "val: Dice" in said.out
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").is_file()
