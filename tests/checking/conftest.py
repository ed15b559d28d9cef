"""Generated sets to spoil, and the lines that findings say to type."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from segexp.checking import Examination, Finding
from segexp.data.complete import DEMO
from segexp.data.demo import make_demo

BASE: dict[str, Any] = {
    "name": "demo",
    "root": "",
    "image": None,
    "mask": None,
    "groups": None,
    "classes": None,
    "ignore": [],
    "threshold": None,
    "channels": None,
    "num_classes": None,
    "size": None,
    "crop": None,
    "repeat": 1,
    "foreground_crops": 0.0,
    "normalize": "dataset",
    "val_fraction": 0.2,
    "test_fraction": 0.0,
    "folds": None,
    "fold": None,
    "cache": "auto",
    "max_pixels": 4194304,
}
OPEN = {"image": None, "mask": None, "classes": None, "channels": None, "groups": None}
"""What data=auto leaves open."""

Spoiled = Callable[..., tuple[Path, dict[str, Any]]]


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generated")


@pytest.fixture
def copy(generated: Path, tmp_path: Path) -> Spoiled:
    """A copy of a generated set that may be spoiled, and its data section."""

    def copied(family: str = "organ", count: int = 24, size: int = 128) -> tuple[Path, dict[str, Any]]:
        source = make_demo(generated, family, count=count, size=size, seed=3)
        root = tmp_path / family
        shutil.copytree(source, root)
        return root, {**BASE, **DEMO[family], "root": str(root)}

    return copied


def read(path: Path) -> np.ndarray:
    array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert array is not None
    return array


def write(path: Path, array: np.ndarray) -> None:
    assert cv2.imwrite(str(path), array)


def only(found: Examination, kind: str) -> Finding:
    """The one finding of a kind."""
    (finding,) = [finding for finding in found.findings if finding.kind == kind]
    return finding


def serious(found: Examination) -> list[str]:
    """The kinds of all errors and warnings."""
    return [finding.kind for finding in found.findings if finding.level != "note"]


def typed(do: str) -> dict[str, Any]:
    """What Hydra understands of the lines in an advice: key below `data` to value."""
    lines = re.findall(r"'(data\.[^']+)'|(?<![\w'])(data\.[\w.]+=[^\s,;)]*[^\s,;).])", do)
    overrides = OverridesParser.create().parse_overrides([quoted or plain for quoted, plain in lines])
    return {override.key_or_group.removeprefix("data."): override.value() for override in overrides}


def applied(data: dict[str, Any], do: str) -> dict[str, Any]:
    """The data section after typing what an advice says."""
    changed = dict(data)
    for key, value in typed(do).items():
        first, _, rest = key.partition(".")
        changed[first] = {**changed[first], rest: value} if rest else value
    return changed
