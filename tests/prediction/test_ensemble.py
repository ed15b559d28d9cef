"""An ensemble scored as a network is: the mean of its members, and what each of them makes of a case by itself."""

import numpy as np
import pytest
import torch

from segexp.data.inspect import Picture
from segexp.labelling import EXCLUSIVE, OVERLAPPING
from segexp.metrics.confusion import confusion
from segexp.prediction.ensemble import Ensemble, Foretold, as_logits
from segexp.prediction.members import load_members
from segexp.predictor import Predictor
from segexp.scoring import score


@pytest.fixture
def members(tmp_path, make_run):
    runs = [make_run(tmp_path / str(n), shift=shift) for n, shift in enumerate((-0.2, 0.05, 0.1))]
    return load_members([run / "checkpoints" / "best.ckpt" for run in runs], "cpu", [])


@pytest.fixture
def store(ramp):
    truth = (ramp() > 120).astype(np.uint8)
    truth[:3] = 255
    return [Picture(ramp()[..., None], truth)] * 2


def counts(mask, truth):
    return confusion(torch.from_numpy(mask), torch.from_numpy(truth), 2).numpy()


@pytest.mark.parametrize("labelling", [EXCLUSIVE, OVERLAPPING])
def test_probabilities_survive_being_logits(labelling):
    raw = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0)) * 4
    probabilities = labelling.probabilities_(raw)
    again = labelling.probabilities_(as_logits(probabilities.clone(), overlapping=labelling is OVERLAPPING))
    assert torch.allclose(again, probabilities, atol=1e-6)


def test_scores_are_those_of_the_mean(members, store):
    prepared = Foretold(store, [members, members[2:]], [None, None])
    assert (len(prepared), prepared.spacing(1)) == (2, None)
    found = score(Ensemble(members[0].spec), prepared, keep=(0, 1))
    for position, who in enumerate((members, members[2:])):
        expected = Predictor(who)(store[0].image).classes
        assert np.array_equal(found.kept[position], expected)
        assert np.array_equal(found.confusions[position], counts(expected, store[0].mask))
    assert not np.array_equal(found.kept[0], found.kept[1])
    assert prepared.by_member() == [], "not all of them predict each case"


def test_each_member_by_itself(members, store):
    prepared = Foretold(store, [members] * 2, [None, None])
    for _ in range(2):  # a case may be asked for again, for its picture
        score(Ensemble(members[0].spec), prepared)
    found = prepared.by_member()
    assert [each.shape for each in found] == [(3, 2, 2)] * 2
    for member, matrix in zip(members, found[1], strict=True):
        assert np.array_equal(matrix, counts(member.classes(store[1].image), store[1].mask))
    alone = Foretold(store, [members[:1]] * 2, [None, None])
    score(Ensemble(members[0].spec), alone)
    assert alone.by_member() == [], "one network is no ensemble"
