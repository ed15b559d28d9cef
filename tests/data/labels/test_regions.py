"""What the values of masks are: numbers of objects, class indices, or soft borders."""

import cv2
import numpy as np
import pytest

from segexp.data.labels.regions import SOFT_BORDER, Region, find_numbering, find_regions, slope_share


def discs(seed: int, count: int, side: int = 96) -> np.ndarray:
    rng, out = np.random.default_rng(seed), np.zeros((side, side), np.uint8)
    while (number := int(out.max()) + 1) <= count:
        y, x, r = *rng.integers(0, side, 2).tolist(), int(rng.integers(4, 8))
        disc = cv2.circle(np.zeros_like(out), (x, y), r, 1, -1) > 0
        if not (out[disc] > 0).any():
            out[disc] = number
    return out


def numbering(masks: list[np.ndarray], **more):
    return find_numbering([find_regions(mask) for mask in masks], **more)


def test_the_regions_of_a_mask():
    mask = np.zeros((8, 10), np.float32)
    mask[1:5, 2:6] = 7
    mask[6, 0:4] = 3
    mask[6, 9] = 3
    zero, three, seven = find_regions(mask)
    assert (zero.value, zero.area, zero.whole) == (0, 59, True)
    assert three == Region(3, 5, whole=False, thin=True, centre=(6 / 8, 15 / 5 / 10))
    assert seven == Region(7, 16, whole=True, thin=False, centre=(2.5 / 8, 3.5 / 10))


def test_large_masks_are_thinned_out_and_a_row_is_a_mask():
    large = np.zeros((3000, 12), np.uint16)
    large[:1500] = 4000
    assert [(each.value, each.whole, each.area) for each in find_regions(large)] == [(0, True, 18_000), (4000, True, 18_000)]
    assert [each.area for each in find_regions(np.array([[0, 5, 5]], np.uint8))] == [1, 2]


@pytest.mark.parametrize(
    ("spoil", "soft"),
    [
        (lambda mask: cv2.GaussianBlur(mask, (5, 5), 0), True),
        (lambda mask: cv2.GaussianBlur(mask, (0, 0), 5.0), True),
        (lambda mask: cv2.resize(mask, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC), True),
        (lambda mask: cv2.imdecode(cv2.imencode(".jpg", mask, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0), True),
        (lambda mask: cv2.imdecode(cv2.imencode(".jpg", mask, [cv2.IMWRITE_JPEG_QUALITY, 100])[1], 0), True),
        (lambda mask: np.where(cv2.dilate(mask, np.ones((13, 13))) > mask, np.uint8(128), mask), False),
        (lambda mask: mask, False),
    ],
)
def test_soft_borders_lie_on_slopes(spoil, soft):
    share = slope_share(spoil((discs(0, 8) > 0).astype(np.uint8) * np.uint8(255)))
    assert share > SOFT_BORDER if soft else share < 0.1


def test_objects_and_classes_have_hardly_any_slope():
    assert slope_share(discs(1, 20)) < 0.1
    assert slope_share(discs(1, 20) % 5) < 0.1
    assert slope_share(np.zeros((4, 4), np.uint8)) == 0


def test_running_numbers():
    found = numbering([discs(n, 9 + n % 3) for n in range(6)])
    assert found is not None
    assert (found.sure, found.background, found.ignore, found.objects) == (True, 0, (), 60)


def test_random_numbers_of_any_size():
    rng = np.random.default_rng(0)
    masks = [np.r_[0, rng.choice(60_000, 9, replace=False) + 1].astype(np.uint16)[discs(n, 9)] for n in range(6)]
    assert numbering(masks).sure


def test_void_and_another_background():
    masks = [discs(n, 9) for n in range(6)]
    ring = [np.where((cv2.dilate(mask, np.ones((5, 5))) > 0) & (mask == 0), np.uint8(255), mask) for mask in masks]
    assert numbering(ring).ignore == (255,)
    assert numbering(ring, void=None).ignore == ()
    below = numbering([mask.astype(np.float32) - 1 for mask in masks])
    assert (below.sure, below.background, below.ignore) == (True, -1, ())
    assert numbering([mask + np.uint8(1) for mask in masks]) is None, "no value is that of no object"


def test_the_last_of_255_objects_is_an_object():
    grid = np.kron(np.arange(256).reshape(16, 16), np.ones((5, 5), int)).astype(np.uint8)
    found = numbering([grid, grid[::-1].copy()])
    assert (found.ignore, found.objects) == ((), 510)


def test_classes_in_several_pieces_or_places_of_their_own():
    assert numbering([discs(n, 20) % 5 for n in range(6)]) is None
    places, rng = [(20, 20, 12), (20, 70, 8), (70, 20, 5), (70, 70, 3)], np.random.default_rng(0)
    organs = []
    for _ in range(8):
        organs.append(np.zeros((96, 96), np.uint8))
        for index, (y, x, r) in enumerate(places, start=1):
            cv2.circle(organs[-1], (x + int(rng.integers(-4, 5)), y + int(rng.integers(-4, 5))), r, index, -1)
    assert numbering(organs) is None
    assert numbering(organs[:1]).sure is False, "one mask does not tell"


def test_few_numbers_are_doubtful():
    assert numbering([discs(n, 1 + n % 3) for n in range(9)]).sure is False
    assert numbering([discs(n, 2) for n in range(9)]) is None


def test_single_pixels_and_fractions_are_no_objects():
    assert numbering([np.arange(256, dtype=np.uint8).reshape(16, 16)]) is None
    assert numbering([discs(0, 9).astype(np.float32) / 2]) is None
