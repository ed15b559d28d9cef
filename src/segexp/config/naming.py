"""Names of studies and of their jobs: the same command always gives the same ones, and they read well in a file manager."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

STUDIES = Path("runs") / "studies"
"""Where studies lie, below the folder the command is typed in."""

TEACHER = "teacher"
"""The folder, below that of a run, in which the network that labels further images is trained first."""

LONGEST = 120
"""Characters of a folder name; file systems take 255 bytes."""


def slug(text: object) -> str:
    """Return `text` as the name of a folder: letters, digits, `.`, `+`, `-` and `_`; a digest tells apart what looks alike."""
    raw = str(text)
    plain = re.sub(r"[^A-Za-z0-9.+-]+", "_", raw).strip("._") or "none"
    if len(plain) > LONGEST:
        return f"{plain[:LONGEST]}-{digest([raw])}"
    return plain if re.fullmatch(r"[A-Za-z0-9._+-]*", raw) and plain == raw else f"{plain}-{digest([raw], 4)}"


def job_name(overrides: Iterable[str], fixed: Iterable[str] = ()) -> str:
    """Return the folder name of a job, made of the overrides that change within its study: `model-unet_seed-1`.

    Args:
        overrides: all of the job's overrides, `key=value`.
        fixed: keys that are the same in every job.
    """
    left_out = {strip_prefix(key) for key in fixed} | {"study"}
    pairs = [override.partition("=") for override in overrides]
    parts = [f"{slug_key(key)}-{slug(value)}" for key, _, value in pairs if strip_prefix(key) not in left_out]
    name = "_".join(parts) or "job"
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{digest(parts)}"


def network_name(option: str, overrides: Iterable[str]) -> str:
    """Return the folder name of a network's runs: the option of `model`, or the class that was typed in its place."""
    typed = [text.partition("=")[2] for text in overrides if strip_prefix(text).startswith("model._target_=")]
    return slug(typed[-1].rpartition(".")[2]) if typed else option


def study_name(swept: Sequence[str], overrides: Iterable[str]) -> str:
    """Return the folder name of a study: what is swept, and a digest of the whole command."""
    keys = "_".join(slug_key(key).rpartition(".")[2] for key in swept)[:LONGEST] or "study"
    return f"{keys}-{digest(sorted(overrides))}"


def slug_key(key: str) -> str:
    """Return a key as part of a folder name."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", strip_prefix(key))


def strip_prefix(key: str) -> str:
    """Return a key without the signs that add or delete it."""
    return key.lstrip("+~")


def digest(parts: Iterable[str], length: int = 8) -> str:
    """Return a short fingerprint of some texts, in their order."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:length]
