import math

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from segexp.errors import ConfigError
from segexp.optim import Constant, Cosine, OneCycle, Plateau, Poly, Step, parameter_groups

SCHEDULES = {"none": Constant, "plateau": Plateau, "cosine": Cosine, "poly": Poly, "step": Step, "onecycle": OneCycle}
OPTIMIZERS = {"adam": 1e-3, "adamw": 1e-3, "sgd": 1e-2, "rmsprop": 1e-5}


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.ConvTranspose2d(4, 2, 2), nn.GroupNorm(1, 2))


def test_biases_and_norms_do_not_decay():
    net = network()
    decayed, plain = parameter_groups(net, 0.1)
    assert decayed["weight_decay"] == 0.1
    assert plain["weight_decay"] == 0.0
    assert [p is q for p, q in zip(decayed["params"], [net[0].weight, net[3].weight], strict=True)] == [True, True]
    assert {id(p) for p in plain["params"]} == {id(net[0].bias), id(net[3].bias)} | {
        id(p) for norm in (net[1], net[4]) for p in norm.parameters()
    }


def test_frozen_parameters_and_empty_groups_are_left_out():
    net = nn.Conv2d(1, 1, 1)
    net.bias.requires_grad_(False)
    groups = parameter_groups(net, 0.1)
    assert len(groups) == 1
    assert groups[0]["params"][0] is net.weight


def test_weight_decay_moves_only_the_weights():
    net = network()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = torch.optim.SGD(parameter_groups(net, 0.5), lr=0.1)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in net.named_parameters():
        expected = before[name] * (0.95 if p.ndim > 1 else 1.0)
        torch.testing.assert_close(p.detach(), expected)


@pytest.mark.parametrize("schedule", [Constant, Cosine, Poly, Step, OneCycle, Plateau])
def test_warm_up_rises_linearly_from_nothing(schedule):
    cold, warm = schedule(), schedule(warmup=0.2)
    start = cold(0.0)
    assert warm(0.0) == 0
    assert warm(0.05) == pytest.approx(start * 0.25)
    assert warm(0.1) == pytest.approx(start * 0.5)
    assert warm(0.2) == pytest.approx(start)
    assert warm(1.0) == pytest.approx(cold(1.0))


@pytest.mark.parametrize("schedule", [Constant, Cosine, Poly, Step, OneCycle, Plateau])
def test_a_run_past_its_end_keeps_the_last_factor(schedule):
    assert schedule()(1.1) == schedule()(1.0)
    assert schedule(warmup=0.1)(-0.1) == 0


def test_constant():
    assert [Constant()(p) for p in (0, 0.5, 1)] == [1, 1, 1]


def test_cosine():
    assert [Cosine()(p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0], abs=1e-12)
    assert Cosine()(1 / 3) == pytest.approx(0.75)
    assert [Cosine(final=0.2)(p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.6, 0.2])
    assert Cosine(warmup=0.5)(0.75) == pytest.approx(0.5)


def test_poly():
    assert [Poly()(p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5**0.9, 0])
    assert Poly(power=2, warmup=0.2)(0.6) == pytest.approx(0.25)


def test_step():
    assert [Step()(p) for p in (0, 0.59, 0.6, 0.84, 0.85, 1)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert Step(at=[0.5], factor=0.5, warmup=0.2)(0.5) == 0.5


def test_onecycle():
    cycle = OneCycle(rise=0.3, start=0.04, final=1e-4)
    assert [cycle(p) for p in (0, 0.15, 0.3, 1)] == pytest.approx([0.04, 0.52, 1, 1e-4])
    assert cycle(0.65) == pytest.approx((1 + 1e-4) / 2)
    assert OneCycle(rise=0.0)(0.0) == 1


def test_onecycle_agrees_with_torch():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=101, pct_start=0.3, div_factor=25, final_div_factor=400, cycle_momentum=False
    )
    # torch counts from the peak at step 0.3 * 101 - 1
    peak = 0.3 * 101 - 1
    ours = OneCycle(rise=peak / 100)
    for step in range(100):
        assert ours(step / 100) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-6)
        optimizer.step()
        theirs.step()


def test_plateau_waits_then_lowers():
    plateau = Plateau(factor=0.5, patience=2, minimum=0.2)
    factors = []
    for score in (0.5, 0.6, 0.6, 0.59, 0.7, 0.1, math.nan, 0.1, 0.1, 0.1, 0.1):
        plateau.observe(score)
        factors.append(plateau(0.5))
    assert factors == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]
    assert Plateau(warmup=0.2)(0.1) == 0.5


def test_plateau_goes_on_from_its_state():
    whole, first = Plateau(patience=3), Plateau(patience=3)
    for score in (0.5, 0.4, 0.4):
        whole.observe(score)
        first.observe(score)
    state = first.state_dict()
    assert all(type(value) in (int, float) for value in state.values())
    second = Plateau(patience=3)
    second.load_state_dict(state)
    for plateau in (whole, second):
        plateau.observe(0.4)
    assert second(0.5) == whole(0.5) == 0.5
    assert second == whole


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Constant(warmup=1.0), "scheduler.warmup is 1.0"),
        (lambda: Cosine(final=2), "scheduler.final is 2"),
        (lambda: Poly(power=-1), "scheduler.power is -1"),
        (lambda: Step(at=[0.5, 1.5]), "scheduler.at is 1.5"),
        (lambda: Step(factor=3), "scheduler.factor is 3"),
        (lambda: OneCycle(rise=-0.1), "scheduler.rise is -0.1"),
        (lambda: Plateau(patience=0), "scheduler.patience is 0"),
        (lambda: Plateau(factor=1.0), "scheduler.factor is 1.0"),
        (lambda: Cosine(warmup=math.nan), "scheduler.warmup is nan"),
    ],
)
def test_nonsense_is_refused(make, key):
    with pytest.raises(ConfigError) as error:
        make()
    assert key in str(error.value)
    assert "a number" in error.value.expected
    assert error.value.do.startswith("Type scheduler.")


def test_every_scheduler_file_makes_its_class(conf):
    files = {path.stem: OmegaConf.to_container(OmegaConf.load(path)) for path in (conf / "scheduler").glob("*.yaml")}
    assert set(files) == set(SCHEDULES)
    for name, config in files.items():
        assert config.pop("_target_") == f"segexp.optim.{SCHEDULES[name].__name__}"
        schedule = SCHEDULES[name](**config)
        assert [schedule(p / 10) for p in range(11)] == [SCHEDULES[name]()(p / 10) for p in range(11)]  # defaults agree
        assert [0 <= schedule(p / 10) <= 1 for p in range(11)] == [True] * 11


def test_every_optimizer_file_makes_its_class(conf):
    files = {path.stem: OmegaConf.to_container(OmegaConf.load(path)) for path in (conf / "optimizer").glob("*.yaml")}
    assert set(files) == set(OPTIMIZERS)
    for name, config in files.items():
        assert config.pop("_partial_") is True
        make = getattr(torch.optim, config.pop("_target_").removeprefix("torch.optim."))
        net = network()
        optimizer = make(parameter_groups(net, config["weight_decay"]), **config)
        assert optimizer.param_groups[0]["lr"] == OPTIMIZERS[name]
        assert [group["weight_decay"] for group in optimizer.param_groups] == [config["weight_decay"], 0.0]
        before = net[0].weight.detach().clone()
        net(torch.randn(2, 3, 8, 8)).square().sum().backward()
        optimizer.step()
        assert not torch.equal(before, net[0].weight)


def test_the_encoder_has_groups_of_its_own():
    net = network()
    rest, biases, decayed, plain = parameter_groups(net, 0.1, [net[0], net[1]])
    assert [p is net[3].weight for p in rest["params"]] == [True]
    assert {id(p) for p in biases["params"]} == {id(p) for p in (net[3].bias, net[4].weight, net[4].bias)}
    assert [p is net[0].weight for p in decayed["params"]] == [True]
    assert {id(p) for p in plain["params"]} == {id(p) for p in (net[0].bias, net[1].weight, net[1].bias)}
    assert [group["weight_decay"] for group in (rest, biases, decayed, plain)] == [0.1, 0.0, 0.1, 0.0]
    assert [group.get("part") for group in (rest, biases, decayed, plain)] == [None, None, "encoder", "encoder"]
