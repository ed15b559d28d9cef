"""Compare plotting libraries with the charts of the reports: the same three charts in one file that loads nothing.

python benchmarks/report_charts.py [RUNS]

The libraries are no dependencies of segexp; beside it the script needs Chromium and
pip install playwright plotly bokeh altair vl-convert-python
"""

import base64
import hashlib
import json
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

EPOCHS = list(range(30))
LOSSES = {"training": [1 / (n + 1) for n in EPOCHS], "validation": [1 / (n + 1) + 0.1 for n in EPOCHS]}
CASES = np.random.default_rng(0).beta(8, 2, 200)
JOBS = [("unet", 0.81), ("unet", 0.82), ("unet", 0.80), ("unetpp", 0.84), ("unetpp", 0.83), ("dilated", 0.78)]
SCREEN = {"width": 1280, "height": 900}
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
WATCH = """
const rendered = () => document.readyState === "complete" && (%s);
const look = () => requestAnimationFrame(rendered() ? () => setTimeout(() => { window.rendered = performance.now(); }) : look);
look();
"""


def page(head: str, body: str) -> str:
    """Return a page whose policy lets its own scripts and styles through, and neither requests nor eval."""
    scripts = re.findall(r"<script(?: type=\"text/javascript\")?>(.*?)</script>", head + body, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    policy += f"; script-src {' '.join(f'{chr(39)}sha256-{each}{chr(39)}' for each in digests)}" if digests else ""
    meta = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
    return f'<!DOCTYPE html><html lang="en"><head>{meta}{head}</head><body>{body}</body></html>'


def svg_page() -> str:
    """Return the charts as `segexp.reporting.charts` draws them."""
    from segexp.reporting.charts import JobScore, Series, dot_plot, histogram, line_chart
    from segexp.reporting.rendering import environment, read_asset

    charts = [
        line_chart([Series(name, EPOCHS, values) for name, values in LOSSES.items()], "Loss", "epoch"),
        histogram(CASES, "Dice of a case", "Histogram of the Dice of 200 cases"),
        dot_plot("model", [JobScore(model, score, f"job {n}") for n, (model, score) in enumerate(JOBS)], "val Dice"),
    ]
    drawn = environment().get_template("charts.html.j2").module.grid(charts)  # type: ignore[attr-defined]
    return page(f"<style>{read_asset('report.css')}</style>", str(drawn))


def plotly_page() -> str:
    """Return the charts by Plotly; its Python package has the whole library only, not the basic bundle."""
    import plotly.graph_objects as go
    from plotly.offline import get_plotlyjs

    figures = [
        go.Figure([go.Scatter(x=EPOCHS, y=values, name=name, mode="lines+markers") for name, values in LOSSES.items()]),
        go.Figure(go.Histogram(x=CASES, nbinsx=24)),
        go.Figure(go.Scatter(x=[model for model, _ in JOBS], y=[score for _, score in JOBS], mode="markers")),
    ]
    parts = [each.to_html(full_html=False, include_plotlyjs=False, div_id=f"plot{n}") for n, each in enumerate(figures)]
    return page(f"<script>{get_plotlyjs()}</script>", "".join(parts))


def bokeh_page() -> str:
    """Return the charts by Bokeh, with its core bundle."""
    from bokeh.embed import components
    from bokeh.plotting import figure
    from bokeh.resources import Resources

    options: dict[str, Any] = {"width": 420, "height": 240, "tools": "pan,box_zoom,reset,hover"}
    curves, bars = figure(**options), figure(**options)
    for (name, values), colour in zip(LOSSES.items(), ("#0072b2", "#d55e00"), strict=True):
        curves.line(EPOCHS, values, legend_label=name, color=colour)
        curves.scatter(EPOCHS, values, color=colour)
    counts, edges = np.histogram(CASES, 24)
    bars.quad(top=counts, bottom=0, left=edges[:-1], right=edges[1:])
    dots = figure(**options, x_range=list(dict.fromkeys(model for model, _ in JOBS)))
    dots.scatter([model for model, _ in JOBS], [score for _, score in JOBS], size=9)
    script, places = components((curves, bars, dots))
    library = "".join(Resources(mode="inline", components=["bokeh"]).js_raw)
    return page(f"<script>{library}</script>", "".join(places) + script)


def vega_page() -> str:
    """Return the charts by Vega-Lite, with its interpreter instead of eval."""
    import altair as alt
    import vl_convert

    points = [{"epoch": n, "loss": v, "of": name} for name, values in LOSSES.items() for n, v in enumerate(values)]
    tips = ["epoch:Q", "loss:Q"]
    lines = alt.Chart(alt.Data(values=points)).mark_line(point=True).encode(x="epoch:Q", y="loss:Q", color="of:N", tooltip=tips)
    cases = alt.Chart(alt.Data(values=[{"dice": float(value)} for value in CASES])).mark_bar()
    jobs = alt.Chart(alt.Data(values=[{"model": model, "dice": score} for model, score in JOBS])).mark_point()
    charts = [
        lines.interactive(),
        cases.encode(x=alt.X("dice:Q", bin=alt.Bin(maxbins=24)), y="count()", tooltip="count()"),
        jobs.encode(x="model:N", y=alt.Y("dice:Q", scale=alt.Scale(zero=False)), tooltip="dice:Q"),
    ]
    options = json.dumps({"actions": False, "renderer": "svg", "ast": True})
    calls = "".join(f"vegaEmbed('#plot{n}', {each.to_json()}, {options});" for n, each in enumerate(charts))
    library = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    places = "".join(f'<div id="plot{n}"></div>' for n in range(len(charts)))
    return page(f"<script>{library}</script>", f"{places}<script>{calls}</script>")


KINDS: dict[str, tuple[Callable[[], str], str, str]] = {
    "inline SVG": (svg_page, "document.querySelectorAll('figure svg').length >= 3", "jinja2 markupsafe"),
    "Plotly": (plotly_page, "document.querySelectorAll('.main-svg .point').length > 60", "plotly narwhals"),
    "Bokeh": (
        bokeh_page,
        "window.Bokeh?.documents.length && Bokeh.documents.every(each => each.is_idle)",
        "bokeh contourpy narwhals tornado xyzservices",
    ),
    "Vega-Lite": (vega_page, "document.querySelectorAll('.vega-embed svg').length >= 3", "altair narwhals vl-convert-python"),
}
"""How a page is made, what is true when its charts are there, and what must be installed beside segexp."""


def installed_megabytes(names: str) -> float:
    """Return the size of distributions."""
    files = [file for name in names.split() for file in metadata.files(name) or []]
    return sum(Path(str(file.locate())).stat().st_size for file in files if Path(str(file.locate())).is_file()) / 1e6


def open_page(browser: Any, file: Path, ready: str, said: list[str], **options: Any) -> Any:
    """Open a page and wait for its charts; errors and requests are added to what was said."""
    view = browser.new_page(viewport=SCREEN, **options)
    view.on("pageerror", lambda error: said.append(str(error)))
    view.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    view.on("request", lambda asked: said.append(asked.url) if not asked.url.startswith(("data:", file.as_uri())) else None)
    view.add_init_script(WATCH % ready)
    view.goto(file.as_uri())
    for _ in range(100):
        if view.evaluate("window.rendered || 0"):
            break
        view.wait_for_timeout(100)
    return view


def facts(browser: Any, file: Path, ready: str) -> list[str]:
    """Return complaints, charts without scripts, dark colours, values for screen readers, and stops of the keyboard."""
    said: list[str] = []
    light, dark = (open_page(browser, file, ready, said, color_scheme=scheme) for scheme in ("light", "dark"))
    follows = light.screenshot() != dark.screenshot()
    tree = light.context.new_cdp_session(light).send("Accessibility.getFullAXTree")["nodes"]
    names = [str(node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]]
    told = sum(f"{LOSSES['training'][7]:.4g}" in name for name in names) > 0
    stops = 0
    while stops < 60 and light.keyboard.press("Tab") is None and light.evaluate("document.activeElement !== document.body"):
        stops += 1
    still = browser.new_context(java_script_enabled=False, viewport=SCREEN)
    blank = still.new_page()
    blank.goto(file.as_uri())
    marks = blank.locator("svg circle, svg path, svg rect, canvas").count()
    still.close()
    return [str(len(said)), "yes" if marks > 20 else "no", "yes" if follows else "no", "yes" if told else "no", str(stops)]


def main() -> None:
    """Measure and print the table; the pages take turns, so that other load falls on all of them alike."""
    from playwright.sync_api import sync_playwright

    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    heads = "charts by,page kB,installed MB,first chart ms,ratio,errors and requests,without scripts,dark,values read,tab stops"
    table = Table(*heads.split(","))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        files = {name: Path(folder) / f"{name.replace(' ', '_')}.html" for name in KINDS}
        times: dict[str, list[float]] = {name: [] for name in KINDS}
        for name, (make, _, _) in KINDS.items():
            files[name].write_text(make(), encoding="utf-8")
        for run in range(runs + 1):
            for name, (_, ready, _) in KINDS.items():
                view = open_page(browser, files[name], ready, [])
                times[name] += [float(view.evaluate("window.rendered || NaN"))] if run else []
                view.close()
        for name, (_, ready, needs) in KINDS.items():
            middle, size = statistics.median(times[name]), files[name].stat().st_size / 1000
            ratio = statistics.median(a / b for a, b in zip(times[name], times["inline SVG"], strict=True))
            numbers = [f"{size:.0f}", f"{installed_megabytes(needs):.0f}", f"{middle:.0f}", f"{ratio:.1f}"]
            table.add_row(name, *numbers, *facts(browser, files[name], ready))
        browser.close()
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
