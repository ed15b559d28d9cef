"""Classes that may overlap: files of their own, read into one mask."""

import cv2
import numpy as np
import pytest

from fixtures.configs import data_config
from segexp.data.labels.class_table import LabelTable
from segexp.data.labels.multilabel import OverlappingTable, label_table, merge_case_masks, table_of
from segexp.errors import ConfigError, DataError
from segexp.types import Case, Source

CLASSES = {"background": 0, "cell": 255, "nucleus": 255}
MASK = {"cell": "{id}/cell.png", "nucleus": "{id}/nucleus_*.png"}
DATA = {"classes": CLASSES, "mask": MASK, "labels": "overlapping", "ignore": [], "threshold": None}


@pytest.fixture
def case(tmp_path):
    """A case of 2x4 pixels: a cell, two nuclei in two files."""

    def write(name, values):
        cv2.imwrite(str(tmp_path / name), np.array(values, np.uint8))
        return Source(tmp_path / name)

    masks = (
        write("cell.png", [[255, 255, 255, 0], [255, 0, 0, 0]]),
        write("n1.png", [[255, 0, 0, 0], [0, 0, 0, 0]]),
        write("n2.png", [[0, 0, 255, 255], [0, 0, 0, 0]]),
    )
    return Case("a", Source(tmp_path / "image.png"), masks, classes=("cell", "nucleus", "nucleus"))


def test_files_become_sets_of_classes(case):
    table = OverlappingTable(CLASSES)
    assert table.names == ("background", "cell", "nucleus")
    assert table.read(case, (2, 4)).tolist() == [[3, 1, 3, 2], [1, 0, 0, 0]]
    assert table.of("nucleus") == LabelTable({"background": 0, "nucleus": 255})


def test_a_class_without_a_file_is_nowhere(case):
    only = Case("a", case.image, case.masks[:1], classes=("cell",))
    assert OverlappingTable(CLASSES).read(only).tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]


def test_what_is_ignored_in_one_file_is_ignored(case):
    cv2.imwrite(str(case.masks[1].path), np.array([[255, 9, 0, 0], [0, 0, 0, 9]], np.uint8))
    assert OverlappingTable(CLASSES, ignore=9).read(case).tolist() == [[3, 255, 3, 2], [1, 0, 0, 255]]
    with pytest.raises(ConfigError, match=r"Both cell and data\.ignore claim the mask value 255"):
        OverlappingTable(CLASSES, ignore=[255])


def test_values_soft_masks_and_colours(tmp_path):
    cv2.imwrite(str(tmp_path / "c.png"), np.array([[0, 100, 200, 9]], np.uint8))
    case = Case("a", Source(tmp_path / "c.png"), (Source(tmp_path / "c.png"),), classes=("cell",))
    assert OverlappingTable(CLASSES, ignore=[9], threshold=127).read(case).tolist() == [[0, 0, 1, 255]]
    with pytest.raises(
        DataError, match=r"c\.png has 1 pixel of the value 200, which no class claims.*Claimed are 0 \(background"
    ):
        OverlappingTable(CLASSES, ignore=[9, 100]).read(case)
    assert OverlappingTable({"no": 0, "red": "#FF0000", "blue": "#0000FF"}).palette == ((0, 0, 0), (255, 0, 0), (0, 0, 255))
    same = OverlappingTable({"no": "#000000", "a": "#FFFFFF", "b": "#FFFFFF"}).palette
    assert len(set(same)) == 3, "classes of one mask value have different colours"


def test_another_size_is_refused(case):
    with pytest.raises(DataError, match=r"cell\.png is 2x4 \(height x width\) and its image .*image\.png is 5x5"):
        OverlappingTable(CLASSES).read(case, (5, 5))


def test_merged_and_table_of_a_single_mask_or_of_several(case):
    overlapping, exclusive = OverlappingTable(CLASSES), LabelTable({"background": 0, "cell": 255})
    assert table_of(exclusive, case, 1) is exclusive
    assert table_of(overlapping, case, 1) == overlapping.of("nucleus")
    encoded = [np.array([values], np.uint8) for values in ([1, 1, 0], [1, 0, 0], [0, 0, 1])]
    assert merge_case_masks(overlapping, case, encoded).tolist() == [[3, 1, 2]]
    assert merge_case_masks(exclusive, case, encoded).tolist() == [[1, 1, 1]]


def test_the_table_of_a_data_config():
    assert label_table(data_config(DATA)) == OverlappingTable(CLASSES)
    two = {"classes": {"background": 0, "cell": 255}, "mask": "{id}_mask.png", "ignore": [3], "threshold": None}
    exclusive = LabelTable(two["classes"], ignore=[3])
    assert label_table(data_config(two)) == exclusive, "configs of older checkpoints have no labels"
    assert label_table(data_config(two, labels="exclusive", optional_masks=[])) == exclusive
    assert label_table(data_config(DATA, optional_masks=["nucleus"])) == OverlappingTable(CLASSES)


MANY = {"background": 0, **{f"c{k}": 255 for k in range(1, 9)}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"mask": "{id}_mask.png"},
            "data.labels=overlapping with data.mask={id}_mask.png. Classes that may overlap are read from files of their own: "
            'a pattern for each foreground class. Type \'data.mask={cell: "masks/{id}_cell.png", nucleus: '
            '"masks/{id}_nucleus.png"}\'.',
        ),
        (
            {"labels": "exclusive", "classes": {"background": 0, "cell": 1, "nucleus": 2}},
            "data.mask has a pattern for each of cell, nucleus, and data.labels is exclusive. Classes that exclude each other "
            "are read from one pattern, by the values in the masks. Type data.labels=overlapping, or one pattern: "
            "'data.mask=\"masks/{id}.png\"'.",
        ),
        (
            {"mask": {**MASK, "nucleolus": "{id}/x.png"}},
            "data.mask names nucleolus, which is no foreground class of data.classes. A pattern for each of cell, nucleus was "
            'expected. Did you mean nucleus? Type \'data.mask={cell: "masks/{id}_cell.png", nucleus: '
            '"masks/{id}_nucleus.png"}\'.',
        ),
        (
            {"mask": {**MASK, "background": "{id}/x.png"}},
            "data.mask names background, which is no foreground class of data.classes. A pattern for each of cell, nucleus was "
            "expected. background is the background, where no other class is. Type 'data.mask={cell: "
            '"masks/{id}_cell.png", nucleus: "masks/{id}_nucleus.png"}\'.',
        ),
        (
            {"mask": {"cell": "{id}/cell.png"}},
            "data.mask has no pattern for nucleus. With data.labels=overlapping each of cell, nucleus has files of its own. "
            'Type \'data.mask={cell: "masks/{id}_cell.png", nucleus: "masks/{id}_nucleus.png"}\'.',
        ),
        (
            {"classes": MANY, "mask": {name: f"{{id}}/{name}.png" for name in list(MANY)[1:]}},
            "data.classes names 8 foreground classes that may overlap. At most 7 are possible, beside the background. Leave "
            "some out of data.classes and data.mask; classes that exclude each other need no data.labels=overlapping.",
        ),
        (
            {"optional_masks": ["nuclei"]},
            "data.optional_masks names nuclei, which is no foreground class of data.classes. Did you mean nucleus?",
        ),
        (
            {"optional_masks": ["cell", "nucleus"]},
            "data.optional_masks names every class, cell, nucleus. One class at least has a file for each image: else an image "
            "that nobody labelled would be one without anything. Leave out the class whose mask is always there.",
        ),
        (
            {"labels": "exclusive", "mask": "{id}_mask.png", "optional_masks": ["cell"]},
            "data.optional_masks=cell with data.labels=exclusive. Only where each class has files of its own can one be "
            "missing. Leave data.optional_masks out, or type data.labels=overlapping.",
        ),
        (
            {"classes": {"background": 0, "cell": 255, "nucleus": 0}},
            "Both background and nucleus claim the mask value 0. A value belongs to one class (a gray value v is the same as "
            "the colour with three channels v). Remove it from one of them in data.classes or data.ignore.",
        ),
    ],
)
def test_keys_that_do_not_go_together(changes, message):
    with pytest.raises(ConfigError) as error:
        label_table(data_config({**DATA, **changes}))
    assert str(error.value) == message


LAND = {"field": 0, "wood": 1, "water": 3}


def test_the_background_is_the_first_class_wherever_it_is_named():
    table = label_table(data_config(classes=LAND, background="water"))
    assert table.names == ("water", "field", "wood")
    assert table.encode(np.array([[0, 1, 3]], np.uint8)).tolist() == [[1, 2, 0]]
    assert (table.background, table.palette[0]) == (True, (0, 0, 0))
    for background in ("first", "field"):
        assert label_table(data_config(classes=LAND, background=background)).names == tuple(LAND)


def test_without_a_background_every_class_has_a_colour():
    table = label_table(data_config(classes=LAND, background=None))
    assert (table.names, table.background) == (tuple(LAND), False)
    assert len({*table.palette, (0, 0, 0)}) == 4


def test_a_background_that_is_no_class_and_one_that_must_be():
    with pytest.raises(ConfigError, match=r"data.background=wod is no class .*Did you mean .?wood.*data.background=null"):
        label_table(data_config(classes=LAND, background="wod"))
    with pytest.raises(ConfigError, match=r"without any of them is background\. Leave data.background out"):
        label_table(data_config(classes=LAND, background=None, labels="overlapping", mask={"wood": "a", "water": "b"}))
