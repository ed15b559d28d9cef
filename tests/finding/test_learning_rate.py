"""The range test trains a copy; the run's network and random numbers stay bit for bit."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from segexp import build
from segexp.errors import ConfigError
from segexp.finding.learning_rate import HIGHEST, LOWEST, PICTURE, STEPS, find_learning_rate, range_test

WORDS = ["optimizer.lr=auto", "trainer.precision=32"]


def states(made):
    return [{k: v.clone() for k, v in part.state_dict().items()} for part in (made.network, made.loss)]


def test_a_rate_is_found_and_nothing_else_has_changed(config, data, tmp_path):
    values = config(*WORDS, "model.dropout=0.2", "trainer.encoder_lr_scale=0.1", "trainer.freeze_encoder=1")
    made, prepared = build.parts(values), data(values)
    before, draws = states(made), torch.random.get_rng_state()
    rate, told = find_learning_rate(values, prepared, made, tmp_path)
    assert 1e-5 < rate <= 1
    assert told.startswith(f"optimizer.lr=auto: {rate:g} (where the loss of a range test falls most steeply; ")
    assert (tmp_path / PICTURE).is_file()
    assert torch.equal(torch.random.get_rng_state(), draws)
    for one, two in zip(before, states(made), strict=True):
        assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert all(p.requires_grad for p in made.network.parameters())
    assert values["optimizer"]["lr"] == "auto", "kept by `settle` alone"
    again, _ = find_learning_rate(values, prepared, made, tmp_path)
    assert again == rate


def test_the_rates_rise_by_the_same_factor_and_a_factor_of_a_group_stays(config, data, monkeypatch):
    values = config(*WORDS, "trainer.encoder_lr_scale=0.1")
    made, seen = build.parts(values), []

    def noting(network):
        optimizer = made.optimizer(network)
        optimizer.register_step_pre_hook(lambda this, *_: seen.append([group["lr"] for group in this.param_groups]))
        return optimizer

    curve = range_test(values, data(values), replace(made, optimizer=noting))
    assert len(seen) == len(curve.losses) <= STEPS
    assert curve.rates[0] == LOWEST
    assert np.geomspace(LOWEST, HIGHEST, STEPS)[: len(seen)] == pytest.approx([rates[0] for rates in seen])
    assert all(rates[2] == pytest.approx(0.1 * rates[0]) for rates in seen)


def test_it_ends_where_the_loss_diverges(config, data):
    values = config("optimizer=sgd", *WORDS, "trainer.clip=null")
    made = build.parts(values)

    class Steep(torch.nn.Module):
        def forward(self, logits, mask):
            return (logits.float() - 10).pow(2).mean()

    curve = range_test(values, data(values), replace(made, loss=Steep()))
    assert 10 < len(curve.losses) < STEPS
    assert np.isfinite(curve.losses).all()


def test_without_a_fall_there_is_a_picture_and_words(config, data, tmp_path):
    values = config(*WORDS)
    made = build.parts(values)

    class Constant(torch.nn.Module):
        def forward(self, logits, mask):
            return 0 * logits.float().mean() + 0.7

    with pytest.raises(ConfigError) as caught:
        find_learning_rate(values, data(values), replace(made, loss=Constant()), tmp_path)
    assert str(caught.value) == (
        "optimizer.lr=auto finds no learning rate: the training loss does not fall between 1e-07 and 1 by more than it "
        f"scatters, see {tmp_path / PICTURE}. A loss was expected that falls at some rate. Type optimizer.lr=1e-3, a larger "
        "trainer.batch_size, or python -m segexp.check … fit=true to see whether the network can learn these data at all."
    )
    assert (tmp_path / PICTURE).is_file()


def test_the_config_takes_auto_and_the_optimizer_a_rate_as_soon_as_there_is_one(config):
    values = config("optimizer.lr=auto")
    made = build.parts(values)
    assert {group["lr"] for group in made.optimizer(made.network).param_groups} == {1e-3}
    values["optimizer"]["lr"] = 0.25
    assert {group["lr"] for group in made.optimizer(made.network).param_groups} == {0.25}
    with pytest.raises(ConfigError, match=r"optimizer\.lr is 'automatic'"):
        config("optimizer.lr=automatic")


@pytest.mark.slow
def test_a_resumed_run_keeps_what_was_found(train, small, tmp_path, capfd):
    run = tmp_path / "run"
    assert train(*small, "optimizer.lr=auto", "trainer.max_epochs=1", f"run_dir={run}") == 0
    found = json.loads((run / "found.json").read_text())["optimizer.lr"]
    kept = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["segexp"]["config"]["optimizer"]["lr"] == found
    assert kept["optimizer_states"][0]["param_groups"][0]["base_lr"] == found
    assert train(*small, f"optimizer.lr={found}", "trainer.max_epochs=1", f"run_dir={tmp_path / 'typed'}") == 0
    typed = torch.load(tmp_path / "typed" / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(torch.equal(t, typed["state_dict"][n]) for n, t in kept["state_dict"].items()), "as if it had been typed"
    capfd.readouterr()
    assert train(f"resume={run}", "trainer.max_epochs=2") == 0
    assert "trying learning rates" not in capfd.readouterr().out
    assert copy.copy(json.loads((run / "found.json").read_text())) == {"optimizer.lr": found}
