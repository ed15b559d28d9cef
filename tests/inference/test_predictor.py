"""Predictor: ensembles and views averaged, their uncertainty, and what one member alone gives."""

import math
import re
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fixtures.configs import train_config
from segexp.data.labels.modes import MULTILABEL, has_label
from segexp.data.preprocessing import Preprocessing
from segexp.errors import ConfigError, DataError
from segexp.inference import views
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.predictor import Predictor, entropy
from segexp.inference.segmenter import Provenance, Segmenter
from segexp.models import UNet
from segexp.types import DataSpec

SPEC = DataSpec("toy", ("background", "cell", "wall"), 3, ((0, 0, 0), (255, 0, 0), (0, 255, 0)))
TWO = DataSpec("toy", ("background", "cell"), 3, ((0, 0, 0), (255, 0, 0)))


def member(seed=0, spec=SPEC, preprocessing=None, **more):
    """A small random segmenter."""
    torch.manual_seed(seed)
    network = UNet(spec.channels, spec.num_classes, width=4, depth=3).eval()
    nn.init.normal_(network.head.weight, std=0.05)
    return Segmenter(network, preprocessing or Preprocessing(spec.channels, mean=(0.5,) * 3, std=(0.25,) * 3), spec, **more)


class Fixed(nn.Module):
    """Says the same of every image: the probability of class 1 in each column, from 0 to 1."""

    def __init__(self, share):
        super().__init__()
        self.share = nn.Parameter(torch.as_tensor(share, dtype=torch.float32))

    def forward(self, images):
        share = self.share.expand(len(images), images.shape[2], images.shape[3])
        return torch.stack([1 - share, share], dim=1).log()


def fixed(share, **more):
    return Segmenter(Fixed(share), Preprocessing(3), TWO, **more)


def image(height=45, width=61):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_one_member_and_one_view_is_the_segmenter_itself():
    one = member()
    found = Predictor([one])(image())
    assert found.probabilities.equal(one.probabilities(image()))
    np.testing.assert_array_equal(found.classes, one.classes(image()))
    assert found.classes.dtype == np.uint8
    assert found.uncertainty is None
    assert list(found.scores) == ["entropy"]
    assert len(np.unique(found.classes)) > 1


def test_the_map_of_uncertainty_is_made_when_asked_for():
    found = Predictor([member()], uncertainty=True)(image())
    assert found.uncertainty.shape == (45, 61)
    assert found.uncertainty.dtype == np.float32
    assert 0 <= found.uncertainty.min() < found.uncertainty.max() <= 1
    assert found.scores["entropy"] == pytest.approx(float(found.uncertainty.mean()), rel=1e-5)
    p = found.probabilities.double()
    torch.testing.assert_close(
        torch.from_numpy(found.uncertainty).double(), -(p * p.log()).sum(0) / math.log(3), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(("share", "expected"), [(0.5, 1.0), (0.0, 0.0), (1.0, 0.0), (0.25, 0.8112781)])
def test_entropy_of_known_probabilities(share, expected):
    known = torch.tensor([1 - share, share]).reshape(2, 1, 1).expand(2, 3, 4).contiguous()
    assert entropy(known) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("tta", ["none", "flips", "dihedral"])
def test_views_and_members_are_averaged(tta):
    members = [member(0), member(1, preprocessing=Preprocessing(3, (32, 48)))]
    predictor = Predictor(members, tta)
    found = predictor(image())
    seen = torch.stack([m.probabilities(image(), view) for m in members for view in views(tta)])
    assert predictor.views == len(seen)
    torch.testing.assert_close(found.probabilities, seen.mean(dim=0))
    np.testing.assert_array_equal(found.classes, found.probabilities.argmax(dim=0).numpy())
    torch.testing.assert_close(found.probabilities.sum(dim=0), torch.ones(45, 61))
    assert set(found.scores) == {"entropy", "disagreement", "mutual_information"}
    assert found.uncertainty.shape == (45, 61)
    inside = sum(entropy(p) for p in seen) / len(seen)
    assert found.scores["mutual_information"] == pytest.approx(found.scores["entropy"] - inside, abs=1e-6)
    assert 0 < found.scores["mutual_information"] < 1
    assert 0 < found.scores["disagreement"] < 1


@pytest.mark.parametrize(("tta", "turns"), [("flips", [(0,), (1,), (0, 1)]), ("dihedral", [(0,), (1,), (0, 1), None])])
def test_a_mirrored_image_gets_the_mirrored_prediction(tta, turns):
    predictor = Predictor([member()], tta)
    plain = predictor(image()).probabilities
    for turn in turns:  # None exchanges rows and columns
        picture = image().transpose(1, 0, 2) if turn is None else np.flip(image(), turn)
        expected = plain.transpose(1, 2) if turn is None else plain.flip([axis + 1 for axis in turn])
        torch.testing.assert_close(predictor(np.ascontiguousarray(picture)).probabilities, expected, rtol=1e-4, atol=1e-5)
    alone = Predictor([member()])
    assert not alone(image()[:, ::-1].copy()).probabilities.allclose(alone(image()).probabilities.flip(2), atol=1e-3)


def test_views_of_a_large_image_are_seen_window_by_window():
    one = member()
    whole = Predictor([one], "dihedral")(image(150, 200)).probabilities
    one.max_pixels = 140 * 140
    windowed = Predictor([one], "dihedral")(image(150, 200)).probabilities
    assert (windowed - whole).abs().mean() < 0.01


def test_disagreement_is_the_dice_that_members_miss():
    columns = torch.arange(40)
    left, right = (columns < 20).float() * 0.8, (columns < 10).float() * 0.9
    found = Predictor([fixed(left), fixed(right), fixed(left)])(np.zeros((30, 40, 3), np.uint8))
    assert (found.classes == (columns < 20).numpy()).all()  # on the second ten columns 1.6 / 3 is above one half
    dice = (1 + 2 * 10 / (20 + 10) + 1) / 3
    assert found.scores["disagreement"] == pytest.approx(1 - dice)


def test_the_mask_of_each_member_is_told():
    members, seen = [fixed(0.2), fixed(0.9)], []
    Predictor(members)(image(), seen.append)
    assert [mask.mean() for mask in seen] == [0, 1]
    Predictor(members[:1])(image(), seen.append)
    assert len(seen) == 2, "there is but one view"


def test_members_that_say_the_same_do_not_disagree():
    found = Predictor([fixed([0.3] * 40), fixed([0.3] * 40)])(np.zeros((20, 40, 3), np.uint8))
    assert not found.classes.any()
    assert found.scores["disagreement"] == 0, "a class in neither is agreement"
    assert found.scores["mutual_information"] == pytest.approx(0, abs=1e-6)
    assert found.scores["entropy"] == pytest.approx(0.8812909, abs=1e-5)


def test_members_that_contradict_each_other_share_no_information():
    found = Predictor([fixed([0.0] * 40), fixed([1.0] * 40)])(np.zeros((20, 40, 3), np.uint8))
    assert found.scores["mutual_information"] == pytest.approx(1)
    assert found.scores["entropy"] == pytest.approx(1)
    assert found.uncertainty.min() == pytest.approx(1)


def test_the_stored_rule_counts_for_one_member_and_none_for_several():
    stored = Postprocessing(threshold=0.2)
    one, other = fixed([0.3] * 40, postprocessing=stored), fixed([0.3] * 40, postprocessing=stored)
    picture = np.zeros((20, 40, 3), np.uint8)
    assert Predictor([one])(picture).classes.all()
    assert Predictor([one], "flips")(picture).classes.all()
    assert not Predictor([one, other])(picture).classes.any()
    assert Predictor([one, other], postprocessing=stored)(picture).classes.all()
    assert not Predictor([one], postprocessing=Postprocessing())(picture).classes.any()


def test_memory_does_not_grow_with_the_views(monkeypatch):
    """When a view is made, the running sum is the only map of probabilities that is alive."""
    made, most = [], []
    plain = Segmenter.probabilities

    def noted(self, *given):
        most.append(sum(ref() is not None for ref in made))
        out = plain(self, *given)
        made.append(weakref.ref(out))
        return out

    monkeypatch.setattr(Segmenter, "probabilities", noted)
    Predictor([member(0), member(1)], "dihedral")(image())
    assert len(most) == 16
    assert max(most) == 1


def loaded(file):
    """Where a member comes from."""
    return Provenance(Path(file), train_config())


def test_members_with_other_classes_are_refused_by_name():
    first = member(provenance=loaded("runs/a/best.ckpt"))
    other = fixed([0.5] * 40, provenance=loaded("runs/b/best.ckpt"))
    expected = (
        "runs/a/best.ckpt takes the classes background, cell, wall and runs/b/best.ckpt takes the classes background, cell. "
        "Members of an ensemble with the same classes in the same order and the same channels were expected. "
        "Leave one of them out of checkpoint."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(expected)}$"):
        Predictor([first, other])


def test_members_with_other_channels_are_refused_by_name():
    gray = DataSpec("toy", SPEC.classes, 1, SPEC.palette)
    other = Segmenter(UNet(1, 3, width=4, depth=2), Preprocessing(1), gray, provenance=loaded("b.ckpt"))
    with pytest.raises(ConfigError, match=r"a\.ckpt takes images with channels: 3 and b\.ckpt takes images with channels: 1"):
        Predictor([member(provenance=loaded("a.ckpt")), other])


def test_nothing_to_predict_with_is_refused():
    with pytest.raises(ConfigError, match=r"The ensemble has no members.*checkpoint=RUN"):
        Predictor([])


def test_an_unknown_augmentation_is_refused_before_anything_is_predicted():
    with pytest.raises(ConfigError, match=r"tta=dihedrl is not .*Did you mean dihedral\?"):
        Predictor([member()], "dihedrl")


def test_an_image_of_other_channels_is_refused():
    with pytest.raises(DataError, match=r"The image has 2 channels.*The network takes 3"):
        Predictor([member()])(np.zeros((40, 40, 2), np.uint8))


def test_a_threshold_for_more_than_two_classes_is_refused_before_anything_is_predicted():
    with pytest.raises(ConfigError, match=r"threshold=0.4 .* is for two classes, and the network has 3"):
        Predictor([member()], postprocessing=Postprocessing(threshold=0.4))


# Overlapping labels --------------------------------------------------------------------------------------------------------

SETS = replace(SPEC, overlapping=True)


def test_overlapping_classes_are_decided_by_their_mean_probability():
    one, two = member(0, SETS), member(1, SETS)
    found = Predictor([one, two], uncertainty=True)(image())
    mean = (one.probabilities(image()) + two.probabilities(image())) / 2
    torch.testing.assert_close(found.probabilities, mean)
    for k in (1, 2):
        assert np.array_equal(has_label(found.classes, k), (mean[k] > 0.5).numpy())
    np.testing.assert_allclose(found.uncertainty, MULTILABEL.entropy(mean), atol=1e-6)
    masks = [MULTILABEL.decide(each.probabilities(image()), Postprocessing()) for each in (one, two)]
    dice = []
    for mask in masks:
        for k in (1, 2):
            here, there = has_label(mask, k), has_label(found.classes, k)
            dice.append(2 * (here & there).sum() / (here.sum() + there.sum()))
    assert found.scores["disagreement"] == pytest.approx(1 - np.mean(dice))
    assert 0 <= found.scores["mutual_information"] < found.scores["entropy"] <= 1


def test_a_threshold_is_welcome_where_classes_overlap():
    rule = Postprocessing(0.7)
    found = Predictor([member(0, SETS)], postprocessing=rule)(image())
    assert np.array_equal(has_label(found.classes, 2), (found.probabilities[2] > 0.7).numpy())


def test_members_with_labels_of_another_kind_are_refused():
    with pytest.raises(ConfigError) as error:
        Predictor([member(0), member(1, SETS)])
    assert str(error.value).startswith(
        "a segmenter takes labels that are exclusive and a segmenter takes labels that are overlapping. Members of an ensemble"
    )


@pytest.mark.parametrize("tta", ["none", "flips"])
@pytest.mark.parametrize("background", [True, False])
def test_pixels_without_data_are_no_class_and_do_not_count(tta, background):
    spec = replace(TWO, background=background)
    share, valid = np.where(np.arange(32) < 8, 0.9, 0.3), np.zeros((16, 32), bool)
    valid[:, 4:] = True
    one = Segmenter(Fixed(share), Preprocessing(3), spec)
    found = Predictor([one], tta=tta, uncertainty=True)(image(16, 32), valid=valid)
    plain = Predictor([one], tta=tta, uncertainty=True)(image(16, 32))
    nothing = 0 if background else 255
    np.testing.assert_array_equal(found.classes, np.where(valid, plain.classes, nothing))
    np.testing.assert_array_equal(found.probabilities.numpy(), plain.probabilities.numpy() * valid)
    np.testing.assert_array_equal(found.uncertainty, plain.uncertainty * valid)
    assert found.scores["entropy"] == pytest.approx(plain.uncertainty[valid].mean(), rel=1e-5)
