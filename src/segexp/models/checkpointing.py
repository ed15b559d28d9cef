"""Activation checkpointing (Chen et al. 2016): selected blocks recompute their activations in the backward pass.

Blocks are found by one small pass through the network, which records each tensor saved for the backward pass and its enclosing
layers. This works for any network made of modules.
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
"""Side of the trial image; the distribution of memory over the layers hardly depends on it."""
SHARES = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64)
"""Candidate maximum block sizes as shares of the saved memory; the one with the lowest peak is used."""


@dataclass
class PassRecord:
    """Tensors that a forward pass saves for the backward pass.

    Attributes:
        kept: (storage, bytes, names of the enclosing layers) of each tensor, without weights and buffers.
        given: inputs of each layer, storage to bytes, by layer name.
    """

    kept: list[tuple[int, int, frozenset[str]]] = field(default_factory=list)
    given: dict[str, dict[int, int]] = field(default_factory=dict)

    def inside(self, name: str) -> int:
        """Return the bytes that a layer saves in addition to its inputs; 0 if it was not called."""
        found = {storage: size for storage, size, around in self.kept if name in around}
        return sum(size for storage, size in found.items() if storage not in self.given.get(name, {}))

    def peak(self, blocks: Iterable[str] = ()) -> int:
        """Return the peak memory: all saved tensors plus the largest recomputed block."""
        chosen = set(blocks)
        kept = {storage: size for storage, size, around in self.kept if chosen.isdisjoint(around)}
        for name in chosen:
            kept |= self.given[name]
        return sum(kept.values()) + max(map(self.inside, chosen), default=0)


def checkpoint_activations(network: nn.Module, channels: int, name: str) -> None:
    """Enable recomputation of activations for the blocks of a network, in place.

    Outputs, gradients, running statistics and weight names do not change; passes without gradients are unaffected.

    Args:
        network: in any mode; tried on a copy.
        channels: of its images.
        name: of the network, for messages.

    Raises:
        ConfigError: it has no suitable blocks, or a block cannot be recomputed.
    """
    image = torch.rand(2, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):
        trial = copy.deepcopy(network).train()
        blocks = find_blocks(trial, image)
        reason = "no layer of it that holds others keeps any maps of its own" if not blocks else ""
        try:
            _wrap(trial, blocks)
            trial(image).float().sum().backward()
        except RuntimeError as problem:  # a block that modifies its input or is not deterministic
            reason = str(problem).strip().splitlines()[0]
    if reason:
        raise ConfigError(
            f"trainer.checkpoint_activations=true does not work with the network {name}: {reason}",
            "Expected modules inside it that give the same again for the same input, and leave that as it is",
            "Type trainer.checkpoint_activations=false; a smaller data.crop or data.batch_size saves memory too",
        )
    _wrap(network, blocks)


def checkpointed_blocks(network: nn.Module) -> list[str]:
    """Return the names of the checkpointed blocks."""
    return [name for name, layer in network.named_modules() if _is_wrapped(layer)]


def find_blocks(network: nn.Module, image: Tensor) -> list[str]:
    """Return the best layers to checkpoint, outermost and disjoint; empty if there is no benefit.

    Args:
        network: in training mode; its running statistics change.
        image: (B, C, H, W).
    """
    found = record_pass(network, image)
    choices = [list(_outermost(network, found, share * found.peak(), "")) for share in SHARES]
    best = min(choices, key=found.peak)
    return best if found.peak(best) < found.peak() else []


def record_pass(network: nn.Module, image: Tensor) -> PassRecord:
    """Return the tensors that a pass of an image (B, C, H, W) saves."""
    found, around, alive = PassRecord(), list[str](), list[Tensor]()
    weights = {_storage(tensor) for tensor in chain(network.parameters(), network.buffers())}

    def enter(name: str, _: nn.Module, *inputs: object) -> None:
        around.append(name)
        found.given.setdefault(name, {}).update({_storage(t): t.untyped_storage().nbytes() for t in _tensors(inputs)})

    def leave(*_: object) -> None:
        around.pop()

    def pack(tensor: Tensor) -> Tensor:
        alive.append(tensor)  # otherwise a later tensor could reuse its address
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


def _outermost(parent: nn.Module, found: PassRecord, limit: float, prefix: str) -> Iterator[str]:
    """Yield the outermost layers with children that save at most `limit` bytes."""
    for name, child in parent.named_children():
        path = f"{prefix}{name}"
        if 0 < found.inside(path) <= limit and any(True for _ in child.children()):
            yield path
        else:
            yield from _outermost(child, found, limit, f"{path}.")


def _wrap(network: nn.Module, blocks: Iterable[str]) -> None:
    for name in blocks:
        layer = network.get_submodule(name)
        layer.forward = partial(_computed_again, layer.forward)  # deepcopy copies a partial of a method with its network


def _is_wrapped(layer: nn.Module) -> bool:
    return isinstance(layer.forward, partial) and layer.forward.func is _computed_again


def _computed_again(forward: Any, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    if torch.compiler.is_compiling():  # the compiler itself updates buffers only once
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=partial(_contexts, forward.__self__), **kwargs)


def _contexts(layer: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _buffers_kept(layer)


@contextmanager
def _buffers_kept(layer: nn.Module) -> Iterator[None]:
    """Use copies of the buffers during recomputation, so that running statistics are updated only once."""
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
