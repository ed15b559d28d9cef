"""Encoders of segmentation_models_pytorch and timm by name, and their pretrained weights.

A name is one of smp ("resnet34"), or "tu-" and the name of a timm network, optionally with a tag that selects its weights
("tu-convnext_tiny", "tu-resnet18.a1_in1k").
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from segexp.errors import ConfigError, SegexpError, listed, nearest
from segexp.models.fitting import StateMatch, load_match, match_state, mismatch_error, read_state
from segexp.models.pretrained import hub_file, torch_file

TIMM = "tu-"
"""Name prefix of timm encoders."""


def check_encoder(name: str) -> None:
    """Validate the name of an encoder.

    Raises:
        ConfigError: it does not exist.
    """
    import timm
    from segmentation_models_pytorch.encoders import encoders

    plain, _, tag = name.removeprefix(TIMM).partition(".")
    if name in encoders:
        return
    if name.startswith(TIMM) and timm.is_model(plain):
        tags = [known.partition(".")[2] for known in timm.list_models(f"{plain}.*", include_tags=True, pretrained=True)]
        if not tag or tag in tags:
            return
        raise ConfigError(
            f"model.encoder is {name!r}, and timm has no weights {tag!r} for {plain}",
            f"One of the tags {listed(tags, 20)}" if tags else f"{plain} has no published weights, hence no tags",
            nearest(tag, tags) if tags else f"Set model.encoder={TIMM}{plain}",
        )
    networks = timm.list_models()
    if timm.is_model(plain):
        do = f"{plain} is a network of timm: set model.encoder={TIMM}{name.removeprefix(TIMM)}"
    else:
        do = nearest(name, [f"{TIMM}{network}" for network in networks] if name.startswith(TIMM) else encoders)
    raise ConfigError(
        f"model.encoder is {name!r}, which does not exist",
        f"One of the {len(encoders)} encoders of segmentation_models_pytorch, such as resnet34 and mit_b0, or one of the "
        f"{len(networks)} networks of timm with tu- before its name, such as tu-convnext_tiny",
        do,
    )


def load_weights(encoder: nn.Module, name: str, weights: str, in_channels: int, depth: int = 5) -> None:
    """Load pretrained weights into a new encoder of smp.

    Args:
        encoder: for `in_channels` channels.
        name: of the encoder.
        weights: "none", "imagenet" (or another set published by smp), or a file.
        in_channels: C; other than 3, the first convolution is adapted as in `fitting.adapt_channels`.
        depth: of the encoder; below 5 the file may contain more levels.

    Raises:
        ConfigError: the weights do not exist, cannot be downloaded, or do not fit.
    """
    if weights == "none":
        return
    known = _published(name)
    official = weights == "imagenet" or weights in known
    if official and weights not in known:
        raise ConfigError(
            f"model.weights={weights}, and none of that name are published for the encoder {name}",
            f"One of {listed(known, 20)}, none, or a file" if known else "Nothing is published for it: none, or a file",
            f"Set model.weights={next(iter(known), 'none')}, or another model.encoder",
        )
    path = _fetch(known[weights]) if official else Path(weights)
    timm_name = name.removeprefix(TIMM) if name.startswith(TIMM) else None
    module = encoder.get_submodule("model") if timm_name else encoder
    state = read_state(path) if path.suffix != ".npz" or not timm_name else {}
    found = match_state(module, state, in_channels)
    if official or (timm_name and depth < 5):
        found.unexpected = []
    if not found.fits:
        _by_library(encoder, name, state, path, in_channels, found)
        return
    load_match(module, found)


def load_file(module: nn.Module, name: str, path: Path, in_channels: int) -> None:
    """Load a state dict from a file into an encoder.

    Raises:
        ConfigError: the file does not exist, contains no weights, or does not fit.
    """
    found = match_state(module, read_state(path), in_channels)
    if not found.fits:
        raise mismatch_error(path, name, found)
    load_match(module, found)


def _published(name: str) -> dict[str, tuple[str, str | None, str]]:
    """Return the published weights of an encoder by name as (repository, revision, file) or ("", None, URL)."""
    import timm
    from segmentation_models_pytorch.encoders import encoders

    if not name.startswith(TIMM):
        settings = encoders[name]["pretrained_settings"]
        return {key: (value["repo_id"], value["revision"], "model.safetensors") for key, value in settings.items()}
    about = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    if about is None or not about.has_weights:
        return {}
    if about.hf_hub_id:
        repository, _, revision = about.hf_hub_id.partition("@")
        return {"imagenet": (repository, revision or None, about.hf_hub_filename or "model.safetensors")}
    return {"imagenet": ("", None, str(about.url))} if about.url else {}


def _fetch(place: tuple[str, str | None, str]) -> Path:
    repository, revision, name = place
    return hub_file(repository, revision, name) if repository else torch_file(name)


def _by_library(
    encoder: nn.Module, name: str, state: Mapping[str, Tensor], path: Path, in_channels: int, found: StateMatch
) -> None:
    """Load a file with the library's own loader, which may handle renamed weights.

    Raises:
        ConfigError: the weights still do not fit.
    """
    import timm

    try:
        if not name.startswith(TIMM):
            encoder.load_state_dict({**state, **found.found})
            return
        overlay = {"file": str(path), "hf_hub_id": None, "url": ""}
        whole = timm.create_model(
            name.removeprefix(TIMM), pretrained=True, in_chans=in_channels, pretrained_cfg_overlay=overlay
        )
        again = match_state(encoder.get_submodule("model"), whole.state_dict(), in_channels)
    except SegexpError:
        raise
    except Exception as problem:  # loaders fail in many ways on unexpected names and shapes
        raise mismatch_error(path, name, found) from problem
    if again.missing or again.shapes:
        raise mismatch_error(path, name, found)
    load_match(encoder.get_submodule("model"), again)
