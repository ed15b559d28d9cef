"""The table of the networks as Markdown, and its place in a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segexp.atomic import atomic_write

START, END = "<!-- networks: written by benchmarks/networks.py -->", "<!-- networks: end -->"


@dataclass(frozen=True)
class Row:
    """What is known of a network; None where it was not measured.

    Attributes:
        network: option of the group model.
        edition: the settings that say how large it is.
        parameters: their number.
        macs: of one image of 256 x 256.
        train: images per second.
        predict: images per second.
        dice: by data set, what `network_dice.outcome` returns, or {"failed": reason}.
        failed: why it could not be built or timed.
    """

    network: str
    edition: str = ""
    parameters: int | None = None
    macs: float | None = None
    train: float | None = None
    predict: float | None = None
    dice: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failed: str = ""


def table(rows: Sequence[Row], data: Sequence[str]) -> str:
    """Return the rows as a Markdown table, fewest multiply-accumulates first, and below it the reasons of what failed."""
    heads = ["`model=`", "size", "parameters", "MACs at 256²", "training, images/s", "prediction, images/s"]
    heads += [f"Dice on {name}" for name in data]
    reasons: list[str] = []

    def failed(what: str, reason: str) -> str:
        reasons.append(f"({len(reasons) + 1}) {what}: {reason}")
        return f"failed ({len(reasons)})"

    lines = [heads, ["---", "---", *["---:"] * (len(heads) - 2)]]
    for row in sorted(rows, key=lambda row: (row.macs is None, row.macs or 0, row.network)):
        cells = [f"`{row.network}`", row.edition]
        if row.failed:
            cells[1] = f"{row.edition} {failed(f'`{row.network}`', row.failed)}".strip()
        cells += [_number(row.parameters, 1e6, 2, " M"), _number(row.macs, 1e9, 1, " G")]
        cells += [_number(row.train, 1, 1), _number(row.predict, 1, 1)]
        for name in data:
            found = row.dice.get(name)
            reason = (found or {}).get("failed")
            cells.append(failed(f"`{row.network}` on {name}", reason) if reason else _dice(found))
        lines.append(cells)
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return "\n\n".join([text, *reasons])


def _number(value: float | None, unit: float, digits: int, suffix: str = "") -> str:
    """Return a number in a unit, with fewer digits where it is large; a dash for None."""
    if value is None:
        return "-"
    scaled = value / unit
    return f"{scaled:.{digits if scaled < 100 else 0}f}{suffix}"


def _dice(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    ends = f" [{found['low']:.3f}, {found['high']:.3f}]" if found["low"] is not None else ""
    return f"{found['dice']:.3f}{ends}"


def cases(rows: Sequence[Row], data: Sequence[str]) -> list[str]:
    """Return over what the Dice of each data set is, in words."""
    sentences = []
    for name in data:
        known = [found for row in rows if (found := row.dice.get(name)) is not None and "failed" not in found]
        for count, groups, few in sorted({(f["cases"], f["groups"], f["few_groups"]) for f in known}, key=str):
            over = f"{count} validation cases"
            if few:
                group = "one group" if few == 1 else f"{few} groups"
                sentences.append(f"{name}: {over} of {group}, so its intervals say nothing about another one.")
            else:
                sentences.append(f"{name}: {over}{f' of {groups} groups, which are drawn whole' if groups else ''}.")
    return sentences


def put(page: str, content: str) -> str:
    """Return a page with the content between its two marks in place of what is there.

    Raises:
        ValueError: the page does not have each mark once, in order.
    """
    if page.count(START) != 1 or page.count(END) != 1 or page.index(START) > page.index(END):
        raise ValueError(f"the page must have the lines {START} and {END}, once each and in this order")
    before, rest = page.split(START)
    return f"{before}{START}\n\n{content}\n\n{END}{rest.split(END)[1]}"


def write(path: Path, content: str) -> None:
    """Put the content between the marks of a file."""
    page = put(path.read_text(encoding="utf-8"), content)
    with atomic_write(path) as part:
        part.write_text(page, encoding="utf-8")
