"""From the key checkpoint to a predictor: runs, files, studies; what is refused."""

from pathlib import Path

import pytest
import torch

from segexp.api.loading import checkpoint_files, device_for, load_members, make_predictor, resolve_postprocessing
from segexp.api.predict import predict
from segexp.config.schema import PostprocessConfig, PredictConfig
from segexp.errors import CheckpointError, ConfigError
from segexp.inference.postprocessing import Postprocessing

CONFIG = PredictConfig(checkpoint="run", input="in", output="out")


@pytest.fixture(scope="module")
def study(tmp_path_factory, make_trained_run):
    """A study of two finished runs and one without a checkpoint."""
    folder = tmp_path_factory.mktemp("studies") / "study"
    for name in ("fold=1", "fold=0"):
        make_trained_run(folder / name)
    (folder / "fold=2").mkdir()
    return folder


def test_runs_files_and_studies(study):
    best = [study / f"fold={k}" / "checkpoints" / "best.ckpt" for k in (0, 1)]
    assert checkpoint_files([str(study)]) == best
    assert checkpoint_files([str(study / "fold=1")]) == best[1:]
    assert checkpoint_files([str(best[0]), str(study)]) == best, "each once"


def test_missing_checkpoints(study, tmp_path):
    with pytest.raises(CheckpointError, match=r"checkpoint=.*fold=9 does not exist\. .*Did you mean fold="):
        checkpoint_files([str(study / "fold=9")])
    with pytest.raises(CheckpointError, match=r"fold=2 is a folder without checkpoints/best\.ckpt"):
        checkpoint_files([str(study / "fold=2")])
    with pytest.raises(CheckpointError, match="checkpoint names nothing"):
        checkpoint_files([])


def test_code_that_is_missing(tmp_path, make_trained_run):
    for number, target in enumerate(("gone_package.nets.Net", "torch.nn.NoSuchNetwork")):
        make_trained_run(tmp_path / str(number), model={"_target_": target})
    files = [tmp_path / str(number) / "checkpoints" / "best.ckpt" for number in (0, 1)]
    message = r"0/checkpoints/best\.ckpt cannot be used: .* gone_package\.nets\.Net.* type 'trust=\[gone_package\]'"
    with pytest.raises(CheckpointError, match=message):
        load_members(files[:1], "cpu", [])
    with pytest.raises(CheckpointError, match=r"0/checkpoints/best\.ckpt .*'?gone_package'?.* not found\..*[Ii]nstall it"):
        load_members(files[:1], "cpu", ["gone_package"])
    with pytest.raises(
        CheckpointError, match=r"1/checkpoints/best\.ckpt cannot be used: The checkpoint's network cannot be found"
    ):
        load_members(files[1:], "cpu", [])


def test_members_that_do_not_fit(tmp_path, make_trained_run):
    others = {"b": {"names": ["background", "lesion"]}, "c": {"channels": 3}}
    runs = [str(make_trained_run(tmp_path / name, **others.get(name, {}))) for name in "abc"]
    members = load_members(checkpoint_files(runs), "cpu", [])
    with pytest.raises(
        ConfigError, match=r"a/checkpoints/best\.ckpt .*background, liver and .*b/checkpoints/best\.ckpt .*lesion"
    ):
        make_predictor(members[:2], CONFIG)
    with pytest.raises(ConfigError, match=r"channels: 1 and .*c/checkpoints/best\.ckpt"):
        make_predictor(members[::2], CONFIG)
    with pytest.raises(ConfigError, match=r"tta is 'flip' \(text\); expected none \| flips \| dihedral"):
        predict(runs[0], tmp_path, tmp_path / "out", tta="flip")


def test_the_rule_and_the_window(tmp_path, make_trained_run):
    (member,) = load_members(checkpoint_files([str(make_trained_run(tmp_path / "a", data={"max_pixels": 9999}))]), "cpu", [])
    member.postprocessing = Postprocessing(min_area=5)
    assert make_predictor([member], CONFIG).rule == Postprocessing(min_area=5)
    assert member.max_pixels == 9999
    made = make_predictor([member], CONFIG.changed(postprocess="none", max_pixels=0, tta="dihedral"))
    assert (made.rule, made.views, member.max_pixels) == (Postprocessing(), 8, None)


def test_a_threshold_is_for_two_classes(tmp_path, make_trained_run):
    three = load_members(checkpoint_files([str(make_trained_run(tmp_path / "b", classes=3))]), "cpu", [])
    with pytest.raises(ConfigError, match=r"threshold=0\.3 of the post-processing is for two classes, and the network has 3"):
        make_predictor(three, CONFIG.changed(postprocess={"threshold": 0.3}))


@pytest.mark.parametrize(
    ("typed", "rule"),
    [
        ("stored", Postprocessing(0.4, 7)),
        ("none", Postprocessing()),
        (
            PostprocessConfig(start="stored", threshold=None, min_area=None, fill_holes=True),
            Postprocessing(0.4, 7, fill_holes=True),
        ),
        (PostprocessConfig(min_area=0), Postprocessing(0.4)),
        (PostprocessConfig(start="none", largest_component=True), Postprocessing(largest_component=True)),
    ],
)
def test_what_is_typed_replaces_what_is_stored(typed, rule):
    assert resolve_postprocessing(typed, Postprocessing(0.4, 7)) == rule


def test_what_a_member_is_put_on(tmp_path, make_trained_run):
    (member,) = load_members([make_trained_run(tmp_path / "a") / "checkpoints" / "best.ckpt"], "cpu", [])
    assert member.device == torch.device("cpu")
    assert member.origin.file == tmp_path / "a" / "checkpoints" / "best.ckpt"


def test_exported_files_are_named_like_checkpoints(tmp_path, make_trained_run):
    run = make_trained_run(tmp_path / "a")
    (tmp_path / "b.pt.json").touch()
    found = checkpoint_files([str(tmp_path / "a.onnx"), str(run), str(tmp_path / "b.pt"), str(tmp_path / "a.onnx")])
    assert found == [tmp_path / "a.onnx", run / "checkpoints" / "best.ckpt", tmp_path / "b.pt"]


def test_auto_takes_the_cpu_where_the_runtime_has_nothing_else(monkeypatch):
    monkeypatch.setattr("segexp.api.loading.choose_devices", lambda gpus, key: ("cuda", [1]))
    monkeypatch.setattr("segexp.api.loading.runs_on", lambda file, device: file.suffix != ".xml")
    checkpoint, program, model = Path("best.ckpt"), Path("a.onnx"), Path("a.xml")
    assert device_for([checkpoint, program], "auto") == "cuda:1"
    assert device_for([checkpoint, model], "auto") == "cpu"
    assert device_for([checkpoint, model], 1) == "cuda:1", "what was typed is refused later, in words"


def test_what_is_wrong_with_an_exported_file_names_it(tmp_path):
    (tmp_path / "a.onnx").touch()
    with pytest.raises(CheckpointError, match=r"a\.onnx has no a\.onnx\.json beside it"):
        load_members([tmp_path / "a.onnx"], "cpu", [])
    with pytest.raises(ConfigError, match=r"a\.onnx cannot be used: model\.prune_to=2 with the exported a\.onnx"):
        load_members([tmp_path / "a.onnx"], "cpu", [], 2)
