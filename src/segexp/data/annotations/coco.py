"""COCO instance annotations: one JSON file for many images (https://cocodataset.org/#format-data).

A crowd region is drawn as its class, as the readers of COCO do for semantic segmentation: its pixels are of that class, though
its objects are not told apart.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from segexp.data.annotations.shapes import AnnotatedImage, Annotations, Shape


def recognise(content: Any) -> bool:
    """Return whether the content of a JSON file is of this format; captions and results are not."""
    return (
        isinstance(content, Mapping)
        and all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories"))
        and all(isinstance(each, Mapping) and "file_name" in each and "id" in each for each in content["images"][:10])
    )


def parse(content: Mapping[str, Any]) -> Annotations:
    """Return the images of a file; those without an annotation have no shapes. Labels are in the order of the categories.

    Raises:
        ValueError: an object without class or of an unknown image, an outline that cannot be read, or boxes alone.
    """
    labels = {each["id"]: str(each["name"]) for each in content["categories"]}
    by_image: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for each in content["annotations"]:
        by_image[each.get("image_id")].append(each)
    if content["annotations"] and not any(each.get("segmentation") for each in content["annotations"]):
        raise ValueError(f"its {len(content['annotations'])} objects have boxes and no outlines, which need a segmentation")
    images: dict[str, AnnotatedImage] = {}
    for image in content["images"]:
        name = str(image["file_name"])
        if name in images:
            raise ValueError(f"it lists the image {name} twice")
        objects = by_image.pop(image["id"], [])
        shapes = [_shape(each, labels) for each in objects if each.get("segmentation")]
        lines = ["outline of less than three corners" for each in shapes if not (each.polygons or each.runs)]
        boxes = ["box without an outline"] * (len(objects) - len(shapes))
        size = (int(image["height"]), int(image["width"])) if image.get("height") and image.get("width") else None
        kept = tuple(each for each in shapes if each.polygons or each.runs)
        images[name] = AnnotatedImage(name, size, kept, (*boxes, *lines))
    for id_, objects in by_image.items():
        raise ValueError(f"object {objects[0].get('id')} is of the image {id_!r}, which is not among its images")
    return Annotations(tuple(images.values()), tuple(dict.fromkeys(labels.values())))


def _shape(each: Mapping[str, Any], labels: Mapping[Any, str]) -> Shape:
    named = f"object {each.get('id')}"
    if each.get("category_id") not in labels:
        raise ValueError(f"{named} has no class: its category_id {each.get('category_id')!r} is not among the categories")
    label, outline, crowd = labels[each["category_id"]], each["segmentation"], bool(each.get("iscrowd"))
    if isinstance(outline, Mapping):
        height, width = outline["size"]
        return Shape(label, runs=outline["counts"], size=(height, width), crowd=crowd)
    if isinstance(outline[0], int | float):  # one polygon that is not in a list
        outline = [outline]
    if any(len(part) % 2 for part in outline):
        raise ValueError(f"{named} has a polygon with an odd number of coordinates")
    return Shape(label, [part for part in outline if len(part) >= 6], crowd=crowd)
