"""Pictures of the cases of one data set for a page, as many as the page has room for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segexp.data.labels.overlapping import Labels
from segexp.report.overlays import Array, file_picture, overlays
from segexp.report.page import Html, figure, picture
from segexp.types import Case

QUALITY = 80
"""Of the JPEG pictures."""


@dataclass
class Album:
    """Draws cases until the page holds enough.

    Attributes:
        cases: by id.
        classes: tells mask values; None while they are unknown.
        root: folder that file names are relative to.
        room: characters of markup that pictures may still take.
    """

    cases: Mapping[str, Case]
    classes: Labels | None
    root: Path
    room: int

    def figures(self, names: Sequence[str], side: int, captions: Mapping[str, str]) -> Iterator[Html]:
        """Yield a figure for each case id or file name; its caption alone where nothing can be shown or no room is left.

        Args:
            names: ids, or names of files relative to the root.
            side: longest side of a picture in pixels.
            captions: what stands below the name, for some of them.
        """
        for some in chunks(names, 32):
            images = self._drawn(some, side) if self.room > 0 else {}
            for name in some:
                caption = f"{name}: {captions[name]}" if name in captions else name
                image = images.get(name)
                shown = picture(image, caption, QUALITY) if image is not None and self.room > 0 else Html("")
                self.room -= len(shown)
                yield figure(shown, caption)

    def _drawn(self, names: Sequence[str], side: int) -> dict[str, Array | None]:
        known = [name for name in names if name in self.cases]
        drawn = dict(zip(known, overlays([self.cases[name] for name in known], self.classes, side), strict=True))
        others = {name: file_picture(self.root / name, side) for name in names if name not in self.cases}
        return {**drawn, **others}


def chunks(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield the names in portions."""
    for start in range(0, len(names), size):
        yield names[start : start + size]
