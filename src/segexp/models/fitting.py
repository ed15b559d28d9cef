"""Load encoder weights from files: matching by name, adaptation to the image channels, and error messages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from segexp.errors import ConfigError, listed


@dataclass
class StateMatch:
    """A comparison of a state dict and a module.

    Attributes:
        found: matching tensors by the module's names, first convolutions adapted.
        missing: names of the module that the file lacks.
        unexpected: names of the file that the module lacks, within common parts (classifiers are ignored).
        shapes: by name, the shapes in the file and in the module.
    """

    found: dict[str, Tensor] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether all weights match."""
        return not (self.missing or self.unexpected or self.shapes)


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors or torch file by name, also from an inner "state_dict" or "model".

    Raises:
        ConfigError: the file does not exist or contains no weights.
    """
    if not path.is_file():
        raise ConfigError(
            f"model.weights={path} does not exist",
            "imagenet, none, or a file with the state dict of the encoder (.pth, .pt, .ckpt, .safetensors)",
            f"The folder is read from {Path.cwd()}; give the whole path",
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            values: object = load_file(path)
        else:
            values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # a foreign file can fail anywhere in the unpickler
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise ConfigError(
            f"model.weights={path} cannot be read: it is truncated, or holds more than weights ({reason[:160]})",
            "A .safetensors file, or one that torch.save wrote from a state dict",
            "Save it again with torch.save(encoder.state_dict(), FILE)",
        ) from problem
    for key in ("state_dict", "model_state_dict", "model", "state_dict_ema"):
        if isinstance(values, Mapping) and isinstance(values.get(key), Mapping):
            values = values[key]
    tensors = {str(k): v for k, v in values.items() if isinstance(v, Tensor)} if isinstance(values, Mapping) else {}
    if not tensors:
        raise ConfigError(
            f"model.weights={path} holds no weights",
            "A state dict: tensors by name",
            "Save it with torch.save(encoder.state_dict(), FILE)",
        )
    return tensors


def match_state(module: nn.Module, state: Mapping[str, Tensor], in_channels: int) -> StateMatch:
    """Match a state dict with a module.

    Dots and underscores are equivalent, since timm writes "stages.0" in its files and "stages_0" in its feature extractors. A
    common prefix ("network.encoder.") is ignored.

    Args:
        module: the encoder.
        state: tensors by name.
        in_channels: C; a first convolution for another number of channels is adapted.
    """
    target = module.state_dict()
    prefix = _prefix(target, state)
    given = {_plain(name.removeprefix(prefix)): (name, value) for name, value in state.items() if name.startswith(prefix)}
    result = StateMatch()
    for name, own in target.items():
        _, value = given.pop(_plain(name), ("", None))
        if value is None:
            if not name.endswith("num_batches_tracked"):  # files from before torch 0.4.1 have none
                result.missing.append(name)
        elif value.shape == own.shape:
            result.found[name] = value
        elif (adapted := _adapted(value, own.shape, in_channels)) is not None:
            result.found[name] = adapted
        else:
            result.shapes[name] = (tuple(value.shape), tuple(own.shape))
    parts = {name.split(".")[0] for name in target}
    result.unexpected = [name for name, _ in given.values() if name.removeprefix(prefix).split(".")[0] in parts]
    return result


def load_match(module: nn.Module, fitting: StateMatch) -> None:
    """Copy the tensors of a match into its module."""
    module.load_state_dict({**module.state_dict(), **fitting.found})


def mismatch_error(file: object, encoder: str, fitting: StateMatch) -> ConfigError:
    """Return the error that describes which layers of a file do not fit an encoder.

    Args:
        file: for the message.
        encoder: its name.
        fitting: the match.
    """
    shapes = [f"{name} is {there} in the file and {here} in the encoder" for name, (there, here) in fitting.shapes.items()]
    total = len(fitting.found) + len(fitting.missing) + len(shapes)
    texts = []
    if fitting.missing:
        texts.append(f"{len(fitting.missing)} of the encoder's {total} weights are missing ({listed(fitting.missing)})")
    if fitting.unexpected:
        texts.append(f"{len(fitting.unexpected)} of the file are unexpected ({listed(fitting.unexpected)})")
    if shapes:
        texts.append(f"{len(shapes)} have other shapes ({listed(shapes, 3)})")
    return ConfigError(
        f"The weights in {file} do not fit the encoder {encoder}: {'; '.join(texts)}",
        "The state dict of exactly this encoder; a classifier in it is left out, and the image channels may differ",
        "Set model.encoder to the encoder that the file is for, or name another file with model.weights=FILE",
    )


def adapt_channels(weight: Tensor, channels: int, base: int = 3) -> Tensor:
    """Adapt the weight of a first convolution to another number of image channels.

    Channel i uses the filter of channel i modulo `base`, divided by the number of its uses; with fewer channels than `base`,
    the remaining filters are shared by all. The sum over channels is preserved exactly, so that an image with equal channels
    gives the original response. (Libraries multiply by base / channels, which preserves the sum only for multiples of `base`.)

    Args:
        weight: (out, base * k, h, w); k > 1 after a rearrangement of pixels into channels.
        channels: C.
        base: channels that the weight was trained for.

    Returns:
        (out, channels * k, h, w).
    """
    share = torch.zeros(base, channels)
    for source in range(base):
        users = list(range(source, channels, base)) or list(range(channels))
        share[source, users] = 1 / len(users)
    out, inside, *size = weight.shape
    grouped = weight.float().reshape(out, inside // base, base, *size)
    mixed = torch.einsum("okbhw,bc->okchw", grouped, share)
    return mixed.reshape(out, inside // base * channels, *size).to(weight.dtype)


def _adapted(value: Tensor, wanted: torch.Size, channels: int) -> Tensor | None:
    """Return a first convolution for `channels`, or None if the shapes differ otherwise."""
    if value.ndim != 4 or (value.shape[0], *value.shape[2:]) != (wanted[0], *wanted[2:]) or wanted[1] % channels:
        return None
    groups = wanted[1] // channels
    base, rest = divmod(value.shape[1], groups)
    if rest or not base or (groups > 1 and base != 3):
        return None
    return adapt_channels(value, channels, base)


def _plain(name: str) -> str:
    return name.replace(".", "_")


def _prefix(target: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Return the shortest dotted prefix after which most names of the file match names of the target."""
    wanted = {_plain(name) for name in target}
    hits: dict[str, int] = {"": 0}
    for name in state:
        parts = name.split(".")
        for depth in range(min(len(parts), 4)):
            prefix = "".join(f"{part}." for part in parts[:depth])
            hits[prefix] = hits.get(prefix, 0) + (_plain(name.removeprefix(prefix)) in wanted)
    return max(hits, key=lambda prefix: (hits[prefix], -len(prefix)))
