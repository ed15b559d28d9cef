from segexp.loggers.settings import flatten, settings

CONFIG = {
    "model": {"_target_": "segexp.models.UNet", "width": 8, "up": "bilinear"},
    "data": {"name": "liver", "root": "/somewhere", "image": "{id}.png", "classes": {"a": 0}, "crop": None, "size": [64, 96]},
    "augment": {"transforms": [{"name": "HorizontalFlip", "p": 0.5}, {"name": "Affine", "rotate": [-9, 9]}]},
    "loss": {
        "_target_": "segexp.losses.WeightedSum",
        "terms": {"ce": {"weight": 1.0, "loss": {"_target_": "a.b.CrossEntropy"}}},
    },
    "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 1e-3},
    "trainer": {"compile": False, "minutes": None},
    "seed": 3,
    "callbacks": {"pictures": 4},
    "logger": {"tensorboard": True},
    "run_dir": "/runs/x",
    "resume": None,
    "study": "s",
    "tags": None,
}


def test_a_row_holds_the_choices_in_short():
    assert settings(CONFIG) == {
        "model": "UNet",
        "model.width": 8,
        "model.up": "bilinear",
        "data.name": "liver",
        "data.crop": "none",
        "data.size": "[64, 96]",
        "augment": "HorizontalFlip, Affine",
        "loss": "WeightedSum",
        "loss.terms.ce.weight": 1.0,
        "loss.terms.ce.loss": "CrossEntropy",
        "optimizer": "Adam",
        "optimizer.lr": 1e-3,
        "trainer.compile": "false",
        "trainer.minutes": "none",
        "seed": 3,
    }


def test_no_augmentation_is_a_choice_too():
    assert settings({"augment": {"transforms": []}}) == {"augment": "none"}


def test_flat_values_are_numbers_or_text():
    nested = {"a": {"b": {"c": 1}, "d": 0.5, "e": True}, "f": None, "g": [1, 2], "h": "word", "i": {}}
    assert flatten(nested) == {"a.b.c": 1, "a.d": 0.5, "a.e": "true", "f": "none", "g": "[1, 2]", "h": "word"}
    assert flatten({"x": 1}, "model.") == {"model.x": 1}


def test_folds_are_a_choice_where_there_are_some():
    assert settings({"data": {"folds": None, "fold": None, "size": 64}}) == {"data.size": 64}
    assert settings({"data": {"folds": 5, "fold": 0}}) == {"data.folds": 5, "data.fold": 0}


def test_mixing_and_unlabelled_images_are_choices_where_there_are_some():
    pseudo = {"teacher": None, "confidence": 0.9}
    assert settings({"data": {"name": "a", "unlabeled": None, "pseudo": pseudo}}) == {"data.name": "a"}
    assert settings({"data": {"unlabeled": "more", "pseudo": pseudo}, "mix": {"_target_": "a.b.CutMix", "p": 0.5}}) == {
        "data.unlabeled": "more",
        "data.pseudo.teacher": "none",
        "data.pseudo.confidence": 0.9,
        "mix": "CutMix",
        "mix.p": 0.5,
    }
