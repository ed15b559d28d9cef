import json
import os
import subprocess
import sys

import pytest
import torch

from segexp.errors import ConfigError
from segexp.models import EncoderDecoder, TorchvisionNet
from segexp.published import fetching
from segexp.published.early import ADDRESSES, check_weights
from segexp.published.renew import addresses

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
    assert known == addresses(), "type python -m segexp.published.renew"
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
    monkeypatch.setattr(fetching, "urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no route")))
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
        fetching.torch_ready("http://127.0.0.1:1/net-0123abcd.pth")
    assert caught.value.expected.endswith(f" {torch.hub.get_dir()}/checkpoints")


COMMAND = """
import sys
from segexp.train import main
code = main(sys.argv[1:])
print(code, [name for name in ("torch", "torchvision", "pytorch_lightning", "timm") if name in sys.modules])
"""


def test_the_command_says_it_before_anything_slow_is_imported(tmp_path, closed):
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "", "HF_ENDPOINT": closed}
    words = ["model=unet_encoder", "model.weights=imagenet", f"run_dir={tmp_path / 'run'}"]
    done = subprocess.run([sys.executable, "-c", COMMAND, *words], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "2 []"
    assert done.stderr.startswith("segexp: The pretrained weights model.safetensors are not on this machine")
    assert str(tmp_path / "hub" / "models--smp-hub--resnet34.imagenet" / "snapshots") in done.stderr
    assert len(done.stderr.splitlines()) == 1
