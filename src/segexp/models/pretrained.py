"""Download of pretrained weights, with fast and clear errors.

The libraries' own loaders retry for half a minute without a connection. Here the server is asked once, and the library's
downloader (with its cache, proxies and checks) only starts if it answers.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from segexp.errors import ConfigError, SegexpError

ANSWER = 4.0
"""Timeout of the server's first answer in seconds."""

PATIENCE = 5.0
"""Total timeout in seconds, including name resolution."""


def hub_file(repository: str, revision: str | None = None, name: str = "model.safetensors") -> Path:
    """Return a file of a Hugging Face repository, downloading it if it is not cached.

    Args:
        repository: "owner/name".
        revision: commit or branch; None for the newest.
        name: of the file.

    Raises:
        ConfigError: it is not cached and cannot be downloaded.
    """
    import huggingface_hub as hub
    from huggingface_hub.constants import HF_HUB_CACHE

    return check_hub_file(repository, revision, name) or download_or_explain(
        hub.hf_hub_url(repository, name, revision=revision),
        _hub_place(repository, revision, name),
        lambda: Path(hub.hf_hub_download(repository, name, revision=revision, cache_dir=HF_HUB_CACHE)),
    )


def check_hub_file(repository: str, revision: str | None = None, name: str = "model.safetensors") -> Path | None:
    """Return a file from the Hugging Face cache, or None if the server has it.

    Raises:
        ConfigError: it is not available.
    """
    import huggingface_hub as hub
    from huggingface_hub.constants import HF_HUB_CACHE

    found = hub.try_to_load_from_cache(repository, name, cache_dir=HF_HUB_CACHE, revision=revision)
    if isinstance(found, str):
        return Path(found)
    url = hub.hf_hub_url(repository, name, revision=revision)
    check_answer(url, _hub_place(repository, revision, name), lambda: hub.get_hf_file_metadata(url, timeout=ANSWER))
    return None


def _hub_place(repository: str, revision: str | None, name: str) -> Path:
    """Return the path of a file in the Hugging Face cache, also for a manually copied file."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    branch = folder / "refs" / (revision or "main")
    commit = branch.read_text().strip() if branch.is_file() else revision or "main"
    return folder / "snapshots" / commit / name


def torch_file(url: str) -> Path:
    """Return a file of the torch.hub cache, downloading it if necessary; the hash in its name is checked.

    Raises:
        ConfigError: it is not cached and cannot be downloaded.
    """
    ready = check_torch_file(url)
    if ready is not None:
        return ready
    import torch

    place = _torch_place(url)
    stem, _, digest = place.stem.rpartition("-")
    known = digest if stem and len(digest) >= 8 and not set(digest) - set("0123456789abcdef") else None

    def download() -> Path:
        place.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(place), known)
        return place

    return download_or_explain(url, place, download)


def check_torch_file(url: str) -> Path | None:
    """Return a file from the torch.hub cache, or None if the server answers.

    Raises:
        ConfigError: it is not available.
    """
    place = _torch_place(url)
    if place.is_file():
        return place

    def ask() -> None:
        with urlopen(Request(url, method="HEAD", headers={"User-Agent": "torch.hub"}), timeout=ANSWER):
            pass

    check_answer(url, place, ask)
    return None


def _torch_place(url: str) -> Path:
    """Return the path of a file in the torch.hub cache, without importing torch, which takes seconds."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    home = Path(os.environ.get("TORCH_HOME", cache / "torch")).expanduser()
    return home / "hub" / "checkpoints" / Path(urlsplit(url).path).name


def check_answer(url: str, place: Path, ask: Callable[[], object]) -> None:
    """Check once that a server answers.

    Args:
        url: for the message.
        place: the missing cache file, for the message.
        ask: queries the server, or raises.

    Raises:
        ConfigError: there is no answer within about `PATIENCE` seconds.
    """
    problem = _outcome(ask)
    if problem is not None:
        raise _out_of_reach(url, place, problem) from problem


def download_or_explain(url: str, place: Path, download: Callable[[], Path]) -> Path:
    """Return the result of `download`.

    Raises:
        ConfigError: the download fails; `url` and `place` are named as in `check_answer`.
    """
    try:
        return download()
    except SegexpError:
        raise
    except Exception as problem:  # raised by any network layer
        raise _out_of_reach(url, place, problem) from problem


def _out_of_reach(url: str, place: Path, problem: Exception) -> SegexpError:
    if isinstance(problem, SegexpError):
        return problem
    if type(problem).__name__ == "OfflineModeIsEnabled":
        reason, way = "HF_HUB_OFFLINE is set, which forbids to ask", "Unset HF_HUB_OFFLINE to download it; or download"
    else:
        reason, way = _words(problem), "On a machine with a connection download"
    return ConfigError(
        f"The pretrained weights {place.name} are not on this machine and {url} cannot be reached ({reason})",
        f"They are looked for in the folder {place.parent}",
        f"{way} {url} and put it there as {place.name}, or name the file with model.weights=FILE; model.weights=none starts "
        "from random weights",
    )


def _outcome(ask: Callable[[], object]) -> Exception | None:
    """Return the exception of `ask`, or None, with a timeout that includes name resolution."""
    raised: list[Exception] = []

    def tried() -> None:
        try:
            ask()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=tried, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if thread.is_alive():
        return TimeoutError(f"no answer within {PATIENCE:g} seconds")
    return raised[0] if raised else None


def _words(problem: Exception) -> str:
    """Return the first line of an error message, or the error class."""
    said = str(getattr(problem, "reason", problem))  # urllib wraps the reason
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[0][:160].rstrip(".") if lines else type(problem).__name__


ADDRESSES = Path(__file__).with_name("pretrained_urls.json")


def check_weights(model: Mapping[str, Any]) -> None:
    """Check that the pretrained weights of a network are cached or can be downloaded, if their address is known.

    Args:
        model: the model section of a configuration, not necessarily valid.

    Raises:
        ConfigError: they are not available; within about `PATIENCE` seconds.
    """
    package, _, name = str(model.get("_target_")).rpartition(".")
    encoder, weights = str(model.get("encoder")), str(model.get("weights"))
    if package != "segexp.models" or weights == "none":
        return
    known = json.loads(ADDRESSES.read_text(encoding="utf-8"))
    if name == "EncoderDecoder" and weights in known["hub"].get(encoder, {}):
        check_hub_file(*known["hub"][encoder][weights].split("@"))
    elif name == "TorchvisionNet" and weights == "imagenet" and encoder in known["torch"]:
        check_torch_file(known["torch"][encoder])
