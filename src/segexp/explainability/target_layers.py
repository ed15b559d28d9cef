"""Selection of the layer for Grad-CAM, and the position of its map in the image.

Shapes: B batch, C channels, H W pixels of the image, h w cells of a map.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from segexp.errors import ConfigError, listed, nearest
from segexp.models.encoding import encoder_of


@contextmanager
def explainable(network: nn.Module) -> Iterator[None]:
    """Enable gradients of a network in evaluation mode; modes, weights, statistics and random state are preserved.

    It also works inside Lightning's validation steps. Tiling (`tile` of `segexp.models.UNetPaper`) is disabled, so that a layer
    has one map.
    """
    modes = {module: module.training for module in network.modules()}
    whole: Any = network
    tile = getattr(network, "tile", None)
    network.eval()
    if tile is not None:
        whole.tile = None
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        if tile is not None:
            whole.tile = tile
        for module, training in modes.items():
            module.training = training


AUTO = "auto"
PROBES = ((96, 128), (160, 192))
"""Sizes (H, W) of the two images used to inspect the layers."""
SMALLEST = 2
"""Minimum cells per side of a spatial map; smaller ones summarise the whole image."""


@dataclass(frozen=True)
class Layer:
    """A layer with a map (B, C, h, w) for each image.

    Attributes:
        name: dotted, as in `named_modules`.
        module: the layer.
        pitch: pixels (vertical, horizontal) between cells; 0 if the number of cells does not depend on the image.
    """

    name: str
    module: nn.Module
    pitch: tuple[float, float] = (0.0, 0.0)


@dataclass
class LayerOutputs:
    """Outputs of the modules of a network for one probe image.

    Attributes:
        outputs: of each module by name, one per call, in order of completion.
        result: of the network.
        varying: modules whose second axis changes with the image size and is therefore not the channel axis.
    """

    outputs: dict[str, list[object]] = field(default_factory=dict)
    result: object = None
    varying: frozenset[str] = frozenset()

    def maps(self) -> dict[str, Tensor]:
        """Return the maps of the layers suitable for Grad-CAM, in order of completion."""
        once = {name: given[0] for name, given in self.outputs.items() if len(given) == 1 and name not in self.varying}
        return {name: given for name, given in once.items() if isinstance(given, Tensor) and _is_map(given)}


def choose_layer(network: nn.Module, channels: int, name: str = AUTO) -> Layer:
    """Return the named layer, or the best one for "auto".

    That is the deepest map of the encoder (the bottleneck), which Vinogradova et al. 2020 found the most informative of a
    U-Net. Without an encoder it is the last of the coarsest maps with the most channels, never the logits.

    Args:
        network: any network; its modes are preserved.
        channels: C of its images.
        name: dotted, or "auto".

    Raises:
        ConfigError: there is no such layer, it does not run exactly once per pass, or its output is not a map (B, C, h, w);
            or no layer has a map.
    """
    with explainable(network), torch.no_grad():
        first, second = (_pass(network, channels, size) for size in PROBES)
    others = second.maps()
    first.varying = frozenset(
        name for name, map_ in first.maps().items() if name in others and others[name].shape[1] != map_.shape[1]
    )
    maps = first.maps()
    if name == AUTO:
        found = _deepest(network, first)
        if found is None:
            raise ConfigError(
                f"No layer inside of the network {type(network).__name__} gives a map that Grad-CAM could look at",
                "A module that is run once in a pass and gives one tensor (batch, channels, height, width) was expected",
                "Type method=integrated_gradients or method=occlusion, which look at no layer",
            )
    else:
        found = name
        _check(network, first, name)
    _check_gradient(network, channels, found)
    pitch = _pitch(maps[found], others[found]) if found in others else (0.0, 0.0)
    return Layer(found, network.get_submodule(found), pitch)


def _check_gradient(network: nn.Module, channels: int, name: str) -> None:
    """Require a layer that the result depends on with a gradient.

    Raises:
        ConfigError: it does not.
    """
    with explainable(network):
        seen = _pass(network, channels, PROBES[0])
        (map_,) = seen.outputs[name]
        total = sum((each.sum() for each in _tensors(seen.result)), torch.zeros(()))
        assert isinstance(map_, Tensor)
        kept = map_.requires_grad and total.requires_grad
        if kept and torch.autograd.grad(total, map_, allow_unused=True)[0] is not None:
            return
    raise ConfigError(
        f"layer={name} has no gradient: the network {type(network).__name__} makes nothing of what it gives, or keeps none",
        "A layer was expected whose map the result depends on",
        "Type another layer, or method=occlusion, which needs no gradients",
    )


def _check(network: nn.Module, seen: LayerOutputs, name: str) -> None:
    """Require a layer with a map.

    Raises:
        ConfigError: with the reason and the layers that have one.
    """
    maps, known = seen.maps(), [known for known, _ in network.named_modules() if known]
    if name in maps:
        return
    others = [each for each in maps if name.startswith(f"{each}.") or each.startswith(f"{name}.")]
    close = nearest(name, maps)
    do = f"Type layer=auto, or for example layer={others[-1]}" if others else "Type layer=auto"
    do = f"{do}. {close}" if close.startswith("Did") and not others else do
    if name not in known:
        tops = [known for known in known if "." not in known]
        raise ConfigError(
            f"layer={name} is no module of the network {type(network).__name__}, which has {listed(tops, 12)}",
            f"A dotted name of one of its {len(maps)} layers with a map was expected, such as {listed(_spread(list(maps)))}",
            do,
        )
    given = seen.outputs.get(name, [])
    if not given:
        found = f"layer={name} is not run by itself: it holds other layers, or is of use in training only"
    elif len(given) > 1:
        found = f"layer={name} is run {len(given)} times in a pass, so it has no one map"
    else:
        found = f"layer={name} gives {_kind(given[0])}"
    raise ConfigError(found, "A layer that gives one map (batch, channels, height, width) was expected", do)


def _pass(network: nn.Module, channels: int, size: tuple[int, int]) -> LayerOutputs:
    """Return the outputs of the modules for a zero image."""
    seen = LayerOutputs()

    def done(name: str, _: nn.Module, __: object, given: object) -> None:
        seen.outputs.setdefault(name, []).append(given)

    hooks = [module.register_forward_hook(partial(done, name)) for name, module in network.named_modules() if name]
    weights = next(network.parameters())
    try:
        image = torch.zeros(1, channels, *size, device=weights.device, dtype=weights.dtype)
        seen.result = network.forward(image.requires_grad_(torch.is_grad_enabled()))  # weights may be frozen
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _deepest(network: nn.Module, seen: LayerOutputs) -> str | None:
    maps = {name: given for name, given in seen.maps().items() if min(given.shape[2:]) >= SMALLEST}
    maps = {name: given for name, given in maps.items() if given is not seen.result}
    names = {id(module): name for name, module in network.named_modules()}
    parts = [names[id(part)] for part in encoder_of(network)]
    if len(parts) == 1 and (given := seen.outputs.get(parts[0])):
        features = [tensor for tensor in _tensors(given[0]) if _is_map(tensor)]
        coarsest = min(reversed(features), key=_cells, default=None)
        same = [name for name, map_ in maps.items() if map_ is coarsest and name.startswith(f"{parts[0]}.")]
        if same:
            return same[-1]
        if coarsest is not None:  # rearranged by the encoder itself: use the first layer after it
            after = list(seen.outputs)[list(seen.outputs).index(parts[0]) + 1 :]
            of_its_size = [name for name in after if name in maps and maps[name].shape[2:] == coarsest.shape[2:]]
            if of_its_size:
                return of_its_size[0]
    inside = {name: map_ for name, map_ in maps.items() if any(name == p or name.startswith(f"{p}.") for p in parts)}
    if inside:
        least = min(map(_cells, inside.values()))
        return [name for name, map_ in inside.items() if _cells(map_) == least][-1]
    ranked = {name: (-_cells(map_), map_.shape[1]) for name, map_ in maps.items()}
    return max(reversed(ranked), key=ranked.__getitem__, default=None)


def _pitch(one: Tensor, other: Tensor) -> tuple[float, float]:
    """Return the number of pixels per cell from the difference between the two probes."""
    grown = [other.shape[axis] - one.shape[axis] for axis in (2, 3)]
    steps = [large - small for small, large in zip(*PROBES, strict=True)]
    down, right = (step / more if more > 0 else 0.0 for step, more in zip(steps, grown, strict=True))
    return down, right


def _is_map(given: object) -> bool:
    return isinstance(given, Tensor) and given.ndim == 4 and given.is_floating_point()


def _cells(map_: Tensor) -> int:
    return map_.shape[2] * map_.shape[3]


def _kind(given: object) -> str:
    if isinstance(given, Tensor):
        return f"a tensor of shape {tuple(given.shape)}"
    return f"a {type(given).__name__}"


def _tensors(given: object) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, list | tuple | Mapping):
        for each in given.values() if isinstance(given, Mapping) else given:
            yield from _tensors(each)


def _spread(names: list[str]) -> list[str]:
    return names[:: max(1, len(names) // 4)][:4]
