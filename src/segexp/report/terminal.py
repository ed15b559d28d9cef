"""An examination on the terminal: the layout, a small table of facts, the findings by how bad they are."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from segexp.checking.findings import LEVELS, Examination
from segexp.errors import sentence
from segexp.report.facts import facts_of

COLOURS = dict(zip(LEVELS, ("bold red", "bold yellow", "bold cyan"), strict=True))


def print_examination(console: Console, examination: Examination) -> None:
    """Print layout, facts and findings, each with what to type."""
    console.print(sentence(examination.layout), markup=False)
    grid = Table.grid(padding=(0, 2))
    for name, value in facts_of(examination):
        grid.add_row(Text(name, style="dim"), Text(value))
    console.print(grid)
    for level in LEVELS:
        found = [finding for finding in examination.findings if finding.level == level]
        if found:
            console.print(f"\n{level.capitalize()}s ({len(found)})", style=COLOURS[level])
        for finding in found:
            console.print(f"- {sentence(finding.found)}\n  {sentence(finding.do)}", markup=False)
