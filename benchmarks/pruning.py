"""What a pruned UNet++ costs and saves: parameters, Dice and latency of every level of one trained network.

The network must have been trained with deep supervision. Each level is scored on the run's own validation cases, as
`segexp.evaluate checkpoint=RUN model.prune_to=LEVEL` does; Dice is the mean over cases with its 95 % interval, and the
difference to the whole network that of the same cases. Latency is one image of the working size through the network alone; the
levels take turns, so that a machine whose speed drifts slows all alike, and the table gives medians.

    python -m segexp.train experiment=liver model=unetpp deep_supervision=true run_dir=runs/pruning
    python benchmarks/pruning.py runs/pruning
"""

import argparse
import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from segexp.checkpoint import load_segmenter
from segexp.checkpoint.splits import merge_data_config, scoring_set, select_splits
from segexp.console import silence_libraries
from segexp.data.dataset import EvalDataset
from segexp.data.layout.pairing import find_data_cases
from segexp.evaluation.case_scores import case_contributions
from segexp.evaluation.grouping import resampling_groups
from segexp.evaluation.scoring import score_cases
from segexp.inference.segmenter import Segmenter
from segexp.metrics.scores import class_scores
from segexp.metrics.significance import bootstrap_interval, paired_interval
from segexp.types import Case


def levels(path: str, device: str) -> dict[str, Segmenter]:
    """Return the network pruned to each of its levels, and the whole one last, by name.

    Raises:
        ConfigError: it cannot be pruned.
    """
    first, whole = (load_segmenter(path, device=device, prune_to=level) for level in (1, None))
    deepest = len(list(whole.network.heads))  # type: ignore[arg-type]
    others = {f"L{level}": load_segmenter(path, device=device, prune_to=level) for level in range(2, deepest + 1)}
    return {"L1": first, **others, "whole: mean of the heads": whole}


def validation(segmenter: Segmenter, root: str | None) -> tuple[list[Case], EvalDataset]:
    """Return the validation cases of the run that a segmenter comes from."""
    run = segmenter.origin.config
    if root:
        run = run.changed(data=merge_data_config(run.data, {"root": root}))
    cases = select_splits("val", find_data_cases(run.data), run, segmenter.origin.split_hash, other=False)["val"]
    return cases, scoring_set(run.data, cases, segmenter)


def dice_of(segmenter: Segmenter, prepared: EvalDataset) -> np.ndarray:
    """Return what each case adds to the Dice, (N,): their mean is that over classes of the mean over cases."""
    return case_contributions(class_scores(score_cases(segmenter, prepared).confusions).dice[:, 1:])


def latencies(segmenters: Sequence[Segmenter], image: torch.Tensor, rounds: int) -> list[float]:
    """Return the median milliseconds of one prepared image (C, h, w) through each network; a round before that is warm-up."""
    seconds: list[list[float]] = [[] for _ in segmenters]
    for turn in range(rounds + 1):
        for segmenter, taken in zip(segmenters, seconds, strict=True):
            batch = image[None].to(segmenter.device)
            with torch.inference_mode(), segmenter.autocast():
                start = time.perf_counter()
                segmenter.forward(batch)
                if segmenter.device.type == "cuda":
                    torch.cuda.synchronize()
            if turn:
                taken.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in seconds]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a run directory or a .ckpt file of a UNet++ with deep supervision")
    parser.add_argument("--root", help="where the data are now")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=20, help="passes of each level whose median is given")
    arguments = parser.parse_args()
    silence_libraries()
    segmenters = levels(arguments.checkpoint, arguments.device)
    *_, whole = segmenters.values()
    cases, prepared = validation(whole, arguments.root)
    image = prepared[0].image
    groups = resampling_groups([case.group for case in cases])
    dice = {name: dice_of(segmenter, prepared) for name, segmenter in segmenters.items()}
    *_, best = dice.values()
    taken = latencies(list(segmenters.values()), image, arguments.rounds)
    size = "x".join(map(str, image.shape[1:]))
    table = Table(title=f"UNet++ pruned, {len(cases)} validation cases; latency of {size} pixels on {whole.device.type}")
    for column in ("level", "parameters", "Dice", "minus the whole", "ms", "times as fast"):
        table.add_column(column, justify="left" if column == "level" else "right")
    for (name, segmenter), milliseconds in zip(segmenters.items(), taken, strict=True):
        table.add_row(
            name,
            f"{sum(p.numel() for p in segmenter.network.parameters()):,}",
            str(bootstrap_interval(dice[name], groups)),
            str(paired_interval(dice[name], best, groups)) if segmenter is not whole else "",
            f"{milliseconds:.1f}",
            f"{taken[-1] / milliseconds:.2f}",
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
