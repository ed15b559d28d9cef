"""`class_weights: auto` inside a loss's configuration."""

from fixtures.configs import train_config
from segexp.config.learned import include_background, needs_class_weights, resolve_class_weights
from segexp.config.validation import validate

CE = "segexp.losses.CrossEntropy"


def summed(weights):
    terms = {"ce": {"weight": 1.0, "loss": {"_target_": CE, "class_weights": weights}}}
    return {"_target_": "segexp.losses.WeightedSum", "terms": terms}


def test_it_is_found_wherever_it_is():
    assert needs_class_weights({"_target_": CE, "class_weights": "auto"})
    assert needs_class_weights(summed("auto"))
    assert not needs_class_weights(summed([1, 2]))
    assert not needs_class_weights({"_target_": CE})


def test_weights_take_its_place_and_all_else_stays():
    node = summed("auto")
    assert resolve_class_weights(node, (1.0, 3.0)) == summed([1.0, 3.0])
    assert node == summed("auto"), "the original is left as it was"
    for other in (summed(None), summed([2, 1]), {"_target_": "x.Y", "other": "auto", "list": [{"class_weights": "auto"}]}):
        assert resolve_class_weights(other, [1.0, 3.0]) == other


def test_the_validation_takes_it_for_a_list():
    for loss in ({"_target_": CE, "class_weights": "auto"}, summed("auto")):
        assert validate(train_config({"loss": loss}).plain()).loss.plain() == loss


def test_without_a_background_every_loss_that_can_counts_all_classes():
    dice = {"_target_": "segexp.losses.Dice", "include_background": False}
    terms = {"a": {"weight": 1, "loss": dice}, "b": {"loss": {"_target_": CE}}}
    node = {"_target_": "segexp.losses.WeightedSum", "terms": terms}
    assert include_background(node)["terms"] == {
        "a": {"weight": 1, "loss": {**dice, "include_background": True}},
        "b": {"loss": {"_target_": CE}},
    }
    assert dice["include_background"] is False, "the original is left as it was"
