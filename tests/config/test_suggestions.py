"""What is said about a command line that does not fit, on the shipped configuration and a user's own."""

import pytest

from segexp.config.suggestions import known_keys, malformed_override, options, unknown_key, unknown_option
from segexp.errors import ConfigError


@pytest.fixture
def mine(tmp_path):
    """A user's folder with a network and a main configuration of their own."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("_target_: mine.Net\ngates: 3\n")
    (tmp_path / "myrun.yaml").write_text("defaults: [train, _self_]\nseed: 5\nnote: hello\n")
    return tmp_path


def test_options_are_the_files_of_all_folders(conf, mine):
    found = options([conf, mine])
    assert {"dilated", "mine", "unet", "unetpp"} <= set(found["model"])
    assert found["model"] == sorted(found["model"])
    assert "hydra" not in found
    assert not any(name.startswith("_") for names in found.values() for name in names)


def test_known_keys_tell_where_they_are(conf, mine):
    keys = known_keys([conf, mine])
    assert keys["model.rates"] == ["model=dilated"]
    assert {"model=unet", "model=unetpp"} <= set(keys["model.width"])
    assert keys["model.gates"] == ["model=mine"]
    assert keys["seed"] == [""]
    assert "note" not in keys
    assert "checkpoint" not in keys
    assert not any("_target_" in key or key.startswith("experiment") for key in keys)


def test_a_main_configuration_of_the_users_includes_what_it_is_made_of(conf, mine):
    keys = known_keys([conf, mine], "myrun")
    assert {"note", "seed", "trainer.max_epochs"} <= set(keys)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("trainer.profiler=simple", "It is an argument of Lightning's Trainer. Type +trainer.profiler=simple."),
        ("trainer.devices=2", "It is an argument of Lightning's Trainer. Type trainer.gpus=2, or 'trainer.gpus=[0,1]'."),
        ("trainer.max_stps=9", "Did you mean +trainer.max_steps"),
        ("trainer.batchsize=9", "It is called data.batch_size. Type data.batch_size=9."),
        ("trainer.max_epoch=3", "Did you mean trainer.max_epochs, +trainer.min_epochs"),
        ("trainer.precison=32", "Did you mean trainer.precision?"),
        ("max_epochs=3", "It is called trainer.max_epochs. Type trainer.max_epochs=3."),
        ("lr=0.1", "It is called optimizer.lr. Type optimizer.lr=0.1."),
        ("trainer.lr=0.1", "It is called optimizer.lr. Type optimizer.lr=0.1."),
        ("trainer.batch_size=4", "It is called data.batch_size. Type data.batch_size=4."),
        (
            "trainer.limit_batches=4",
            "It is called trainer.limit_train_batches and trainer.limit_val_batches. Type "
            "trainer.limit_train_batches=4 trainer.limit_val_batches=4.",
        ),
        ("trainer.epochs=4", "It is called trainer.max_epochs. Type trainer.max_epochs=4."),
        ("modle=unet", "Did you mean model?"),
        ("sede=3", "Did you mean seed"),
        (
            "augment._target_=x.Y",
            "A transform of your own is named in its list: 'augment.transforms=[{name: my_augment.Stripes,",
        ),
        ("data._target_=x.Y", "Give file patterns: 'data.image=\"{split}/{id}.png\"'"),
        ("model.rates=[1,2]", "It is one with model=dilated. Choose that, or add the key all the same: '+model.rates=[1,2]'"),
    ],
)
def test_unknown_keys_get_the_nearest(conf, typed, expected):
    error = unknown_key(typed.partition("=")[0], typed, [conf])
    assert isinstance(error, ConfigError)
    assert str(error).startswith(f"{typed.partition('=')[0]} is not a key of this configuration.")
    assert expected in str(error)


def test_adding_a_key_is_offered_only_where_a_constructor_takes_it(conf):
    assert "type +model.foo=1" in str(unknown_key("model.foo", "model.foo=1", [conf]))
    assert "+" not in str(unknown_key("trainer.foo", "trainer.foo=1", [conf]))


def test_other_commands_have_their_own_keys(conf):
    if not (conf / "evaluate.yaml").is_file():
        pytest.skip("no second command yet")
    text = str(unknown_key("checkpont", "checkpont=x", [conf], "evaluate"))
    assert "checkpoint" in text
    assert "trainer" not in text


def test_unknown_options_list_the_known(conf):
    text = str(unknown_option("model/unett", ["unetpp", "unet", "_base"], [conf]))
    assert text.startswith("model=unett does not exist. Did you mean unet, unetpp? Options of model: unet, unetpp.")
    assert text.endswith("put it at MY_CONF/model/unett.yaml and add --config-dir MY_CONF.")
    assert "_base" not in text
    far = str(unknown_option("model/zzzz", ["unet"], [conf]))
    assert far.startswith("model=zzzz does not exist. Options of model: unet. To use")


def test_unknown_main_configurations_name_the_folders(conf, mine):
    text = str(unknown_option("myrum", None, [conf, mine]))
    assert text.startswith(f"There is no main configuration myrum.yaml in {conf} and {mine}. Did you mean myrun")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("unetpp", "'unetpp' on the command line has no '='. Expected key=value. Did you mean model=unetpp?"),
        ("what", "'what' on the command line has no '='. Expected key=value."),
        ("data.size=[1,2", "The value of data.size cannot be read: [1,2."),
        ("data.image={id}.png", "For a text, type 'data.image=\"{id}.png\"' with both kinds of quotes."),
        ("run_dir=it's", "'run_dir=\"it'\\''s\"'"),
    ],
)
def test_malformed_overrides_say_how_to_quote(conf, typed, expected):
    assert expected in str(malformed_override(typed, [conf]))


def test_an_option_that_an_extra_brings(conf):
    problem = unknown_option("hydra/launcher/joblib", ["basic"], [conf])
    assert str(problem) == (
        "hydra/launcher=joblib is not installed. It comes with the extra parallel. Type pip install 'segexp[parallel]', or "
        "leave it out for one job after the other."
    )
