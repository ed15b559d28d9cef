"""Rendering of self-contained pages from the Jinja2 templates in `templates/`.

Python computes plain data; markup, style and script are in the templates. All values are escaped.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from segexp.atomic import atomic_write

REPORT_FILE = "report.html"
"""File name of the report of a run or study."""


@dataclass(frozen=True)
class Notice:
    """A box with a coloured edge.

    Attributes:
        level: "error", "warning", "note" or "good"; also written as text.
        title: in bold.
        paragraphs: below it.
        command: to type, at the end.
    """

    level: str
    title: str
    paragraphs: Sequence[str] = ()
    command: str = ""


@cache
def environment() -> Environment:
    """Return the template environment, with escaping and strict undefined names."""
    made = Environment(
        loader=PackageLoader("segexp.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "allow_nan": False, "separators": (",", ":")}
    return made


def render(template: str, *, interactive: bool = False, **context: Any) -> str:
    """Return a page.

    Args:
        template: file name in `templates/`.
        interactive: include `report.js`, which sorts and filters tables.
        context: template variables.

    Raises:
        jinja2.UndefinedError: a template variable is missing.
    """
    style, script = read_asset("report.css"), read_asset("report.js") if interactive else ""
    policy = Markup(content_security_policy(style, script))
    found = environment().get_template(template)
    return found.render(policy=policy, style=Markup(style), script=Markup(script), **context)


@cache
def read_asset(name: str) -> str:
    """Return the text of a file in `templates/`."""
    return resources.files("segexp.reporting").joinpath("templates", name).read_text(encoding="utf-8")


def content_security_policy(style: str, script: str = "") -> str:
    """Return a policy that allows embedded images, this style and this script only.

    `style` attributes are allowed for class colours; they cannot load anything.
    """
    rules = ["default-src 'none'", "img-src data:", f"style-src {_digest(style)}", "style-src-attr 'unsafe-inline'"]
    rules += [f"script-src {_digest(script)}"] if script else []
    return "; ".join([*rules, "base-uri 'none'", "form-action 'none'"])


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def write_page(path: Path, text: str) -> None:
    """Write a page atomically; missing folders are created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")
