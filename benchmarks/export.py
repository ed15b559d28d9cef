"""Which networks leave the framework, and do the files give what the networks give?

Each finished run below a folder is exported to ONNX and torch.export with its certificate; the table goes between two marks of
a page.

    python benchmarks/networks.py --data liver=DIR …            # trains one run of each network, for instance
    python benchmarks/export.py runs/networks/…/liver --write docs/export.md

What is finished is kept in the work folder, so the same command again does what is missing.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from exported import certificate

from segexp.atomic import atomic_write
from segexp.console import silence_libraries

KINDS = ("onnx", "torch_export")
Found = Mapping[str, Mapping[str, Any]]


def table(found: Mapping[str, Found]) -> str:
    """Return the certificates by network and format as a Markdown table, and below it what failed.

    Times are ratios to PyTorch's, in turns: those of different networks were taken at different times.
    """
    heads = ["`model=`", "MB", "ONNX differs by", "torch.export by", "pixels changed", "Dice", "ONNX - PyTorch"]
    heads += ["ONNX, time / PyTorch", "torch.export"]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    failed = []
    for network, formats in found.items():
        lines.append([f"`{network}`", *_cells(formats["onnx"], formats["torch_export"])])
        failed += [f"`{network}` as {kind}: {each['failed']}" for kind, each in formats.items() if "failed" in each]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{text}\n\nNot exported: {'; '.join(failed) or 'none'}.\n"


def _cells(onnx: Mapping[str, Any], program: Mapping[str, Any]) -> list[str]:
    other = ["failed", ""] if "failed" in program else [f"{_largest(program):.1e}", _ratio(program)]
    if "failed" in onnx:
        return ["", "failed", other[0], "", "", "", "", other[1]]
    difference = onnx["dice"]["difference"]
    changed = sum(each["changed"] for each in onnx["agreement"])
    return [
        f"{onnx['bytes']['file'] / 1e6:.1f}",
        f"{_largest(onnx):.1e}",
        other[0],
        str(changed),
        f"{onnx['dice']['before']['mean']:.4f}",
        f"{difference['mean']:+.5f} [{difference['low']:+.5f}, {difference['high']:+.5f}]",
        _ratio(onnx),
        other[1],
    ]


def _ratio(one: Mapping[str, Any]) -> str:
    return f"{one['latency']['file']['median'] / one['latency']['torch']['median']:.2f}"


def _largest(one: Mapping[str, Any]) -> float:
    return max(float(each["largest"]) for each in one["agreement"])


def put(page: Path, text: str, name: str) -> None:
    """Replace what stands between the marks of that name in a page.

    Raises:
        SystemExit: the page has no such marks.
    """
    start, end = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{page} has no {start} … {end}")
    with atomic_write(page) as part:
        part.write_text(f"{before}{start}\n\n{text}\n{end}{after}", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Export what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="a folder with a finished run of each network, named as the network")
    parser.add_argument("--networks", nargs="*", help="some of them; by default all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/export"))
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table there")
    arguments = parser.parse_args(argv)
    silence_libraries()
    torch.set_num_threads(arguments.threads)
    there = sorted(folder.name for folder in arguments.runs.iterdir() if (folder / "checkpoints" / "best.ckpt").is_file())
    found: dict[str, Found] = {}
    for network in arguments.networks or there:
        run, output = arguments.runs / network, arguments.out / network / network
        found[network] = {kind: certificate(run, output, kind, say=lambda text: None) for kind in KINDS}
        print(
            network, {kind: each.get("failed") or f"{_largest(each):.1e}" for kind, each in found[network].items()}, flush=True
        )
    text = table(found)
    print(text)
    if arguments.write:
        put(arguments.write, text, "networks")


if __name__ == "__main__":
    main()
