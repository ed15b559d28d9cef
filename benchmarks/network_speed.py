"""How large and how fast the networks of conf/model are, each in the size that the recipes give it."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from configured import configured
from torch.utils.flop_counter import FlopCounterMode

from segexp.config.composition import conf_dir
from segexp.config.learned import AUTO
from segexp.config.schema import Component, TrainConfig
from segexp.devices import choose_devices, choose_precision
from segexp.errors import ConfigError
from segexp.training.build import build_components
from segexp.training.optimizers import make_optimizer

SIDE = 256
"""Height and width of the images."""

DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class Size:
    """What a network is before it has seen an image.

    Attributes:
        parameters: their number.
        macs: multiply-accumulates of one image of 3 x SIDE x SIDE: half of what torch's FlopCounterMode counts, which are
            convolutions and products of matrices.
    """

    parameters: int
    macs: float


def all_networks() -> list[str]:
    """Return the options of the group model."""
    return sorted(file.stem for file in (conf_dir() / "model").glob("[!_]*.yaml"))


def config_of(experiment: str, network: str, *words: str) -> TrainConfig:
    """Return the configuration that `experiment=… model=…` gives, as training sees it; no picture is read."""
    return configured([f"experiment={experiment}", f"model={network}", "data.root=.", *words])


def edition(model: Component) -> str:
    """Return what says how large a network is: the settings of that name in its section."""
    return ", ".join(f"{key} {model.arguments[key]}" for key in ("width", "encoder") if key in model.arguments)


def batch_of(config: TrainConfig) -> int:
    """Return the batch size that a configuration names.

    Raises:
        ConfigError: it names none.
    """
    if config.data.batch_size == AUTO:
        raise ConfigError("data.batch_size is auto", "The speed is that of a batch of a known size", "Type a number")
    return int(config.data.batch_size)


def size_of(config: TrainConfig) -> Size:
    """Return parameters and multiply-accumulates of the network of a configuration with 3 channels."""
    network = build_components(config).network.eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(torch.zeros(1, 3, SIDE, SIDE))
    return Size(sum(p.numel() for p in network.parameters()), counter.get_total_flops() / 2)


class Timed:
    """A network with its loss and optimizer, and a batch that is already in memory."""

    def __init__(self, config: TrainConfig, gpus: Any) -> None:
        batch, settings = batch_of(config), config.trainer
        accelerator, _ = choose_devices(gpus)
        made = build_components(config)
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        drawn = torch.Generator().manual_seed(0)
        image = torch.randn(batch, 3, SIDE, SIDE, generator=drawn)
        mask = torch.randint(0, 2, (batch, SIDE, SIDE), generator=drawn)
        self.network, self.loss = made.network.to(accelerator), made.loss.to(accelerator)
        self.optimizer = make_optimizer(config, self.network)
        self.clip = math.inf if settings.gradient_clip_val is None else settings.gradient_clip_val
        self.image = image.to(accelerator).contiguous(memory_format=layout)
        self.mask = mask.to(accelerator)
        self.precision = choose_precision(settings.precision, accelerator)
        self.scaler = torch.amp.GradScaler(enabled=self.precision == "16-mixed")

    def train(self) -> float:
        """Return images per second of one step: forward, loss, backward, clipping, optimizer."""
        self.network.train()
        return self._rate(self._step)

    def predict(self) -> float:
        """Return images per second of one forward pass."""
        self.network.eval()
        with torch.inference_mode():
            return self._rate(self._forward)

    def _step(self) -> None:
        with self._cast():
            loss = self.loss(self.network(self.image), self.mask)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)  # the memory of many networks is held at once

    def _forward(self) -> None:
        with self._cast():
            self.network(self.image)

    def _cast(self) -> torch.autocast:
        dtype = DTYPES.get(self.precision)
        return torch.autocast(self.image.device.type, dtype=dtype, enabled=dtype is not None)

    def _rate(self, work: Callable[[], None]) -> float:
        start = time.perf_counter()
        work()
        if self.image.device.type == "cuda":
            torch.cuda.synchronize()
        return len(self.image) / (time.perf_counter() - start)


def in_turns(networks: Mapping[str, Timed], rounds: int, say: Callable[[str], None]) -> dict[str, tuple[float, float]]:
    """Return the median images per second of training and of prediction of each network.

    In each round every network has one turn, so that a machine whose speed drifts slows all alike; a round before the first
    one is warm-up.
    """
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in networks}
    for turn in range(rounds + 1):
        for name, network in networks.items():
            both = network.train(), network.predict()
            if turn:
                rates[name].append(both)
        say(f"Speed: round {turn} of {rounds} done" if turn else "Speed: every network has warmed up")
    return {name: _medians(found) for name, found in rates.items()}


def _medians(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(rate for rate, _ in found), statistics.median(rate for _, rate in found)
