"""What is written for an explained image: a picture, and on request the map as numbers. Every file is whole or not there."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segexp.data.files.images import write_png
from segexp.explaining.methods import SIGNED
from segexp.explaining.table import Asked
from segexp.pictures import Explained, explanation
from segexp.prediction.inputs import Job
from segexp.prediction.names import file_words
from segexp.types import DataSpec, Source
from segexp.whole import whole_file


@dataclass(frozen=True)
class Writer:
    """Writes the outputs of one folder; each method and class has a folder of its own in it, such as `seg_gradcam_liver`.

    Attributes:
        folder: of the outputs.
        spec: class names and colours.
        asked: what is explained.
        values: write the map as well, float32 (H, W) at the image's own size, as npz (key "values").
    """

    folder: Path
    spec: DataSpec
    asked: Asked
    values: bool

    def picture(self, job: Job, source: Source) -> str:
        """Return the name of the picture of one page of a job, relative to the folder."""
        page = "" if source.page is None else f"/{source.page:04d}"
        word = file_words(self.spec.classes)[self.spec.classes.index(self.asked.target)]
        return f"{self.asked.method}_{word}/{job.stem}{page}.png"

    def files(self, job: Job, source: Source) -> list[str]:
        """Return the names of all outputs of one page of a job, relative to the folder."""
        picture = self.picture(job, source)
        return [picture, *([f"{picture.removesuffix('.png')}.npz"] if self.values else [])]

    def write(self, job: Job, source: Source, case: Explained) -> str:
        """Write what belongs to one picture; return its name."""
        signed = self.asked.method in SIGNED
        unit = {"occlusion": "fall of the logit when hidden", "integrated_gradients": "part of the logit"}
        sheet = explanation(
            [case],
            self.spec.palette,
            self.spec.classes,
            self.asked.target,
            unit.get(self.asked.method, "share of the highest"),
            self.outline,
            signed=signed,
            overlapping=self.spec.overlapping,
        )
        picture, *others = (self.folder / name for name in self.files(job, source))
        for path in others:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as part, part.open("wb") as file:
                np.savez_compressed(file, values=case.values)
        write_png(picture, sheet)
        return self.picture(job, source)

    @property
    def outline(self) -> str:
        """What the outlined pixels are."""
        words = {"predicted": f"predicted as {self.asked.target}", "truth": f"truly {self.asked.target}"}
        return words.get(self.asked.region, "the box")
