"""The certificate of an export for people: is it the same network, what is it worth, how fast is it?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segexp.reporting.html import Html, code, document, facts, figure, gallery, notice, paragraph, picture, section, table

Array = np.ndarray[Any, np.dtype[Any]]
TIMED = {"torch": "PyTorch, float32", "file": "this file", "float": "the float32 file"}
"""What is timed, with titles."""


def certificate_page(values: Mapping[str, Any], good: bool, look: Sequence[tuple[str, Array]] = ()) -> str:
    """Return the page.

    Args:
        values: what the certificate's JSON holds.
        good: whether the file is what it should be.
        look: titles and pictures (H, W, 3) uint8, side by side.
    """
    file = str(values["file"])
    body = [notice("good" if good else "warning", str(values["verdict"])), _facts(values)]
    if look:
        shown = [figure(picture(array, title), title) for title, array in look]
        body.append(section("A validation picture", gallery(shown)))
    body += [_agreement(values["agreement"]), _dice(values["dice"]), _latency(values), _use(file, str(values["returns"]))]
    return document(f"Certificate of {file}", *body, subtitle=str(values["checkpoint"]))


def _facts(values: Mapping[str, Any]) -> Html:
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
    return section("The file", facts(pairs))


def _agreement(found: Sequence[Mapping[str, Any]]) -> Html:
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
    columns = ("images", "height x width", "largest difference of a probability", "pixels with another class", "share")
    note = (
        "The network in PyTorch, in float32, and the file see the same pictures: one size about that of training, an odd one "
    )
    return section(
        "Is it the same network?", paragraph(note + "and one larger than in training."), table(columns, rows, numbers=range(5))
    )


def _dice(scores: Mapping[str, Any] | None) -> Html:
    if scores is None:
        return section("Dice on the validation cases", paragraph("Not measured: there were no validation cases at hand."))
    titles = {"before": "PyTorch, float32", "after": "this file", "difference": "difference, paired by case"}
    rows = [
        (title, _signed(scores[key]["mean"], key), _interval(scores[key], key), str(scores[key]["cases"]))
        for key, title in titles.items()
    ]
    return section("Dice on the validation cases", table(("", "Dice", "95 % interval", "cases"), rows, numbers=(1, 2, 3)))


def _signed(value: float | None, key: str) -> str:
    if value is None:
        return "not known"
    return f"{value:+.4f}" if key == "difference" else f"{value:.4f}"


def _interval(found: Mapping[str, Any], key: str) -> str:
    return f"{_signed(found['low'], key)} to {_signed(found['high'], key)}"


def _latency(values: Mapping[str, Any]) -> Html:
    taken = values["latency"]
    own = taken["file"]["median"]
    rows = [
        (
            TIMED[name],
            f"{taken[name]['median']:.1f}",
            f"{taken[name]['p95']:.1f}",
            f"{taken[name]['median'] / own:.2f}",
            str(taken[name]["rounds"]),
        )
        for name in TIMED
        if name in taken
    ]
    note = f"One image of {taken['height']}x{taken['width']} pixels; all took turns, so that other work falls on all alike."
    columns = ("", "median, ms", "95th percentile, ms", "times this file's", "rounds")
    return section("How fast is it?", paragraph(note), table(columns, rows, numbers=(1, 2, 3, 4)))


def _use(file: str, returns: str) -> Html:
    if returns == "logits":
        return section("Use it", code(f"python -m segexp.predict model={file} input=DIR output=DIR"))
    return section("Use it", paragraph(f"In programs of your own; {file}.json says what goes in and what comes out."))
