"""Directories of runs and studies with all that a report shows, written without training; a browser to open pages in."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml

from segexp.metrics.calibration import reliability
from segexp.report.about import write_about
from segexp.report.diagram import write_calibration
from segexp.report.gallery import choose, write_gallery
from segexp.report.matrix import write_confusion

PALETTE = ((0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (213, 94, 0))
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]


def scene(seed, classes, size=(60, 80)):
    """An image, its truth and a prediction that is somewhat off: disks on noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    truth, guess = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    for k in range(1, classes):
        cy, cx, radius = rng.uniform(10, size[0] - 10), rng.uniform(10, size[1] - 10), rng.uniform(6, 14)
        truth[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = k
        guess[(y - cy - 2) ** 2 + (x - cx + 2) ** 2 < radius**2] = k
    image = rng.integers(0, 90, (*size, 3)) + (truth * 25)[..., None]
    return image.clip(0, 255).astype(np.uint8), truth, guess


def write_curves(directory, epochs, classes):
    """csv/metrics.csv as the logger writes it: a row for the validation and one for the training of an epoch."""
    (directory / "csv").mkdir()
    with (directory / "csv" / "metrics.csv").open("w", newline="") as file:
        names = ["epoch", "step", "loss/train", "loss/val", "lr", "val/dice", *(f"val/dice/{name}" for name in classes)]
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        for epoch in range(epochs):
            falling, lr = 1 / (epoch + 1), 1e-3 * (1 - epoch / epochs)
            dice = dict.fromkeys(["val/dice", *(f"val/dice/{name}" for name in classes)], 0.9 - falling / 2)
            writer.writerow({"epoch": epoch, "step": epoch * 5, "loss/val": falling + 0.1, **dice})
            writer.writerow({"epoch": epoch, "step": epoch * 5, "loss/train": falling, "lr": lr})


def write_full(make_run, directory, cases=10, classes=("background", "liver"), settings=None, pictures=True, seed=0):
    """The directory of a finished run, made up but consistent; case 3 lacks the last class. Returns it."""
    rng = np.random.default_rng(seed)
    foreground = classes[1:]
    ids = [f"scan/{n:03d}" for n in range(cases)]
    dice = {name: [round(float(score), 6) for score in rng.beta(8, 2, len(foreground))] for name in ids}
    dice[ids[3]][-1] = None
    groups = {name: f"patient {n % 4}" for n, name in enumerate(ids)}
    more = {"hd95": {name: float(rng.uniform(1, 40)) for name in ids}}
    settings = {"data.name": "liver", "data.root": "data/<liver>", "optimizer.lr": 0.002, **(settings or {})}
    choices = {"model": "unet", "data": "liver"}
    make_run(directory, dice, classes=classes, groups=groups, settings=settings, choices=choices, more=more)
    found = json.loads((directory / "metrics.json").read_text())
    found["scores"] |= {"val/accuracy": 0.98, "val/dice_pooled": 0.81, "val/iou_pooled": 0.69}
    (directory / "metrics.json").write_text(json.dumps(found | {"epochs": 30, "best_epoch": 24, "steps": 150}))
    hydra = yaml.safe_load((directory / ".hydra" / "hydra.yaml").read_text())
    hydra["hydra"]["runtime"] |= {"cwd": "/somewhere/else", "config_sources": []}
    (directory / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(hydra))
    write_curves(directory, 30, foreground)
    scenes = [scene(n, len(classes)) for n in range(cases)]
    matrix = sum(np.bincount(t.ravel() * len(classes) + g.ravel(), minlength=len(classes) ** 2) for _, t, g in scenes)
    write_confusion(directory / "confusion.csv", {"val": matrix.reshape(len(classes), len(classes))}, classes)
    probabilities = np.random.default_rng(1).dirichlet([1] * len(classes), (60, 80)).transpose(2, 0, 1)
    write_calibration(directory / "calibration.json", {"val": reliability(scenes[0][1], probabilities)}, foreground)
    spec = {"name": "liver", "classes": list(classes), "channels": 1, "palette": [list(c) for c in PALETTE[: len(classes)]]}
    shares = [1 / len(classes)] * len(classes)
    config = {"data": {"name": "liver", "root": "data/<liver>", "channels": 1}, "optimizer": {"lr": 0.002}, "seed": 0}
    fingerprint = {"count": 30, "mean": [0.4], "std": [0.2], "sizes": {"60x80": 30}, "class_share": shares}
    versions = {"segexp": "0.1.0", "torch": "2.15"}
    write_about(
        directory, {"config": config, "spec": spec, "fingerprint": fingerprint, "versions": versions, "device": "2 CPUs"}
    )
    if pictures:
        known = [[np.nan if score is None else score for score in dice[name]] for name in ids]
        means = [float(np.nanmean(scores)) if not np.isnan(scores).all() else np.nan for scores in known]
        chosen = choose(means, [7] * cases)
        drawn = ((*_named(shown, ids, means), *scenes[shown.position]) for shown in chosen)
        write_gallery(directory, "val", drawn, PALETTE)
    return directory


def _named(shown, ids, means):
    from dataclasses import replace

    return (replace(shown, case=ids[shown.position], score=means[shown.position]),)


@pytest.fixture(scope="session")
def full_run(make_run):
    """Write a run with all that a report shows; see `write_full`."""
    return lambda directory, *args, **more: write_full(make_run, directory, *args, **more)


@pytest.fixture(scope="session")
def full_study(make_run):
    """Write a study of three networks with two seeds, one job of which failed and one was stopped."""

    def written(folder, cases=10):
        folder.mkdir()
        for model in ("unet", "unetpp", "dilated"):
            for seed in (1, 2):
                job = folder / f"model-{model}_seed-{seed}"
                write_full(make_run, job, cases, seed=seed * 10 + len(model), pictures=False)
                typed = ["data=liver", f"model={model}", f"seed={seed}", "study=nets"]
                (job / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(typed))
        failed, stopped = folder / "model-dilated_seed-2", folder / "model-unetpp_seed-2"
        (failed / "metrics.json").unlink()
        (failed / "failed.txt").write_text("segexp: No memory <left>. Type trainer.batch_size=2.\n\nTraceback: long\n")
        (stopped / "metrics.json").unlink()
        task = {"overrides": {"task": ["data=liver", "model=unet,unetpp,dilated", "seed=1,2", "study=nets"]}}
        (folder / "multirun.yaml").write_text(yaml.safe_dump({"hydra": task}))
        return folder

    return written


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, Debian's; closed with the module, since a process can drive one at a time."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser):
    """Open a file at a width; at the end the page must neither have complained nor asked for anything outside of itself."""
    complaints, pages = [], []

    def opened(path, width=1280):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        wanted = path.resolve().as_uri()
        page.on("request", lambda asked: complaints.append(asked.url) if asked.url.partition("#")[0] != wanted else None)
        page.goto(wanted)
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert [text for text in complaints if not text.startswith("data:")] == []
