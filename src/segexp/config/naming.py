"""Deterministic folder names of studies and jobs."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

STUDIES = Path("runs") / "studies"
"""Folder of studies, relative to the working directory."""

TEACHER = "teacher"
"""Subfolder of a run in which the teacher of pseudo-labels is trained."""

AUTO_VALUES = "found.json"
"""File of a run with the values found for keys that are `auto`."""

LONGEST = 120
"""Maximum length of a folder name; file systems allow 255 bytes."""


def slug(text: object) -> str:
    """Return `text` as a folder name (letters, digits, `.`, `+`, `-`, `_`), with a digest if characters were replaced."""
    raw = str(text)
    plain = re.sub(r"[^A-Za-z0-9.+-]+", "_", raw).strip("._") or "none"
    if len(plain) > LONGEST:
        return f"{plain[:LONGEST]}-{digest([raw])}"
    return plain if re.fullmatch(r"[A-Za-z0-9._+-]*", raw) and plain == raw else f"{plain}-{digest([raw], 4)}"


def job_name(overrides: Iterable[str], fixed: Iterable[str] = ()) -> str:
    """Return the folder name of a job from its overrides except the `fixed` keys: `model-unet_seed-1`."""
    left_out = {strip_prefix(key) for key in fixed} | {"study"}
    pairs = [override.partition("=") for override in overrides]
    parts = [f"{slug_key(key)}-{slug(value)}" for key, _, value in pairs if strip_prefix(key) not in left_out]
    name = "_".join(parts) or "job"
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{digest(parts)}"


def network_name(option: str, overrides: Iterable[str]) -> str:
    """Return the folder name of a network's runs: the option of `model`, or the class typed as its `_target_`."""
    typed = [text.partition("=")[2] for text in overrides if strip_prefix(text).startswith("model._target_=")]
    return slug(typed[-1].rpartition(".")[2]) if typed else option


def study_name(swept: Sequence[str], overrides: Iterable[str]) -> str:
    """Return the folder name of a study: the swept keys and a digest of the command."""
    keys = "_".join(slug_key(key).rpartition(".")[2] for key in swept)[:LONGEST] or "study"
    return f"{keys}-{digest(sorted(overrides))}"


def slug_key(key: str) -> str:
    """Return a key as part of a folder name."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", strip_prefix(key))


def strip_prefix(key: str) -> str:
    """Return a key without a leading + or ~."""
    return key.lstrip("+~")


def digest(parts: Iterable[str], length: int = 8) -> str:
    """Return a short hash of some texts, in order."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:length]
