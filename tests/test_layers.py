"""Imports point one way, package by package: read from the source by ast, nothing is run."""

import ast
from collections import defaultdict

import pytest

LAYERS = [
    "errors types atomic console interrupts milestones",
    "models losses metrics optim devices locking failures",
    "config",
    "data visualization",
    "inference checks explainability",
    "checkpoint",
    "evaluation",
    "reporting",
    "deployment training",
    "api",
    "cli",
    "train check predict evaluate compare explain export report",
]
"""From the bottom to the top: a package imports from its own row or one below, and no two of a row from each other."""

LEVELS = {name: level for level, row in enumerate(LAYERS) for name in row.split()}

KNOW = {
    "hydra": {"config", "cli"},
    "omegaconf": {"config", "cli"},
    "captum": {"explainability"},
    "jinja2": {"reporting"},
    "markupsafe": {"reporting"},
    "onnx": {"deployment"},
    "onnxruntime": {"deployment"},
    "openvino": {"deployment"},
}
"""The modules that know a library, by the start of their names."""
PURE = {"models", "losses", "metrics", "inference", "explainability"}
HEAVY = {"pytorch_lightning", "lightning", "hydra", "omegaconf", "albumentations", "tensorboard"}


def modules(source):
    """Every module of the package by its name below segexp, with its syntax tree."""
    for file in sorted(source.rglob("*.py")):
        parts = file.relative_to(source).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name and name != "__main__":
            yield name, ast.parse(file.read_text(encoding="utf-8"))


def imported(tree):
    """The dotted names that a tree imports, at the top and inside functions, but not for the type checker alone."""
    skipped = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.unparse(test.test)
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.fixture(scope="module")
def trees(request):
    source = request.config.rootpath / "src" / "segexp"
    found = dict(modules(source))
    assert len(found) > 20
    return found


def own(tree, trees):
    """The package's modules that a tree imports."""
    for name in imported(tree):
        if name.startswith("segexp."):
            name = name.removeprefix("segexp.")
            yield name if name in trees else name.rpartition(".")[0]


@pytest.fixture(scope="module")
def edges(trees):
    """Which package imports which, with the modules that do."""
    found = defaultdict(set)
    for name, tree in trees.items():
        for other in own(tree, trees):
            if other and other.split(".")[0] != name.split(".")[0]:
                found[name.split(".")[0], other.split(".")[0]].add(f"{name} imports {other}")
    return found


def test_every_package_has_a_layer(trees):
    assert {name.split(".")[0] for name in trees} == set(LEVELS)


def test_imports_point_down(edges):
    upward = {pair: who for pair, who in edges.items() if LEVELS[pair[1]] > LEVELS[pair[0]]}
    assert upward == {}
    mutual = {pair: who for pair, who in edges.items() if LEVELS[pair[0]] == LEVELS[pair[1]] and pair[::-1] in edges}
    assert mutual == {}


def test_no_module_imports_itself_in_a_circle(trees):
    imports = {name: {o for o in own(tree, trees) if o and o != name} for name, tree in trees.items()}
    while free := {name for name, others in imports.items() if not others & imports.keys()}:
        imports = {name: others for name, others in imports.items() if name not in free}
    assert imports == {}


@pytest.mark.parametrize("library", sorted(KNOW))
def test_only_few_know(library, trees):
    users = {name for name, tree in trees.items() for other in imported(tree) if other.split(".")[0] == library}
    assert users, "somebody does"
    assert {name for name in users if not any(f"{name}.".startswith(f"{known}.") for known in KNOW[library])} == set()


def test_networks_losses_and_metrics_stay_light(trees):
    heavy = [
        f"{name} imports {other}"
        for name, tree in trees.items()
        if name.split(".")[0] in PURE
        for other in imported(tree)
        if other.split(".")[0] in HEAVY
    ]
    assert heavy == []


def reached(name, trees):
    """A module and all that is imported with it: what stands at the top of each, not inside functions."""
    seen, left = set(), [name]
    while left:
        here = left.pop()
        parts = here.split(".")
        for part in (".".join(parts[:n]) for n in range(1, len(parts) + 1)):
            if part in trees and part not in seen:
                seen.add(part)
                top = ast.Module([node for node in trees[part].body if isinstance(node, ast.Import | ast.ImportFrom)], [])
                left += [other for other in own(top, trees) if other]
    return seen


@pytest.mark.parametrize("verb", ["train", "check", "predict", "evaluate", "compare", "explain", "export", "report"])
def test_help_needs_nothing_heavy(verb, trees):
    loaded = reached(verb, trees)
    assert f"cli.{verb}" in loaded
    tops = {
        other.split(".")[0]
        for name in loaded
        for node in trees[name].body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for other in imported(ast.Module([node], []))
    }
    assert not tops & {"torch", "numpy", "rich", "pydantic", "jinja2", *HEAVY}


def test_no_file_is_called_utils(trees):
    assert not [name for name in trees if {"utils", "util", "helpers", "misc", "common"} & set(name.split("."))]
