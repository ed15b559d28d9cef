"""The table of all networks: what is kept and what is done again, the table and its place in a page, one small real round."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from segexp.data.synthetic.datasets import make_demo

ROOT = Path(__file__).resolve().parents[2]
FOUND = {"dice": 0.91234, "low": 0.88, "high": 0.93, "cases": 20, "groups": None, "few_groups": 1}


@pytest.fixture(scope="module", autouse=True)
def beside():
    """The scripts find each other as they do when python starts one of them."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def job(tmp_path):
    from network_dice import Job

    return Job("liver", "unet", ("experiment=liver", "model=unet"), {"width": 16}, tmp_path / "liver" / "unet")


@pytest.fixture
def command(monkeypatch):
    """A command in the place of the training: `command.codes` are its exit codes, `command.typed` is what it was given."""
    import network_dice

    class Done:
        stderr = "some warning\nsegexp: The data are not there.\n\n"

    def run(words, **settings):
        run.typed.append((words, settings["env"]["OMP_NUM_THREADS"]))
        done = Done()
        done.returncode = run.codes.pop(0)
        return done

    run.typed, run.codes = [], []
    monkeypatch.setattr(network_dice.subprocess, "run", run)
    monkeypatch.setattr(network_dice, "outcome", lambda folder: dict(FOUND))
    return run


def row(name, **columns):
    from network_page import Row

    return Row(name, **columns)


def test_every_network_file_is_meant():
    from network_speed import all_networks

    assert all_networks() == sorted(file.stem for file in (ROOT / "conf" / "model").glob("*.yaml"))


def test_a_training_is_typed_as_a_user_would_and_done_once(job, command):
    from network_dice import kept, run

    command.codes = [0]
    first = run(job, threads=3)
    assert (first["dice"], first["words"]) == (0.91234, list(job.words))
    words, threads = command.typed[0]
    assert words[1:] == ["-m", "segexp.train", "experiment=liver", "model=unet", f"run_dir={job.folder}"]
    assert threads == "3"
    assert run(job, threads=3) == first == kept(job)
    assert len(command.typed) == 1


def test_a_budget_of_processor_time_is_kept_by_another_clock(job, command):
    from network_dice import run

    command.codes = [0]
    run(replace(job, clock="cpu"), threads=1)
    words, _ = command.typed[0]
    assert words[1] == "-c"
    assert "process_time" in words[2]
    assert words[3:] == ["experiment=liver", "model=unet", f"run_dir={job.folder}"]


@pytest.mark.parametrize("change", [{"words": ("experiment=liver", "model=unet", "seed=1")}, {"model": {"width": 32}}])
def test_a_training_with_other_settings_does_not_count(job, command, change):
    from network_dice import kept, run

    command.codes = [0, 0]
    run(job, threads=1)
    other = replace(job, **change)
    assert kept(other) is None
    run(other, threads=1)
    assert len(command.typed) == 2


def test_a_failed_training_is_told_and_tried_again_and_the_others_go_on(job, command):
    from network_dice import run_all

    second = replace(job, network="fpn", folder=job.folder.with_name("fpn"))
    said = []
    command.codes = [1, 0]
    found = run_all([job, second], 1, 1, said.append)
    assert found["liver", "unet"]["failed"] == "segexp: The data are not there."
    assert found["liver", "fpn"]["dice"] == 0.91234
    assert said == [
        "[1 of 2] liver unet: failed: segexp: The data are not there.; about 0 minutes left",
        "[2 of 2] liver fpn: Dice 0.912; about 0 minutes left",
    ]
    command.codes = [0]
    again = run_all([job, second], 1, 1, said.append)
    assert "failed" not in again["liver", "unet"]
    assert said[2:] == [
        "1 of 2 trainings are there already",
        "[1 of 1] liver unet: Dice 0.912; about 0 minutes left",
    ]


def test_a_training_that_was_stopped_starts_anew(job, command):
    from network_dice import run

    (job.folder / "checkpoints").mkdir(parents=True)
    (job.folder / "checkpoints" / "last.ckpt").touch()
    job.record.write_text("{broken")
    command.codes = [0]
    assert run(job, threads=1)["dice"] == 0.91234
    assert not job.folder.exists()  # the command here writes nothing


def test_outcome_is_the_interval_of_the_report(make_run, tmp_path):
    from network_dice import outcome

    from segexp.metrics.significance import bootstrap_interval

    values = [0.9, 0.8, 0.7, 0.95, 0.6, 0.85, 0.75]
    folder = make_run(tmp_path / "run", {f"c{n}": [v] for n, v in enumerate(values)})
    found, expected = outcome(folder), bootstrap_interval(values)
    assert (found["dice"], found["low"], found["high"]) == pytest.approx((expected.mean, expected.low, expected.high), abs=1e-6)
    assert (found["cases"], found["groups"], found["few_groups"]) == (7, None, None)


def test_table_has_a_line_for_each_network_smallest_first_and_names_failures():
    from network_page import table

    rows = [
        row(
            "fpn",
            edition="encoder resnet34",
            parameters=23_155_522,
            macs=6.86e9,
            train=4.21,
            predict=15.0,
            dice={"liver": FOUND},
        ),
        row(
            "unet",
            edition="width 16",
            parameters=1_942_594,
            macs=3.03e9,
            train=8.0,
            predict=120.4,
            dice={"liver": {"failed": "no"}},
        ),
        row("odd", failed="ConfigError: a wrong key"),
    ]
    lines = table(rows, ["liver", "skin"]).split("\n\n")[0].splitlines()
    assert lines[2] == "| `unet` | width 16 | 1.94 M | 3.0 G | 8.0 | 120 | failed (1) | - |"
    assert lines[3] == "| `fpn` | encoder resnet34 | 23.16 M | 6.9 G | 4.2 | 15.0 | 0.912 [0.880, 0.930] | - |"
    assert lines[4] == "| `odd` | failed (2) | - | - | - | - | - | - |"
    assert {line.count("|") for line in lines} == {9}
    assert table(rows, ["liver"]).split("\n\n")[1:] == ["(1) `unet` on liver: no", "(2) `odd`: ConfigError: a wrong key"]


def test_an_interval_that_is_not_defined_is_left_out():
    from network_page import table

    assert "| 0.912 |" in table([row("unet", dice={"liver": FOUND | {"low": None, "high": None}})], ["liver"])


def test_cases_say_over_what_the_mean_is():
    from network_page import cases

    rows = [row("a", dice={"liver": FOUND, "skin": FOUND | {"few_groups": None}}), row("b", dice={"liver": {"failed": "no"}})]
    assert cases(rows, ["liver", "skin"]) == [
        "liver: 20 validation cases of one group, so its intervals say nothing about another one.",
        "skin: 20 validation cases.",
    ]


def test_the_table_replaces_what_is_between_the_marks_and_nothing_else(tmp_path):
    from network_page import END, START, put, write

    page = tmp_path / "page.md"
    page.write_text(f"# Before\n\n{START}\nold\n{END}\n\nAfter\n")
    write(page, "| new |")
    assert page.read_text() == f"# Before\n\n{START}\n\n| new |\n\n{END}\n\nAfter\n"
    assert put(page.read_text(), "| new |") == page.read_text()


@pytest.mark.parametrize("page", ["no marks", "{START}", "{END} {START}", "{START} {START} {END}"])
def test_a_page_without_its_marks_is_refused(page):
    from network_page import END, START, put

    with pytest.raises(ValueError, match="once each and in this order"):
        put(page.format(START=START, END=END), "| new |")


def test_the_page_of_the_docs_has_its_marks_and_names_every_network():
    from network_page import put
    from network_speed import all_networks

    page = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
    put(page, "")
    assert [name for name in all_networks() if f"`{name}`" not in page.split("## The figures")[0]] == []


def test_plot_is_a_picture(tmp_path):
    from network_plot import plot

    rows = [row("a", macs=3e9, dice={"liver": FOUND}), row("b", macs=6e9, dice={"liver": {"failed": "no"}}), row("c")]
    plot(rows, ["liver"], tmp_path / "images" / "networks.png")
    assert (tmp_path / "images" / "networks.png").read_bytes().startswith(b"\x89PNG")


def test_names_lie_beside_their_dots_and_over_nothing():
    from network_plot import HIGH, LETTER, offsets, overlap

    dots = [(0.0, 0.0), (10.0, 0.0), (12.0, 3.0), (200.0, 50.0)]
    letters = [6, 6, 6, 6]
    places = offsets(dots, letters)
    assert places[3] == (6.0, 0.0)
    boxes = [
        (x + right, y + up - HIGH / 2, x + right + LETTER * n, y + up + HIGH / 2)
        for (x, y), (right, up), n in zip(dots, places, letters, strict=True)
    ]
    points = [(x - 1, y - 1, x + 1, y + 1) for x, y in dots]
    assert not any(overlap(a, b) for n, a in enumerate(boxes) for b in [*boxes[:n], *points])


def test_data_is_name_and_folder():
    from networks import parsed

    assert parsed(["--data", "liver=a/b", "--data", "skin=c=d"]).data == {"liver": Path("a/b"), "skin": Path("c=d")}
    with pytest.raises(SystemExit):
        parsed(["--data", "liver"])
    with pytest.raises(SystemExit):
        parsed(["--networks", "unett"])


@pytest.mark.parametrize(
    ("network", "found"),
    [("unet", "width 16"), ("fpn", "encoder resnet34"), ("dilated", "width 16"), ("deeplabv3", "encoder resnet50")],
)
def test_edition_is_that_of_the_experiments(network, found):
    from network_speed import config_of, edition

    assert edition(config_of("skin", network).model) == found


def test_size_counts_multiplications_of_convolutions():
    from network_speed import config_of, size_of

    config = config_of("skin", "unet", "model.width=2", "model.depth=2", "model.norm=none")
    first = 3 * 2 * 9 + 2 * 2 * 9  # two 3x3 convolutions at 256
    last = 4 * 2 * 9 + 2 * 2 * 9 + 2 * 2  # two of the decoder, and the head
    deep = 2 * 4 * 9 + 4 * 4 * 9  # two at 128
    up = 4 * 2 * 4  # each pixel at 128 gives four
    assert size_of(config).macs == 256**2 * (first + last) + 128**2 * (deep + up)


@pytest.mark.slow
def test_a_round_on_drawn_pictures(tmp_path, monkeypatch, capsys):
    import network_speed
    import torch
    from networks import main

    monkeypatch.setattr(network_speed, "SIDE", 64)
    slices = make_demo(tmp_path, "organ", count=20, size=64)
    threads = torch.get_num_threads()
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs" / "networks.md").read_text(encoding="utf-8"), encoding="utf-8")
    words = ["--networks", "unet", "--minutes", "0.05", "--rounds", "1", "--threads", "1", "--work", str(tmp_path / "work")]
    words += [
        "--data",
        f"liver={slices}",
        "--data",
        f"skin={tmp_path / 'nowhere'}",
        "--write",
        str(page),
        "--plot",
        str(tmp_path / "images" / "networks.png"),
    ]
    try:
        main(words)
        said = capsys.readouterr().out
        assert "skin: there is no folder" in said
        assert "[1 of 1] liver unet: Dice" in said, said
        assert "| `unet` | width 16 | 1.94 M | 0.2 G |" in page.read_text(encoding="utf-8")
        assert "](images/networks.png)" in page.read_text(encoding="utf-8")
        speed = json.loads((tmp_path / "work" / "speed_1threads.json").read_text())
        assert speed["rows"]["unet"]["train"] > 0
        main(words)
        again = capsys.readouterr().out
        assert "1 of 1 trainings are there already" in again
        assert "round 1" not in again
        assert again.rpartition("| `unet`")[2] == said.rpartition("| `unet`")[2]
    finally:
        torch.set_num_threads(threads)
