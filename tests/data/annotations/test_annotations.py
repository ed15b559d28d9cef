"""Shapes of COCO and LabelMe files become the class indices that they outline."""

import base64
import io
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from segexp.checks.run import run_checks
from segexp.config.schema import DataConfig
from segexp.data.annotations.rasterize import decode_runs
from segexp.data.cache import store_key
from segexp.data.io.images import write_png
from segexp.data.labels.multilabel import label_table
from segexp.data.labels.spec import format_value
from segexp.data.layout.discovery import discover_layout
from segexp.data.layout.pairing import find_data_cases
from segexp.data.statistics import make_reader
from segexp.errors import ConfigError, DataError, UnreadableError, listed

SIZE = (24, 32)
CELL, DEBRIS = {"id": 7, "name": "cell"}, {"id": 3, "name": "debris"}
CLASSES = {"background": 0, "cell": "cell", "debris": "debris"}


def square(left: float, top: float, side: float) -> list[float]:
    return [left, top, left + side, top, left + side, top + side, left, top + side]


def picture(path: Path, size: tuple[int, int] = SIZE) -> None:
    write_png(path, np.random.default_rng(len(str(path))).integers(0, 256, size, np.uint8))


def coco(*objects: dict[str, Any], names: tuple[str, ...] = ("a.png",), **more: Any) -> dict[str, Any]:
    """COCO content; objects are of the first image and of the category 7 unless they say otherwise."""
    images = [{"id": n, "file_name": name, "height": SIZE[0], "width": SIZE[1]} for n, name in enumerate(names)]
    found = [{"id": n, "image_id": 0, "category_id": 7, "iscrowd": 0, **each} for n, each in enumerate(objects, start=1)]
    return {"images": images, "annotations": found, "categories": [CELL, DEBRIS], **more}


def labelme(*shapes: dict[str, Any], name: str = "a.png", size: tuple[int, int] = SIZE) -> dict[str, Any]:
    found = [{"label": "cell", "shape_type": "polygon", **each} for each in shapes]
    return {"version": "5.5.0", "shapes": found, "imagePath": name, "imageHeight": size[0], "imageWidth": size[1]}


def save(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def section(root: Path, mask: Any = "a.json", **keys: Any) -> DataConfig:
    given = {"name": "shapes", "root": str(root), "image": "{id}.png", "mask": mask, "channels": 1, "classes": CLASSES}
    return DataConfig(**{**given, **keys})


def read(root: Path, content: Any, **keys: Any) -> np.ndarray:
    """The mask (H, W) of one picture with an annotation file."""
    picture(root / "a.png")
    save(root / "a.json", content)
    data = section(root, **keys)
    return make_reader(data)(find_data_cases(data)[0]).mask


def runs_of(mask: np.ndarray, compressed: bool) -> dict[str, Any]:
    packed = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = packed["counts"].decode()
    return {"size": list(mask.shape), "counts": text if compressed else decode_runs(text)}


@pytest.mark.parametrize("compressed", [True, False])
def test_polygons_and_run_lengths(tmp_path: Path, compressed: bool) -> None:
    blob = np.random.default_rng(0).random(SIZE) > 0.6
    blob[:, 16:] = False
    mask = read(
        tmp_path,
        coco(
            {"segmentation": runs_of(blob, compressed), "iscrowd": 1},
            {"segmentation": [square(20, 4, 6), square(20, 14, 6)], "category_id": 3},
        ),
    )
    expected = blob.astype(np.uint8)
    expected[4:10, 20:26] = expected[14:20, 20:26] = 2
    np.testing.assert_array_equal(mask, expected)


def test_compressed_run_lengths_are_those_of_coco() -> None:
    rng = np.random.default_rng(1)
    for share in (0.0, 0.02, 0.5, 1.0):
        mask = np.asfortranarray((rng.random((40, 70)) < share).astype(np.uint8))
        runs = decode_runs(rle.encode(mask)["counts"].decode())
        assert rle.frPyObjects({"size": [40, 70], "counts": runs}, 40, 70) == rle.encode(mask)


def test_kinds_of_labelme_shapes(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.array([[1, 0], [1, 1]], bool)).save(buffer, format="PNG")
    mask = read(
        tmp_path,
        labelme(
            {"points": [[1, 1], [5, 1], [5, 5], [1, 5]]},
            {"points": [[12, 9], [8, 3]], "shape_type": "rectangle"},
            {"points": [[8, 17], [8, 21.5]], "shape_type": "circle"},
            {"points": [[30, 20], [31, 21]], "shape_type": "mask", "mask": base64.b64encode(buffer.getvalue()).decode()},
            {"points": [[20, 2], [30, 2], [30, 9]], "shape_type": "linestrip"},
            {"points": [[20, 12]], "shape_type": "point", "label": "debris"},
        ),
    )
    assert mask[1:5, 1:5].all()
    assert mask[3:9, 8:12].all()
    assert mask[13:22, 3:13].sum() == pytest.approx(np.pi * 4.5**2, abs=5)
    assert mask[20:22, 30:32].tolist() == [[1, 0], [1, 1]]
    assert mask.sum() == 16 + 24 + 3 + mask[13:22, 3:13].sum()
    lines = [str(finding) for finding in run_checks(section(tmp_path), alignment=False).findings]
    assert any(
        "2 objects have no area in their picture and are left out: 1 linestrip, 1 point (in a)" in line for line in lines
    )


def test_the_later_class_is_on_top_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    content = coco({"segmentation": [square(8, 8, 4)], "category_id": 3}, {"segmentation": [square(4, 4, 12)]})
    mask = read(tmp_path, content)
    assert ((mask == 1).sum(), (mask == 2).sum(), mask[9, 9]) == (128, 16, 2)
    other = {"background": 0, "debris": "debris", "cell": "cell"}
    assert (read(tmp_path, content, classes=other) == 1).sum() == 0
    (line,) = [str(each) for each in run_checks(section(tmp_path), alignment=False).findings if each.kind == "overlaps"]
    assert "the later class in data.classes is on top, cell under debris: 2.08% of the pixels" in line


def test_labels_are_values_of_classes(tmp_path: Path) -> None:
    content = labelme(
        {"points": [[0, 0], [4, 0], [4, 4], [0, 4]]},
        {"points": [[8, 0], [12, 0], [12, 4], [8, 4]], "label": "dirt"},
        {"points": [[16, 0], [20, 0], [20, 4], [16, 4]], "label": "unsure"},
        {"points": [[24, 0], [28, 0], [28, 4], [24, 4]], "label": "3"},
    )
    assert format_value(["cell", 'a "b" cell\'s']) == """["cell", "a \\"b\\" cell'\\''s"]"""
    named = {"background": 0, "cell": ["cell", 3], "debris": ["debris", "dirt"]}
    mask = read(tmp_path, content, mask="{id}.json", classes=named, ignore="unsure")
    assert mask[1, [1, 5, 9, 17, 25]].tolist() == [1, 0, 2, 255, 1]
    every = read(tmp_path, content, mask="{id}.json", classes={"background": 0, "object": "any"})
    assert every[1, [1, 5, 9, 17, 25]].tolist() == [1, 0, 1, 1, 1]
    with pytest.raises(DataError, match=r"a\.json has 16 pixels of the label unsure, which no class claims.*data\.ignore="):
        read(tmp_path, content, mask="{id}.json", classes=named)
    assert any(
        "belong to no class: unsure (16 pixels)" in str(each)
        for each in run_checks(section(tmp_path, "{id}.json", classes=named)).findings
    )
    with pytest.raises(ConfigError, match=r"data\.classes\.cell has 'cell'"):
        label_table(section(tmp_path, "{id}_mask.png"))


def test_overlapping_classes_keep_all_their_pixels(tmp_path: Path) -> None:
    content = coco({"segmentation": [square(8, 8, 4)], "category_id": 3}, {"segmentation": [square(4, 4, 12)]})
    mask = read(tmp_path, content, labels="overlapping")
    assert [int((mask == value).sum()) for value in (0, 1, 2, 3)] == [24 * 32 - 144, 128, 0, 16]
    data = section(tmp_path, labels="overlapping")
    found = run_checks(data, alignment=False)
    assert found.facts["a"].shares == pytest.approx((1 - 144 / 768, 144 / 768, 16 / 768))
    assert not [str(each) for each in found.findings if each.kind in ("overlaps", "unclaimed", "unmatched")]
    save(tmp_path / "more.json", content)
    for_each = {"cell": "a.json", "debris": "more.json"}
    np.testing.assert_array_equal(read(tmp_path, content, labels="overlapping", mask=for_each), mask)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"a\.json cannot be read \(it is no JSON: "),
        ({"lr": 0.1}, r"a\.json cannot be read \(its keys are not those of annotations\)"),
        (coco({"segmentation": [square(1, 1, 5)], "category_id": 9}), r"object 1 has no class: its category_id 9 is not among"),
        (
            coco({"segmentation": [square(1, 1, 5)], "image_id": 5}),
            r"object 1 is of the image 5, which is not among its images",
        ),
        (coco({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}), r"object 1 has a polygon with an odd number of coordinates"),
        (coco({"segmentation": [], "bbox": [1, 1, 5, 5]}), r"its 1 objects have boxes and no outlines"),
        (coco(names=("a.png", "a.png")), r"it lists the image a\.png twice"),
        (coco(names=("a.png", "gone.png")), r"1 masks have no image: a\.json\[gone\.png\]"),
        (coco(names=()), r"1 of 1 images have no mask: a\.png \(for a\.png it would be an entry of a\.json\)"),
        (
            coco({"segmentation": {"size": [24, 32], "counts": [5, 5]}}),
            r"its run lengths are 10 pixels of 24x32, and the picture",
        ),
        (coco({"segmentation": {"size": [32, 24], "counts": [768]}}), r"768 pixels of 32x24, and the picture is 24x32"),
        (
            coco({"segmentation": [[1, 1, 1e7, 1, 5, 5]]}),
            r"A shape cell of .*a\.json\[a\.png\] cannot be drawn \(it has a corner at",
        ),
        (coco({"segmentation": [[1, 1, "x", 1, 5, 5]]}), r"A shape cell of .*cannot be drawn"),
        (labelme({"points": [[1, 1], [5, 1], [5, 5]], "label": ""}), r"shape 1, a polygon, has no label"),
        (labelme({"points": [[1, 1]], "shape_type": "star"}), r"star is no kind of shape that is known"),
        (labelme(size=(10, 10)), r"a\.json\[a\.png\] is 10x10 \(height x width\) and its image .*a\.png is 24x32"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, content)


def test_shapes_that_leave_the_picture_or_cross_themselves(tmp_path: Path) -> None:
    mask = read(
        tmp_path,
        coco(
            {"segmentation": [square(-6, -6, 10)]},
            {"segmentation": [square(40, 2, 5)]},
            {"segmentation": [[10, 10, 20, 20, 20, 10, 10, 20]]},
            {"segmentation": [[1, 1, 2, 2]]},
        ),
    )
    assert mask[:4, :4].all()
    assert 40 <= mask[8:, 8:].sum() <= 60
    found = [str(finding) for finding in run_checks(section(tmp_path), alignment=False).findings]
    assert any("1 outline of less than three corners, 1 shape outside the picture" in line for line in found)


def test_a_picture_turned_by_exif(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "a.jpg", exif=tags)
    save(tmp_path / "a.json", labelme())
    data = section(tmp_path, "{id}.json", image="{id}.jpg")
    with pytest.raises(DataError, match=r"a\.json is 24x32 .*a\.jpg is 32x24, turned by the EXIF orientation 6") as caught:
        make_reader(data)(find_data_cases(data)[0])
    assert caught.value.do == "Type data.exif=ignore"
    stored = section(tmp_path, "{id}.json", image="{id}.jpg", exif="ignore")
    assert make_reader(stored)(find_data_cases(stored)[0]).image.shape[:2] == SIZE


def test_a_bad_shape_is_left_out_with_its_picture(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / f"{name}.png")
    bad = {"segmentation": {"size": [24, 32], "counts": [5]}}
    save(
        tmp_path / "all.json", coco(bad, {"segmentation": [square(1, 1, 5)], "image_id": 1}, names=("a.png", "b.png", "c.png"))
    )
    data = section(tmp_path, "all.json")
    with pytest.raises(UnreadableError) as caught:
        make_reader(data)(find_data_cases(data)[0])
    assert caught.value.file == str(tmp_path / "a.png")
    (finding,) = [each for each in run_checks(data, alignment=False).findings if each.kind == "unreadable"]
    assert "data.exclude=[a.png]" in finding.do
    rest = find_data_cases(data.changed(exclude=["a.png"]))
    assert [case.id for case in rest] == ["b", "c"]
    assert [int((make_reader(data)(case).mask > 0).sum()) for case in rest] == [25, 0]


def test_images_are_found_by_path_then_by_name(tmp_path: Path) -> None:
    for name in ("one/a.png", "one/b.png", "two/a.png", "two/c.png"):
        picture(tmp_path / name)
    save(tmp_path / "all.json", coco(names=("one/a.png", "b.png", "images\\two\\a.png", "elsewhere/c.png")))
    data = section(tmp_path, "all.json", image="{group}/{id}.png")
    with pytest.raises(DataError, match=r"all\.json names the image images.*and one/a\.png, two/a\.png are called so"):
        find_data_cases(data)
    save(tmp_path / "all.json", coco(names=("one/a.png", "b.png", "./two/a.png", "elsewhere/c.png")))
    cases = find_data_cases(data)
    assert [(case.id, case.masks[0].entry) for case in cases] == [
        ("one/a", "one/a.png"),
        ("one/b", "b.png"),
        ("two/a", "./two/a.png"),
        ("two/c", "elsewhere/c.png"),
    ]
    assert str(cases[0].masks[0]) == f"{tmp_path}/all.json[one/a.png]"
    assert pickle.loads(pickle.dumps(cases[0])) == cases[0]
    save(tmp_path / "more.json", coco(names=("one/b.png",)))
    with pytest.raises(DataError, match=r"all\.json\[b\.png\] and more\.json\[one/b\.png\] both have the id one/b"):
        find_data_cases(data.changed(mask="*.json"))


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    data = section(tmp_path)
    before = read(tmp_path, coco({"segmentation": [square(1, 1, 5)]}))
    key = store_key(find_data_cases(data), make_reader(data))
    assert key == store_key(find_data_cases(data), make_reader(data))
    time = (tmp_path / "a.json").stat().st_mtime_ns + 10**9
    save(tmp_path / "a.json", coco({"segmentation": [square(1, 1, 6)]}))
    os.utime(tmp_path / "a.json", ns=(time, time))
    cases = find_data_cases(data)
    assert store_key(cases, make_reader(data)) != key
    assert (before.sum(), make_reader(data)(cases[0]).mask.sum()) == (25, 36)


@pytest.mark.parametrize(
    ("files", "image", "mask", "splits"),
    [
        ({"all.json": ("images/a.png", "images/b.png", "images/c.png")}, "images/{id}.png", "all.json", {None}),
        (
            {
                "ann/instances_train2017.json": ("train2017/a.png", "train2017/b.png"),
                "ann/instances_val2017.json": ("val2017/c.png",),
            },
            "{split}2017/{id}.png",
            "ann/instances_{split}2017.json",
            {"train", "val"},
        ),
        (
            {"train/_annotations.coco.json": ("train/a.png", "train/b.png"), "valid/_annotations.coco.json": ("valid/a.png",)},
            "{split}/{id}.png",
            "{split}/_annotations.coco.json",
            {"train", "val"},
        ),
        (
            {"train.json": ("images/a.png", "images/b.png"), "test.json": ("images/c.png",)},
            "images/{id}.png",
            "{split}.json",
            {"train", "test"},
        ),
    ],
)
def test_coco_layouts_are_recognised(
    tmp_path: Path, files: dict[str, tuple[str, ...]], image: str, mask: str, splits: set[str | None]
) -> None:
    for file, names in files.items():
        for name in names:
            picture(tmp_path / name)
        short = tuple(name.rpartition("/")[2] for name in names)
        save(
            tmp_path / file,
            coco({"segmentation": [square(1, 1, 5)]}, {"segmentation": [square(9, 9, 5)], "category_id": 3}, names=short),
        )
    save(tmp_path / "config.json", {"images": ["a.png"], "lr": 0.1})
    save(tmp_path / "captions.json", {"images": [], "annotations": [{"caption": "a cell"}], "info": {}})
    found = discover_layout(tmp_path)
    assert (found.layout["image"], found.layout["mask"]) == (image, mask)
    assert found.layout["classes"] == CLASSES
    cases = find_data_cases(section(tmp_path, mask, image=image))
    assert {case.split for case in cases} == splits
    assert len(cases) == sum(map(len, files.values()))


def test_labelme_layouts_are_recognised(tmp_path: Path) -> None:
    for name, label in (("a", "red cell"), ("b", "_background_"), ("c", "__ignore__"), ("d", "2")):
        picture(tmp_path / f"images/{name}.png")
        save(tmp_path / f"json/{name}.json", labelme({"points": [[1, 1], [5, 1], [5, 5]], "label": label}))
    found = discover_layout(tmp_path).layout
    assert (found["image"], found["mask"]) == ("images/{id}.png", "json/{id}.json")
    assert found["classes"] == {"background": [0, "_background_"], "class_2": "2", "red_cell": "red cell"}
    assert found["ignore"] == ["__ignore__"]
    data = section(tmp_path, **{key: found[key] for key in ("image", "mask", "classes", "ignore")})
    masks = [make_reader(data)(case).mask[2, 3] for case in find_data_cases(data)]
    assert masks == [2, 0, 255, 1], listed(masks)


def test_a_json_that_holds_no_annotations_is_not_taken_for_some(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"images/{name}.png")
        write_png(tmp_path / f"masks/{name}.png", np.eye(*SIZE, dtype=np.uint8))
        save(tmp_path / f"images/{name}.json", {"spacing": [1, 1]})
    save(tmp_path / "dataset.json", {"labels": {"background": 0}, "training": [{"image": "images/a.png"}]})
    assert discover_layout(tmp_path).layout["mask"] == "masks/{id}.png"
    cases = find_data_cases(section(tmp_path, "images/{id}.json", image="images/{id}.png"))
    with pytest.raises(UnreadableError, match=r"a\.json cannot be read \(its keys are not those of annotations\)"):
        label_table(section(tmp_path)).read(replace(cases[0]))
