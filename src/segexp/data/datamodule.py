"""SegmentationDataModule: from a data configuration to data loaders. All data errors are raised in `setup`.

Steps: layout, cases, split, one pass that decodes, checks and measures, store, samples.
"""

import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from segexp.config.learned import AUTO
from segexp.config.schema import DataConfig
from segexp.data.cache import Store, open_store
from segexp.data.damaged import UnreadableFilesError, refuse_unreadable
from segexp.data.dataset import EpochSampler, EvalDataset, ShareSampler, TrainDataset, collate_eval, collate_train
from segexp.data.io.images import image_size
from segexp.data.labels.modes import label_mode
from segexp.data.layout.pairing import find_data_cases
from segexp.data.mixing import Mix, Mixed
from segexp.data.preprocessing import SIDE, Preprocessing, preprocessing_for, working_size
from segexp.data.pseudo_dataset import ConcatLabeledPseudo, PseudoReader
from segexp.data.spacing import Spacing, spacings
from segexp.data.splits import open_cases, split_from_config, split_from_stored, split_hash, split_table
from segexp.data.statistics import DecodedCase, ImageStats, Reader, Statistics, check_masks, image_stats, make_reader
from segexp.data.transforms import Augment
from segexp.devices import choose_workers
from segexp.errors import ConfigError, UnreadableError
from segexp.types import Case, DataSpec, Fingerprint, Sample

Track = Callable[[Iterator[DecodedCase], int], Iterator[DecodedCase]]


def make_data_spec(data: DataConfig, read: Reader) -> DataSpec:
    """Return the data specification that a network needs."""
    background = data.background is not None
    return DataSpec(data.name, read.labels.names, read.channels, read.labels.palette, data.multilabel, background)


class SegmentationDataModule(pl.LightningDataModule):
    """Cases, splits and loaders of a data set.

    Example:
        >>> data = SegmentationDataModule.from_folder("data/liver", size=256, batch_size=8)
        >>> trainer.fit(SegmentationTask(model="unet"), data)
    """

    def __init__(
        self,
        data: DataConfig,
        augment: Augment | None = None,
        *,
        mix: Mix | None = None,
        seed: int = 0,
        pin_memory: bool | None = None,
        track: Track = lambda images, _: images,
        held_out: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Set up without reading anything.

        Args:
            data: the data section, with layout, classes and channels (see `data.autoconfig`).
            augment: see `TrainDataset`; None crops only.
            mix: mixing augmentation, or None.
            seed: of the split, the order and the augmentation.
            pin_memory: None: if there is a GPU.
            track: wraps the iterator over all images (iterator, count), for a progress bar.
            held_out: of a run to resume, ids of val and test ({}: its seed alone gives its split); None for a split stratified
                by class.
        """
        super().__init__()
        self.data, self.mix, self.seed, self.track = data, mix, seed, track
        self.augment = Augment([], crop=data.crop) if augment is None else augment
        self.pin = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.batch_size = 1 if data.batch_size == AUTO else int(data.batch_size)
        self.workers = choose_workers(data.num_workers, "cuda" if self.pin else "cpu")
        self.reader = make_reader(data)
        self.spec = make_data_spec(data, self.reader)
        self.cases: list[Case] = []
        self.splits: dict[str, str] = {}
        self.stored = held_out
        self.stratified = False
        self.image_stats: list[ImageStats] = []
        self.fingerprint = Fingerprint()
        self.preprocessing: Preprocessing
        self.store: Store
        self.pseudo: tuple[Store, int, float] | None = None

    @classmethod
    def from_folder(
        cls, root: str | Path, *, augment: str | Sequence[Mapping[str, Any]] = "light", seed: int = 0, **keys: Any
    ) -> Self:
        """Create a data module from a folder of images and masks; the layout is inferred unless keys define it.

        Args:
            root: the folder.
            augment: an option of the group `augment`, or albumentations transforms as `{"name": "HorizontalFlip", "p": 0.5}`.
            seed: of the split, the order and the augmentation.
            keys: of the data section (`size=256`, `crop=256`, `batch_size=8`, `classes={...}`, …), see the key reference.

        Raises:
            ConfigError: an unknown key or option, or an invalid value.
            DataError: the folder is missing, or its layout is unknown.
        """
        from segexp.config.composition import load_option
        from segexp.config.validation import validate_section
        from segexp.data.autoconfig import complete_section

        given = {"name": Path(root).resolve().name, **keys, "root": str(root)}
        data, _ = complete_section(validate_section(DataConfig, given, "data"))
        transforms = load_option("augment", augment)["transforms"] if isinstance(augment, str) else augment
        return cls(data, Augment(transforms, crop=data.crop), seed=seed)

    def setup(self, stage: str | None = None) -> None:
        """Find, split, check, measure and cache the cases.

        Raises:
            DataError: a problem with files, masks or their pairing; names the file, or all files that cannot be read.
            ConfigError: a crop, batch or split that does not fit the data.
        """
        if self.cases:
            return
        self.cases = self._find_cases()
        self.splits = self._assign()
        try:
            self._check_sizes()
            self.store, statistics = self._fill()
        except (UnreadableError, OSError):  # the first of them; a missing file ends the search for the cache
            refuse_unreadable(self.reader, self.cases, self.data)
            raise
        check_masks(statistics, self.spec.classes, "training")
        self.fingerprint = statistics.fingerprint()
        for dtype in statistics.dtypes:
            self.augment.check(self.spec.channels, np.dtype(dtype))
        self.preprocessing = preprocessing_for(
            self.data.normalize, self.spec.channels, self.reader.size, statistics.value_range(), self.fingerprint
        )

    def _assign(self, held: Mapping[str, frozenset[int]] | None = None) -> dict[str, str]:
        if not self.stored:
            return split_from_config(self.data, self.cases, self.seed, held)
        return split_from_stored(self.stored, self.cases)

    def held_classes(self) -> dict[str, frozenset[int]]:
        """Return the indices of the counted classes that the mask of each case holds, by id."""
        return {case.id: seen.classes for case, seen in zip(self.cases, self.image_stats, strict=True)}

    def held_out(self) -> dict[str, list[str]]:
        """Return the ids of val and test where they do not follow from the seed alone, {} elsewhere."""
        if self.splits == split_from_config(self.data, self.cases, self.seed):
            return {}
        return {split: [case.id for case in self.cases_of(split)] for split in ("val", "test")}

    def members(self, split: str) -> list[int]:
        """Return the positions of the cases of a split."""
        return [n for n, case in enumerate(self.cases) if self.splits[case.id] == split]

    def cases_of(self, split: str) -> list[Case]:
        """Return the cases of a split, in the order of `scoring_set`."""
        return [self.cases[n] for n in self.members(split)]

    def scoring_set(self, split: str) -> EvalDataset:
        """Return the evaluation dataset of a split."""
        return EvalDataset(self.store, self.members(split), self.preprocessing, list(self.spacings(split).values()))

    def spacings(self, split: str) -> dict[str, Spacing | None]:
        """Return the pixel size (row, column) of each case of a split by id, None if unknown."""
        cases = self.cases_of(split)
        return dict(zip([case.id for case in cases], spacings(cases, self.data.spacing), strict=True))

    def add_pseudo_labels(self, cases: Sequence[Case], share: float) -> None:
        """Add cases to training only, up to a share of the samples of an epoch; splits and fingerprint do not change.

        The masks hold class indices or bit sets, 255 = ignore.
        """
        reader = PseudoReader(self.spec.channels, self.reader.size)
        self.pseudo = open_store(reader, cases, self.data.cache, samples=4), len(cases), share

    def split_rows(self) -> list[dict[str, str]]:
        """Return the rows of `split.csv`."""
        return split_table(self.cases, self.splits, Path(self.data.root))

    def split_hash(self) -> str:
        """Return the hash of the split, equal on every machine."""
        return split_hash(self.split_rows())

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training loader; an incomplete last batch is dropped."""
        training = self.training_set()
        rank, world = self._place()
        sampler = EpochSampler(len(training), self.seed, self._epoch, rank, world)
        return self._loader(training, sampler, self.batch_size, collate_train, drop_last=True)

    def training_set(self) -> TrainDataset | ConcatLabeledPseudo | Mixed:
        """Return the training samples: labelled, pseudo-labelled, augmented and mixed."""
        labelled = self._samples(self.store, self.members("train"))
        training: TrainDataset | ConcatLabeledPseudo = labelled
        if self.pseudo is not None:
            store, count, share = self.pseudo
            training = ConcatLabeledPseudo(labelled, self._samples(store, range(count)), share)
        return Mixed(training, self.mix, self.seed, label_mode(self.spec)) if self.mix is not None else training

    def _samples(self, store: Store, members: Sequence[int]) -> TrainDataset:
        return TrainDataset(
            store,
            members,
            self.augment,
            self.preprocessing,
            self.seed,
            self.data.repeat,
            self.data.foreground_crops,
            label_mode(self.spec),
        )

    def val_dataloader(self, batch_size: int = 1) -> DataLoader[list[Sample]]:
        """Return the validation loader; scores do not depend on its batch size."""
        return self._scoring_loader("val", batch_size)

    def test_dataloader(self) -> DataLoader[list[Sample]]:
        """Return the loader of the test split, or of the validation split (with a warning) if there is none."""
        return self._scoring_loader(self.test_split)

    predict_dataloader = test_dataloader

    @property
    def test_split(self) -> str:
        """The split that `trainer.test` scores: test, else val."""
        if self.members("test"):
            return "test"
        warnings.warn(
            "These data have no test split, so the validation cases are scored. Pass a test_fraction to from_folder, or name a "
            "folder test.",
            stacklevel=2,
        )
        return "val"

    def _scoring_loader(self, split: str, batch_size: int = 1) -> DataLoader[list[Sample]]:
        scoring = self.scoring_set(split)
        sampler = ShareSampler(len(scoring), *self._place())
        return self._loader(scoring, sampler, batch_size, collate_eval, drop_last=False)

    def _loader(self, dataset: Any, sampler: Any, batch_size: int, collate: Any, *, drop_last: bool) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.workers,
            collate_fn=collate,
            drop_last=drop_last,
            pin_memory=self.pin,
            persistent_workers=self.workers > 0,
            worker_init_fn=init_worker if self.workers else None,
            generator=torch.Generator(),  # own generator: do not consume global random numbers
        )

    def _epoch(self) -> int:
        if self.trainer is None:
            return 0
        # current_epoch still is that of the checkpoint when the loaders of a resumed run start
        progress: Any = self.trainer.fit_loop.epoch_progress.current
        return int(progress.processed)

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _find_cases(self) -> list[Case]:
        try:
            return find_data_cases(self.data)
        except UnreadableFilesError as stacks:  # whose pages cannot be counted; find the others that cannot be read
            gone = [Path(problem.file).relative_to(self.data.root).as_posix() for problem in stacks.problems]
            rest = self.data.changed(exclude=[*self.data.exclude, *gone])
            refuse_unreadable(self.reader, find_data_cases(rest), self.data, stacks.problems)
            raise

    def _check_sizes(self) -> None:
        training = self.cases_of("train")
        draws = len(training) * self.data.repeat
        if self.batch_size > draws:
            raise ConfigError(
                f"data.batch_size={self.batch_size} is more than the {draws} training samples of an epoch "
                f"({len(training)} images, data.repeat={self.data.repeat})",
                "A batch at most as large as the training set was expected",
                f"Type data.batch_size={max(1, draws)} or less, or a higher data.repeat",
            )
        if self.data.crop is None:
            if share := self.data.foreground_crops:
                raise ConfigError(
                    f"data.foreground_crops={share} with data.crop=null",
                    "Whole images contain all of their foreground; only crops can be centred on it",
                    f"Type data.crop={self.fitting_crop()}, or data.foreground_crops=0",
                )
            return
        crop = self.data.crop if isinstance(self.data.crop, tuple) else (self.data.crop, self.data.crop)
        height, width = self._largest()
        if crop[0] > height or crop[1] > width:
            plain = self.data.plain()
            raise ConfigError(
                f"data.crop={plain['crop']} is larger than every training image: at data.size={plain['size']} the "
                f"largest is {height}x{width} (height x width)",
                "A crop that fits into the image was expected",
                f"Type data.crop={min(height, width)} or less, or data.crop=null for whole images",
            )

    def _largest(self) -> tuple[int, int]:
        """Return the largest height and the largest width of the training images, in working pixels."""
        sizes = [working_size(self.reader.size, image_size(each.image), str(each.image)) for each in self.cases_of("train")]
        return max(h for h, _ in sizes), max(w for _, w in sizes)

    def fitting_crop(self) -> int:
        """Return the side of a training crop that messages propose: at most `SIDE`, and not larger than the images."""
        return min(SIDE, *self._largest())

    def _fill(self) -> tuple[Store, Statistics]:
        """Decode every case once; stratify the split by the classes met, measure the training split and cache all."""
        mode = label_mode(self.spec)
        open_ids = {case.id for case in open_cases(self.data, self.cases)} if self.stored is None else set()
        measured: dict[int, Statistics] = {}

        def visit(pictures: Iterator[DecodedCase]) -> Iterator[DecodedCase]:
            for position, picture in enumerate(self.track(pictures, len(self.cases))):
                self.image_stats.append(image_stats(picture, mode))
                if (name := self.cases[position].id) in open_ids or self.splits[name] == "train":
                    measured[position] = Statistics(self.spec.channels, self.spec.num_classes, mode)
                    measured[position].add(picture)
                yield picture

        store = open_store(self.reader, self.cases, self.data.cache, visit)
        self.stratified = bool(self.stored or open_ids)
        if open_ids and (now := self._assign(self.held_classes())) != self.splits:
            self.splits = now
            self._check_sizes()
        statistics = Statistics(self.spec.channels, self.spec.num_classes, mode)
        for position in self.members("train"):
            statistics.merge(measured[position])
        return store, statistics


def init_worker(_: int) -> None:
    """Ignore Ctrl-C (the main process handles it) and use one thread per worker."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
