"""The four real sets are clean: nothing serious is said of them (`test_propose_config` has them with data=auto)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.checks import serious
from fixtures.configs import data_config
from segexp.checks.duplicates import find_copies
from segexp.checks.run import run_checks
from segexp.checks.scan import image_thumbnail, scan_cases
from segexp.config.schema import DataConfig
from segexp.data.io.images import read_image
from segexp.data.layout.inventory import take_inventory

SIDE = {"image": "{split}/{id}.png", "mask": "{split}/{id}_mask.png"}
COLOURS = {"building": "#3C1098", "land": "#8429F6", "road": "#6EC1E4", "vegetation": "#FEDD3A", "water": "#E2A929"}
SETS: dict[str, dict[str, Any]] = {
    "isbi": {"image": "train/image/{id}.png", "mask": "train/label/{id}.png", "classes": {"cell": 255, "membrane": 0}},
    "liver": {
        **SIDE,
        "classes": {"background": 0, "liver": 255},
        "groups": {"file": "mapping.csv", "match": "{split}/{name}", "column": "scan"},
    },
    "skin": {
        "image": "ISIC-2017_Training_Data/{id}.jpg",
        "mask": "ISIC-2017_Training_Part1_GroundTruth/{id}_segmentation.png",
        "classes": {"background": 0, "lesion": 255},
        "channels": 3,
    },
    "landcover": {
        "image": "Tile {group}/images/{id}.jpg",
        "mask": "Tile {group}/masks/{id}.png",
        "classes": {"unlabeled": "#9B9B9B", **COLOURS},
        "ignore": ["#000000"],
        "channels": 3,
    },
}


def section(real_data: Path, name: str) -> DataConfig:
    return data_config({"channels": 1, **SETS[name]}, root=str(real_data / name))


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_real_sets_are_clean(real_data, name):
    data = section(real_data, name)
    found = run_checks(data)
    assert serious(found) == []
    assert {finding.kind for finding in found.findings} <= {"unused", "rare"}
    assert len(found.facts) == len(found.cases) == {"isbi": 30, "liver": 140, "skin": 98, "landcover": 32}[name]


@pytest.mark.slow
def test_neighbouring_slices_of_real_scans_are_no_copies(real_data):
    data = section(real_data, "liver")
    cases = take_inventory(data.root, data.image, data.mask).cases
    looks, faults = scan_cases(cases, None)
    assert faults == []
    pictures = [look.picture for look in looks]
    names = [look.digest for look in looks]
    assert find_copies(pictures, [None] * len(looks), names) == []
    darker = [image_thumbnail((read_image(looks[n].case.image) * 0.8).astype(np.uint8)) for n in (5, 60, 130)]
    again = find_copies([*pictures, *darker], [None] * 143, [*names, "x", "y", "z"])
    assert again == [(5, 140, ""), (60, 141, ""), (130, 142, "")]
