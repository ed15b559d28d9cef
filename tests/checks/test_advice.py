"""What check advises: each line can be typed, an error is what training refuses, and a proposal trains as it is printed."""

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import compress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from fixtures.advice import typed as alternatives
from fixtures.checks import only
from segexp.api.check import check, check_data
from segexp.api.train import prepare_config
from segexp.checks.issues import Examination
from segexp.checks.run import run_preflight_checks
from segexp.config.composition import GROUPS, Job, compose_job
from segexp.config.overrides import CommandLine
from segexp.errors import SegexpError
from segexp.training.build import build_datamodule, build_loss

PAIRED = ["data=paired_folders", 'data.image="images/{id}.png"', 'data.mask="masks/{id}.png"', "data.channels=1"]
SMALL = ["data.batch_size=2", "data.num_workers=0", "trainer.gpus=0"]


def scene(seed: int, side: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """An image with a bright disc, and its mask."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), np.uint8)
    x, y = (int(v) for v in rng.integers(14, side - 14, 2))
    cv2.circle(mask, (x, y), 9, 255, -1)
    return np.clip(60 + 100.0 * (mask > 0) + rng.normal(0, 10, mask.shape), 0, 255).astype(np.uint8), mask


def put(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def pictures(root: Path, image: str = "images/q{:02}.png", mask: str = "masks/q{:02}.png", count: int = 7) -> None:
    for n in range(count):
        for path, array in zip((image, mask), scene(n), strict=True):
            put(root / path.format(n, kind=n % 3), array)


def soften(root: Path, folder: str = "masks") -> None:
    for file in (root / folder).iterdir():
        put(file, cv2.GaussianBlur(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), (5, 5), 0))


def soft(root: Path) -> None:
    pictures(root)
    soften(root)


def unknown(root: Path) -> None:
    for n in range(7):
        put(root / f"b/q{n:02}.png", scene(n)[0])


def odd_names(root: Path) -> None:
    pictures(root, "b/q{:02}.png", "a/q{:02}.png")
    soften(root, "a")


def exchanged(root: Path) -> None:
    pictures(root, "masks/q{:02}.png", "images/q{:02}.png")


def stray(root: Path) -> None:
    pictures(root)
    mask = scene(3)[1]
    mask[:1, :6] = 7
    put(root / "masks/q03.png", mask)


def mask_as_image(root: Path) -> None:
    pictures(root)
    put(root / "images/q03.png", scene(3)[1])


def copies(root: Path) -> None:
    pictures(root, count=8)
    for n in range(4):
        image, mask = scene(n)
        put(root / f"images/q{n + 4:02}.png", np.clip(image * 0.9 + 4, 0, 255).astype(np.uint8))
        put(root / f"masks/q{n + 4:02}.png", mask)


def another_size(root: Path) -> None:
    pictures(root)
    put(root / "masks/q03.png", scene(3)[1][:40])


def empty(root: Path) -> None:
    pictures(root)
    for n in range(7):
        put(root / f"masks/q{n:02}.png", np.zeros((48, 48), np.uint8))


def patients(root: Path) -> None:
    pictures(root, "images/p{kind}_{:02}.png", "masks/p{kind}_{:02}.png")


def one(root: Path) -> None:
    pictures(root, count=1)


def misread(root: Path) -> None:
    pictures(root, "a_{:02}.png", "a_{:02}_gm_seg.png")


def dots(root: Path) -> None:
    pictures(root)
    for n in range(7):
        mask = np.zeros((48, 48), np.uint8)
        mask[20 : 20 + (n > 3), 20:24] = 255
        put(root / f"masks/q{n:02}.png", mask)


def night(root: Path) -> None:
    pictures(root)
    put(root / "images/q03.png", scene(3)[0] // 40)


def unlabelled(root: Path) -> None:
    pictures(root, "images/train/q{:02}.png", "masks/train/q{:02}.png")
    pictures(root, "images/test/r{:02}.png", "unused/r{:02}.txt.png", count=2)


def numbered(root: Path) -> None:
    pictures(root)
    for n in range(7):
        mask = np.zeros((48, 48), np.uint8)
        for k in range(8):
            cv2.circle(mask, (6 + 12 * (k % 4), 10 + 20 * (k // 4)), 4, k + 1, -1)
        put(root / f"masks/q{n:02}.png", mask)


def leak(root: Path) -> None:
    for n in range(8):
        for path, array in zip(("images", "masks"), scene(n), strict=True):
            put(root / f"{path}/{'val' if n > 5 else 'train'}/p{n % 4}_{n}.png", array)


def fields(root: Path) -> None:
    pictures(root)
    for n in range(7):
        put(root / f"masks/q{n:02}.png", np.roll(np.repeat(np.arange(3, dtype=np.uint8), 16)[None].repeat(48, 0), n, 1))


SPLIT = [*PAIRED, 'data.image="images/{split}/{id}.png"', 'data.mask="masks/{split}/{id}.png"']
SETS: dict[str, tuple[Callable[[Path], None], list[str], str, str]] = {
    "soft": (soft, PAIRED, "error", "soft_mask"),
    "unknown": (unknown, ["data=auto"], "error", "layout"),
    "odd_names": (odd_names, ["data=auto"], "note", "soft_mask"),
    "exchanged": (exchanged, PAIRED, "error", "exchanged"),
    "stray": (stray, PAIRED, "error", "unclaimed"),
    "mask_as_image": (mask_as_image, PAIRED, "warning", "mask_as_image"),
    "copies": (copies, PAIRED, "warning", "near_duplicate"),
    "another_size": (another_size, PAIRED, "error", "size"),
    "empty": (empty, PAIRED, "error", "one_value"),
    "patients": (patients, PAIRED, "warning", "leakage"),
    "one": (one, PAIRED, "error", "split"),
    "one_group": (pictures, [*PAIRED, 'data.groups="^(q)"'], "error", "split"),
    "misread": (misread, ["data=auto", 'data.image="{id}.png"', 'data.mask="{id}_*seg.png"'], "error", "no_case"),
    "rare": (dots, PAIRED, "note", "rare"),
    "rare_in_crops": (dots, [*PAIRED, "data.crop=32", "data.foreground_crops=0.33"], "note", "rare"),
    "empty_half": (dots, PAIRED, "warning", "empty"),
    "night": (night, PAIRED, "warning", "dark"),
    "night_of_percentiles": (night, [*PAIRED, "data.normalize=percentile"], "warning", "dark"),
    "unlabelled": (unlabelled, [*SPLIT, "data.val_fraction=0.3"], "note", "unlabelled"),
    "gray": (pictures, [*PAIRED, "data.channels=3"], "note", "channels"),
    "two_channels": (pictures, [*PAIRED, "data.channels=2"], "error", "channels"),
    "numbered": (numbered, PAIRED, "error", "objects"),
    "leak": (leak, SPLIT, "error", "leakage"),
    "fields": (fields, [*PAIRED, "data.classes={bare soil: 0, wood: 1, water: 2}"], "warning", "background"),
    "no_case": (pictures, [*PAIRED, 'data.image="x/{id}.png"'], "error", "no_case"),
}
"""What is wrong with a set, what is typed, and a finding that says so with its level."""
WARNED = ("copies", "mask_as_image", "rare", "rare_in_crops", "empty_half")
"""What no configuration mends."""


@cache
def composed(choices: tuple[str, ...]) -> Job:
    """The configuration with these options of groups."""
    return compose_job("train", [*SMALL, *choices])


def refusal(words: Sequence[str]) -> SegexpError | None:
    """Return why a training does not begin with what is typed, None if it does: configured, its data read and found fit."""
    try:
        line = CommandLine(list(words)).expanded()
        chosen = [key in GROUPS for key in line.keys]
        base = composed(tuple(compress(line.overrides, chosen)))
        job = replace(base, config=base.config.copy(), typed=frozenset(line.keys))
        ConfigLoaderImpl._apply_overrides_to_config(
            [o for o, group in zip(line.parsed, chosen, strict=True) if not group], job.config
        )
        config = prepare_config(job)
        build_loss(config, [1.0] * 3)
        data = build_datamodule(config)
        data.setup()
        run_preflight_checks(data, print)
    except SegexpError as error:
        return error
    return None


def accepted(words: Sequence[str]) -> bool:
    """Whether a training begins with what is typed."""
    return refusal(words) is None


@pytest.fixture
def examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[list[str], Examination]]:
    """Check a set of the table without a page; returns what was typed and what was found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("segexp.reporting.check_report.check_page", lambda *_: "")

    def run(name: str) -> tuple[list[str], Examination]:
        make, words, *_ = SETS[name]
        make(tmp_path / name)
        typed = [*words, f"data.root={tmp_path / name}"]
        job = compose_job("check", CommandLine([*typed, "propose=true", "output=out"]).expanded().overrides)
        return typed, check_data(job).examination

    return run


@pytest.mark.parametrize("name", SETS)
def test_an_error_is_what_training_refuses_and_what_is_printed_can_be_typed(name, examined, capsys):
    *_, level, kind = SETS[name]
    typed, found = examined(name)
    printed = capsys.readouterr().out
    assert (level, kind) in [(each.level, each.kind) for each in found.findings]
    assert found.failed is (level == "error")
    assert accepted(typed) is not found.failed
    for finding in found.findings:
        for words in alternatives(finding.do):
            job = compose_job("train", CommandLine([*typed, *words]).expanded().overrides)
            assert job.config.data.root == typed[-1].removeprefix("data.root=")
            assert (found.failed and finding.level != "error") or accepted([*typed, *words]), (finding.do, words)
    command = re.search(r"^To train with it: python -m segexp.train --config-dir '(\S+)' (data=\w+)$", printed, re.MULTILINE)
    assert (command is not None) is (not found.failed or any(finding.remedy for finding in found.findings))
    if command:
        capsys.readouterr()
        job = compose_job("train", [command[2], *SMALL], [Path(command[1])])
        data = build_datamodule(prepare_config(job))
        data.setup()
        run_preflight_checks(data, print)
        assert "Warning: " not in capsys.readouterr().out or name in WARNED


def two(root: Path) -> None:
    pictures(root, count=2)


def fractions(root: Path) -> None:
    pictures(root)
    for n in range(7):
        values = scene(n)[1] / np.float32(255)
        values[:2] = 0.5
        put(root / f"masks/q{n:02}.tif", values)
        (root / f"masks/q{n:02}.png").unlink()


def apart(root: Path) -> None:
    pictures(root, "it's/{:02}.png", "it's/{:02}_gt x.png")


THREE = "data.classes={background: 0, white matter: 255, other: 9}"
REFUSED: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "crop": (pictures, ["data.crop=256"], "data.crop=256 is larger"),
    "crop of an odd size": (pictures, ["data.crop=[16,300]"], "is larger than every"),
    "crops of foreground": (pictures, ["data.foreground_crops=0.33"], "with data.crop=null"),
    "batch": (pictures, ["data.batch_size=64"], "is more than the 6 training samples"),
    "folds": (pictures, ["data.folds=50", "data.fold=0"], "there are only 7 cases"),
    "folds of groups": (pictures, ["data.folds=3", "data.fold=0", 'data.groups="(q0)"'], "there are only 1 groups"),
    "fold": (pictures, ["data.fold=7"], "without data.folds"),
    "no fold": (pictures, ["data.folds=3"], "data.fold=None"),
    "test": (two, ["data.test_fraction=0.5"], "2 cases are too few for a test split"),
    "test fraction": (pictures, ["data.test_fraction=1.0"], "data.test_fraction=1.0"),
    "no val": (pictures, ["data.val_fraction=null"], "data.val_fraction is null"),
    "groups": (pictures, ["data.groups=(z)"], ""),
    "group keys": (pictures, ["+data.groups={file: a.csv}"], "data.groups has the keys file"),
    "no table": (pictures, ["++data.groups={file: a.csv, match: x, column: y}"], ""),
    "threshold": (pictures, [THREE, "data.threshold=3"], "data.threshold=3 with 3 classes"),
    "no value": (pictures, ["data.classes={background: 0, white matter: null}"], "only 1 have a value"),
    "half": (pictures, ["data.classes.foreground=0.5"], "data.classes.foreground has 0.5"),
    "ignored half": (pictures, ["data.ignore=0.5"], "data.ignore has 0.5"),
    "halves": (fractions, ['data.mask="masks/{id}.tif"', "data.classes.foreground=1"], "of the value 0.5"),
    "spaced": (stray, [THREE.replace("9", "8")], "of the value 7"),
    "numbered": (numbered, [], "which no class claims"),
    "soft": (soft, [], "which no class claims"),
    "channels": (pictures, ["data.channels=2"], "1 channels, data.channels is 2"),
    "background": (pictures, ["data.background=skin"], "no class of data.classes"),
    "normalize": (pictures, ["data.normalize={mean: 1}"], ""),
    "overlapping": (pictures, ["data.labels=overlapping"], "data.labels=overlapping with data.mask="),
    "mask of classes": (pictures, ['data.mask={foreground: "masks/{id}.png"}'], "and data.labels is exclusive"),
    "optional": (pictures, ["data.optional_masks=[foreground]"], "with data.labels=exclusive"),
    "leak": (leak, [*SPLIT[-2:], 'data.groups="(p\\d)_"'], "2 groups have cases in more than one split"),
    "pattern": (apart, ['data.image="*/{id}.jpg"', 'data.mask="*/{id}_gt.png"'], "No file below"),
    "unknown": (unknown, ["data=auto", "data.image=null", "data.mask=null"], "No known layout"),
    "endless": (pictures, ["trainer.max_epochs=null"], "never end"),
    "two averages": (pictures, ["trainer.ema=0.9", "trainer.swa=1"], ""),
    "target": (pictures, ["callbacks.explain_target=1"], "of no use without heat maps"),
    "heads": (pictures, ["deep_supervision=[0,0]"], "no weight above 0"),
    "gamma": (pictures, ["loss=focal", "loss.gamma=-1"], "gamma of the loss is -1"),
}
"""What is wrong with a set, what is typed, and what training says to it."""


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_error_tells_to_type_removes_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, words, expected = REFUSED[name]
    make(tmp_path / name)
    before = [*PAIRED, *words, f'data.root="{tmp_path / name}"']
    error = refusal(before)
    assert error is not None
    assert expected in error.found
    ways = alternatives(error.do or re.split(r"\b[Tt]ype ", error.found, maxsplit=1)[1])
    for way in ways:
        keys = [word.partition("=")[0] for word in way]
        after = refusal([*(word for word in before if word.partition("=")[0] not in keys), *way])
        assert after is None or after.found != error.found, (way, str(after))
    assert ways or name in ("halves", "unknown", "no value"), error.do


def test_a_soft_mask_has_one_threshold_in_finding_and_proposal(examined, tmp_path, capsys):
    _, found = examined("soft")
    assert only(found, "soft_mask").do.startswith("Type data.threshold=127,")
    assert "paired_folders_auto.yaml, with data.threshold as above\n" in capsys.readouterr().out
    assert "\nthreshold: 127 " in (tmp_path / "out/data/paired_folders_auto.yaml").read_text()


def test_a_proposal_is_not_mixed_up_with_an_earlier_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "set")
    check("set", output="out")
    first = (tmp_path / "out/data/set.yaml").read_text()
    for file in (tmp_path / "set/masks").iterdir():
        put(file, cv2.imread(str(file), cv2.IMREAD_UNCHANGED) // 255)
    for _ in range(2):
        capsys.readouterr()
        check("set", output="out")
        printed = capsys.readouterr().out
        assert "out/data/set.yaml exists and differs from the proposal; it is kept.\n" in printed
        assert "To train with it: python -m segexp.train --config-dir 'out' data=set_2\n" in printed
    assert (tmp_path / "out/data/set.yaml").read_text() == first
    assert "foreground: 1 " in (tmp_path / "out/data/set_2.yaml").read_text()
    assert sorted(file.name for file in (tmp_path / "out/data").iterdir()) == ["set.yaml", "set_2.yaml"]


@pytest.mark.parametrize("name", ["it's", "2024", "null"])
def test_the_command_of_an_odd_folder_is_what_a_shell_takes(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / name)
    check(tmp_path / name, output=f"out {name}")
    (command,) = re.findall(r"^To train with it: (.*)$", capsys.readouterr().out, re.MULTILINE)
    *_, folder, data = shlex.split(command)
    assert folder == f"out {name}"
    assert data == {"it's": "data=it_s", "2024": "data=data_2024", "null": "data=data_null"}[name]
