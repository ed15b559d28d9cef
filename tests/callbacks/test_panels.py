from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from segexp.callbacks import panels
from segexp.callbacks.panels import Panels, draw
from segexp.callbacks.watching import watched
from segexp.data.dataset import ScoringSet
from segexp.data.inspect import Picture
from segexp.data.store import RamStore
from segexp.pictures import panel
from segexp.preprocessing import Preprocessing
from segexp.types import Case, DataSpec, Source

SPEC = DataSpec("d", ("background", "liver"), 1, ((0, 0, 0), (230, 159, 0)))


# Which cases are watched -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5, 8, 100, 2001])
@pytest.mark.parametrize("wanted", [1, 2, 4, 9])
def test_watched_cases_are_spread_evenly_from_the_first_to_the_last(count, wanted):
    found = watched(count, wanted)
    assert len(found) == len(set(found)) == min(count, wanted)
    assert found[0] == 0
    assert all(type(position) is int for position in found)
    if len(found) > 1:
        assert found[-1] == count - 1
        gaps = np.diff(found)
        assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(("count", "wanted"), [(0, 4), (5, 0), (0, 0)])
def test_nothing_is_watched_where_nothing_is_or_nothing_is_wanted(count, wanted):
    assert watched(count, wanted) == []


# The panel ---------------------------------------------------------------------------------------------------------------


def prepared(count=6, members=(5, 3, 1)):
    """Pictures of half the size of their masks, and the split's cases."""
    rng = np.random.default_rng(0)
    pictures = [
        Picture(rng.integers(0, 256, (16, 24, 1)).astype(np.uint8), rng.integers(0, 2, (32, 48)).astype(np.uint8))
        for _ in range(count)
    ]
    cases = [Case(f"case{n}", Source(f"{n}.png"), ()) for n in members]
    return ScoringSet(RamStore(pictures), list(members), Preprocessing(1)), cases, pictures


def test_rows_come_in_the_order_of_the_cases_at_their_own_size(monkeypatch):
    scoring, cases, pictures = prepared()
    rows = []
    monkeypatch.setattr(panels, "panel", lambda given, *_, **__: rows.extend(given) or np.zeros((1, 1, 3), np.uint8))
    predicted = {position: np.full((32, 48), position, np.uint8) for position in (2, 0)}
    draw(scoring, cases, predicted, SPEC)
    assert [row[3] for row in rows] == ["case5", "case1"]
    for (image, truth, prediction, _), member, position in zip(rows, (5, 1), (0, 2), strict=True):
        assert image.shape == (32, 48, 1)
        np.testing.assert_array_equal(truth, pictures[member].mask)
        assert (prediction == position).all()


def test_the_panel_is_a_picture_with_a_row_per_case():
    scoring, cases, pictures = prepared()
    one, two = ({n: pictures[scoring.members[n]].mask for n in range(count)} for count in (1, 2))
    sheets = [draw(scoring, cases, each, SPEC) for each in (one, two)]
    assert all(sheet.dtype == np.uint8 and sheet.shape[2] == 3 for sheet in sheets)
    assert sheets[1].shape[0] - sheets[0].shape[0] > 100
    assert sheets[0].shape[1] == sheets[1].shape[1]
    direct = panel([(np.zeros((32, 48, 1), np.uint8), pictures[5].mask, pictures[5].mask, "case5")], SPEC.palette, SPEC.classes)
    assert direct.shape == sheets[0].shape


# The callback ------------------------------------------------------------------------------------------------------------


class Data:
    """What the callback asks of a data module."""

    spec = SPEC

    def __init__(self):
        self.scoring, self.cases, self.pictures = prepared()

    def members(self, split):
        assert split == "val"
        return self.scoring.members

    def scoring_set(self, split):
        return self.scoring

    def cases_of(self, split):
        return self.cases


class Board(pl.loggers.TensorBoardLogger):
    """Notes the pictures that it is given."""

    def __init__(self):
        self.pictures = []

    @property
    def experiment(self):
        return self

    def add_image(self, name, picture, step, dataformats):
        assert dataformats == "HWC"
        assert picture.dtype == np.uint8
        self.pictures.append((name, step, picture.shape))


@pytest.fixture
def trainer():
    return SimpleNamespace(
        datamodule=Data(),
        loggers=[Board(), object()],
        sanity_checking=False,
        should_stop=False,
        current_epoch=0,
        max_epochs=9,
        is_global_zero=True,
        global_step=5,
    )


def validate(callback, trainer):
    """One validation of three cases in batches of two; the names of the pictures it gave."""
    module = SimpleNamespace(confusions=np.array([[[9, 1], [2, 8]]] * 3))
    masks = {n: torch.zeros(32, 48, dtype=torch.uint8) for n in range(3)}
    for batch in ((0, 1), (2,)):
        callback.on_validation_batch_end(trainer, module, {n: masks[n] for n in batch}, None, 0)
    board = trainer.loggers[0]
    board.pictures.clear()
    callback.on_validation_end(trainer, module)
    return [name for name, _, _ in board.pictures]


def test_both_pictures_are_logged_at_the_step(trainer):
    assert validate(Panels(2, 1), trainer) == ["validation/cases", "validation/confusion"]
    assert {step for _, step, _ in trainer.loggers[0].pictures} == {5}


def test_only_watched_predictions_are_kept_and_none_after_the_round(trainer, monkeypatch):
    seen = []
    monkeypatch.setattr(panels, "draw", lambda *a: seen.append(sorted(a[2])) or np.zeros((2, 2, 3), np.uint8))
    callback = Panels(2, 1)
    validate(callback, trainer)
    assert seen == [[0, 2]]
    assert callback.watched.predicted == {}


@pytest.mark.parametrize(
    ("cases", "confusion", "names"), [(0, True, ["validation/confusion"]), (2, False, ["validation/cases"])]
)
def test_each_picture_can_be_left_out(trainer, cases, confusion, names):
    assert validate(Panels(cases, 1, confusion), trainer) == names


def test_every_second_validation_and_the_last(trainer):
    callback = Panels(1, 2)
    assert [bool(validate(callback, trainer)) for _ in range(4)] == [True, False, True, False]
    resumed = Panels(1, 2)
    resumed.load_state_dict({**callback.state_dict(), "rounds": 3})
    trainer.should_stop = True
    assert validate(resumed, trainer)
    assert resumed.state_dict() == {"rounds": 4}


def test_the_last_epoch_is_drawn_whatever_the_rhythm(trainer):
    callback = Panels(1, 100)
    assert validate(callback, trainer)
    assert not validate(callback, trainer)
    trainer.current_epoch = 8
    assert validate(callback, trainer)


@pytest.mark.parametrize("change", [{"sanity_checking": True}, {"is_global_zero": False}])
def test_no_picture_of_a_rehearsal_or_from_another_process(trainer, change):
    vars(trainer).update(change)
    assert validate(Panels(2, 1), trainer) == []


def test_a_rehearsal_is_no_round(trainer):
    callback = Panels(2, 2)
    trainer.sanity_checking = True
    validate(callback, trainer)
    trainer.sanity_checking = False
    assert validate(callback, trainer)


def test_without_tensorboard_nothing_is_drawn(trainer, monkeypatch):
    monkeypatch.setattr(panels, "draw", lambda *_: pytest.fail("drawn for nobody"))
    callback = Panels(2, 1)
    validate_boards, trainer.loggers = trainer.loggers, [object()]
    callback.on_validation_batch_end(trainer, None, {0: torch.zeros(2, 2)}, None, 0)
    callback.on_validation_end(trainer, None)
    assert validate_boards[0].pictures == []
