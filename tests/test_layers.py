"""Imports point one way: read from the source by ast, nothing is run."""

import ast

import pytest

ROWS = [
    "errors types whole bits published",
    "models losses metrics optim inference postprocess preprocessing devices config.naming config.hints pictures quiet "
    "labelling moments determinism data published.renew",
    "segmenter predictor module scoring data.datamodule checking explaining",
    "config",
    "checkpoint callbacks report comparison loggers exporting",
    "teaching build outcome tuning prediction explaining.run explaining.loop explaining.outputs explaining.table "
    "explaining.words",
    "run rehearsal finding",
    "cli",
    "train evaluate predict export explain check compare",
]
"""From the bottom to the top: a module imports from its own row or one below. A package's parts are in its row unless named."""

LEVELS = {name: level for level, row in enumerate(ROWS) for name in row.split()}

KNOW = {
    "albumentations": {"data.augment"},
    "hydra": {"config", "build", "cli", "train", "evaluate", "predict", "explain", "check", "compare"},
    "captum": {"explaining"},
    "onnx": {"exporting"},
    "onnxruntime": {"exporting"},
    "openvino": {"exporting"},
}
KNOW["omegaconf"] = KNOW["hydra"]
PURE = {"models", "losses", "metrics", "inference", "postprocess", "segmenter", "predictor", "explaining"}
HEAVY = {"pytorch_lightning", "lightning", "hydra", "omegaconf", "albumentations", "tensorboard"}


def modules(source):
    """Every module of the package by its name below segexp, with its syntax tree."""
    for file in sorted(source.rglob("*.py")):
        parts = file.relative_to(source).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
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


def level(name):
    """The row of a module: the longest of its prefixes that the table names."""
    parts = name.split(".")
    known = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((LEVELS[prefix] for prefix in known if prefix in LEVELS), None)


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


def test_every_module_has_a_row(trees):
    assert [name for name in trees if level(name) is None] == []


def test_imports_point_down(trees):
    upward = [
        f"{name} imports {other}"
        for name, tree in trees.items()
        for other in own(tree, trees)
        if other and level(other) > level(name)
    ]
    assert upward == []


def test_no_module_imports_itself_in_a_circle(trees):
    edges = {name: {o for o in own(tree, trees) if o and o != name} for name, tree in trees.items()}
    while free := {name for name, others in edges.items() if not others & edges.keys()}:
        edges = {name: others for name, others in edges.items() if name not in free}
    assert edges == {}


@pytest.mark.parametrize("library", sorted(KNOW))
def test_only_few_know(library, trees):
    users = {name for name, tree in trees.items() for other in imported(tree) if other.split(".")[0] == library}
    assert {name for name in users if not {name, name.split(".")[0]} & KNOW[library]} == set()


def test_networks_losses_and_metrics_stay_light(trees):
    heavy = [
        f"{name} imports {other}"
        for name, tree in trees.items()
        if name.split(".")[0] in PURE
        for other in imported(tree)
        if other.split(".")[0] in HEAVY
    ]
    assert heavy == []


@pytest.mark.parametrize(
    "name",
    [
        "train",
        "evaluate",
        "predict",
        "explain",
        "check",
        "compare",
        *(f"cli{part}" for part in ("", ".suggest", ".overrides", ".resume", ".study")),
        *(f"config{part}" for part in ("", ".naming", ".schema", ".hints", ".targets")),
    ],
)
def test_what_help_needs_imports_nothing_heavy_at_the_top(name, trees):
    top = ast.Module([node for node in trees[name].body if not isinstance(node, ast.If)], [])
    names = {n.split(".")[0] for node in top.body if isinstance(node, ast.Import | ast.ImportFrom) for n in imported(node)}
    assert not names & {"torch", "numpy", "rich", "hydra", *HEAVY}


def test_no_file_is_called_utils(trees):
    assert not [name for name in trees if {"utils", "util", "helpers", "misc", "common"} & set(name.split("."))]
