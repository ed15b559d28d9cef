"""The documentation: it builds without a warning, its links lead somewhere, and its reference is what the configuration says.

`test_commands.py` types the commands of the pages, `test_tutorial.py` those of the tutorial.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from jsonschema import Draft7Validator
from pydantic import create_model

from segexp.config.schema import SECTIONS, Section

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_besides_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= set(targets)
    assert [name for name in re.findall(r"python (\S+\.py)", text) if not (ROOT / name).is_file()] == []
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if not urlsplit(link).scheme]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.fixture(scope="module")
def reference() -> Any:
    """The script that writes the reference."""
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["reference"]


def test_all_that_is_written_from_the_models_is_what_they_say(reference: Any) -> None:
    stale = [str(file) for file, text in reference.files().items() if file.read_text(encoding="utf-8") != text]
    assert stale == [], "type: make schema"


def test_every_key_is_explained(reference: Any, conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reference.lacking(conf) == []
    shutil.copytree(conf, tmp_path / "conf")
    file = tmp_path / "conf" / "scheduler" / "poly.yaml"
    file.write_text(file.read_text() + "curve: 1\n")
    assert reference.lacking(tmp_path / "conf") == ["scheduler/poly.yaml: curve"]
    assert "| `scheduler.curve` | `1` |" in reference.page(tmp_path / "conf")
    monkeypatch.setitem(reference.SECTIONS, "extra", create_model("Extra", __base__=Section, silent=(int, 1)))
    assert reference.lacking(conf) == ["Extra.silent"]


def test_the_page_has_every_key_of_every_model(reference: Any) -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \| `?(.*?)`? \|", reference.page(), re.MULTILINE))
    for group, model in SECTIONS.items():
        assert group == "augment" or {f"{group}.{name}" for name, _ in reference.leaves(model)} <= rows.keys()
    assert (rows["trainer.max_epochs"], rows["data.name"], rows["suffix"]) == ("100", "???", '""')


def definition(conf: Path, name: str) -> Draft7Validator:
    whole = json.loads((conf / "schema.json").read_text(encoding="utf-8"))
    Draft7Validator.check_schema(whole)
    return Draft7Validator({"$ref": f"#/definitions/{name}", **whole})


def test_editors_find_the_schema_of_every_file_and_it_fits(conf: Path) -> None:
    files = [file for file in sorted(conf.rglob("*.yaml")) if file.parent.parent.name != "hydra"]
    assert len(files) > 80
    for file in files:
        text = file.read_text(encoding="utf-8")
        (place, name) = re.findall(r"^# yaml-language-server: \$schema=(\S+)#/definitions/(\w+)$", text, re.MULTILINE)[0]
        assert (file.parent / place).resolve() == (conf / "schema.json").resolve()
        problems = [each.message for each in definition(conf, name).iter_errors(yaml.safe_load(text))]
        assert problems == [], file


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("data", {"clases": {}}, "'clases' was unexpected"),
        ("data", {"cache": "rom"}, "'rom'"),
        ("data", {"batch_size": 0}, "0"),
        ("train", {"trainer": {"gpus": -1}}, "-1"),
        ("predict", {"overlay": "yes"}, "'yes'"),
    ],
)
def test_editors_mark_what_would_be_refused(name: str, content: dict[str, Any], problem: str, conf: Path) -> None:
    assert any(problem in each.message for each in definition(conf, name).iter_errors(content))


def test_editors_accept_references_and_what_is_left_out(conf: Path) -> None:
    for content in ({"root": "data/${data.name}"}, {"name": "???"}, {}, {"batch_size": "${oc.env:SIZE}"}):
        assert list(definition(conf, "data").iter_errors(content)) == []


class Links(HTMLParser):
    """What a page refers to, what it loads, and the names of its parts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.names |= {found["id"] or ""} if "id" in found else set()
        if tag == "a" and found.get("href"):
            self.links.append(found["href"] or "")
        elif tag in ("img", "script", "link") and (found.get("src") or found.get("href")):
            self.loaded.append(found.get("src") or found.get("href") or "")


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_holds_together(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pages = {file: Links(file.read_text(encoding="utf-8")) for file in (tmp_path / "site").rglob("*.html")}
    assert len(pages) >= len(PAGES) - 1
    for file, page in pages.items():
        assert [name for name in page.loaded if urlsplit(name).scheme or name.startswith("//")] == [], file
        if file.name == "404.html":  # its links begin at the root of a server
            continue
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            assert target.is_file() or (target / "index.html").is_file(), f"{file.name}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].names, f"{file.name}: {link}"
