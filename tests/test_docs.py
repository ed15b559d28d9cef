"""The documentation: it builds without a warning, its links lead somewhere, and each command in it is one that works.

A command is taken as it is typed on the page, in a folder where RUN, DIR, STUDY and their kin exist, and goes through the
command itself up to the point where the work would begin. `test_tutorial.py` does the work of one page.
"""

import importlib
import importlib.util
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from segexp.config import plain, report
from segexp.config.schema import DataConfig, check_fields

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
VERBS = ("train", "check", "evaluate", "predict", "explain", "export", "compare")
RUNS = ("RUN", "OTHER_RUN", "RUN_OR_FILE", "RUN_OR_STUDY", "STUDY", "OTHER_STUDY")
ELSEWHERE = (DOCS / "tutorial.md", DOCS / "reference.md")
"""The first is typed whole by test_tutorial.py; of the second each command is one word."""
REST = ["data=paired_folders", "data.classes={background: 0, cell: 255, nucleus: 255}"]
"""What a command goes on with where the page has an ellipsis."""


ARGUED = r"`(python -m segexp\.\w+\s[^`]+)`"
"""A command in a sentence; without a word after it, it is a name."""


def in_text(text: str) -> Iterator[str]:
    """Yield the commands of a page, those in blocks and those between backticks in a sentence."""
    parts = re.split(r"^```.*$", text, flags=re.MULTILINE)
    for block in parts[1::2]:
        yield from re.findall(r"^python -m segexp.*$", block.replace("\\\n", " "), re.MULTILINE)
    for prose in parts[::2]:
        yield from (" ".join(found.split()) for found in re.findall(ARGUED, prose))


def in_help(verb: str) -> Iterator[str]:
    """Yield the commands of a help text, without what is said about them."""
    for line in importlib.import_module(f"segexp.{verb}").HELP.splitlines():
        if line.startswith("  python -m") and "[key=value" not in line:
            yield re.split(r"\s{2,}", line.strip())[0]


def commands() -> list[str]:
    """Every command once."""
    found = [command for page in PAGES if page not in ELSEWHERE for command in in_text(page.read_text(encoding="utf-8"))]
    found += [command for verb in VERBS for command in in_help(verb)]
    return list(dict.fromkeys(found))


COMMANDS = commands()


@pytest.fixture(scope="session")
def begun(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lies in a run directory when training begins."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("segexp.train.train", lambda config, directory: {})
        assert typed("train", ["data=liver", f"data.root={slices}", "run_dir=RUN", "trainer.gpus=0"]) == 0
    (folder / "RUN" / "checkpoints").mkdir()
    (folder / "RUN" / "checkpoints" / "last.ckpt").touch()
    return folder / "RUN"


@pytest.fixture
def here(begun: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the pages call by a name in capitals."""
    for name in RUNS:
        shutil.copytree(begun, tmp_path / name)
    for name in ("DIR", "OTHER_DIR"):
        (tmp_path / name).symlink_to(slices)
    (tmp_path / "data" / "demo").mkdir(parents=True)
    (tmp_path / "data" / "demo" / "organ_48x256_seed0_v1").symlink_to(slices)  # or they would be generated for each command
    (tmp_path / "my_package.py").write_text(
        "from torch import nn\n\nclass MyNet(nn.Module):\n    def __init__(self, in_channels, num_classes, width): ...\n"
    )
    (tmp_path / "my_nets.py").write_text((tmp_path / "my_package.py").read_text().replace("MyNet", "Net"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put a mark in the place of each command's work; the names of the marks that were reached."""
    found: list[str] = []

    def mark(verb: str, look: Callable[..., object] = lambda *_: None) -> Callable[..., Any]:
        def work(*given: Any) -> Any:
            look(*given)
            found.append(verb)
            return 0

        return work

    monkeypatch.setattr("segexp.train.train", mark("train"))
    monkeypatch.setattr("segexp.cli.summary.summarize", lambda study: sorted(study.directory.glob("*/failed.txt")))
    monkeypatch.setattr("segexp.cli.study._free_memory", lambda: None)
    monkeypatch.setattr(BasicSweeper, "split_arguments", staticmethod(covering(BasicSweeper.split_arguments)))
    monkeypatch.setattr("segexp.check.check", mark("check", lambda config, _: check_data(plain(config)["data"])))
    monkeypatch.setattr("segexp.evaluate.evaluate", mark("evaluate", lambda config: check_data(config["data"])))
    monkeypatch.setattr("segexp.export.export", mark("export", check_export))
    monkeypatch.setattr("segexp.prediction.run.predict", mark("predict"))
    monkeypatch.setattr("segexp.explaining.run.explain", mark("explain"))
    monkeypatch.setattr("segexp.compare.compare", mark("compare", lambda config: [check_run(run) for run in config["runs"]]))
    monkeypatch.setattr("segexp.report.again.write_reports", lambda path: [check_run(path), found.append("report")][:1])
    monkeypatch.setattr("segexp.devices.choose_devices", lambda _: ("cpu", 1))  # a page may ask for a GPU
    monkeypatch.setattr("segexp.cli.check_weights", lambda _: None)  # and for weights from elsewhere
    return found


def covering(split: Callable[..., list[list[list[str]]]]) -> Callable[..., list[list[list[str]]]]:
    """Of the jobs of a study leave those that have a value which no job before them has."""

    def few(overrides: list[Any], size: int | None) -> list[list[list[str]]]:
        kept: list[list[str]] = []
        for job in chain.from_iterable(split(overrides, size)):
            kept += [job] if set(job) - set(chain.from_iterable(kept)) else []
        return [kept]

    return few


def check_data(data: dict[str, Any]) -> None:
    """Refuse keys of the data section that are none; name and root may come from the checkpoint."""
    report(list(check_fields("data", {"name": "x", "root": "x", **data}, DataConfig)))


def check_export(config: dict[str, Any]) -> None:
    """Refuse a format that does not go with what is asked of it."""
    from segexp.exporting.kinds import check_format

    check_format(config["format"], config["precision"], config["opset"], Path(config["output"]))


def check_run(path: str | Path) -> Path:
    """Refuse what is no directory."""
    assert Path(path).is_dir(), f"{path} is neither a run nor a study"
    return Path(path)


def typed(verb: str, words: list[str]) -> int:
    """Type a command in this process; the log handlers that Hydra installs go with it."""
    module = importlib.import_module("segexp.report.__main__" if verb == "report" else f"segexp.{verb}")
    handlers = logging.getLogger().handlers[:]
    try:
        return int(module.main(words))
    finally:
        logging.getLogger().handlers[:] = handlers


def as_typed(command: str, begun: Path) -> tuple[str, list[str]]:
    """Return the verb and the words of a command; what it calls runs/… is made, and NAME is a network."""
    first, *words = shlex.split(command.removeprefix("python -m "), comments=True)
    for run in re.findall(r"runs/[\w/-]+", command):
        shutil.copytree(begun, run, dirs_exist_ok=True)
    words = [word.replace("model=NAME", "model=unet") for word in words]
    words = ["hydra/launcher=basic" if word == "hydra/launcher=joblib" else word for word in words]  # marks stay here
    return first.removeprefix("segexp."), [part for word in words for part in (REST if word == "…" else [word])]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_pages_works(
    command: str, here: Path, begun: Path, reached: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    verb, words = as_typed(command, begun)
    code = typed(verb, words)
    assert code == 0, capsys.readouterr().err
    assert set(reached) == (set() if "--help" in words else {verb}), "the work is reached, or help is all"


def test_the_commands_were_found() -> None:
    assert len(COMMANDS) > 100
    assert {command.split()[2].removeprefix("segexp.") for command in COMMANDS} == {*VERBS, "report"}
    for name in ("README.md", "how-to/compare.md", "networks.md", "export.md"):
        page = ROOT / name if name == "README.md" else DOCS / name
        text = page.read_text(encoding="utf-8")
        names = len(re.findall(r"`python -m segexp\.\w+`", text))
        assert len(re.findall(r"python\s-m\ssegexp\.", text)) == len(list(in_text(text))) + names, name


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


def test_the_reference_is_what_the_configuration_says(reference: Any) -> None:
    assert (DOCS / "reference.md").read_text(encoding="utf-8") == reference.page(), "type: python docs/reference.py"


def test_every_key_of_the_configuration_has_a_comment(reference: Any, conf: Path, tmp_path: Path) -> None:
    assert reference.lacking(conf) == []
    shutil.copytree(conf, tmp_path / "conf")
    file = tmp_path / "conf" / "scheduler" / "poly.yaml"
    file.write_text(file.read_text() + "curve: 1\n")
    assert reference.lacking(tmp_path / "conf") == ["scheduler/poly.yaml: curve"]
    assert "| `scheduler.curve` | `1` |" in reference.page(tmp_path / "conf")


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
