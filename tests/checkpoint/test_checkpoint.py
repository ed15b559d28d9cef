"""Checkpoints: one file rebuilds the segmenter, nothing else is needed, and nothing in it is run."""

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.configs import data_config, train_config
from segexp.checkpoint import (
    SCHEMA,
    check_resume,
    describe,
    find_checkpoint,
    load_segmenter,
    read_checkpoint,
    store_postprocessing,
    without_pretrained,
)
from segexp.checkpoint.content import stored_split
from segexp.checkpoint.files import write_checkpoint
from segexp.checkpoint.splits import check_spec
from segexp.config.schema import Component, TrainConfig
from segexp.data.preprocessing import Preprocessing
from segexp.errors import CheckpointError, ConfigError
from segexp.inference.postprocessing import Postprocessing
from segexp.models import EncoderDecoder, UNet
from segexp.types import DataSpec

MODEL = {"_target_": "segexp.models.UNet", "in_channels": 1, "num_classes": 2, "width": 2, "depth": 2}
SPEC = DataSpec("toy", ("background", "thing"), 1, ((0, 0, 0), (255, 128, 0)))
CONFIG: dict[str, Any] = {"model": MODEL, "trainer": {"channels_last": True}, "data": {"max_pixels": None}}


def written(path: Path, **changes: Any) -> tuple[Path, UNet]:
    """A checkpoint of a small U-Net, as training writes it."""
    torch.manual_seed(1)
    network = UNet(1, 2, width=2, depth=2)
    config = train_config({**CONFIG, **changes.pop("config", {})})
    content = describe(config, SPEC, Preprocessing(1, 24, mean=(0.4,), std=(0.2,)), "ab12", "32", {})
    weights = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": weights, "segexp": {**content, **changes}}, path)
    return path, network.eval()


def test_it_rebuilds_everything(tmp_path: Path) -> None:
    path, network = written(tmp_path / "best.ckpt")
    segmenter = load_segmenter(path)
    assert segmenter.spec == SPEC
    assert segmenter.preprocessing == Preprocessing(1, 24, mean=(0.4,), std=(0.2,))
    assert segmenter.origin.split_hash == "ab12"
    assert segmenter.origin.config == train_config(CONFIG)
    assert (segmenter.origin.file, segmenter.origin.tuned) == (path, False)
    assert not segmenter.network.training
    image = np.random.default_rng(0).integers(0, 255, (40, 48, 1)).astype(np.uint8)
    with torch.no_grad():
        logits = network(segmenter.preprocessing.prepare(image)[None])
    expected = torch.nn.functional.interpolate(logits, size=(40, 48), mode="bilinear", align_corners=False)[0].argmax(0)
    assert segmenter.classes(image).tolist() == expected.tolist()


def test_it_holds_plain_values_only(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt")
    values = torch.load(path, weights_only=True)["segexp"]
    assert values["schema"] == SCHEMA
    assert set(values["versions"]) == {"segexp", "torch", "pytorch-lightning", "numpy", "python"}


def test_a_run_directory_means_its_best_weights(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    last, _ = written(tmp_path / "checkpoints" / "last.ckpt")
    assert find_checkpoint(tmp_path) == last
    best, _ = written(tmp_path / "checkpoints" / "best.ckpt")
    assert find_checkpoint(tmp_path) == best
    assert find_checkpoint(tmp_path / "checkpoints") == best


def test_no_such_run_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "run_one").mkdir()
    with pytest.raises(CheckpointError, match=r"checkpoint=.*run_on does not exist.*Did you mean run_one"):
        find_checkpoint(tmp_path / "run_on")
    with pytest.raises(CheckpointError, match=r"is a folder without checkpoints/best\.ckpt"):
        find_checkpoint(tmp_path / "run_one")


def test_an_exported_file_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"liver\.onnx does not exist"):
        find_checkpoint(tmp_path / "liver.onnx")
    (tmp_path / "liver.onnx").touch()
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(tmp_path / "liver.onnx")
    assert str(caught.value) == (
        f"checkpoint={tmp_path / 'liver.onnx'} is an exported file. A trained network was expected: a run directory or a .ckpt "
        "file. Type checkpoint=RUN with the run that it was exported from; liver.onnx.json names it."
    )


@pytest.mark.parametrize("kind", ["truncated", "text", "empty", "code"])
def test_a_broken_file_is_named(kind: str, tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt")
    data = path.read_bytes()
    contents = {"truncated": data[: len(data) // 2], "text": b"not a checkpoint", "empty": b"", "code": pickle.dumps(Path("x"))}
    path.write_bytes(contents[kind])
    with pytest.raises(CheckpointError, match=r"best\.ckpt cannot be read as a checkpoint.*name another one with checkpoint="):
        read_checkpoint(path)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "old.ckpt")
    write_checkpoint(path, read_checkpoint(path))
    content, draw = path.read_bytes(), np.random.default_rng(0)
    for place in (*draw.integers(0, len(content), 20), len(content) - 1, len(content) - 9, len(content) - 22):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            read_checkpoint(path)


def test_a_file_without_a_checksum_of_its_own_has_those_of_the_archive(tmp_path: Path) -> None:
    path, network = written(tmp_path / "old.ckpt")
    content = bytearray(path.read_bytes())
    content[content.index(network.state_dict()["head.weight"].numpy().tobytes()) + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"old\.ckpt is damaged: its bytes are not those that were written"):
        read_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(value: float, tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt")
    values = read_checkpoint(path)
    values["state_dict"]["network.head.bias"][1] = value
    write_checkpoint(path, values)
    with pytest.raises(CheckpointError, match=r"holds weights that are not finite numbers: 1 of 2 in head\.bias"):
        load_segmenter(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"spec": {"name": "toy"}}, r"no usable entry segexp\.spec\.classes \(Field required\)"),
        ({"split_hash": 7}, r"no usable entry segexp\.split_hash"),
        ({"preprocessing": {}}, "stores a preprocessing that this segexp does not know"),
        ({"preprocessing": {"channels": "one"}}, "stores a preprocessing that this segexp does not know"),
    ],
)
def test_an_entry_that_is_missing_or_of_another_type_is_named(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt", **changes)
    with pytest.raises(CheckpointError, match=told):
        load_segmenter(path)


def test_a_foreign_file_says_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"model": {"w": torch.zeros(1)}, "epoch": 3}, path)
    with pytest.raises(CheckpointError, match=r"other\.pt is a torch file but not one of segexp's: it holds model, epoch"):
        read_checkpoint(path)


def test_another_form_names_the_version_that_wrote_it(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt", schema=99, versions={"segexp": "9.9"})
    with pytest.raises(
        CheckpointError, match=r"has form 99 and this segexp .* reads 1, 2\..*Install the version that wrote it \(9\.9\)"
    ):
        read_checkpoint(path)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt", config={"model": {**MODEL, "width": 4}})
    with pytest.raises(CheckpointError, match=r"The weights in .*best\.ckpt do not fit the network it names"):
        load_segmenter(path)


def test_a_network_of_a_stranger_is_not_built(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt", config={"model": {"_target_": "os.getcwd"}})
    for trust in ((), ("os",), True):  # no trust extends to the standard library
        with pytest.raises(
            CheckpointError, match=r"to run os\.getcwd .* Do not use this file.* no 'trust=\[PACKAGE\]' allows it"
        ):
            load_segmenter(path, trust=trust)


def test_a_network_whose_code_is_missing_says_how_to_get_it(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt", config={"model": {"_target_": "my_missing_nets.Tiny"}})
    with pytest.raises(CheckpointError) as caught:
        load_segmenter(path)
    assert str(caught.value) == (
        "The checkpoint's network is my_missing_nets.Tiny, and the package my_missing_nets is not found. A checkpoint holds "
        "the weights of a network and not its code, which must be there under the name it had in training. Put the folder that "
        "holds my_missing_nets on PYTHONPATH, or install it with pip; then, if you trust where it comes from, type "
        "'trust=[my_missing_nets]'."
    )


# Pretrained weights -------------------------------------------------------------------------------------------------------

ENCODER = {
    "_target_": "segexp.models.EncoderDecoder",
    "in_channels": 1,
    "num_classes": 2,
    "architecture": "unet",
    "encoder": "tu-test_resnet",
    "decoder": {"channels": [8, 8, 8, 8, 8]},
}


@pytest.mark.parametrize("weights", ["imagenet", "/gone/resnet.pth"])
def test_loading_asks_for_no_pretrained_weights(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name in ("check_answer", "download_or_explain"):
        monkeypatch.setattr(f"segexp.models.pretrained.{name}", lambda url, *_: asked.append(url))
    path, _ = written(tmp_path / "best.ckpt", config={"model": {**ENCODER, "weights": weights}})
    network = EncoderDecoder(**{key: value for key, value in ENCODER.items() if key != "_target_"})
    values = torch.load(path, weights_only=True)
    values["state_dict"] = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save(values, path)
    segmenter = load_segmenter(path)
    assert asked == []
    assert segmenter.origin.config.model.arguments["weights"] == weights, "what it was trained from is still known"
    image = torch.randn(1, 1, 32, 48)
    torch.testing.assert_close(segmenter.network(image), network.eval()(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "changed"),
    [
        ({"_target_": "segexp.models.EncoderDecoder", "weights": "imagenet"}, {"weights": "none"}),
        ({"_target_": "segexp.models.TorchvisionNet", "weights": "a.pth"}, {"weights": "none"}),
        ({"_target_": "segexp.models.UNet", "width": 2}, {}),
        ({"_target_": "torchvision.models.segmentation.fcn_resnet50"}, {"weights": None, "weights_backbone": None}),
        ({"_target_": "segmentation_models_pytorch.Unet", "encoder_weights": "imagenet"}, {"encoder_weights": None}),
        ({"_target_": "segmentation_models_pytorch.create_model", "arch": "unet"}, {"encoder_weights": None}),
        ({"_target_": "my_nets.Tiny", "weights": "imagenet"}, {}),
    ],
)
def test_pretrained_weights_are_left_out(model: dict[str, Any], changed: dict[str, Any]) -> None:
    component = Component.model_validate(model)
    assert without_pretrained(component).plain() == {**model, **changed}
    assert component.plain() == model


# The stored post-processing ----------------------------------------------------------------------------------------------

RULE = Postprocessing(0.35, 20, largest_component=True, fill_holes=True)
RECORD: dict[str, Any] = {"parameters": RULE.as_dict(), "gain": 0.02, "low": 0.01, "high": 0.03, "cases": 20}


def trained(path: Path) -> dict[str, Any]:
    """A checkpoint with all that Lightning puts beside the weights; returns its values."""
    written(path)
    values = torch.load(path, weights_only=True)
    weights = list(values["state_dict"].values())
    momentum = {n: {"step": torch.tensor(3.0), "exp_avg": torch.randn_like(w.float())} for n, w in enumerate(weights)}
    values |= {"epoch": 3, "optimizer_states": [{"state": momentum}], "current_model_state": dict(values["state_dict"])}
    torch.save(values, path)
    return values


def same(a: Any, b: Any) -> bool:
    """Say whether plain values and tensors are equal, the tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        return (a.dtype, a.shape, a.stride(), a.numpy().tobytes()) == (b.dtype, b.shape, b.stride(), b.numpy().tobytes())
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def test_an_old_checkpoint_has_no_post_processing(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt")
    assert load_segmenter(path).postprocessing.is_identity


def test_post_processing_is_stored_beside_untouched_weights(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    before = trained(path)
    path.chmod(0o640)
    store_postprocessing(path, RECORD)
    after = torch.load(path, weights_only=True)
    assert after["segexp"].pop("postprocessing") == RECORD
    assert same(before, after)
    assert path.stat().st_mode & 0o777 == 0o640
    assert [file.name for file in tmp_path.iterdir()] == ["best.ckpt"]
    segmenter = load_segmenter(path)
    assert segmenter.postprocessing == RULE
    assert segmenter.origin.tuned


def test_the_segmenter_applies_what_is_stored(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt")
    image = np.random.default_rng(0).integers(0, 255, (40, 48, 1)).astype(np.uint8)
    probabilities = load_segmenter(path).probabilities(image)
    store_postprocessing(path, {"parameters": Postprocessing(0.45, 6).as_dict()})
    expected = Postprocessing(0.45, 6).apply(probabilities)
    assert load_segmenter(path).classes(image).tolist() == expected.tolist()


def test_it_is_replaced_and_taken_out_again(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    before = trained(path)
    for record in (RECORD, {**RECORD, "gain": 0.5}):
        store_postprocessing(path, record)
        assert read_checkpoint(path)["segexp"]["postprocessing"] == record
    store_postprocessing(path, None)
    assert same(before, read_checkpoint(path))


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "best.ckpt"
    before = trained(path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError) as caught:
        store_postprocessing(path, RECORD)
    assert str(caught.value) == (
        f"{path} cannot be written (No space left on device). The chosen post-processing is stored in the checkpoint, so its "
        "folder must be writable and have room for a copy. Copy the run to a folder of your own and name that one with "
        "checkpoint=RUN."
    )
    assert same(before, read_checkpoint(path))
    assert [file.name for file in tmp_path.iterdir()] == ["best.ckpt"]


@pytest.mark.parametrize("stored", [{"parameters": {"sharpen": 3}}, {"parameters": {"threshold": 7.0}}, {}])
def test_post_processing_of_another_version_names_it(stored: dict[str, Any], tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt", postprocessing=stored, versions={"segexp": "9.9"})
    with pytest.raises(CheckpointError) as caught:
        load_segmenter(path)
    assert str(caught.value) == (
        f"{path} stores a post-processing that this segexp does not know: {stored}. Parameters that python -m segexp.evaluate "
        "tune=postprocess stored were expected. Install the version that wrote it: {'segexp': '9.9'}."
    )


# Version 0.1, whose keys had other names ----------------------------------------------------------------------------------


def old(path: Path) -> Path:
    """A checkpoint as segexp 0.1 wrote it."""
    written(path, schema=1, versions={"segexp": "0.1.0"})
    values = torch.load(path, weights_only=True)
    config = values["segexp"]["config"]
    for key in ("batch_size", "num_workers", "labels"):
        del config["data"][key]
    for key in ("check_val_every_n_epoch", "limit_train_batches", "limit_val_batches", "accumulate_grad_batches"):
        del config["trainer"][key]
    del config["trainer"]["gradient_clip_val"]
    config["trainer"] |= {"batch_size": 3, "workers": 1, "validate_every": 2, "limit_batches": 5, "clip": 0.5, "accumulate": 4}
    torch.save(values, path)
    return path


def test_a_checkpoint_of_the_version_before_is_read_under_the_names_of_now(tmp_path: Path) -> None:
    segmenter = load_segmenter(old(tmp_path / "best.ckpt"))
    config = segmenter.origin.config
    assert (config.data.batch_size, config.data.num_workers, config.data.labels) == (3, 1, "exclusive")
    trainer = config.trainer
    assert (trainer.check_val_every_n_epoch, trainer.limit_train_batches, trainer.limit_val_batches) == (2, 5, 5)
    assert (trainer.gradient_clip_val, trainer.accumulate_grad_batches) == (0.5, 4)
    assert segmenter.spec == SPEC


def test_a_run_of_the_version_before_is_resumed_with_that_version(tmp_path: Path) -> None:
    path = old(tmp_path / "last.ckpt")
    with pytest.raises(
        CheckpointError, match=r"was written by segexp 0\.1\.0, and .*Type pip install segexp==0\.1\.0 to resume"
    ):
        check_resume(path, train_config(CONFIG), SPEC, "ab12")


def test_a_configuration_that_cannot_be_understood_is_named(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt")
    values = torch.load(path, weights_only=True)
    for config, reason in ((values["segexp"]["config"] | {"seed": "nought"}, "seed: "), ([], "")):
        torch.save({**values, "segexp": {**values["segexp"], "config": config}}, path)
        with pytest.raises(
            CheckpointError, match=rf"best\.ckpt holds a configuration that segexp .* does not understand \({reason}"
        ):
            load_segmenter(path)


# Overlapping labels --------------------------------------------------------------------------------------------------------


def test_labels_that_overlap_are_remembered_and_those_of_older_files_do_not(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "best.ckpt")
    values = torch.load(path, weights_only=True)
    assert values["segexp"]["spec"].pop("overlapping") is False
    torch.save(values, tmp_path / "old.ckpt")
    assert load_segmenter(tmp_path / "old.ckpt").spec == SPEC
    values["segexp"]["spec"]["overlapping"] = True
    torch.save(values, tmp_path / "sets.ckpt")
    assert load_segmenter(tmp_path / "sets.ckpt").spec == replace(SPEC, overlapping=True)


def test_a_resumed_run_keeps_its_labels(tmp_path: Path) -> None:
    config = train_config(CONFIG)
    path, _ = written(tmp_path / "last.ckpt")
    check_resume(path, config, SPEC, "ab12")
    check_resume(path, config.updated({"data.labels": "exclusive"}), SPEC, "ab12")
    with pytest.raises(CheckpointError, match=r"was trained with data\.labels exclusive \(now overlapping\)\. A resumed run"):
        check_resume(path, config.updated({"data.labels": "overlapping"}), SPEC, "ab12")


def test_a_resumed_run_does_not_end_before_it_begins(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "last.ckpt")
    values = torch.load(path, weights_only=True)
    torch.save({**values, "epoch": 7}, path)

    def of(trainer: dict[str, Any]) -> TrainConfig:
        return train_config({**CONFIG, "trainer": trainer})

    for trainer in ({"max_epochs": 8}, {"max_epochs": 3, "minutes": 5.0}, {"max_epochs": None, "minutes": None}):
        check_resume(path, of(trainer), SPEC, "ab12")
    with pytest.raises(ConfigError) as error:
        check_resume(path, of({"max_epochs": 7, "minutes": None}), SPEC, "ab12")
    assert str(error.value) == (
        f"trainer.max_epochs=7, and {path} has 8 epochs behind it. To go on, more than these were expected. Type "
        "trainer.max_epochs=16, say."
    )


def test_other_data_must_have_labels_of_the_same_kind() -> None:
    data = data_config(classes={"background": 0, "thing": 255}, channels=1)
    check_spec(data, SPEC)
    check_spec(data.changed(labels="overlapping"), replace(SPEC, overlapping=True))
    with pytest.raises(ConfigError) as error:
        check_spec(data.changed(labels="exclusive"), replace(SPEC, overlapping=True))
    assert str(error.value) == (
        "data.labels=exclusive, and the checkpoint was trained with overlapping labels. Labels of the same kind were expected: "
        "they decide what the network's output means. Leave data.labels out."
    )


def test_a_stored_split_comes_back_and_its_keys_cannot_change_on_resuming(tmp_path: Path) -> None:
    out = {"val": ["c3"], "test": []}
    path, _ = written(tmp_path / "last.ckpt", held_out=out)
    assert load_segmenter(path).origin.held_out == stored_split(path) == out
    config = train_config(CONFIG)
    check_resume(path, config, SPEC, "ab12")
    with pytest.raises(CheckpointError, match=r"data\.val_fraction .* \(now 0\.3\)"):
        check_resume(path, config.updated({"data.val_fraction": 0.3}), SPEC, "ab12")
    with pytest.raises(CheckpointError, match=r"seed 0 \(now 7\)"):
        check_resume(path, config.updated({"seed": 7, "data.split_seed": None}), SPEC, "ab12")
    path, _ = written(tmp_path / "old.ckpt")
    assert stored_split(path) == {} == load_segmenter(path).origin.held_out
