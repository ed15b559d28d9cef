import re

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

from segexp.loggers.board import Board, charts, exactly
from segexp.metrics.scores import summary
from segexp.types import DataSpec


def spec(*classes):
    return DataSpec("d", classes, 1, ((0, 0, 0),) * len(classes))


def board(folder):
    return Board(folder, name="tensorboard", version="", default_hp_metric=False)


def events(folder):
    return EventAccumulator(str(folder)).Reload()


# Charts ------------------------------------------------------------------------------------------------------------------


def shown(layout, category):
    """The one chart of a category: its title and its expressions."""
    (item,) = layout[category].items()
    title, (kind, tags) = item
    assert kind == "Multiline"
    return title, tags


@pytest.mark.parametrize(
    ("classes", "curves"),
    [
        (("background", "liver"), ["val/dice/liver"]),
        (("rest", "road", "water"), ["val/dice", "val/dice/road", "val/dice/water"]),
        (("rest", "left lung", "a+b"), ["val/dice", "val/dice/left lung", "val/dice/a+b"]),
    ],
)
def test_a_chart_shows_its_own_curves_and_no_others(tmp_path, classes, curves):
    made = board(tmp_path)
    scores = summary(np.ones((2, len(classes), len(classes)), np.int64), classes)
    made.log_metrics({f"val/{name}": value for name, value in scores.items()} | {"loss/train": 1.0, "loss/val": 1.0}, 0)
    made.finalize("success")
    written = events(tmp_path / "tensorboard").Tags()["scalars"]
    assert len(written) > 12
    layout = charts(spec(*classes))
    assert list(layout) == ["Loss", "Dice"]
    for category, title, expected in (
        ("Loss", "training and validation", ["loss/train", "loss/val"]),
        ("Dice", "per class", curves),
    ):
        found, tags = shown(layout, category)
        assert found == title
        assert sorted(tag for tag in written for each in tags if re.match(each, tag)) == sorted(expected)


def test_the_layout_reaches_the_event_file(tmp_path):
    made = board(tmp_path)
    made.experiment.add_custom_scalars(charts(spec("background", "liver")))
    made.finalize("success")
    (tensor,) = events(tmp_path / "tensorboard").Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tensor.tensor_proto.string_val[0])
    assert [(c.title, [chart.title for chart in c.chart]) for c in layout.category] == [
        ("Loss", ["training and validation"]),
        ("Dice", ["per class"]),
    ]


@pytest.mark.parametrize("tag", ["val/dice", "val/dice/a.b", "val/dice/a-b_c"])
def test_an_expression_fits_one_tag(tag):
    assert re.match(exactly(tag), tag)
    assert not re.match(exactly(tag), f"{tag}_pooled")
    assert not re.match(exactly(tag), f"{tag}/liver")
    assert not re.match(exactly("val/dice/a.b"), "val/dice/a_b")


# Curves and the table of runs --------------------------------------------------------------------------------------------


def test_the_epoch_is_no_curve(tmp_path):
    made = board(tmp_path)
    made.log_metrics({"loss/train": 0.5, "epoch": 3}, 7)
    made.finalize("success")
    found = events(tmp_path / "tensorboard")
    assert found.Tags()["scalars"] == ["loss/train"]
    (point,) = found.Scalars("loss/train")
    assert (point.step, point.value) == (7, 0.5)


def test_a_run_is_one_folder_with_event_files_only(tmp_path):
    made = board(tmp_path)
    made.log_metrics({"loss/train": 0.5}, 1)
    made.finalize("success")  # as the trainer does
    made.log_table({"model": "UNet", "optimizer.lr": 0.1}, {"hp/dice": 0.75}, 9)
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]
    assert all(path.name.startswith("events.out") for path in (tmp_path / "tensorboard").iterdir())


def test_a_row_of_the_table_is_written_once_and_leaves_the_columns_open(tmp_path):
    made = board(tmp_path)
    made.finalize("success")
    made.log_table({"model": "UNet", "optimizer.lr": 0.25}, {"hp/dice": 0.75, "hp/iou": 0.5}, 9)
    found = events(tmp_path / "tensorboard")
    assert [(point.step, point.value) for point in found.Scalars("hp/dice")] == [(9, 0.75)]
    tags = {tag: content for run in [found.summary_metadata] for tag, content in run.items() if tag.startswith("_hparams_")}
    assert set(tags) == {metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG}  # no list of columns
    content = tags[metadata.SESSION_START_INFO_TAG].plugin_data.content
    row = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert (row["model"].string_value, row["optimizer.lr"].number_value) == ("UNet", 0.25)
