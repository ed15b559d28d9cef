"""Published weights: found on this machine, or fetched; where neither works, the reason comes soon and says what to do.

The libraries' own loaders try an address five times and more (half a minute without a connection) and say little. Here the
address is asked once; only when it answers does the library's downloader start, with its cache, its proxies and its checks.
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
"""Seconds that a server has for its first answer."""

PATIENCE = 5.0
"""Seconds until an address counts as out of reach, the search for its name included."""


def hub_file(repository: str, revision: str | None = None, name: str = "model.safetensors") -> Path:
    """Return a file of a repository on the Hugging Face hub, from its cache or fetched into it.

    Args:
        repository: "owner/name".
        revision: commit or branch; None for the newest.
        name: of the file.

    Raises:
        ConfigError: it is not in the cache and cannot be fetched.
    """
    import huggingface_hub as hub
    from huggingface_hub.constants import HF_HUB_CACHE

    return hub_ready(repository, revision, name) or downloaded(
        hub.hf_hub_url(repository, name, revision=revision),
        _hub_place(repository, revision, name),
        lambda: Path(hub.hf_hub_download(repository, name, revision=revision, cache_dir=HF_HUB_CACHE)),
    )


def hub_ready(repository: str, revision: str | None = None, name: str = "model.safetensors") -> Path | None:
    """Return a file of a repository from the hub's cache, or None if the hub answers that it has it.

    Raises:
        ConfigError: it is neither here nor to be had.
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
    """Return where the hub's cache looks for a file, also for one that was put there by hand."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    branch = folder / "refs" / (revision or "main")
    commit = branch.read_text().strip() if branch.is_file() else revision or "main"
    return folder / "snapshots" / commit / name


def torch_file(url: str) -> Path:
    """Return a file that torch.hub keeps, from its folder or fetched into it; the hash in its name is checked.

    Raises:
        ConfigError: it is not there and cannot be fetched.
    """
    ready = torch_ready(url)
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

    return downloaded(url, place, download)


def torch_ready(url: str) -> Path | None:
    """Return a file from the folder of torch.hub, or None if its address answers.

    Raises:
        ConfigError: it is neither here nor to be had.
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
    """Return where torch.hub keeps a file; its rule is repeated here because torch takes seconds to be imported."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    home = Path(os.environ.get("TORCH_HOME", cache / "torch")).expanduser()
    return home / "hub" / "checkpoints" / Path(urlsplit(url).path).name


def check_answer(url: str, place: Path, ask: Callable[[], object]) -> None:
    """Ask an address once.

    Args:
        url: the address, for the message.
        place: the file that would have been found without it, for the message.
        ask: makes the server answer, or raises.

    Raises:
        ConfigError: within about `PATIENCE` seconds where nothing answers.
    """
    problem = _outcome(ask)
    if problem is not None:
        raise _out_of_reach(url, place, problem) from problem


def downloaded(url: str, place: Path, download: Callable[[], Path]) -> Path:
    """Return what `download` returns.

    Raises:
        ConfigError: the download breaks off; `url` and `place` are named as in `check_answer`.
    """
    try:
        return download()
    except SegexpError:
        raise
    except Exception as problem:  # of any of the network's layers
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
    """Return what `ask` raises, or None; the search for a host's name knows no time limit, so it is left behind."""
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
    """Return the first line of an error, with its kind where it says nothing."""
    said = str(getattr(problem, "reason", problem))  # urllib puts the reason into brackets
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[0][:160].rstrip(".") if lines else type(problem).__name__


ADDRESSES = Path(__file__).with_name("pretrained_urls.json")


def check_weights(model: Mapping[str, Any]) -> None:
    """Check that the pretrained weights of a network are here or can be fetched, as far as their address is known.

    Args:
        model: the model section of a config, which need not be right otherwise.

    Raises:
        ConfigError: neither; within about `fetching.PATIENCE` seconds.
    """
    package, _, name = str(model.get("_target_")).rpartition(".")
    encoder, weights = str(model.get("encoder")), str(model.get("weights"))
    if package != "segexp.models" or weights == "none":
        return
    known = json.loads(ADDRESSES.read_text(encoding="utf-8"))
    if name == "EncoderDecoder" and weights in known["hub"].get(encoder, {}):
        hub_ready(*known["hub"][encoder][weights].split("@"))
    elif name == "TorchvisionNet" and weights == "imagenet" and encoder in known["torch"]:
        torch_ready(known["torch"][encoder])
