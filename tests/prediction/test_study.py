"""The runs of a study as members of one ensemble, and the studies that are none."""

import shutil

import pytest
import yaml

from segexp.errors import CheckpointError
from segexp.prediction.members import checkpoint_files
from segexp.prediction.study import differing, study_files
from segexp.prediction.words import unlike


@pytest.fixture
def study(tmp_path, make_run):
    """Write jobs by name, each with its settings; returns the study's folder."""

    def written(**jobs):
        for name, settings in jobs.items():
            folder = make_run(tmp_path / "study" / name)
            (folder / ".hydra").mkdir()
            model = {"_target_": settings.pop("net", "nets.A"), "width": settings.pop("width", 8)}
            config = {"model": model, "seed": settings.pop("seed", 0), "data": settings}
            (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
            (folder / ".hydra" / "overrides.yaml").write_text("[]\n")
            (folder / "metrics.json").write_text("{}")
        typed = {"hydra": {"overrides": {"task": ["data.folds=3", "data.fold=range(3)"]}}}
        (tmp_path / "study" / "multirun.yaml").write_text(yaml.safe_dump(typed))
        return tmp_path / "study"

    return written


def fold(n, **more):
    return {"folds": 3, "fold": n, **more}


def test_folds_and_seeds_are_members(study):
    folder = study(a=fold(0), b=fold(1), c=fold(2), d=fold(0, seed=1), e=fold(1, seed=1), f=fold(2, seed=1))
    assert study_files(folder) == [folder / name / "checkpoints" / "best.ckpt" for name in "abcdef"]
    assert checkpoint_files([str(folder)]) == study_files(folder)


def test_a_fold_that_is_missing(study):
    folder = study(a=fold(0), c=fold(2))
    with pytest.raises(CheckpointError) as caught:
        study_files(folder)
    assert str(caught.value) == (
        f"The cross-validation in {folder} is not whole: fold 1 of 0 to 2 is missing. A run of each of the 3 folds was "
        f"expected, of the same settings. Type: python -m segexp.train -m data.folds=3 'data.fold=range(3)' "
        f"hydra.sweep.dir={folder}, "
        f"which does only what is missing. To take some of its runs, name them: '[{folder}/a,{folder}/c]'."
    )
    assert len(checkpoint_files([str(folder / "a"), str(folder / "c")])) == 2, "as it says"


def test_a_fold_that_never_finished(study):
    folder = study(a=fold(0), b=fold(1), c=fold(2))
    (folder / "b" / "metrics.json").unlink()
    (folder / "b" / "failed.txt").write_text("segexp: No room. Type less.\n\nTraceback")
    message = r"1 of the 3 runs of .*study never finished: b \(failed: No room\. Type less\)\. .* Type: python -m segexp\.train"
    with pytest.raises(CheckpointError, match=message):
        study_files(folder)


def test_networks_of_different_settings_are_an_ensemble_and_it_is_said(study):
    folder = study(a={}, b={"seed": 1}, c={"width": 16, "net": "nets.B"})
    files = study_files(folder)
    assert len(files) == 3
    assert differing(files) == ["model._target_", "model.width"]
    assert unlike(files) == "The 3 networks differ in model._target_, model.width; of a sweep name those that are good."
    assert (unlike(files[:2]), unlike(files[:1])) == ("", "")


def test_a_fold_of_other_settings_is_none_of_them(study):
    folder = study(a=fold(0), b=fold(1), c=fold(2, width=16))
    with pytest.raises(CheckpointError, match=r"is not whole: fold 2 of 0 to 2 is missing\. .* of the same settings"):
        study_files(folder)


def test_two_cross_validations_in_one_study(study):
    folder = study(**{f"{net}{n}": fold(n, net=net) for net in ("x", "y") for n in range(3)})
    assert len(study_files(folder)) == 6
    shutil.rmtree(folder / "y1")
    with pytest.raises(CheckpointError, match=r"is not whole: fold 1 of 0 to 2 is missing"):
        study_files(folder)


def test_copies_without_their_settings_are_taken_as_they_are(tmp_path, make_run):
    for name in "ab":
        make_run(tmp_path / "copies" / name)
    assert len(study_files(tmp_path / "copies")) == 2
    assert study_files(tmp_path / "nowhere") == []
    assert differing(study_files(tmp_path / "copies")) == []
