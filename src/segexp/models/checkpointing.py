"""Activation checkpointing (Chen et al. 2016): blocks whose inner maps are computed again in the backward pass, not kept.

Which layers are the blocks is found by one small pass through the network, in which every tensor that is kept for the
backward pass is noted with the layers that it was kept inside. So it works for any network that is made of modules.
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from segexp.errors import ConfigError

SIDE = 64
"""Pixels of the trial image; how the memory is shared out between the layers hardly depends on it."""
SHARES = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64)
"""Of all that is kept: the largest that a block may be. The one that needs the least memory is taken."""


@dataclass
class Record:
    """What a pass through a network keeps for the backward pass.

    Attributes:
        kept: (storage, bytes, names of the layers around it) of each tensor; weights and buffers are not counted.
        given: the tensors that each layer was given, storage to bytes, by its name.
    """

    kept: list[tuple[int, int, frozenset[str]]] = field(default_factory=list)
    given: dict[str, dict[int, int]] = field(default_factory=dict)

    def inside(self, name: str) -> int:
        """Return the bytes that a layer keeps besides what it was given; 0 for one that was not called."""
        found = {storage: size for storage, size, around in self.kept if name in around}
        return sum(size for storage, size in found.items() if storage not in self.given.get(name, {}))

    def peak(self, blocks: Iterable[str] = ()) -> int:
        """Return the bytes at the worst moment: all that is kept, and the largest block that is computed again."""
        chosen = set(blocks)
        kept = {storage: size for storage, size, around in self.kept if chosen.isdisjoint(around)}
        for name in chosen:
            kept |= self.given[name]
        return sum(kept.values()) + max(map(self.inside, chosen), default=0)


def checkpoint_activations(network: nn.Module, channels: int, name: str) -> None:
    """Let the blocks of a network compute their inner maps again in the backward pass, in place.

    What the network gives, its gradients, its running statistics and the names of its weights stay as they were. Only passes
    with gradients are concerned.

    Args:
        network: in any mode; it is tried on a copy.
        channels: of the images that it takes.
        name: of the network, for messages.

    Raises:
        ConfigError: it has no blocks, or one that cannot be computed again.
    """
    image = torch.rand(2, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):
        trial = copy.deepcopy(network).train()
        blocks = find_blocks(trial, image)
        reason = "no layer of it that holds others keeps any maps of its own" if not blocks else ""
        try:
            _wrap(trial, blocks)
            trial(image).float().sum().backward()
        except RuntimeError as problem:  # a block that changes its input, or is another one at the second time
            reason = str(problem).strip().splitlines()[0]
    if reason:
        raise ConfigError(
            f"trainer.checkpoint_activations=true does not work with the network {name}: {reason}",
            "Expected modules inside it that give the same again for the same input, and leave that as it is",
            "Type trainer.checkpoint_activations=false; a smaller data.crop or data.batch_size saves memory too",
        )
    _wrap(network, blocks)


def checkpointed(network: nn.Module) -> list[str]:
    """Return the names of the blocks that are computed again in the backward pass."""
    return [name for name, layer in network.named_modules() if _is_wrapped(layer)]


def find_blocks(network: nn.Module, image: Tensor) -> list[str]:
    """Return the names of the layers that are best computed again, outermost and disjoint; none where that saves nothing.

    Args:
        network: in training mode; its running statistics change.
        image: (B, C, H, W).
    """
    found = record(network, image)
    choices = [list(_outermost(network, found, share * found.peak(), "")) for share in SHARES]
    best = min(choices, key=found.peak)
    return best if found.peak(best) < found.peak() else []


def record(network: nn.Module, image: Tensor) -> Record:
    """Return what a pass of an image (B, C, H, W) keeps."""
    found, around, alive = Record(), list[str](), list[Tensor]()
    weights = {_storage(tensor) for tensor in chain(network.parameters(), network.buffers())}

    def enter(name: str, _: nn.Module, *inputs: object) -> None:
        around.append(name)
        found.given.setdefault(name, {}).update({_storage(t): t.untyped_storage().nbytes() for t in _tensors(inputs)})

    def leave(*_: object) -> None:
        around.pop()

    def pack(tensor: Tensor) -> Tensor:
        alive.append(tensor)  # else its address could be that of a later one
        if _storage(tensor) not in weights:
            found.kept.append((_storage(tensor), tensor.untyped_storage().nbytes(), frozenset(around)))
        return tensor

    hooks = []
    for name, layer in network.named_modules():
        hooks.append(layer.register_forward_pre_hook(partial(enter, name), with_kwargs=True))
        hooks.append(layer.register_forward_hook(leave, always_call=True))
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            alive.append(network(image))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _outermost(parent: nn.Module, found: Record, limit: float, prefix: str) -> Iterator[str]:
    """Yield the outermost layers that hold others and keep no more than `limit` bytes."""
    for name, child in parent.named_children():
        path = f"{prefix}{name}"
        if 0 < found.inside(path) <= limit and any(True for _ in child.children()):
            yield path
        else:
            yield from _outermost(child, found, limit, f"{path}.")


def _wrap(network: nn.Module, blocks: Iterable[str]) -> None:
    for name in blocks:
        layer = network.get_submodule(name)
        layer.forward = partial(_computed_again, layer.forward)  # a partial of a method is copied along with its network


def _is_wrapped(layer: nn.Module) -> bool:
    return isinstance(layer.forward, partial) and layer.forward.func is _computed_again


def _computed_again(forward: Any, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    if torch.compiler.is_compiling():  # the compiler itself sees to it that a buffer changes once
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=partial(_contexts, forward.__self__), **kwargs)


def _contexts(layer: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _buffers_kept(layer)


@contextmanager
def _buffers_kept(layer: nn.Module) -> Iterator[None]:
    """Let the second pass change copies of the buffers: a batch counts once in the running statistics of batch norm."""
    held = [(part, name, b) for part in layer.modules() if part.training for name, b in part._buffers.items() if b is not None]
    for part, name, buffer in held:
        part._buffers[name] = buffer.clone()
    try:
        yield
    finally:
        for part, name, buffer in held:
            part._buffers[name] = buffer


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(values: object) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple | dict):
        for each in values.values() if isinstance(values, dict) else values:
            yield from _tensors(each)
