import hashlib
import json
import os
import subprocess
import sys
import threading

import pytest
import torch
from huggingface_hub import constants

from segexp.errors import ConfigError
from segexp.models import EncoderDecoder, TorchvisionNet, pretrained
from segexp.models.pretrained import ADDRESSES, check_weights, hub_file, torch_file
from segexp.models.pretrained_index import addresses

FPN = {"_target_": "segexp.models.EncoderDecoder", "encoder": "resnet18", "weights": "imagenet"}
FCN = {"_target_": "segexp.models.TorchvisionNet", "encoder": "resnet50", "weights": "imagenet"}
IGNORED = [
    {},
    {"_target_": "segexp.models.UNet", "width": 8},
    {**FPN, "weights": "none"},
    {**FPN, "weights": "encoder.pth"},
    {**FPN, "encoder": "tu-resnet18"},
    {**FPN, "encoder": "resnet_18"},
    {**FPN, "_target_": "my_nets.EncoderDecoder"},
    {**FCN, "weights": "ssl"},
    {**FCN, "encoder": None},
]


def test_the_addresses_are_those_of_the_libraries():
    known = json.loads(ADDRESSES.read_text(encoding="utf-8"))
    assert known == addresses(), "type python -m segexp.models.pretrained_index"
    assert len(known["hub"]) > 70


@pytest.mark.parametrize(
    ("model", "build"),
    [
        (FPN, lambda: EncoderDecoder(3, 2, "fpn", "resnet18", "imagenet")),
        (FCN, lambda: TorchvisionNet(3, 2, "fcn", "resnet50", "imagenet")),
    ],
)
def test_the_early_word_is_the_later_one(model, build, hub, closed, ask_at, monkeypatch):
    ask_at(closed)
    monkeypatch.setattr(pretrained, "urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(ConfigError) as early:
        check_weights(model)
    with pytest.raises(ConfigError) as late:
        build()
    assert "are not on this machine" in str(early.value)
    assert str(early.value) == str(late.value)


def test_weights_that_can_be_had_are_not_fetched(hub):
    repository, revision = addresses()["hub"]["resnet18"]["imagenet"].split("@")
    path = f"/{repository}/resolve/{revision}/model.safetensors"
    hub.files[path] = b"weights"
    check_weights(FPN)
    assert hub.asked == [("HEAD", path)]


def test_weights_that_are_here_need_nobody(hub, closed, ask_at, tmp_path):
    ask_at(closed)
    repository, revision = addresses()["hub"]["resnet18"]["imagenet"].split("@")
    folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / revision
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    check_weights(FPN)
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / addresses()["torch"]["resnet50"].rpartition("/")[2]).write_bytes(b"weights")
    check_weights(FCN)


@pytest.mark.parametrize("model", IGNORED)
def test_nobody_is_asked_about_anything_else(model, hub):
    check_weights(model)
    assert hub.asked == []


@pytest.mark.parametrize("variables", [{}, {"TORCH_HOME": "~/there"}, {"XDG_CACHE_HOME": "cache"}])
def test_the_folder_is_that_of_torch_hub(variables, monkeypatch):
    monkeypatch.delenv("TORCH_HOME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        pretrained.check_torch_file("http://127.0.0.1:1/net-0123abcd.pth")
    assert caught.value.expected.endswith(f" {torch.hub.get_dir()}/checkpoints")


COMMAND = """
import sys
from segexp.cli.train import main
code = main(sys.argv[1:])
print(code, [name for name in ("torch", "torchvision", "pytorch_lightning", "timm") if name in sys.modules])
"""


def test_the_command_says_it_before_anything_slow_is_imported(tmp_path, closed):
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "", "HF_ENDPOINT": closed}
    words = ["data=demo", "model=unet_encoder", "model.weights=imagenet", f"run_dir={tmp_path / 'run'}"]
    done = subprocess.run([sys.executable, "-c", COMMAND, *words], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "2 []"
    assert done.stderr.startswith("segexp: The pretrained weights model.safetensors are not on this machine")
    assert str(tmp_path / "hub" / "models--smp-hub--resnet34.imagenet" / "snapshots") in done.stderr
    assert len(done.stderr.splitlines()) == 1


COMMIT = "7a57b34f723329ff020b3f8bc41771163c519d0c"
CONTENT = b"weights" * 1000


def test_the_hub_is_asked_once_and_then_never_again(hub):
    hub.files[f"/smp-hub/net/resolve/{COMMIT}/model.safetensors"] = CONTENT
    path = hub_file("smp-hub/net", COMMIT)
    assert path.read_bytes() == CONTENT
    asked = len(hub.asked)
    assert hub_file("smp-hub/net", COMMIT) == path
    assert len(hub.asked) == asked


@pytest.mark.parametrize("revision", [COMMIT, None])
def test_without_a_connection_the_message_says_file_address_and_folder(revision, hub, closed, monkeypatch, tmp_path, ask_at):
    ask_at(closed)
    folder = tmp_path / "hub" / "models--smp-hub--net" / "snapshots" / (revision or "main")
    url = f"{closed}/smp-hub/net/resolve/{revision or 'main'}/model.safetensors"
    with pytest.raises(ConfigError) as caught:
        hub_file("smp-hub/net", revision)
    error = caught.value
    assert error.found.startswith(
        f"The pretrained weights model.safetensors are not on this machine and {url} cannot be reached ("
    )
    assert error.expected == f"They are looked for in the folder {folder}"
    assert error.do == (
        f"On a machine with a connection download {url} and put it there as model.safetensors, or name the file with "
        "model.weights=FILE; model.weights=none starts from random weights"
    )
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(CONTENT)
    assert hub_file("smp-hub/net", revision) == folder / "model.safetensors", "put there by hand, it is found"


def test_a_branch_that_is_known_is_looked_up_in_its_commit(hub, closed, monkeypatch, tmp_path, ask_at):
    hub.files["/timm/net/resolve/main/other.bin"] = CONTENT
    hub_file("timm/net", None, "other.bin")
    ask_at(closed)
    with pytest.raises(ConfigError) as caught:
        hub_file("timm/net")
    assert caught.value.expected.endswith(str(tmp_path / "hub" / "models--timm--net" / "snapshots" / COMMIT))


def test_offline_by_wish_asks_nobody(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError) as caught:
        hub_file("smp-hub/net", COMMIT)
    assert "(HF_HUB_OFFLINE is set, which forbids to ask)" in caught.value.found
    assert caught.value.do.startswith("Unset HF_HUB_OFFLINE to download it; or download http://127.0.0.1")
    assert hub.asked == []


def test_what_the_hub_does_not_have_is_said(hub):
    with pytest.raises(ConfigError, match=r"cannot be reached \(.*404"):
        hub_file("smp-hub/net", COMMIT)


def test_patience_is_below_ten_seconds():
    assert pretrained.ANSWER < pretrained.PATIENCE < 6, "the libraries take some seconds to be imported, too"


@pytest.mark.parametrize(
    "source", [lambda _: hub_file("smp-hub/net", COMMIT), lambda url: torch_file(f"{url}/net-0123abcd.pth")]
)
def test_a_server_that_never_answers_is_left_alone(source, hub, silent, monkeypatch, ask_at):
    monkeypatch.setattr(pretrained, "ANSWER", 0.2)
    ask_at(silent)
    with pytest.raises(ConfigError, match=r"cannot be reached \(.*(timed out|timeout)"):
        source(silent)


def test_a_search_for_a_name_that_never_ends_is_left_behind(monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "PATIENCE", 0.1)
    stop = threading.Event()
    with pytest.raises(ConfigError, match=r"cannot be reached \(no answer within 0\.1 seconds\)"):
        pretrained.check_answer("http://host/a.pth", tmp_path / "a.pth", stop.wait)
    stop.set()


def test_a_download_that_breaks_off_is_the_same_message(tmp_path):
    def broken():
        raise OSError("No space left on device")

    with pytest.raises(ConfigError, match=r"a\.pth cannot be reached \(No space left on device\)"):
        pretrained.download_or_explain("http://host/a.pth", tmp_path / "a.pth", broken)


def test_torch_hub(hub, closed, tmp_path):
    digest = hashlib.sha256(CONTENT).hexdigest()[:8]
    name, folder = f"resnet-{digest}.pth", tmp_path / "torch" / "hub" / "checkpoints"
    with pytest.raises(ConfigError) as caught:
        torch_file(f"{closed}/models/{name}")
    assert caught.value.found.startswith(f"The pretrained weights {name} are not on this machine and {closed}/models/{name} ")
    assert caught.value.expected == f"They are looked for in the folder {folder}"
    assert f"put it there as {name}, or name the file with model.weights=FILE" in caught.value.do
    hub.files[f"/models/{name}"] = CONTENT
    path = torch_file(f"{hub.address}/models/{name}")
    assert path == folder / name
    assert path.read_bytes() == CONTENT
    assert torch_file(f"{closed}/models/{name}") == path, "it is here now"


def test_a_file_with_another_content_than_its_name_says_is_refused(hub, tmp_path):
    hub.files["/net-00000000.pth"] = CONTENT
    with pytest.raises(ConfigError, match="invalid hash value"):
        torch_file(f"{hub.address}/net-00000000.pth")
    assert not (tmp_path / "torch" / "hub" / "checkpoints" / "net-00000000.pth").exists()


@pytest.mark.parametrize(
    ("encoder", "where"), [("resnet18", "smp-hub/resnet18.imagenet"), ("tu-resnet18", "timm/resnet18.a1_in1k")]
)
def test_imagenet_is_never_random_in_silence(encoder, where, hub, closed, monkeypatch, ask_at):
    ask_at(closed)
    with pytest.raises(ConfigError) as caught:
        EncoderDecoder(1, 2, "unet", encoder, "imagenet")
    assert f"{closed}/{where}/resolve/" in caught.value.found


@pytest.mark.slow
@pytest.mark.parametrize("offline", ["1", ""])
def test_a_machine_without_internet(offline, tmp_path, closed):
    """In a process of its own, since the hub's library reads the environment when it is imported."""
    words = (
        "from segexp.errors import ConfigError\nfrom segexp.models import EncoderDecoder\n"
        "try: EncoderDecoder(3, 2, 'unet', 'resnet18', 'imagenet')\nexcept ConfigError as e: print(e)"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": offline, "HF_ENDPOINT": closed}
    out = subprocess.run([sys.executable, "-c", words], env=environment, capture_output=True, text=True, check=True).stdout
    assert "are not on this machine" in out
    assert ("HF_HUB_OFFLINE is set" in out) == (offline == "1")
    assert str(tmp_path / "hub" / "models--smp-hub--resnet18.imagenet") in out


def test_nothing_heavy_is_imported_with_the_networks():
    words = (
        "import sys, segexp.models\n"
        "print([m for m in ('segmentation_models_pytorch', 'timm', 'torchvision', 'huggingface_hub') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
