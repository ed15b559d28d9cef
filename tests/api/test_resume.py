"""`resume=RUN`: the command line it stands for."""

import pytest
from omegaconf import OmegaConf

from segexp.api.resume import check_trust, quoted, resume_command
from segexp.cli.overrides import CommandLine, parse
from segexp.errors import CheckpointError, ConfigError


@pytest.fixture
def run(tmp_path):
    """Write a run directory as Hydra and training leave it."""

    def write(name="runs/d/unet/1", overrides=(), root="data/liver", config_dir=None, checkpoint=True):
        folder = tmp_path / name
        (folder / ".hydra").mkdir(parents=True)
        OmegaConf.save(OmegaConf.create(list(overrides)), folder / ".hydra" / "overrides.yaml")
        OmegaConf.save({"data": {"root": root}}, folder / ".hydra" / "config.yaml")
        sources = [{"path": "hydra.conf", "schema": "pkg", "provider": "hydra"}]
        if config_dir:
            sources.append({"path": str(config_dir), "schema": "file", "provider": "command-line"})
        OmegaConf.save(
            {"hydra": {"runtime": {"cwd": str(tmp_path), "config_sources": sources}}}, folder / ".hydra" / "hydra.yaml"
        )
        if checkpoint:
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints" / "last.ckpt").write_text("x")
        return folder

    return write


def values(line):
    """The overrides of a command line by key, as Hydra reads them."""
    return {o.get_key_element(): o.value() for o in line.parsed}


def go_on(folder, *overrides):
    return resume_command(parse([f"resume={quoted(str(folder))}", *overrides]))


def test_saved_overrides_come_back_and_typed_ones_win(run):
    folder = run(overrides=["model=unetpp", "trainer.max_epochs=5", "+model.extra=1", "resume=old"], root="/abs/data")
    line = go_on(folder, "trainer.max_epochs=9", "++model.extra=2", "seed=3")
    assert values(line) == {
        "model": "unetpp",
        "trainer.max_epochs": 9,
        "++model.extra": 2,
        "resume": str(folder),
        "seed": 3,
        "hydra.run.dir": str(folder),
    }


def test_a_relative_teacher_keeps_meaning_the_old_place(run, tmp_path):
    folder = run()
    OmegaConf.save({"distill": {"teacher": "runs/t"}}, folder / ".hydra" / "config.yaml")
    assert values(go_on(folder))["distill.teacher"] == str(tmp_path / "runs" / "t")
    assert values(go_on(folder, "distill.teacher=new"))["distill.teacher"] == "new"
    assert "distill.teacher" not in values(go_on(folder, "distill=none"))
    OmegaConf.save({"distill": {}}, folder / ".hydra" / "config.yaml")
    assert "distill.teacher" not in values(go_on(folder))


def test_relative_unlabelled_images_and_who_labels_them_keep_meaning_the_old_place(run, tmp_path):
    folder = run()
    OmegaConf.save({"data": {"unlabeled": "more", "pseudo": {"teacher": "runs/t"}}}, folder / ".hydra" / "config.yaml")
    found = values(go_on(folder))
    assert (found["data.unlabeled"], found["data.pseudo.teacher"]) == (str(tmp_path / "more"), str(tmp_path / "runs" / "t"))
    assert values(go_on(folder, "data.unlabeled=other"))["data.unlabeled"] == "other"
    OmegaConf.save({"data": {"unlabeled": None, "pseudo": None}}, folder / ".hydra" / "config.yaml")
    assert not {"data.unlabeled", "data.pseudo.teacher"} & set(values(go_on(folder)))


def test_a_run_whose_first_network_was_interrupted_is_gone_on_with(run):
    folder = run()
    (folder / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"has no checkpoints/last\.ckpt"):
        go_on(folder)
    first = folder / "teacher" / "checkpoints"
    first.mkdir(parents=True)
    (first / "last.ckpt").touch()
    assert values(go_on(folder))["resume"] == str(folder)


def test_a_relative_data_root_keeps_meaning_the_old_place(run, tmp_path):
    folder = run(root="data/liver")
    assert values(go_on(folder))["data.root"] == str(tmp_path / "data" / "liver")
    assert values(go_on(folder, "data.root=new"))["data.root"] == "new"
    assert "data.root" not in values(go_on(folder, "data=skin"))
    assert "data.root" not in values(go_on(run("other", root="${oc.env:DATA}")))


def test_the_users_own_configuration_folder_is_found_again(run, tmp_path):
    mine = tmp_path / "my conf"
    folder = run(config_dir=mine)
    line = go_on(folder)
    assert line.flags == ["--config-dir", str(mine)]
    assert line.config_dir == mine
    assert resume_command(parse([f"resume={folder}", "--config-dir", "new"])).flags == ["--config-dir", "new"]


@pytest.mark.parametrize("name", ["with space", "k=v,1", "brackets[1]", "ünï", "it's", 'a"b'])
def test_any_directory_name_can_be_resumed(run, name):
    folder = run(name)
    found = values(go_on(folder))
    assert found["hydra.run.dir"] == found["resume"] == str(folder)


def test_a_run_that_never_began_says_how_to_start_again(run):
    folder = run(overrides=["model=unetpp", "data.root=a b"], checkpoint=False)
    with pytest.raises(CheckpointError) as caught:
        go_on(folder)
    assert "has no checkpoints/last.ckpt. It stopped before its first step" in str(caught.value)
    assert str(caught.value).endswith("Start again: python -m segexp.train model=unetpp 'data.root=a b'.")


def test_a_folder_that_is_no_run_says_what_one_is(run, tmp_path):
    folder = run()
    for wrong, hint in [
        (folder / "checkpoints" / "last.ckpt", f"is not a run directory. Expected .* Type resume={folder}"),
        (folder.parent, f"is not a run directory. .* the newest is resume={folder}"),
        (folder.parent / "2", "does not exist. Expected the directory of a run"),
        (tmp_path, "is not a run directory. .* Type the directory that training printed"),
    ]:
        with pytest.raises(CheckpointError, match=hint):
            go_on(wrong)


def test_a_study_is_not_resumed_by_hand(run):
    with pytest.raises(ConfigError, match="resume= and -m are together"):
        resume_command(CommandLine(["resume=x"], ["--multirun"], multirun=True))


@pytest.mark.parametrize("text", ["+hydra.callbacks.x={_target_: os.system}", "hydra/job_logging=none", "seed=1,2"])
def test_overrides_that_no_run_saves_are_refused(run, text):
    with pytest.raises(CheckpointError, match=r"has the override .* so somebody changed the file"):
        go_on(run(overrides=["model=unet", text]))


def test_what_a_run_trusts_itself_is_forgotten(run):
    folder = run(overrides=["trust=true", "distill=kd", "distill.trust=[evil]", "++data.pseudo.trust=[evil]"], root="/abs")
    assert set(values(go_on(folder))) == {"distill", "resume", "hydra.run.dir"}
    assert values(go_on(folder, "trust=[mine]"))["trust"] == ["mine"]


@pytest.mark.parametrize("name", ["hydra", "overrides", "config"])
def test_settings_that_are_no_plain_yaml(run, name):
    folder = run()
    (folder / ".hydra" / f"{name}.yaml").write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(CheckpointError, match=r"has settings in \.hydra that cannot be read"):
        go_on(folder)


def test_a_run_with_a_link_out_of_it(run, tmp_path):
    folder = run(overrides=["data=liver"], root="/abs")
    line = parse([f"resume={quoted(str(folder))}"])
    (folder / "last").symlink_to("checkpoints/last.ckpt")  # inside
    check_trust(resume_command(line), line)
    (folder / "train.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"train\.log is a link to .*elsewhere: resuming the run would write there"):
        check_trust(resume_command(line), line)
    trusting = parse([f"resume={quoted(str(folder))}", "trust=true"])
    check_trust(resume_command(trusting), trusting)


def test_a_class_that_is_typed_needs_no_trust(run):
    folder = run(overrides=["data=liver", "loss._target_=segexp_nobody.Loss"], root="/abs")
    line = parse([f"resume={quoted(str(folder))}"])
    with pytest.raises(CheckpointError, match="segexp_nobody is not found"):
        check_trust(resume_command(line), line)
    line = parse([f"resume={quoted(str(folder))}", "optimizer._target_=timm.optim.Lamb"])
    with pytest.raises(CheckpointError, match="segexp_nobody"):
        check_trust(resume_command(line), line)
