"""Exported torch files from elsewhere: read without running anything, and handed to torch only in what is known to be harmless.

`torch.export.load` unpickles entries, evaluates expressions and guards and loads compiled libraries; TorchScript can read and
write files. So a file is taken apart here, with `zipfile`, `json` and `ast` alone; each operation, expression and name must be
of a known kind; and torch opens a new archive, written from what was checked. Everything else needs trust=true.
"""

import ast
import io
import json
import math
import pickletools
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch

from segexp.errors import CheckpointError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TENSOR_OPERATIONS = _words(
    """
    __and__ __or__ __xor__ _adaptive_avg_pool2d _assert_scalar _assert_tensor_metadata _convolution _log_softmax
    _softmax _to_copy _unsafe_view abs acos adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d add add_ addcmul
    addmm alias all amax amin any arange argmax argmin as_strided asin atan atan2 avg_pool2d baddbmm batch_norm
    bitwise_and bitwise_not bitwise_or bitwise_xor bmm broadcast_tensors cat ceil celu chunk clamp clamp_ clamp_max
    clamp_min clone constant_pad_nd contiguous conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
    convolution copy copy_ cos cosh cumsum detach detach_ diagonal div div_ dropout dropout_ einsum elu elu_ embedding
    empty eq erf exp exp_ expand expand_as expm1 feature_dropout feature_dropout_ fill fill_ flatten flip floor
    floor_divide fmod full full_like gather ge gelu glu grid_sampler grid_sampler_2d group_norm gt hardsigmoid
    hardsigmoid_ hardswish hardswish_ hardtanh hardtanh_ index index_put index_select instance_norm isinf isnan
    layer_norm le leaky_relu leaky_relu_ lift_fresh_copy linalg_vector_norm linear log log10 log1p log2 log_softmax
    logical_and logical_not logical_or logsumexp lt masked_fill masked_fill_ matmul max max_pool2d
    max_pool2d_with_indices maximum mean min minimum mish mish_ mm movedim mul mul_ narrow ne neg new_empty new_full
    new_ones new_zeros norm numel ones ones_like pad permute pixel_shuffle pixel_unshuffle pow prelu prod reciprocal
    reflection_pad2d relu relu6 relu6_ relu_ remainder repeat repeat_interleave replication_pad2d reshape roll round
    rsqrt rsub scaled_dot_product_attention select selu selu_ sigmoid sigmoid_ sign silu silu_ sin sinh size slice
    softmax softplus sort split split_with_sizes sqrt square squeeze stack std sub sub_ sum sym_constrain_range
    sym_constrain_range_for_size sym_numel sym_size sym_storage_offset sym_stride t tan tanh tanh_ tensor_split tile to
    topk transpose tril triu trunc type_as unbind unflatten unsqueeze upsample_bicubic2d upsample_bilinear2d
    upsample_nearest2d var var_mean view view_as where zeros zeros_like
    """
)
"""Operations of ATen on tensors and numbers; none of them opens a file, calls back, or runs text."""

_NUMBERS = _words(
    """
    abs add and_ eq floordiv ge getitem gt le lshift lt mod mul ne neg not_ or_ pos pow rshift sub truediv
    """
)
NUMBER_OPERATIONS = frozenset(
    [f"_operator.{name}" for name in _NUMBERS]
    + [f"math.{name}" for name in ("ceil", "floor", "sqrt", "trunc")]
    + [f"torch.sym_{name}" for name in ("float", "int", "ite", "max", "min", "not", "sum")]
)
"""Operations on sizes in a program of torch.export."""

SYMBOLIC = _words(
    """
    Abs Add And BooleanFalse BooleanTrue CeilDiv CeilToInt CleanDiv Eq Equality Float FloatPow FloatTrueDiv FloorDiv
    FloorToInt Ge GreaterThan Gt IntTrueDiv Integer Le LessThan LShift Lt Max Min Mod ModularIndexing Mul Ne Not Or
    Piecewise Pow PowByNatural PythonMod RShift Rational StrictGreaterThan StrictLessThan Symbol ToFloat TruncToFloat
    TruncToInt Unequality Where false true
    """
)
"""Names in the expressions of sizes, which torch evaluates as Python."""

SCRIPT_FUNCTIONS = _words(
    """
    annotate bool float getattr int isinstance len max min range unchecked_cast uninitialized
    """
)
"""Functions of TorchScript besides operations on tensors."""

SCRIPT_GLOBALS = ("__torch__.", "collections OrderedDict", "torch._utils _rebuild_", "torch.jit._pickle ")
"""How the classes in a TorchScript file's pickles begin, besides the storages of torch."""

NAME, TEXT = re.compile(r"[\w.]*", re.ASCII), re.compile(r"[\w .,:;+*<>=()-]*", re.ASCII)
FOREIGN = _words(
    """
    as_graph as_custom_obj custom_obj token as_complex
    """
)
LARGEST = 1 << 26
"""Bytes of a description; that of the largest network here takes a tenth."""


class Unknown(Exception):  # noqa: N818 - caught in this module
    """Something in a file that is not known to be harmless; the message completes "FILE holds"."""


def inspected_program(path: Path) -> io.BytesIO:
    """Return an archive for `torch.export.load` with the checked parts of a file.

    Raises:
        CheckpointError: the file holds anything else.
        Exception: the file is broken.
    """
    try:
        return _program(path)
    except Unknown as found:
        _refuse(path, found)


def inspected_script(path: Path) -> io.BytesIO:
    """Return an archive for `torch.jit.load` with the checked parts of a file.

    Raises:
        CheckpointError: the file holds anything else.
        Exception: the file is broken.
    """
    try:
        return _script(path)
    except Unknown as found:
        _refuse(path, found)


def _refuse(path: Path, found: Unknown) -> NoReturn:
    raise CheckpointError(
        f"{path} holds {found}, which could run code or touch files when it is opened",
        "Tensors and known operations were expected. An ONNX file can hold nothing else, so it needs no trust",
        "If you know who made the file, type trust=true; else ask for NAME.onnx, or for the run that it was exported from",
    ) from None


def _entries(path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the entries of an archive by their names below its only folder.

    Raises:
        Unknown: an entry that is repeated, outside the folder, or too large for what is compressed in it.
    """
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    roots = {info.filename.partition("/")[0] for info in infos}
    found = {info.filename.partition("/")[2]: info for info in infos}
    bombs = [info for info in infos if info.compress_type != zipfile.ZIP_STORED and info.file_size > LARGEST]
    if len(roots) != 1 or len(found) != len(infos) or bombs:
        raise Unknown("entries that torch does not write")
    return found


def _archive(entries: Iterable[tuple[str, bytes]]) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries:
            archive.writestr(f"archive/{name}", content)
    buffer.seek(0)
    return buffer


def _program(path: Path) -> io.BytesIO:
    entries = _entries(path)
    model, weights, constants = (
        "models/model.json",
        "data/weights/model_weights_config.json",
        "data/constants/model_constants_config.json",
    )
    inputs = "data/sample_inputs/model.pt"
    known = re.compile(
        r"data/weights/weight_\d+|data/constants/tensor_\d+|archive_(format|version)|byteorder|version|\.data/\w+"
    )
    for name in entries:
        if name not in (model, weights, constants, inputs) and not known.fullmatch(name):
            raise Unknown(f"the entry {name[:80]!r}")
    with zipfile.ZipFile(path) as archive:

        def read(name: str) -> bytes:
            return archive.read(entries[name])

        described = {name: _json(name, read(name)) for name in (model, weights, constants)}
        _check_program(described[model])
        for name, pattern in ((weights, r"weight_\d+"), (constants, r"tensor_\d+")):
            sizes = {entry.rpartition("/")[2]: info.file_size for entry, info in entries.items()}
            for payload in described[name]["config"].values():
                _check_payload(payload, pattern, sizes)
            _check_names(described[name])
        _check_inputs(read(inputs))
        kept = [(name, json.dumps(values).encode()) for name, values in described.items()]
        kept += [(name, read(name)) for name in entries if name not in described and name != inputs]
        return _archive([*kept, (inputs, b"")])


def _json(name: str, content: bytes) -> dict[str, Any]:
    if len(content) > LARGEST:
        raise Unknown(f"{len(content) >> 20} MiB in {name}")
    values = json.loads(content)
    if not isinstance(values, dict):
        raise Unknown(f"no mapping in {name}")
    return values


def _check_program(program: dict[str, Any]) -> None:
    """Check a serialized program and remove from it, in place, what torch would evaluate and does not need."""
    module = program["graph_module"]
    program["guards_code"] = []
    program["torch_version"] = str(torch.__version__)
    module["metadata"], module["treespec_namedtuple_fields"] = {}, {}
    for node in module["graph"]["nodes"]:
        node["metadata"] = {}
    first = module["module_call_graph"][0]
    signature = first["signature"]
    for key in ("in_spec", "out_spec"):
        version, spec = json.loads(signature[key])
        _check_spec(spec)
        signature[key] = json.dumps([version, spec])
    arguments = signature.get("forward_arg_names") or []
    if not all(isinstance(name, str) and name.isidentifier() for name in arguments):
        raise Unknown("an argument that is no name")
    specs = {key: signature.pop(key) for key in ("in_spec", "out_spec")}
    module["module_call_graph"] = [first]
    _check_names(program)
    signature |= specs


def _check_spec(spec: Mapping[str, Any]) -> None:
    """Check how arguments and results are nested."""
    context = json.loads(spec["context"] or "null")
    names = context if isinstance(context, list) else []
    plain = context is None or isinstance(context, list)
    if not plain or spec["type"] not in (None, "builtins.tuple", "builtins.list", "builtins.dict"):
        raise Unknown(f"an argument of the type {str(spec['type'])[:80]}")
    if not all(isinstance(name, str) and name.isidentifier() for name in names):
        raise Unknown("an argument that is no name")
    for child in spec["children_spec"]:
        _check_spec(child)


def _check_names(value: Any, key: str = "") -> None:
    """Check every text of a description, by the key that it belongs to."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in FOREIGN and inner:
                raise Unknown(f"the argument {name}")
            _check_text(name, "")
            _check_names(inner, name)
    elif isinstance(value, list):
        for inner in value:
            _check_names(inner, key)
    elif isinstance(value, str):
        _check_text(value, key)


def _check_text(text: str, key: str) -> None:
    if key in ("target", "as_operator"):
        if not is_known_operation(text):
            raise Unknown(f"the operation {text[:80]!r}")
    elif key == "expr_str":
        _check_expression(text)
    elif not (TEXT if key in ("as_string", "torch_version") else NAME).fullmatch(text):
        raise Unknown(f"the text {text[:80]!r}")


def is_known_operation(name: str) -> bool:
    """Return whether an operation of a program, such as "torch.ops.aten.add.Tensor", is known to be harmless."""
    operation = re.fullmatch(r"torch\.ops\.aten\.(\w+)\.\w+", name, re.ASCII)
    return name in NUMBER_OPERATIONS or bool(operation and operation[1] in TENSOR_OPERATIONS)


def _check_expression(text: str) -> None:
    """Check the expression of a size: calls of `SYMBOLIC` on numbers, names and each other."""
    for node in ast.walk(ast.parse(text, mode="eval")):
        if isinstance(node, ast.Name):
            good = node.id in SYMBOLIC or bool(re.fullmatch(r"[suz]+\d+", node.id, re.ASCII))
        elif isinstance(node, ast.Constant):
            good = not isinstance(node.value, str | bytes) or bool(NAME.fullmatch(str(node.value)))
        elif isinstance(node, ast.Call):
            good = isinstance(node.func, ast.Name)
        else:
            kinds = (ast.Expression, ast.keyword, ast.expr_context, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop)
            good = isinstance(node, (*kinds, ast.Compare, ast.cmpop, ast.Tuple))
        if not good:
            raise Unknown(f"the expression {text[:80]!r}")


def _check_payload(payload: Mapping[str, Any], pattern: str, sizes: Mapping[str, int]) -> None:
    """Check that a tensor is stored as numbers, as many as its shape says at least."""
    name = str(payload["path_name"])
    if payload["use_pickle"] is not False or not re.fullmatch(pattern, name):
        raise Unknown(f"the pickled entry {name[:80]!r}")
    count = math.prod(int(size["as_int"]) for size in payload["tensor_meta"]["sizes"])
    if not 0 <= count <= sizes[name]:
        raise Unknown(f"{count} values in the {sizes[name]} bytes of {name}")


def _check_inputs(content: bytes) -> None:
    """Check that the example inputs, which are not used, are tensors."""
    if not content:
        return
    try:
        torch.load(io.BytesIO(content), map_location="meta", weights_only=True)
    except Exception:
        raise Unknown("a pickled entry 'sample_inputs' that is more than tensors") from None


def _script(path: Path) -> io.BytesIO:
    entries, kept = _entries(path), []
    data = re.compile(r"(data|constants)(\.pkl|/\d+)|version|byteorder|\.data/\w+")
    unused = re.compile(r"traced_inputs(\.pkl|/\d+)|code/[\w/]+\.py\.debug_pkl")
    with zipfile.ZipFile(path) as archive:
        for name, info in entries.items():
            if re.fullmatch(r"code/__torch__(/\w+)*\.py", name, re.ASCII):
                if info.file_size > LARGEST:
                    raise Unknown(f"{info.file_size >> 20} MiB in {name[:80]}")
                kept.append((name, _checked_script(archive.read(info)).encode()))
            elif data.fullmatch(name):
                content = archive.read(info)
                if name.endswith(".pkl"):
                    _check_globals(content)
                kept.append((name, content))
            elif not unused.fullmatch(name):
                raise Unknown(f"the entry {name[:80]!r}")
    return _archive(kept)


def _check_globals(content: bytes) -> None:
    """Check the classes that a pickle names."""
    for operation, argument, _ in pickletools.genops(content):
        if operation.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
            raise Unknown("a pickled object")
        if operation.name == "GLOBAL":
            storage = re.fullmatch(r"torch \w+Storage", str(argument))
            if not storage and not (str(argument).startswith(SCRIPT_GLOBALS) and ".classes" not in str(argument)):
                raise Unknown(f"a pickled {str(argument)[:80]}")


def _checked_script(source: bytes) -> str:
    """Return the code of a module, written again from its checked syntax tree."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        problem = _script_problem(node)
        if problem:
            raise Unknown(problem)
    return ast.unparse(tree) + "\n"


def _script_problem(node: ast.AST) -> str:
    """Return what is unknown about a part of a TorchScript module, "" if nothing is."""
    if isinstance(node, ast.Call):
        name = ".".join(_dotted(node.func))
        operation = re.fullmatch(r"(?:torch|ops\.aten)\.(\w+)", name)
        good = (
            (operation and (operation[1] in TENSOR_OPERATIONS or operation[1] == "device"))
            or name in SCRIPT_FUNCTIONS
            or name in ("ops.prim.NumToTensor", "ops.prim.RaiseException", "torch.__not__")
            or (isinstance(node.func, ast.Attribute) and re.fullmatch(r"forward\d*", node.func.attr))
            or (name.startswith("__torch__.") and ".classes" not in name)
        )
        return "" if good else f"the operation {ast.unparse(node.func)[:80]!r}"
    if isinstance(node, ast.Attribute):
        return "" if node.attr not in ("classes", "ops") else f"the name {ast.unparse(node)[:80]!r}"
    if isinstance(node, ast.FunctionDef):
        return (
            "" if re.fullmatch(r"forward\d*|[a-z]\w*", node.name) and not node.decorator_list else f"the function {node.name}"
        )
    if isinstance(node, ast.Constant):
        text = node.value if isinstance(node.value, str) else ""
        return "" if not isinstance(node.value, bytes) and TEXT.fullmatch(text) else f"the text {text[:80]!r}"
    forbidden = (ast.Import, ast.ImportFrom, ast.Lambda, ast.Try, ast.With, ast.Delete, ast.Global, ast.Starred, ast.JoinedStr)
    asynchronous = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)
    return f"a {type(node).__name__} in its code" if isinstance(node, forbidden + asynchronous) else ""


def _dotted(node: ast.AST) -> Iterator[str]:
    """Yield the parts of a dotted name; "?" for an expression that is none."""
    if isinstance(node, ast.Attribute):
        yield from _dotted(node.value)
        yield node.attr
    else:
        yield node.id if isinstance(node, ast.Name) else "?"
