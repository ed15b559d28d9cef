"""segexp: train, compare and deploy image segmentation networks.

Importing it costs nothing; each function imports what it needs when it is called.

>>> import segexp
>>> run = segexp.train("data/liver", model="unetpp", trainer={"minutes": 10})
>>> model = segexp.load(run)
>>> mask = model.predict("scan.png")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segexp.api.check import check
    from segexp.api.compare import compare
    from segexp.api.evaluate import evaluate
    from segexp.api.explain import explain
    from segexp.api.export import export
    from segexp.api.loading import load
    from segexp.api.predict import predict
    from segexp.api.report import report
    from segexp.api.run import Run
    from segexp.api.train import train
    from segexp.data.datamodule import SegmentationDataModule
    from segexp.inference.segmenter import Segmenter
    from segexp.training.task import SegmentationTask

__version__ = "0.2.0"

__all__ = [
    "Run",
    "SegmentationDataModule",
    "SegmentationTask",
    "Segmenter",
    "check",
    "compare",
    "evaluate",
    "explain",
    "export",
    "load",
    "predict",
    "report",
    "train",
]

_MODULES = {
    "Run": "api.run",
    "SegmentationDataModule": "data.datamodule",
    "SegmentationTask": "training.task",
    "Segmenter": "inference.segmenter",
    "check": "api.check",
    "compare": "api.compare",
    "evaluate": "api.evaluate",
    "explain": "api.explain",
    "export": "api.export",
    "load": "api.loading",
    "predict": "api.predict",
    "report": "api.report",
    "train": "api.train",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
