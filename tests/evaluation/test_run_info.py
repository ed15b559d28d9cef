"""What a run says of itself, wherever it is written."""

import json

import torch

from segexp.checkpoint import SCHEMA
from segexp.evaluation.records import read_record
from segexp.evaluation.run_info import read_run_info, training_directory, write_run_info

CONTENT = {
    "schema": SCHEMA,
    "config": {"seed": 3},
    "spec": {"name": "liver", "classes": ["background", "liver"], "channels": 1, "palette": [[0, 0, 0], [230, 159, 0]]},
    "preprocessing": {},
    "fingerprint": {"count": 5},
    "versions": {"torch": "2.15"},
    "precision": "32",
}


def test_run_json_is_read(make_run, tmp_path):
    run = make_run(tmp_path / "run", {"a": [0.5]})
    write_run_info(run, CONTENT | {"device": "2 CPUs"})
    about = read_run_info(read_record(run))
    assert about.config == {"seed": 3}
    assert about.palette == ((0, 0, 0), (230, 159, 0))
    assert about.more == {"precision": "32", "device": "2 CPUs"}
    assert json.loads((run / "run.json").read_text())["fingerprint"] == {"count": 5}


def test_without_it_the_checkpoint_tells(make_run, tmp_path):
    run = make_run(tmp_path / "run", {"a": [0.5]})
    torch.save({"segexp": CONTENT | {"split_hash": "ab12"}, "state_dict": {}}, run / "checkpoints" / "best.ckpt")
    about = read_run_info(read_record(run))
    assert about.config == {"seed": 3}
    assert about.versions == {"torch": "2.15"}


def test_without_either_hydra_and_the_scores_tell(make_run, tmp_path):
    run = make_run(tmp_path / "run", {"a": [0.5]}, settings={"data.root": "x", "data.name": "${data.root}"})
    (run / "run.json").write_text("{")
    about = read_run_info(read_record(run))
    assert about.config["data"] == {"root": "x", "name": "x"}
    assert about.classes == ("background", "liver")
    assert about.palette == ()
    assert about.versions == {}


def test_an_evaluation_is_of_the_run_whose_weights_were_scored(make_run, tmp_path):
    run, scored = make_run(tmp_path / "run", {"a": [0.5]}), make_run(tmp_path / "scored", {"b": [0.4]})
    write_run_info(run, CONTENT)
    found = json.loads((scored / "metrics.json").read_text())
    (scored / "metrics.json").write_text(json.dumps(found | {"checkpoint": str(run / "checkpoints" / "best.ckpt")}))
    record = read_record(scored)
    assert training_directory(record) == run
    assert read_run_info(record).config == {"seed": 3}
