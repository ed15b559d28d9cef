"""What activation checkpointing saves and costs: memory and time of a training step, with it and without.

A step is forward, backward and AdamW on random images. On a GPU the memory is the peak that torch has allocated above what
weights, gradients and optimizer hold; on the CPU it is what the step keeps for the backward pass, each storage once, with the
largest block that is computed again. The two take turns, so that a machine whose speed drifts slows both alike; time is the
median over rounds of the ratio of a turn, with its quartiles; on the CPU it is the processor's own, which other programs
hardly change.

    python benchmarks/checkpointing.py model=unet model=unet_encoder model=deeplabv3plus --side 256 --batch 8
"""

import argparse
import copy
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from segexp.config.components import instantiate
from segexp.config.composition import compose, to_plain
from segexp.models.checkpointing import checkpoint_activations, checkpointed_blocks, record_pass

FACTS = ["data=liver", "data.root=nowhere"]


def pair(words: Sequence[str]) -> tuple[str, nn.Module, nn.Module]:
    """Return the name of a network, the network, and its twin with checkpointed activations, both in training."""
    model: dict[str, Any] = to_plain(compose("train", [*FACTS, *words]))["model"]
    torch.manual_seed(0)
    network: nn.Module = instantiate(model)
    twin = copy.deepcopy(network)
    name = " ".join(word.removeprefix("model=").removeprefix("model.") for word in words)
    checkpoint_activations(twin, model["in_channels"], name)
    return name, network.train(), twin.train()


class Step:
    """A training step of a network."""

    def __init__(self, network: nn.Module, image: torch.Tensor, dtype: torch.dtype | None) -> None:
        """Take the network to where the image (B, C, H, W) is; `dtype` is that of autocast, None for float32."""
        self.network = network.to(image.device, memory_format=torch.channels_last)
        self.image = image.contiguous(memory_format=torch.channels_last)
        self.dtype = dtype
        self.optimizer = torch.optim.AdamW(network.parameters(), foreach=False)

    def __call__(self) -> float:
        """Take one step; return its seconds."""
        clock = time.perf_counter if self.image.is_cuda else time.process_time
        started = clock()
        self.optimizer.zero_grad()
        with torch.autocast(self.image.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            logits = self.network(self.image)
        logits.float().square().mean().backward()
        self.optimizer.step()
        if self.image.is_cuda:
            torch.cuda.synchronize()
        return clock() - started

    def bytes(self) -> int:
        """Return the memory of the maps of a step, see above."""
        if self.image.is_cuda:
            self()
            self.optimizer.zero_grad()
            held = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            self()
            return torch.cuda.max_memory_allocated() - held
        with torch.autocast("cpu", dtype=self.dtype, enabled=self.dtype is not None):
            blocks = checkpointed_blocks(self.network)
            plain_network = without(self.network) if blocks else self.network
            return record_pass(plain_network, self.image).peak(blocks)


def without(network: nn.Module) -> nn.Module:
    """Return a copy of a network that keeps all its maps."""
    twin = copy.deepcopy(network)
    for name in checkpointed_blocks(twin):
        del twin.get_submodule(name).forward
    return twin


def measure(words: Sequence[str], arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return a row of the table."""
    name, *networks = pair(words)
    channels = next(layer.in_channels for layer in networks[0].modules() if isinstance(layer, nn.Conv2d))
    image = torch.rand(arguments.batch, channels, arguments.side, arguments.side, device=arguments.device)
    dtype = torch.bfloat16 if arguments.half else None
    plain_step, again = (Step(network, image, dtype) for network in networks)
    before, after = plain_step.bytes(), again.bytes()
    rounds = [(plain_step(), again()) for _ in range(arguments.rounds + 1)][1:]
    ratios = [two / one for one, two in rounds]
    low, middle, high = statistics.quantiles(ratios, n=4)
    seconds = statistics.median(one for one, _ in rounds)
    memory = f"{before / 1e9:.2f}", f"{after / 1e9:.2f}", f"{after / before:.2f}"
    return (
        name,
        str(len(checkpointed_blocks(networks[1]))),
        *memory,
        f"{seconds:.3f}",
        f"{middle:.2f} ({low:.2f} to {high:.2f})",
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["model=unet"], help="model=NAME,model.KEY=VALUE,… each")
    parser.add_argument("--side", type=int, default=256, help="pixels of an image")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--half", action="store_true", help="bfloat16 where autocast allows it")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    what = f"{arguments.batch} images of {arguments.side}x{arguments.side} on {arguments.device}"
    table = Table(title=f"Activation checkpointing, a step of {what}, {'bfloat16' if arguments.half else 'float32'}")
    for column in ("network", "blocks", "GB kept", "GB with it", "ratio", "s a step", "time with it, ratio"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for network in arguments.networks:
        table.add_row(*measure(network.split(","), arguments))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
