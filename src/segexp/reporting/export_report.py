"""HTML certificate of an export: agreement, Dice and latency."""

from collections.abc import Mapping, Sequence
from typing import Any

from segexp.reporting.images import Figure, embed_array
from segexp.reporting.rendering import Notice, render
from segexp.reporting.tables import Table
from segexp.visualization import Array

RUNTIME_NAMES = {"torch": "PyTorch, float32", "file": "this file", "float": "the float32 file"}
"""Display names of the timed runtimes."""


def certificate_page(values: Mapping[str, Any], good: bool, look: Sequence[tuple[str, Array]] = ()) -> str:
    """Return the page.

    Args:
        values: content of the certificate's JSON.
        good: whether the export succeeded.
        look: titles and images (H, W, 3) uint8, side by side.
    """
    return render(
        "export.html.j2",
        title=f"Certificate of {values['file']}",
        subtitle=str(values["checkpoint"]),
        verdict=Notice("good" if good else "warning", str(values["verdict"])),
        facts=_file_facts(values),
        look=[Figure(embed_array(array, title), title) for title, array in look],
        agreement=_agreement_table(values["agreement"]),
        dice=_dice_table(values["dice"]) if values["dice"] is not None else None,
        latency=_latency_table(values["latency"]),
        timed_size=f"{values['latency']['height']}x{values['latency']['width']}",
        file=str(values["file"]),
        returns=str(values["returns"]),
    )


def _file_facts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    size, weights = (values["bytes"][key] / 1e6 for key in ("file", "weights in float32"))
    pairs = [
        ("format", str(values["format"]) + (f", opset {values['opset']}" if values["opset"] else "")),
        ("precision", str(values["precision"])),
        ("returns", str(values["returns"])),
        ("size", f"{size:.2f} MB; the weights in float32 are {weights:.2f} MB"),
        ("sha256", str(values["sha256"])),
        ("measured on", str(values["machine"])),
    ]
    if "int8" in values:
        kept = ", ".join(values["int8"]["kept in float32"]) or "none"
        pairs.append(("in float32", f"{kept}, of {values['int8']['layers']} layers"))
    return pairs


def _agreement_table(found: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        (
            str(each["batch"]),
            f"{each['height']}x{each['width']}",
            "" if each["largest"] is None else f"{each['largest']:.1e}",
            f"{each['changed']} of {each['pixels']}",
            f"{each['changed'] / each['pixels']:.1e}",
        )
        for each in found
    ]
    heads = ("images", "height x width", "largest difference of a probability", "pixels with another class", "share")
    return Table(heads, rows, range(5))


def _dice_table(scores: Mapping[str, Any]) -> Table:
    titles = {"before": "PyTorch, float32", "after": "this file", "difference": "difference, paired by case"}
    rows = []
    for key, title in titles.items():
        found = scores[key]
        low, high = _score_text(found["low"], key), _score_text(found["high"], key)
        rows.append((title, _score_text(found["mean"], key), f"{low} to {high}", str(found["cases"])))
    return Table(("", "Dice", "95 % interval", "cases"), rows, (1, 2, 3))


def _score_text(value: float | None, key: str) -> str:
    if value is None:
        return "not known"
    return f"{value:+.4f}" if key == "difference" else f"{value:.4f}"


def _latency_table(taken: Mapping[str, Any]) -> Table:
    own = taken["file"]["median"]
    rows = [
        (
            title,
            f"{taken[name]['median']:.1f}",
            f"{taken[name]['p95']:.1f}",
            f"{taken[name]['median'] / own:.2f}",
            str(taken[name]["rounds"]),
        )
        for name, title in RUNTIME_NAMES.items()
        if name in taken
    ]
    return Table(("", "median, ms", "95th percentile, ms", "times this file's", "rounds"), rows, (1, 2, 3, 4))
