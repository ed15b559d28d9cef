"""Pictures of the chosen cases made with the network that was scored."""

import numpy as np
import pytest
import torch
from torch import nn

from segexp.data.dataset import ScoringSet
from segexp.data.inspect import Picture
from segexp.data.store import RamStore
from segexp.preprocessing import Preprocessing
from segexp.report.gallery import FOLDER, read_gallery
from segexp.report.keep import keep_cases
from segexp.scoring import score
from segexp.segmenter import Segmenter
from segexp.types import Case, DataSpec, Source


class Threshold(nn.Module):
    """Bright pixels are the foreground."""

    def __init__(self):
        super().__init__()
        self.middle = nn.Parameter(torch.tensor(0.5))

    def forward(self, image):
        return torch.cat([self.middle - image, image - self.middle], dim=1)


@pytest.fixture
def scored():
    """Twelve pictures, the n-th of which has n of 12 rows wrong; the last one has no foreground in its truth."""
    pictures = []
    for n in range(12):
        image, mask = np.full((12, 10, 1), 200, np.uint8), np.ones((12, 10), np.uint8)
        image[:n] = 10
        if n == 11:
            mask[:] = 0
        pictures.append(Picture(image, mask))
    segmenter = Segmenter(
        Threshold(), Preprocessing(1, (0.5,), (0.25,)), DataSpec("rows", ("no", "yes"), 1, ((0, 0, 0), (255, 0, 0)))
    )
    cases = [Case(f"case/{n}", Source(None), ()) for n in range(12)]
    prepared = ScoringSet(RamStore(iter(pictures)), range(12), segmenter.preprocessing)
    return segmenter, cases, prepared, score(segmenter, prepared).confusions


def test_the_pictures_are_those_of_the_scores(scored, tmp_path):
    segmenter, cases, prepared, matrices = scored
    keep_cases(tmp_path, "test", segmenter, cases, prepared, matrices)
    found = read_gallery(tmp_path)
    assert [(shown.kind, shown.case) for shown in found] == [
        *(("worst", f"case/{n}") for n in (10, 9, 8, 7)),
        *(("median", f"case/{n}") for n in (6, 5, 4)),
        *(("best", f"case/{n}") for n in (2, 1, 0)),
        ("false alarm", "case/11"),
    ]
    assert found[0].score == pytest.approx(2 * 2 / (2 + 12))
    assert found[-2].score == 1
    assert found[-1].score is None
    assert len(list((tmp_path / FOLDER).glob("test_*.jpg"))) == 44
