"""One HTML page in one file: no script, no font, no picture from elsewhere; readable on a phone, in light and in dark.

Text is escaped wherever it is not `Html` already, so that a file name with a bracket cannot change the page.
"""

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segexp.atomic import whole_file

CSS = """
:root{--paper:#fff;--ink:#1c2024;--soft:#5b636c;--line:#d8dde2;--box:#f5f7f9;--accent:#0b66c3;
--error:#b3261e;--warning:#8a5a00;--note:#3b5b7a;--good:#1a7340}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e4e7ea;--soft:#a3acb5;--line:#343b42;--box:#1d2226;
--accent:#6cb2f5;--error:#ff8a80;--warning:#ffc35c;--note:#9cc3e8;--good:#72d49a}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.2rem clamp(.8rem,3vw,2rem) 3rem;max-width:75rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
header p{margin:.2rem 0 0;color:var(--soft)}
h1{margin:0;font-size:1.6rem;line-height:1.25}
h2{margin:2.2rem 0 .7rem;font-size:1.2rem;border-bottom:1px solid var(--line);padding-bottom:.25rem}
h3{margin:1.2rem 0 .4rem;font-size:1rem}
p{margin:.5rem 0}
a{color:var(--accent)}
pre{margin:.5rem 0;padding:.5rem .7rem;background:var(--box);border:1px solid var(--line);border-radius:6px;
white-space:pre-wrap;font-size:.85rem}
pre.file{white-space:pre;overflow-x:auto}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.notice{margin:.7rem 0;padding:.5rem .9rem;background:var(--box);border-left:5px solid var(--tone);border-radius:4px}
.notice .label{color:var(--tone);font-weight:700;font-size:.8rem;text-transform:uppercase;letter-spacing:.04em;
margin-right:.35rem}
.error{--tone:var(--error)}.warning{--tone:var(--warning)}.note{--tone:var(--note)}.good{--tone:var(--good)}
.scroll{overflow-x:auto;margin:.7rem 0}
table{border-collapse:collapse;font-size:.9rem;overflow-wrap:normal}
th,td{padding:.3rem .8rem .3rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:600;white-space:nowrap}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
dl{margin:.7rem 0;font-size:.95rem}
dl div{display:grid;grid-template-columns:11rem 1fr;gap:0 1rem;padding:.3rem 0;border-bottom:1px solid var(--line)}
dt{color:var(--soft)}dd{margin:0}
details{margin:.6rem 0}summary{cursor:pointer;color:var(--accent)}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1rem;margin:.8rem 0}
.gallery.small{grid-template-columns:repeat(auto-fill,minmax(8rem,1fr));gap:.6rem}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(20rem,100%),1fr));gap:1.2rem;margin:.8rem 0}
figure{margin:0;min-width:0}
figcaption{font-size:.82rem;color:var(--soft);margin-top:.25rem;line-height:1.35}
img{display:block;max-width:100%;height:auto;border-radius:3px}
.gallery img{width:100%}
svg{display:block;width:100%;height:auto;font:12px system-ui,Arial,sans-serif}
svg text{fill:var(--soft)}svg .value{fill:var(--ink)}svg .bar{fill:var(--accent)}
svg .axis{stroke:var(--line);stroke-width:1}
svg .second{stroke:var(--error)}svg .curve{fill:none;stroke-width:2}svg .first{stroke:var(--accent)}
.key{display:inline-block;width:.8em;height:.8em;border:1px solid var(--soft);margin-right:.35em;vertical-align:-.05em}
@media (max-width:34rem){dl div{grid-template-columns:1fr}dt{font-size:.85rem}h1{font-size:1.3rem}
.gallery{grid-template-columns:repeat(auto-fill,minmax(10rem,1fr))}
.gallery.small{grid-template-columns:repeat(auto-fill,minmax(6.5rem,1fr))}}
@media print{details{display:block}}
""".replace("\n", "")


Array = np.ndarray[Any, np.dtype[Any]]

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may load: nothing that is not in the file."""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def inline(*texts: str) -> Html:
    """Return texts one after the other, escaped where they are not markup yet."""
    return Html("".join(text if isinstance(text, Html) else html.escape(text) for text in texts))


def element(tag: str, *content: str, **attributes: str) -> Html:
    """Return `<tag attributes>content</tag>`; an attribute `class_` is written `class`, an empty one is left out."""
    written = "".join(f' {name.rstrip("_")}="{html.escape(value)}"' for name, value in attributes.items() if value)
    return Html(f"<{tag}{written}>{inline(*content)}</{tag}>")


def document(title: str, *body: str, subtitle: str = "", style: str = "", script: str = "") -> str:
    """Return the whole page.

    Args:
        title: heading, and name of the browser's tab.
        body: what follows, as a rule sections.
        subtitle: a line below the heading.
        style: rules of this kind of page, after those that all pages have.
        script: runs when the page is there; the browser is told its digest and refuses any other.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = f"{POLICY}; script-src 'sha256-{digest}'" if script else POLICY
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{html.escape(title)}</title><style>{CSS}{style}</style>"
    )
    header = element("header", element("h1", title), element("p", subtitle) if subtitle else "")
    main = element("main", *body, Html(f"<script>{script}</script>" if script else ""))
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{header}\n{main}</body></html>\n'


def write_page(path: Path, text: str) -> None:
    """Write a page, whole or not at all; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def section(heading: str, *content: str) -> Html:
    """Return a part of the page with a heading of its own."""
    return element("section", element("h2", heading), *content)


def paragraph(*texts: str) -> Html:
    """Return a paragraph."""
    return element("p", *texts)


def code(text: str, file: bool = False) -> Html:
    """Return text to type, in lines of its own that break where they must; those of a file scroll sideways instead."""
    return element("pre", element("code", text), class_="file" if file else "")


def notice(level: str, title: str, *content: str) -> Html:
    """Return a box with a coloured edge.

    Args:
        level: "error", "warning", "note" or "good"; it is also written out, for readers who cannot tell the colours.
        title: in bold.
        content: below it.
    """
    label = element("span", level, class_="label")
    return element("div", element("p", label, " ", element("strong", title)), *content, class_=f"notice {level}")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> Html:
    """Return a table that scrolls sideways where the window is narrow.

    Args:
        columns: headings; no heading at all when empty.
        rows: cells by row.
        numbers: columns (0-based) that are set to the right.
    """
    right = set(numbers)

    def cells(tag: str, texts: Sequence[str]) -> Html:
        return element("tr", *(element(tag, text, class_="number" if n in right else "") for n, text in enumerate(texts)))

    head = element("thead", cells("th", columns)) if columns else Html("")
    body = element("tbody", *(cells("td", row) for row in rows))
    return element("div", element("table", head, body), class_="scroll")


def facts(pairs: Iterable[tuple[str, str]]) -> Html:
    """Return names and values, side by side or below each other as the window has room."""
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs))


def details(summary: str, *content: str, opened: bool = False) -> Html:
    """Return what is shown when the reader asks for it."""
    shown = " open" if opened else ""
    return Html(f"<details{shown}>{element('summary', summary)}{inline(*content)}</details>")


def figure(picture: Html, *caption: str) -> Html:
    """Return a picture or a chart with its caption."""
    return element("figure", picture, element("figcaption", *caption) if caption else "")


def gallery(figures: Sequence[Html], small: bool = False) -> Html:
    """Return figures in as many columns as the window has room for."""
    return element("div", *figures, class_="gallery small" if small else "gallery")


def charts(drawings: Sequence[Html]) -> Html:
    """Return drawings side by side as the window has room, none of them smaller than can be read; empty ones are left out."""
    return element("div", *(element("figure", drawing) for drawing in drawings if drawing), class_="charts")


def picture(array: Array, alt: str, quality: int | None = 85) -> Html:
    """Return an image that is part of the page.

    Args:
        array: (H, W, 3) uint8 RGB.
        alt: what it shows, for readers who do not see it.
        quality: of the JPEG, 1 to 100; None makes a PNG, for drawings.
    """
    kind, options = (".png", []) if quality is None else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])
    _, data = cv2.imencode(kind, np.ascontiguousarray(array[..., ::-1]), options)
    mime = "image/png" if quality is None else "image/jpeg"
    source = f"data:{mime};base64,{base64.b64encode(data.tobytes()).decode('ascii')}"
    height, width = array.shape[:2]
    return Html(f'<img src="{source}" width="{width}" height="{height}" alt="{html.escape(alt)}">')
