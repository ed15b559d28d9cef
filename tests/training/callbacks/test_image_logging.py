from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from segexp.data.cache import RamStore
from segexp.data.dataset import EvalDataset
from segexp.data.preprocessing import Preprocessing
from segexp.data.statistics import DecodedCase
from segexp.training.callbacks import image_logging
from segexp.training.callbacks import image_logging as explanations
from segexp.training.callbacks.image_logging import Explanations, Panels, WatchedCases, draw_panel, watched_positions
from segexp.types import Case, DataSpec, Source
from segexp.visualization import ExplainedCase, panel

SPEC = DataSpec("d", ("background", "liver"), 1, ((0, 0, 0), (230, 159, 0)))
MASK = torch.ones(8, 9, dtype=torch.uint8)


class Board(pl.loggers.TensorBoardLogger):
    def __init__(self):
        self.pictures = []

    @property
    def experiment(self):
        return self

    def add_image(self, name, picture, step, dataformats):
        assert (picture.dtype, dataformats) == (np.uint8, "HWC")
        self.pictures.append((name, step))


@pytest.fixture
def trainer(monkeypatch):
    """A trainer of three validation cases; `explained` notes which are asked for."""
    explained = []

    def explain(explainer, prepared, cases, predicted):
        explained.append(sorted(predicted))
        mask = MASK.numpy()
        return [ExplainedCase(mask[..., None], mask, mask, np.ones((8, 9), np.float32), mask == 1, "t") for _ in predicted]

    monkeypatch.setattr(explanations, "explain_cases", explain)
    data = SimpleNamespace(
        spec=SPEC, members=lambda _: [0, 1, 2], scoring_set=lambda _: None, cases_of=lambda _: None, explained=explained
    )
    facts = {"sanity_checking": False, "should_stop": False, "current_epoch": 0, "max_epochs": 9, "is_global_zero": True}
    return SimpleNamespace(datamodule=data, loggers=[Board(), object()], global_step=5, callbacks=[], **facts)


def validate(callback, trainer):
    """One validation of three cases; the pictures that it gave."""
    for batch in ((0, 1), (2,)):
        callback.on_validation_batch_end(trainer, None, dict.fromkeys(batch, MASK), None, 0)
    board = trainer.loggers[0]
    board.pictures.clear()
    callback.on_validation_end(trainer, None)
    return board.pictures


def made(cases=2, every=1):
    return Explanations(SimpleNamespace(target=1), cases, every)


def test_watched_cases_are_explained_and_logged_at_the_step(trainer):
    callback = made()
    assert validate(callback, trainer) == [("validation/explained", 5)]
    assert trainer.datamodule.explained == [[0, 2]]
    assert callback.predicted == {}


def test_every_second_validation_and_the_last(trainer):
    callback = made(every=2)
    assert [bool(validate(callback, trainer)) for _ in range(4)] == [True, False, True, False]
    resumed = made(every=2)
    resumed.load_state_dict({**callback.state_dict(), "rounds": 3})
    assert not validate(resumed, trainer)
    trainer.current_epoch = 8
    resumed.load_state_dict({"rounds": 3})
    assert validate(resumed, trainer)


@pytest.mark.parametrize("change", [{"sanity_checking": True}, {"is_global_zero": False}, {"loggers": [Board.__new__(Board)]}])
def test_nothing_is_explained_for_nobody(trainer, change):
    vars(trainer).update(change)
    if "loggers" in change:
        trainer.loggers[0].pictures = []
        trainer.datamodule.members = lambda _: []
    assert validate(made(), trainer) == []


def test_without_tensorboard_nothing_is_explained(trainer):
    trainer.loggers = [object()]
    callback = made()
    callback.on_validation_batch_end(trainer, None, {0: MASK}, None, 0)
    callback.on_validation_end(trainer, None)
    assert trainer.datamodule.explained == []


# Which cases are watched -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5, 8, 100, 2001])
@pytest.mark.parametrize("wanted", [1, 2, 4, 9])
def test_watched_cases_are_spread_evenly_from_the_first_to_the_last(count, wanted):
    found = watched_positions(count, wanted)
    assert len(found) == len(set(found)) == min(count, wanted)
    assert found[0] == 0
    assert all(type(position) is int for position in found)
    if len(found) > 1:
        assert found[-1] == count - 1
        gaps = np.diff(found)
        assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(("count", "wanted"), [(0, 4), (5, 0), (0, 0)])
def test_nothing_is_watched_where_nothing_is_or_nothing_is_wanted(count, wanted):
    assert watched_positions(count, wanted) == []


# The panel ---------------------------------------------------------------------------------------------------------------


def prepared(count=6, members=(5, 3, 1)):
    """Pictures of half the size of their masks, and the split's cases."""
    rng = np.random.default_rng(0)
    pictures = [
        DecodedCase(rng.integers(0, 256, (16, 24, 1)).astype(np.uint8), rng.integers(0, 2, (32, 48)).astype(np.uint8))
        for _ in range(count)
    ]
    cases = [Case(f"case{n}", Source(f"{n}.png"), ()) for n in members]
    return EvalDataset(RamStore(pictures), list(members), Preprocessing(1)), cases, pictures


def test_rows_come_in_the_order_of_the_cases_at_their_own_size(monkeypatch):
    scoring, cases, pictures = prepared()
    rows = []
    monkeypatch.setattr(image_logging, "panel", lambda given, *_, **__: rows.extend(given) or np.zeros((1, 1, 3), np.uint8))
    predicted = {position: np.full((32, 48), position, np.uint8) for position in (2, 0)}
    draw_panel(scoring, cases, predicted, SPEC)
    assert [row[3] for row in rows] == ["case5", "case1"]
    for (image, truth, prediction, _), member, position in zip(rows, (5, 1), (0, 2), strict=True):
        assert image.shape == (32, 48, 1)
        np.testing.assert_array_equal(truth, pictures[member].mask)
        assert (prediction == position).all()


def test_the_panel_is_a_picture_with_a_row_per_case():
    scoring, cases, pictures = prepared()
    one, two = ({n: pictures[scoring.members[n]].mask for n in range(count)} for count in (1, 2))
    sheets = [draw_panel(scoring, cases, each, SPEC) for each in (one, two)]
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


class PanelBoard(pl.loggers.TensorBoardLogger):
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
def trainer_panels():
    return SimpleNamespace(
        datamodule=Data(),
        loggers=[PanelBoard(), object()],
        sanity_checking=False,
        should_stop=False,
        current_epoch=0,
        max_epochs=9,
        is_global_zero=True,
        global_step=5,
    )


def validate_panels(callback, trainer_panels):
    """One validation of three cases in batches of two; the names of the pictures it gave."""
    module = SimpleNamespace(confusions=np.array([[[9, 1], [2, 8]]] * 3))
    masks = {n: torch.zeros(32, 48, dtype=torch.uint8) for n in range(3)}
    for batch in ((0, 1), (2,)):
        callback.on_validation_batch_end(trainer_panels, module, {n: masks[n] for n in batch}, None, 0)
    board = trainer_panels.loggers[0]
    board.pictures.clear()
    callback.on_validation_end(trainer_panels, module)
    return [name for name, _, _ in board.pictures]


def test_both_pictures_are_logged_at_the_step(trainer_panels):
    assert validate_panels(Panels(2, 1), trainer_panels) == ["validation/cases", "validation/confusion"]
    assert {step for _, step, _ in trainer_panels.loggers[0].pictures} == {5}


def test_only_watched_predictions_are_kept_and_none_after_the_round(trainer_panels, monkeypatch):
    seen = []
    monkeypatch.setattr(image_logging, "draw_panel", lambda *a: seen.append(sorted(a[2])) or np.zeros((2, 2, 3), np.uint8))
    callback = Panels(2, 1)
    validate_panels(callback, trainer_panels)
    assert seen == [[0, 2]]
    assert callback.predicted == {}


@pytest.mark.parametrize(
    ("cases", "confusion", "names"), [(0, True, ["validation/confusion"]), (2, False, ["validation/cases"])]
)
def test_each_picture_can_be_left_out(trainer_panels, cases, confusion, names):
    assert validate_panels(Panels(cases, 1, confusion), trainer_panels) == names


def test_every_second_validation_and_the_last_panels(trainer_panels):
    callback = Panels(1, 2)
    assert [bool(validate_panels(callback, trainer_panels)) for _ in range(4)] == [True, False, True, False]
    resumed = Panels(1, 2)
    resumed.load_state_dict({**callback.state_dict(), "rounds": 3})
    trainer_panels.should_stop = True
    assert validate_panels(resumed, trainer_panels)
    assert resumed.state_dict() == {"rounds": 4}


def test_the_last_epoch_is_drawn_whatever_the_rhythm(trainer_panels):
    callback = Panels(1, 100)
    assert validate_panels(callback, trainer_panels)
    assert not validate_panels(callback, trainer_panels)
    trainer_panels.current_epoch = 8
    assert validate_panels(callback, trainer_panels)


@pytest.mark.parametrize("change", [{"sanity_checking": True}, {"is_global_zero": False}])
def test_no_picture_of_a_rehearsal_or_from_another_process(trainer_panels, change):
    vars(trainer_panels).update(change)
    assert validate_panels(Panels(2, 1), trainer_panels) == []


def test_a_rehearsal_is_no_round(trainer_panels):
    callback = Panels(2, 2)
    trainer_panels.sanity_checking = True
    validate_panels(callback, trainer_panels)
    trainer_panels.sanity_checking = False
    assert validate_panels(callback, trainer_panels)


def test_without_tensorboard_nothing_is_drawn(trainer_panels, monkeypatch):
    monkeypatch.setattr(image_logging, "draw_panel", lambda *_: pytest.fail("drawn for nobody"))
    callback = Panels(2, 1)
    validate_boards, trainer_panels.loggers = trainer_panels.loggers, [object()]
    callback.on_validation_batch_end(trainer_panels, None, {0: torch.zeros(2, 2)}, None, 0)
    callback.on_validation_end(trainer_panels, None)
    assert validate_boards[0].pictures == []


def trainer_watching(**changes):
    """A trainer of ten epochs with six validation cases and no board."""
    data = SimpleNamespace(members=lambda _: list(range(6)))
    usual = {"sanity_checking": False, "should_stop": False, "current_epoch": 0, "max_epochs": 10, "is_global_zero": True}
    return SimpleNamespace(**(usual | {"datamodule": data, "loggers": []} | changes))


def test_only_the_watched_cases_are_kept_and_only_until_they_are_taken():
    found = WatchedCases(2, 1)
    outputs = {n: torch.full((2, 2), n, dtype=torch.uint8) for n in range(6)}
    found.on_validation_batch_end(trainer_watching(), None, outputs, None, 0)
    predicted, _ = found.taken(trainer_watching())
    assert sorted(predicted) == watched_positions(6, 2) == [0, 5]
    np.testing.assert_array_equal(predicted[5], np.full((2, 2), 5))
    assert found.taken(trainer_watching())[0] == {}


@pytest.mark.parametrize(("changes", "due"), [({}, [True, False, False, True]), ({"should_stop": True}, [True] * 4)])
def test_it_is_due_in_every_third_round_and_in_the_last_one(changes, due, monkeypatch):
    import pytorch_lightning as pl

    board = SimpleNamespace(experiment="board")
    monkeypatch.setattr(pl.loggers, "TensorBoardLogger", SimpleNamespace)
    found = WatchedCases(1, 3)
    told = [bool(found.taken(trainer_watching(loggers=[board], **changes))[1]) for _ in due]
    assert told == due
    other = WatchedCases(1, 3)
    other.load_state_dict(found.state_dict())
    assert other.rounds == len(due)


def test_the_check_before_training_is_no_round():
    found = WatchedCases(1, 1)
    assert found.taken(trainer_watching(sanity_checking=True)) == ({}, [])
    assert found.rounds == 0
