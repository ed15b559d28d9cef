"""Bad input through the public commands: one paragraph that says what was found, what was expected and what to type."""

import os
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segexp.devices import torch_build
from segexp.training.task import SegmentationTask

pytestmark = pytest.mark.slow
BLANK = np.zeros((64, 64), np.uint8)
PICTURES = (
    "data.image={{split}}/{{id}}.png and data.mask={{split}}/{{id}}_mask.png pair files with the same split, id. Add the "
)
PICTURES += "missing files, move the others out, or correct the patterns; one that names a folder leaves the others out."
UNREADABLE = (
    "No case is left out in silence. Copy the file again from where it came, or leave it and its partner out: type "
    "'data.exclude=[{name}]'."
)
SECOND = UNREADABLE.format(name="train/002.png")


@pytest.fixture
def refused(train, small, slices, tmp_path, monkeypatch, capfd):
    """Type a train command on a copy of the pictures, changed by `prepare`; returns exit code and paragraph."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEGEXP_DEBUG", raising=False)
    monkeypatch.setattr(SegmentationTask, "training_step", no_step)
    shutil.copytree(slices, tmp_path / "pictures")

    def command(*words, prepare=lambda _: None):
        prepare(tmp_path / "pictures")
        code = train(*small, "data.root=pictures", "trainer.max_epochs=1", *words)
        out, err = capfd.readouterr()
        assert all(line.startswith(("Run directory: ", "Layout of ")) for line in out.splitlines()), out
        assert err.startswith("segexp: ")
        assert not list(tmp_path.rglob("config.yaml")), "a run that never began leaves no directory"
        return code, err.removeprefix("segexp: ").removesuffix("\n")

    return command


def no_step(*_):
    raise AssertionError("a batch was trained")


def blank_mask(mask):
    return lambda root: cv2.imwrite(str(root / "train" / "000_mask.png"), mask)


def spotted(*shape, value):
    mask = np.zeros(shape, np.uint8)
    mask[:4, :5] = value
    return mask


def cut(name, length):
    def prepare(root):
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: int(length * len(data))])

    return prepare


def all_background(root):
    for path in root.glob("train/*_mask.png"):
        cv2.imwrite(str(path), BLANK)


def replaced_by_a_file(root):
    shutil.rmtree(root)
    root.write_text("pictures")


def emptied(root):
    shutil.rmtree(root)
    root.mkdir()


DATA = {
    "folder_missing": (
        shutil.rmtree,
        "The data folder {root} does not exist. data.root is the folder that holds the pictures. Type data.root=DIR.",
    ),
    "folder_is_a_file": (
        replaced_by_a_file,
        "The data folder {root} is a file. data.root is the folder that holds the pictures. Type data.root=DIR.",
    ),
    "folder_empty": (
        emptied,
        "The data folder {root} holds no files. Pictures and masks were expected in it. Type data.root=DIR.",
    ),
    "image_without_mask": (
        lambda root: (root / "train" / "000_mask.png").unlink(),
        f"1 of 10 images have no mask: train/000.png (for train/000.png it would be train/000_mask.png). {PICTURES}",
    ),
    "mask_without_image": (
        lambda root: (root / "val" / "001.png").unlink(),
        f"1 masks have no image: val/001_mask.png. {PICTURES}",
    ),
    "two_files_with_one_id": (
        lambda root: shutil.copytree(root / "train", root / "training"),
        "train/000.png and training/000.png both have the id train/000. data.image={{split}}/{{id}}.png must give each file an "
        "id of its own. Remove one of the two files, or tell them apart in data.image (by the ending, or {{group}} instead "
        "of *).",
    ),
    "sizes_differ": (
        blank_mask(BLANK[:, :32]),
        "{root}/train/000_mask.png is 64x32 (height x width) and its image {root}/train/000.png is 64x64. A mask has the size "
        "of its image. Make the mask again at the image's size, or take the pair out of the folder.",
    ),
    "image_truncated": (
        cut("train/002.png", 0.5),
        f"{{root}}/train/002.png cannot be read (image file is truncated). {SECOND}",
    ),
    "mask_truncated": (
        cut("val/002_mask.png", 0.6),
        f"{{root}}/val/002_mask.png cannot be read (image file is truncated). {UNREADABLE.format(name='val/002_mask.png')}",
    ),
    "image_of_nothing": (
        cut("train/002.png", 0),
        f"{{root}}/train/002.png cannot be read (cannot identify image file '{{root}}/train/002.png'). {SECOND}",
    ),
    "not_an_image": (
        lambda root: (root / "train" / "002.png").write_text("This is no picture."),
        f"{{root}}/train/002.png cannot be read (cannot identify image file '{{root}}/train/002.png'). {SECOND}",
    ),
    "value_of_no_class": (
        blank_mask(spotted(64, 64, value=7)),
        "{root}/train/000_mask.png has 20 pixels of the value 7, which no class claims. Claimed are 0 (background), 255 "
        "(liver). Type 'data.ignore=[7]' to leave such pixels out, or give it to a class: 'data.classes.liver=[255, 7]'.",
    ),
    "colour_of_no_class": (
        blank_mask(spotted(64, 64, 3, value=(0, 128, 255))),
        "{root}/train/000_mask.png has 20 pixels of the value #FF8000, which no class claims. Claimed are 0 (background), 255 "
        "(liver). Type 'data.ignore=[\"#FF8000\"]' to leave such pixels out, or give it to a class: "
        "'data.classes.liver=[255, \"#FF8000\"]'.",
    ),
    "masks_all_one_value": (
        all_background,
        "Every mask of the 5 training images is all one value (class background). Pixels of at least two of the classes "
        "background, liver were expected. Look at the masks, and at which values data.classes gives to which class.",
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_bad_data(refused, tmp_path, name):
    prepare, paragraph = DATA[name]
    code, found = refused(prepare=prepare)
    assert found == paragraph.format(root=tmp_path / "pictures")
    assert code == 1


KEYS = {
    "more_classes_than_colours": (
        ["data.classes={background: 0, liver: 255, tumour: []}"],
        "data.classes names 3 classes, but only 2 have a value or colour. Every class needs one; tumour has none. "
        "Type data.classes.tumour=VALUE, or remove the class with '~data.classes.tumour'.",
    ),
    "one_value_for_two_classes": (
        ["data.classes={background: 0, liver: 255, tumour: 255}"],
        "Both liver and tumour claim the mask value 255. A value belongs to one class (a gray value v is the same as the "
        "colour with three channels v). Remove it from one of them in data.classes or data.ignore.",
    ),
    "one_class": (
        ["data.classes={liver: 255}"],
        "data.num_classes is 1 (a whole number); expected a whole number, 2 or more, or null.",
    ),
    "crop_larger_than_the_image": (
        ["data.crop=[32,65]"],
        "data.crop=[32, 65] is larger than every training image: at data.size=64 the largest is 64x64 (height x width). A crop "
        "that fits into the image was expected. Type data.crop=64 or less, or data.crop=null for whole images.",
    ),
    "batch_larger_than_the_training_set": (
        ["data.batch_size=6"],
        "data.batch_size=6 is more than the 5 training samples of an epoch (5 images, data.repeat=1). A batch at most as "
        "large as the training set was expected. Type data.batch_size=5 or less, or a higher data.repeat.",
    ),
    "unknown_option": (
        ["model=unett"],
        "model=unett does not exist. Did you mean unet, unetpp, resunet? Options of model: {models}. To use a file "
        "of your own, put it at MY_CONF/model/unett.yaml and add --config-dir MY_CONF.",
    ),
    "unknown_group": (["modle=unet"], "modle is not a key of this configuration. Did you mean model?"),
    "unknown_key": (
        ["trainer.epochs=3"],
        "trainer.epochs is not a key of this configuration. It is called trainer.max_epochs. Type trainer.max_epochs=3.",
    ),
    "unknown_argument": (["+model.widht=3"], "model.widht is not an argument of segexp.models.UNet. Did you mean width?"),
    "unknown_score": (["trainer.monitor=dise"], "trainer.monitor is 'dise', which is no score. Did you mean dice?"),
    "text_for_a_number": (
        ["trainer.max_epochs=many"],
        "trainer.max_epochs is 'many' (text); expected a whole number, 1 or more, or null.",
    ),
    "text_for_an_argument": (["model.width=wide"], "model.width is 'wide' (text); expected a whole number."),
    "a_fraction_that_is_none": (
        ["data.val_fraction=2"],
        "data.val_fraction is 2 (a whole number); expected a number, between 0 and 1, or null.",
    ),
    "no_value": (
        ["data.normalize=imagenet"],
        "data.normalize is 'imagenet' (text); expected dataset | minmax | percentile or a mapping.",
    ),
    "weights_for_other_classes": (
        ["loss=ce", "loss.class_weights=[1,2,3]"],
        "loss.class_weights has 3 entries, but data liver has 2 classes. Give one weight per class, the background first.",
    ),
    "several": (
        ["model.width=wide", "data.batch_size=-1"],
        "The configuration has 2 problems:\n  1. data.batch_size is -1 (a whole number); expected auto, or a whole number, "
        "1 or more\n  2. model.width is 'wide' (text); expected a whole number.",
    ),
}


@pytest.mark.parametrize("name", KEYS)
def test_bad_keys(refused, conf, name):
    words, paragraph = KEYS[name]
    models = ", ".join(sorted(path.stem for path in (conf / "model").glob("*.yaml")))
    assert refused(*words) == (2, paragraph.format(models=models) if "{models}" in paragraph else paragraph)


@pytest.mark.parametrize(
    ("gpus", "asked"), [("1", "asks for 1 GPU"), ("3", "asks for 3 GPUs"), ("[0,1]", "names GPU 0, 1")], ids=["1", "3", "list"]
)
def test_gpus_that_are_not_there(refused, monkeypatch, gpus, asked):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert refused(f"trainer.gpus={gpus}") == (
        1,
        f"trainer.gpus={gpus} {asked}. There are no CUDA GPUs visible to {torch_build()}. "
        "Type trainer.gpus=0 for the CPU, or trainer.gpus=auto.",
    )


# A class of one's own, and what a loss and a network are asked for ---------------------------------------------------------

OWN = """
from torch import nn

class Net(nn.Conv2d):
    def __init__(self, in_channels: int, num_classes: int, width: int = 8, depth: int = 5):
        super().__init__(in_channels, num_classes, 3, padding=1)

class Pair(Net):
    def forward(self, image):
        return super().forward(image), image

class One(Net):
    def __init__(self, in_channels: int, width: int, depth: int):
        super().__init__(in_channels, 1)

class Plain(nn.CrossEntropyLoss):
    def __init__(self):
        super().__init__(ignore_index=255)
"""
REFUSED = {
    "tuple": (
        ["model._target_=mine.Pair"],
        "The network mine.Pair returns a tuple of 2 (a tensor (2, 2, 64, 64), a tensor (2, 1, 64, 64)). Expected one tensor of "
        "logits (2, 2, 64, 64). Return the entry [0] of it alone; further heads go into a method forward_scales(image), which "
        "returns a list of them, finest first, for deep_supervision=true.",
    ),
    "channels": (
        ["model._target_=mine.One"],
        "The network mine.One gives 1 channels for 2 classes. Expected one logit per class, the background too: two for a "
        "binary task, where a softmax stands for the sigmoid. Take their number from the argument num_classes, or name its "
        "own: 'model.ARGUMENT=${data.num_classes}'.",
    ),
    "argument": (
        ["model._target_=mine.Net", "model.blocks=3"],
        "model.blocks is not an argument of mine.Net. Known names: depth, in_channels, num_classes, width.",
    ),
    "unknown": (
        ["model._target_=mine.Nett"],
        "model: _target_ 'mine.Nett' does not exist: mine has no 'Nett'. Did you mean Net?",
    ),
    "loss": (
        ["loss._target_=mine.Plain"],
        "The loss loss=mine.Plain is nan on a mask in which every pixel is ignored (255). Expected a finite number. Divide by "
        "a number of pixels that is at least 1, as in total / valid.sum().clamp_min(1).",
    ),
    "augmentation": (
        ["augment.transforms=[{name: mine.Net}]"],
        "augment: mine.Net is no transform. a class that derives from albumentations.DualTransform or ImageOnlyTransform.",
    ),
    "heads": (
        ["model._target_=mine.Net", "deep_supervision=true"],
        "deep_supervision=true, and the network mine.Net has no heads for it. Networks that have: {heads}. A network of your "
        "own needs the argument deep_supervision and the method forward_scales; then type model.deep_supervision=true.",
    ),
    "weights_of_heads": (
        ["model=unetpp", "model.depth=4", "deep_supervision=[1,0.5]"],
        "deep_supervision=[1, 0.5] has 2 weights, and the network segexp.models.UNetPlusPlus has 3 heads. One weight per head, "
        "finest first; on an image of 64x64 they are 64x64, 64x64, 64x64. Type 'deep_supervision=[1.0, 0.5, 0.25]', or "
        "deep_supervision=true for all alike.",
    ),
    "negative_weight_of_a_head": (
        ["model=unetpp", "deep_supervision=[1,-1]"],
        "deep_supervision is [1, -1] (a list); expected true or false, or a list, each a number, 0 or more, or null.",
    ),
    "points": (
        ["loss.terms.dice.weight={0: 1.0, half: 0.0}"],
        "loss.terms.dice.weight has a point at 'half'. an epoch (a whole number from 0 on) or a share of the training (0% to "
        "100%). Set 'loss.terms.dice.weight={0: 0.0, 50: 1.0}' for epochs, 'loss.terms.dice.weight={0%: 0.0, 50%: 1.0}' for "
        "shares.",
    ),
    "auto": (
        ["loss.terms.ce.loss.class_weights=automatic"],
        "loss.terms.ce.loss.class_weights is 'automatic' (text); expected a list, each a number, or null.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_part_is_refused_before_any_picture_is_read(refused, tmp_path, monkeypatch, conf, name):
    from segexp.config.composition import options_with_key

    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("segexp.data.datamodule.SegmentationDataModule.setup", no_step)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    words, paragraph = REFUSED[name]
    heads = ", ".join(options_with_key("model", "deep_supervision"))
    assert refused(*words) == (2, paragraph.format(heads=heads) if name == "heads" else paragraph)


# Checkpoints -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train, small):
    """A run of one epoch; tests take copies."""
    run = tmp_path_factory.mktemp("trained") / "run"
    assert train(*small, "trainer.max_epochs=1", f"run_dir={run}") == 0
    return run


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy of the run that a test may spoil."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SegmentationTask, "training_step", no_step)
    return Path(shutil.copytree(trained, tmp_path / "run"))


def truncated(path):
    cut(path.name, 0.5)(path.parent)


def spoil_text(path):
    path.write_text("These are no weights.")


def spoil_foreign(path):
    torch.save({"model": {"weight": torch.zeros(1)}, "epoch": 3}, path)


def spoil_code(path):
    torch.save({"segexp": {"schema": 1}, "state_dict": {}, "call": os.getcwd}, path)


NOT_READ = (
    "{file} cannot be read as a checkpoint: it is truncated, not a checkpoint, or holds more than weights and plain values ("
)
BROKEN = {
    "truncated": (truncated, NOT_READ),
    "text": (spoil_text, NOT_READ),
    "code": (spoil_code, NOT_READ),
    "foreign": (
        spoil_foreign,
        "{file} is a torch file but not one of segexp's: it holds model, epoch. The entries segexp and state_dict were "
        "expected. Name a file that segexp.train wrote: checkpoint=RUN/checkpoints/best.ckpt.",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_checkpoint_that_is_none(run, train, evaluate, capfd, kind):
    spoil, paragraph = BROKEN[kind]
    for name, command, word in (("best", evaluate, f"checkpoint={run}"), ("last", train, f"resume={run}")):
        file = run / "checkpoints" / f"{name}.ckpt"
        spoil(file)
        assert command(word) == 1
        err = capfd.readouterr().err
        assert err.startswith(f"segexp: {paragraph.format(file=file)}")
        assert err.count("\n") == 1
        if paragraph is NOT_READ:
            assert err.endswith(
                "A file that training wrote as checkpoints/best.ckpt or last.ckpt was expected. Copy the file again from where "
                "it was trained, or name another one with checkpoint=RUN.\n"
            )


def test_a_checkpoint_that_is_nowhere(run, evaluate, train, capfd):
    assert evaluate("checkpoint=ran") == 1
    assert capfd.readouterr().err == (
        "segexp: checkpoint=ran does not exist. A run directory or a .ckpt file was expected. Type checkpoint=RUN, the "
        "directory that training printed. Did you mean run?\n"
    )
    assert train("resume=ran") == 1
    assert capfd.readouterr().err == (
        "segexp: resume=ran does not exist. Expected the directory of a run, such as runs/liver/unet/…, with .hydra and "
        "checkpoints in it. Did you mean run?\n"
    )


SAME = (
    "A resumed run continues with the same classes, split, network and optimizer. Leave such keys out of the command; or leave "
)
SAME += "resume out to start a new run."


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["data.classes={background: 0, lesion: 255}"], "data.classes background, liver (now background, lesion)"),
        (["data.channels=3"], "model.in_channels 1 (now 3), data.channels 1 (now 3)"),
        (["model.width=8"], "model.width 4 (now 8)"),
        (["optimizer.lr=1"], "optimizer.lr 0.001 (now 1)"),
        (
            ["data.image='{split}/00{id}.png'", "data.mask='{split}/00{id}_mask.png'", "data.groups=null"],
            "another split of the data",
        ),
    ],
    ids=["classes", "channels", "width", "rate", "split"],
)
def test_a_run_is_resumed_as_it_was(run, train, capfd, words, found):
    before = contents(run)
    assert train(f"resume={run}", *words, "trainer.max_epochs=2") == 1
    err = capfd.readouterr().err
    for part in found.split("), "):
        assert part in err
    assert err.startswith(f"segexp: {run / 'checkpoints' / 'last.ckpt'} was trained with ")
    assert err.endswith(f". {SAME}\n")
    assert contents(run) == before, "another attempt starts from the same"


def test_a_run_is_not_written_over_another(run, train, small, capfd):
    before = contents(run)
    assert train(*small, "run_dir=run") == 2
    assert capfd.readouterr().err == (
        "segexp: run_dir=run already holds a run. A new run needs a directory of its own. Type resume=run to resume that "
        "run, or name another directory.\n"
    )
    assert contents(run) == before


def test_as_a_process(small, tmp_path, start):
    code, _, err = start("train", [*small, "data.root=nowhere"], tmp_path).ended()
    assert code == 1
    assert err == (
        f"segexp: The data folder {tmp_path / 'nowhere'} does not exist. data.root is the folder that holds the pictures. "
        "Type data.root=DIR.\n"
    )
