"""What an experiment says to its options, and which others it is taken back for; the commands are in test_experiments."""

import pytest
from omegaconf import OmegaConf

from segexp.config.experiment import fit_to_choices

CHOICES = {"experiment": "mine", "model": "pool"}


@pytest.fixture
def folder(tmp_path):
    """A folder of groups with an experiment and the file of another network than its own."""
    for name, text in {
        "experiment/mine": "model: {width: 8, stride: 4}\ntrainer: {minutes: 2}\n",
        "experiment/fitting": "model: {stride: 4}\n",
        "model/pool": "_target_: torch.nn.MaxPool2d\nkernel_size: 2\nstride: ${seed}\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def composed(target="torch.nn.MaxPool2d", **said):
    return OmegaConf.create({"seed": 7, "model": {"_target_": target, "kernel_size": 2, **(said or {"width": 8, "stride": 4})}})


def test_a_network_that_has_not_all_of_it_keeps_what_its_file_says(folder):
    config = composed()
    said = fit_to_choices(config, {"model", "experiment"}, CHOICES, [folder])
    assert said == [
        "experiment=mine sets model.stride=4, model.width=8 for its own network; the chosen one keeps its settings."
    ]
    assert config.model == {"_target_": "torch.nn.MaxPool2d", "kernel_size": 2, "stride": 7}


def test_a_network_that_has_all_of_it_gets_it(folder):
    config = composed(stride=4)
    assert fit_to_choices(config, {"model"}, CHOICES | {"experiment": "fitting"}, [folder]) == []
    assert config.model.stride == 4


@pytest.mark.parametrize(
    ("typed", "choices"),
    [({"experiment"}, {}), ({"model"}, {"experiment": None}), ({"model", "experiment"}, {"experiment": "other"})],
    ids=["the network was not typed", "no experiment", "no such file"],
)
def test_nothing_is_taken_back(folder, typed, choices):
    config = composed()
    before = config.copy()
    assert fit_to_choices(config, typed, CHOICES | choices, [folder]) == []
    assert config == before


def test_what_was_typed_stays(folder):
    config = composed()
    assert fit_to_choices(config, {"model", "model.width"}, CHOICES, [folder]) == []
    assert config.model.width == 8
    config = composed(width=8, stride=5)
    assert "model.width=8 for" in fit_to_choices(config, {"model", "model.stride"}, CHOICES, [folder])[0]
    assert config.model == {"_target_": "torch.nn.MaxPool2d", "kernel_size": 2, "stride": 5}


def test_a_key_that_the_experiment_did_not_say_stays_for_the_validation(folder):
    config = composed(widht=3, width=8)
    fit_to_choices(config, {"model"}, CHOICES, [folder])
    assert "widht" in config.model
    assert "width" not in config.model


def test_a_class_that_takes_any_keyword_gets_what_it_names(folder):
    config = composed("torch.nn.Identity")
    fit_to_choices(config, {"model"}, CHOICES | {"model": "none"}, [folder])
    assert set(config.model) == {"_target_", "kernel_size"}


def test_a_target_that_is_not_there_is_left_to_the_validation(folder):
    config = composed("no.such.Net")
    assert fit_to_choices(config, {"model"}, CHOICES, [folder]) == []
    assert "width" in config.model


def test_the_first_folder_that_has_the_experiment_counts(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "experiment").mkdir()
    (other / "experiment" / "mine.yaml").write_text("seed: 1\n")
    assert fit_to_choices(composed(), {"model"}, CHOICES, [other, folder]) == []
    assert len(fit_to_choices(composed(), {"model"}, CHOICES, [folder, other])) == 1


SUM = {"_target_": "segexp.losses.WeightedSum"}
CE = {"weight": 1.0, "loss": {"_target_": "segexp.losses.CrossEntropy", "class_weights": None}}
DICE = {"weight": 1.0, "loss": {"_target_": "segexp.losses.Dice"}}
WEIGHTS = {"loss": {"class_weights": [1, 8]}}


@pytest.fixture
def losses(tmp_path):
    """An experiment that weights the classes of a term, and transforms, with losses and augmentations of several kinds."""
    for name, content in {
        "experiment/mine": {"loss": {"terms": {"ce": WEIGHTS}}, "augment": {"transforms": [{"name": "Blur"}]}},
        "loss/ce_dice": {**SUM, "terms": {"ce": CE, "dice": DICE}},
        "loss/dice_dice": {**SUM, "terms": {"dice": DICE, "more": DICE}},
        "loss/plain_ce": {**SUM, "terms": {"ce": DICE}},
        "loss/dice": DICE["loss"],
        "augment/flips": {"transforms": [{"name": "HorizontalFlip"}]},
        "augment/none": {"transforms": []},
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        OmegaConf.save(content, tmp_path / f"{name}.yaml")
    return tmp_path


def chosen(folder, **options):
    """The config of an experiment with other options, merged in the order in which Hydra does."""
    own = OmegaConf.create({group: OmegaConf.load(folder / group / f"{name}.yaml") for group, name in options.items()})
    return OmegaConf.merge(own, OmegaConf.load(folder / "experiment" / "mine.yaml"))


def test_a_loss_with_the_term_gets_its_weights(losses):
    config = chosen(losses, loss="ce_dice")
    before = config.copy()
    assert fit_to_choices(config, {"loss"}, {"experiment": "mine", "loss": "ce_dice"}, [losses]) == []
    assert config == before
    assert config.loss.terms.ce.loss.class_weights == [1, 8]


@pytest.mark.parametrize("name", ["dice", "dice_dice", "plain_ce"])
def test_a_loss_without_the_term_is_as_its_file_says(losses, name):
    config = chosen(losses, loss=name)
    said = fit_to_choices(config, {"loss", "experiment"}, {"experiment": "mine", "loss": name}, [losses])
    assert said == [
        "experiment=mine sets loss.terms.ce.loss.class_weights=[1, 8] for its own loss; the chosen one keeps its settings."
    ]
    assert config.loss == OmegaConf.load(losses / "loss" / f"{name}.yaml")


@pytest.mark.parametrize("name", ["flips", "none"])
def test_a_typed_augmentation_is_the_whole_of_it(losses, name):
    config = chosen(losses, augment=name, loss="ce_dice")
    said = fit_to_choices(config, {"augment"}, {"experiment": "mine", "augment": name}, [losses])
    assert said == ["experiment=mine sets augment.transforms for its own augmentation; the chosen one keeps its settings."]
    assert config.augment == OmegaConf.load(losses / "augment" / f"{name}.yaml")
    assert config.loss.terms.ce.loss.class_weights == [1, 8], "nobody typed a loss"


def test_typed_transforms_stay(losses):
    config = chosen(losses, augment="flips")
    typed = {"augment", "augment.transforms"}
    assert fit_to_choices(config, typed, {"experiment": "mine", "augment": "flips"}, [losses]) == []
    assert config.augment.transforms == [{"name": "Blur"}]


@pytest.fixture
def optimizers(tmp_path):
    """Experiments that give a learning rate, one to the optimizer of train.yaml and one to its own."""
    for name, content in {
        "train": {"defaults": [{"optimizer": "adamw"}, {"experiment": None}, "_self_"]},
        "experiment/mine": {"optimizer": {"lr": 0.002}},
        "experiment/other": {"defaults": [{"override /data": "x"}, {"override /optimizer": "sgd"}], "optimizer": {"lr": 0.05}},
        "optimizer/adamw": {"_target_": "torch.optim.AdamW", "lr": 0.001},
        "optimizer/sgd": {"_target_": "torch.optim.SGD", "lr": 0.01},
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        OmegaConf.save(content, tmp_path / f"{name}.yaml")
    return tmp_path


@pytest.mark.parametrize(
    ("experiment", "typed", "rate"),
    [("mine", "sgd", 0.01), ("other", "adamw", 0.001), ("mine", "adamw", 0.002), ("other", "sgd", 0.05)],
)
def test_a_learning_rate_is_that_of_one_optimizer(experiment, typed, rate, optimizers):
    own = OmegaConf.create({"optimizer": OmegaConf.load(optimizers / "optimizer" / f"{typed}.yaml")})
    config = OmegaConf.merge(own, {"optimizer": OmegaConf.load(optimizers / "experiment" / f"{experiment}.yaml").optimizer})
    given = config.optimizer.lr
    said = fit_to_choices(config, {"optimizer"}, {"experiment": experiment, "optimizer": typed}, [optimizers])
    assert config.optimizer.lr == rate
    expected = f"experiment={experiment} sets optimizer.lr={given} for its own optimizer; the chosen one keeps its settings."
    assert said == ([] if given == rate else [expected])


def test_a_typed_learning_rate_is_for_the_typed_optimizer(optimizers):
    config = OmegaConf.create({"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.3}})
    choices = {"experiment": "mine", "optimizer": "sgd"}
    assert fit_to_choices(config, {"optimizer", "optimizer.lr"}, choices, [optimizers]) == []
    assert config.optimizer.lr == 0.3
