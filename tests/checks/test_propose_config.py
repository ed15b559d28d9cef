"""A proposed configuration: what it takes and why, that it is an ordinary file, and that it trains as it stands."""

import shutil

import cv2
import numpy as np
import pytest
import yaml

import segexp
from fixtures.checks import serious
from fixtures.configs import data_config
from segexp.checks.issues import Examination, Finding
from segexp.checks.leakage import suggest_groups
from segexp.checks.propose_config import choose_resolution, flow_yaml, median_thickness, propose_config, thickness
from segexp.checks.run import run_checks
from segexp.data.io.images import write_png
from segexp.data.synthetic.datasets import make_demo
from segexp.types import Case, Source

OPEN = {
    "name": "auto",
    "image": None,
    "mask": None,
    "groups": None,
    "classes": None,
    "ignore": [],
    "threshold": None,
    "channels": None,
    "size": None,
    "crop": None,
    "repeat": 1,
    "normalize": "dataset",
    "val_fraction": 0.2,
    "test_fraction": 0.0,
    "folds": None,
    "fold": None,
    "cache": "auto",
    "max_pixels": 4194304,
}
LEFT = {"folds", "fold"}
"""Keys that a proposal leaves as they are in _base.yaml."""


def proposed(root, taken=(), **typed):
    data = data_config(OPEN | {"root": str(root)} | typed)
    made = propose_config(run_checks(data, alignment=False), data, taken)
    assert made is not None
    return made


def pictures(root, count=12, size=(64, 64), dtype=np.uint8, share=0.25, names="{n:02}", soft=False):
    """Images of noise with a bright block, and masks, in two folders."""
    rng = np.random.default_rng(0)
    for n in range(count):
        mask = np.zeros(size, np.uint8)
        side = round((share * size[0] * size[1]) ** 0.5)
        mask[4 : 4 + side, 4 : 4 + side] = 255
        if soft:
            mask[3, 4 : 4 + side] = 90
        scale = 200 if dtype == np.uint8 else 40_000
        image = (rng.random(size) * scale / 4 + (mask > 127) * scale / 2).astype(dtype)
        write_png(root / "images" / f"{names.format(n=n)}.png", image)
        write_png(root / "masks" / f"{names.format(n=n)}.png", mask)
    return root


def test_it_is_a_complete_file_that_says_why_on_each_line(tmp_path):
    root = make_demo(tmp_path, "organ", count=12, size=64).rename(tmp_path / "some Organ")
    made = proposed(root)
    values = yaml.safe_load(made.text)
    assert values.pop("defaults") == ["_base", "_self_"]
    assert values == made.values
    assert set(values) == {*OPEN, "root", "foreground_crops"} - LEFT
    assert made.name == values["name"] == "some_organ"
    assert all(
        len(line.partition("  # ")[2]) > 10 for line in made.text.splitlines() if line[0] != "#" and "defaults" not in line
    )
    assert values["root"] == str(root)
    assert (values["image"], values["mask"]) == ("{split}/{id}.png", "{split}/{id}_mask.png")
    assert values["classes"] == {"background": 0, "foreground": 255}


def test_a_table_beside_the_pictures_gives_the_groups(tmp_path):
    made = proposed(make_demo(tmp_path / "x", "organ", count=12, size=64))
    assert made.values["groups"] == {"file": "mapping.csv", "match": "{split}/{name}", "column": "scan"}
    assert "mapping.csv names the scan" in made.text


def test_names_that_look_like_slices_of_patients_give_the_groups(tmp_path):
    rng = np.random.default_rng(0)
    for n in range(12):
        mask = np.zeros((32, 32), np.uint8)
        mask[4:20, 4:20] = 255
        name = f"p{n // 4:02}_{n % 4}"
        write_png(tmp_path / "images" / f"{name}.png", (rng.random((32, 32)) * 50 + mask / 2).astype(np.uint8))
        write_png(tmp_path / "masks" / f"{name}.png", mask)
    made = proposed(tmp_path)
    assert isinstance(made.values["groups"], str)
    keys = {key: made.values[key] for key in ("image", "mask", "classes", "channels", "groups")}
    again = data_config({**OPEN, **keys}, root=str(tmp_path))
    assert {case.group for case in run_checks(again, alignment=False).cases} == {"p00", "p01", "p02"}


def test_independent_cases_have_no_groups(tmp_path):
    assert proposed(pictures(tmp_path)).values["groups"] is None
    cases = [Case(f"{n:03}", Source(tmp_path / f"{n:03}.png"), ()) for n in range(10)]
    (tmp_path / "sizes.csv").write_text("id,width\n" + "".join(f"{n:03},{n}\n" for n in range(10)))
    assert suggest_groups(cases, tmp_path) is None
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "few.csv").write_text("id,patient\n000,a\n")
    assert suggest_groups(cases, tmp_path) is None
    (tmp_path / "who.csv").write_text("patient;file;age\n" + "".join(f"{n // 5};{n:03};7\n" for n in range(10)))
    assert suggest_groups(cases, tmp_path)[0] == {"file": "who.csv", "match": "{file}", "column": "patient"}


def test_of_two_classes_that_nobody_named_the_rarer_one_is_looked_for(tmp_path):
    for n in range(8):
        for folder, array in (("images", np.full((64, 64), 90 + n, np.uint8)), ("masks", np.full((64, 64), 255, np.uint8))):
            array[::8] = 0
            write_png(tmp_path / folder / f"{n}.png", array)
    assert list(proposed(tmp_path).values["classes"].items()) == [("background", 255), ("foreground", 0)]
    assert "rarer one" in proposed(tmp_path).text
    named = {"void": 0, "tissue": 255}
    assert proposed(tmp_path, classes=named).values["classes"] == named
    assert "as configured" in proposed(tmp_path, classes=named).text


def test_soft_masks_keep_their_threshold(tmp_path):
    root = pictures(tmp_path)
    rng = np.random.default_rng(1)
    for n in range(12):
        mask = np.zeros((64, 64))
        mask[8:40, 8:40] = 255
        mask[7], mask[40] = rng.integers(0, 120, (2, 64))
        write_png(root / "masks" / f"{n:02}.png", mask.astype(np.uint8))
    made = proposed(root)
    assert 60 < made.values["threshold"] < 200
    assert "soft masks" in made.text


def test_thick_objects_are_learned_from_whole_small_pictures(tmp_path):
    values = proposed(pictures(tmp_path, size=(600, 500))).values
    assert (values["size"], values["crop"], values["repeat"]) == (256, None, 1)
    assert values["foreground_crops"] == 0


def test_thin_objects_are_learned_from_crops_at_full_resolution(tmp_path):
    for n in range(4):
        mask = np.zeros((512, 512), np.uint8)
        mask[:, ::40] = mask[:, 1::40] = mask[:, 2::40] = 255
        write_png(tmp_path / "images" / f"{n}.png", mask // 2 + n)
        write_png(tmp_path / "masks" / f"{n}.png", mask)
    values = proposed(tmp_path).values
    assert (values["size"], values["crop"]) == (None, 256)
    assert values["repeat"] == 4
    assert values["foreground_crops"] == 0


def test_rare_thin_objects_are_cropped_around(tmp_path):
    for n in range(3):
        mask = np.zeros((512, 512), np.uint8)
        mask[100:400, 250:254] = 255
        write_png(tmp_path / "images" / f"{n}.png", mask // 2 + n)
        write_png(tmp_path / "masks" / f"{n}.png", mask)
    made = proposed(tmp_path)
    assert made.values["foreground_crops"] == 0.33
    assert "foreground has 0.5% of the pixels only" in made.text
    assert made.values["repeat"] * 2 >= 8  # two training pictures still fill a batch


def test_rare_thick_objects_get_class_weights_in_words(tmp_path):
    made = proposed(pictures(tmp_path, size=(200, 200), share=0.02))
    assert made.values["crop"] is None
    assert "loss.terms.ce.loss.class_weights=[1.0, 8.0]" in made.text


def test_deep_pictures_are_normalised_between_percentiles(tmp_path):
    assert proposed(pictures(tmp_path / "a", dtype=np.uint16)).values["normalize"] == "percentile"
    assert proposed(pictures(tmp_path / "b")).values["normalize"] == "dataset"


def test_what_was_typed_is_kept(tmp_path):
    typed = {"size": 32, "crop": 16, "repeat": 3, "normalize": "minmax", "groups": r"^(\d)", "channels": 3, "val_fraction": 0.4}
    values = proposed(pictures(tmp_path), **typed).values
    assert {key: values[key] for key in typed} == typed


def test_a_name_that_is_taken_is_left_to_its_owner(tmp_path):
    assert proposed(pictures(tmp_path / "liver"), taken={"liver", "isbi"}).name == "liver_auto"
    assert proposed(pictures(tmp_path / "Größe 7!"), taken=()).name == "gr_e_7"


def test_errors_are_said_in_the_file_and_unknown_classes_give_none(tmp_path):
    root = pictures(tmp_path)
    data = data_config(OPEN, root=str(root))
    found = run_checks(data, alignment=False)
    found.findings.insert(0, Finding("error", "size", "one mask is larger", "mend it"))
    assert "# The check found 1 error; it cannot be trained" in propose_config(found, data).text
    assert propose_config(Examination(data.changed(classes=None), "nothing"), data) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 0, "no": [1, 2]}, '{a: 0, "no": [1, 2]}'),
        ("{split}/{id}.png", '"{split}/{id}.png"'),
        ('say "x"', '"say \\"x\\""'),
        ("percentile", "percentile"),
        ("null", '"null"'),
        ("#FF0000", '"#FF0000"'),
        (None, "null"),
        (0.33, "0.33"),
        (True, "true"),
    ],
)
def test_values_are_written_as_yaml_reads_them(value, text):
    assert flow_yaml(value) == text
    assert yaml.safe_load(text) == value


@pytest.mark.slow
@pytest.mark.parametrize("name", ["isbi", "liver", "skin", "landcover"])
def test_real_data_train_with_what_is_proposed(name, real_data, tmp_path, train, capsys):
    asked = ["background"] if name == "landcover" else []  # its largest class is one like the others
    assert serious(segexp.check(real_data / name, output=tmp_path)) == asked
    assert f"data={name}_auto" in capsys.readouterr().out
    values = yaml.safe_load((tmp_path / "data" / f"{name}_auto.yaml").read_text())
    sensible = {
        "isbi": {"classes": {"background": 255, "foreground": 0}, "size": None, "crop": 256, "channels": 1},
        "liver": {"groups": {"file": "mapping.csv", "match": "{split}/{name}", "column": "scan"}, "size": 256, "crop": None},
        "skin": {"classes": {"background": 0, "foreground": 255}, "size": 256, "crop": None, "channels": 3},
        "landcover": {"ignore": ["#000000"], "size": 0.5, "crop": 256, "foreground_crops": 0.33, "background": "first"},
    }
    assert ("class_0" if asked else "background") in values["classes"], "no name that would answer the question"
    assert {key: values[key] for key in sensible[name]} == sensible[name]
    small = ["trainer=debug", "trainer.gpus=0", "model.width=4", "callbacks=none", f"run_dir={tmp_path / 'run'}"]
    assert train("--config-dir", tmp_path, f"data={name}_auto", *small) == 0
    assert (tmp_path / "run" / "metrics.json").is_file()
    shutil.rmtree(tmp_path / "run")


def test_no_background_is_proposed_as_it_was_typed(tmp_path):
    for n in range(4):
        for folder, values in (("images", np.arange(64).reshape(8, 8)), ("masks", np.indices((8, 8)).sum(axis=0) % 3)):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f"c{n}.png"), (values + n * (folder == "images")).astype(np.uint8))
    for typed, entry in (({}, "first"), ({"background": None}, None), ({"background": "class_2"}, "class_2")):
        given = data_config({"name": "auto"}, root=str(tmp_path), **typed)
        proposal = propose_config(run_checks(given, alignment=False), given)
        classes = ["class_2", "class_0", "class_1"] if entry == "class_2" else ["class_0", "class_1", "class_2"]
        assert (list(proposal.values["classes"]), proposal.values["background"]) == (classes, entry)


def stripes(width, step=64, size=(512, 512)):
    mask = np.zeros(size, np.uint8)
    for start in range(step // 2, size[1], step):
        mask[:, start : start + width] = 1
    return mask


@pytest.mark.parametrize("width", [4, 8, 20])
def test_a_stripe_is_as_thick_as_it_is(width):
    assert thickness(stripes(width)) == {1: pytest.approx(width, rel=0.3)}


def test_a_disc_is_two_thirds_of_its_diameter():
    disc = cv2.circle(np.zeros((300, 300), np.uint8), (150, 150), 90, 1, -1)
    assert thickness(disc)[1] == pytest.approx(120, rel=0.05)


def test_a_large_mask_is_measured_small_and_told_in_its_own_pixels():
    large = cv2.resize(stripes(16), None, fx=5, fy=5, interpolation=cv2.INTER_NEAREST)
    assert thickness(large)[1] == pytest.approx(80, rel=0.1)


def test_ignored_pixels_and_background_have_no_thickness():
    mask = stripes(8)
    mask[:100] = 255
    assert set(thickness(mask)) == {1}
    assert thickness(np.zeros((20, 20), np.uint8)) == {}
    assert thickness(np.full((20, 30), 2, np.uint8)) == {2: 20}


def test_the_typical_thickness_is_the_median_over_masks():
    two = stripes(30)
    two[two == 1] = 2
    found = median_thickness([stripes(4), stripes(8), stripes(20), two])
    assert found[1] == pytest.approx(thickness(stripes(8))[1])
    assert list(found) == [1, 2]


def choice(sizes, training=100, **widths):
    made = choose_resolution(sizes, widths, training)
    return made.size, made.crop, made.repeat


def test_small_pictures_stay_as_they_are():
    assert choice([(256, 320)] * 3, thing=10.0) == (None, None, 1)
    assert choice([(256, 320)] * 3) == (None, None, 1)


def test_thick_things_are_seen_in_a_small_picture():
    assert choice([(512, 512)], liver=70.0) == (256, None, 1)
    assert choice([(3000, 4000)], lesion=500.0) == (256, None, 1)


def test_thin_things_keep_the_resolution_of_middling_pictures():
    assert choice([(512, 512)], membrane=8.0) == (None, 256, 4)
    assert choice([(512, 600)], membrane=2.0, cell=90.0) == (None, 256, 5)


def test_large_pictures_shrink_as_far_as_the_thinnest_class_allows():
    assert choice([(2000, 2000)], road=13.0) == (0.5, 256, 15)
    assert choice([(2000, 2000)], road=7.0) == (None, 256, 16)
    assert choice([(9000, 9000)], road=40.0, house=90.0) == (0.25, 256, 16)


def test_a_crop_fits_into_the_pictures():
    assert choice([(100, 3000)], wire=3.0) == (None, 96, 16)
    assert choice([(50, 3000)], wire=3.0) == (None, 50, 16)
    assert choice([(254, 1000), (900, 1000)], wire=3.0)[1] == 256


def test_few_pictures_are_repeated_until_they_fill_a_batch():
    assert choice([(256, 256)], training=3, thing=40.0) == (None, None, 3)
    assert choice([(512, 512)], training=1, membrane=5.0) == (None, 256, 8)
    assert choice([(256, 256)], training=0, thing=40.0)[2] == 8


def test_each_choice_has_a_reason_with_the_numbers():
    made = choose_resolution([(512, 512)], {"membrane": 8.0, "cell": 80.0}, 30)
    assert made.size_reason == "membrane, 8 of 512 pixels thick, would be lost in a smaller image"
    assert "4.0 cover an image" in made.repeat_reason
    whole = choose_resolution([(512, 512)], {"liver": 69.0}, 3)
    assert "still 34 pixels thick" in whole.size_reason
    assert whole.repeat_reason == "3 training images are less than a batch of 8"
