import pytest
import torch
from torch import nn

from segexp.errors import ConfigError
from segexp.inference.tta import IDENTITY, VIEWS, views


@pytest.mark.parametrize(("name", "count"), [("none", 1), ("flips", 4), ("dihedral", 8)])
def test_the_views_of_a_name_are_distinct_and_begin_with_the_image_itself(name: str, count: int) -> None:
    image = torch.arange(12.0).reshape(1, 3, 4)
    chosen = views(name)
    assert len(chosen) == count
    assert chosen[0] == IDENTITY
    assert len({(tuple(view.apply(image).shape), tuple(view.apply(image).flatten().tolist())) for view in chosen}) == count


@pytest.mark.parametrize("view", VIEWS["dihedral"])
def test_a_view_is_undone_exactly(view) -> None:
    image = torch.randn(2, 3, 5, 7)
    seen = view.apply(image)
    assert seen.shape[-2:] == ((7, 5) if view.transpose else (5, 7))
    assert view.invert(seen).equal(image)


@pytest.mark.parametrize("name", ["flips", "dihedral"])
def test_views_form_a_group(name: str) -> None:
    """What makes the mean over views follow the image when that is mirrored."""
    image = torch.randn(1, 4, 4)
    seen = {tuple(view.apply(image).flatten().tolist()) for view in views(name)}
    for one in views(name):
        assert {tuple(other.apply(one.apply(image)).flatten().tolist()) for other in views(name)} == seen


def test_a_network_seen_through_a_view_answers_in_the_frame_of_the_image() -> None:
    torch.manual_seed(0)
    pixelwise, plain = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 3, 3, padding=1)
    image = torch.randn(1, 2, 9, 12)
    for view in views("dihedral"):
        torch.testing.assert_close(view.wrap(pixelwise)(image), pixelwise(image))
        torch.testing.assert_close(view.wrap(plain)(image), view.invert(plain(view.apply(image))))
    assert IDENTITY.wrap(plain) is plain


def test_an_unknown_name_is_answered_with_the_near_one() -> None:
    with pytest.raises(
        ConfigError, match=r"tta=flip is not .*One of none, flips, dihedral was expected\. Did you mean flips\?"
    ):
        views("flip")
