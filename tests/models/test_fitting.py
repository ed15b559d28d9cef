import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from segexp.errors import ConfigError
from segexp.models.fitting import adapt_channels, load_match, match_state, mismatch_error, read_state


def encoder(channels=3, width=4):
    return nn.ModuleDict(
        {"stem": nn.Conv2d(channels, width, 3), "stages_0": nn.Sequential(nn.BatchNorm2d(width), nn.Conv2d(width, 8, 1))}
    )


def test_a_state_dict_fits_its_own_module():
    source, target = encoder(), encoder()
    found = match_state(target, source.state_dict(), 3)
    assert found.fits
    load_match(target, found)
    assert all(torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True))


@pytest.mark.parametrize("prefix", ["encoder.", "network.encoder.model.", "module."])
def test_a_part_of_a_larger_network_is_found(prefix):
    source = encoder()
    state = {f"{prefix}{name}": value for name, value in source.state_dict().items()} | {"head.weight": torch.zeros(2)}
    found = match_state(encoder(), state, 3)
    assert found.fits
    assert torch.equal(found.found["stem.weight"], source.stem.weight)


def test_timm_names_and_old_files_fit():
    state = {name.replace("stages_0", "stages.0"): value for name, value in encoder().state_dict().items()}
    del state["stages.0.0.num_batches_tracked"]
    assert match_state(encoder(), state, 3).fits


def test_a_classifier_is_no_part_of_an_encoder():
    assert match_state(
        encoder(), {**encoder().state_dict(), "fc.weight": torch.zeros(10, 8), "fc.bias": torch.zeros(10)}, 3
    ).fits


def test_what_does_not_fit_is_named():
    state = encoder(width=6).state_dict()
    del state["stages_0.1.bias"]
    state["stages_0.7.weight"] = torch.zeros(1)
    found = match_state(encoder(), state, 3)
    assert not found.fits
    assert found.missing == ["stages_0.1.bias"]
    assert found.unexpected == ["stages_0.7.weight"]
    assert found.shapes["stem.weight"] == ((6, 3, 3, 3), (4, 3, 3, 3))
    text = str(mismatch_error("a.pth", "resnet18", found))
    assert text == (
        "The weights in a.pth do not fit the encoder resnet18: 1 of the encoder's 9 weights are missing (stages_0.1.bias); "
        "1 of the file are unexpected (stages_0.7.weight); 7 have other shapes (stem.weight is (6, 3, 3, 3) in the file and "
        "(4, 3, 3, 3) in the encoder, stem.bias is (6,) in the file and (4,) in the encoder, stages_0.0.weight is (6,) in the "
        "file and (4,) in the encoder and 4 more). The state dict of exactly this encoder; a classifier in it is left out, and "
        "the image channels may differ. Set model.encoder to the encoder that the file is for, or name another file with "
        "model.weights=FILE."
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 9])
def test_images_with_equal_channels_get_the_response_that_was_trained(channels):
    trained = nn.Conv2d(3, 4, 3, bias=False)
    weight = adapt_channels(trained.weight.detach(), channels)
    assert weight.shape == (4, channels, 3, 3)
    grey = torch.randn(2, 1, 8, 8)
    out = nn.functional.conv2d(grey.expand(2, channels, 8, 8), weight)
    torch.testing.assert_close(out, trained(grey.expand(2, 3, 8, 8)))


def test_channels_keep_their_own_filters():
    weight = torch.randn(4, 3, 1, 1)
    assert torch.equal(adapt_channels(weight, 3), weight)
    torch.testing.assert_close(adapt_channels(weight, 1), weight.sum(1, keepdim=True))
    torch.testing.assert_close(adapt_channels(weight, 6), torch.cat([weight, weight], 1) / 2)
    five = adapt_channels(weight, 5)
    torch.testing.assert_close(five[:, [0, 1, 2]], weight * torch.tensor([0.5, 0.5, 1.0]).view(1, 3, 1, 1))
    torch.testing.assert_close(five[:, 3:], five[:, :2])
    assert adapt_channels(weight.half(), 2).dtype == torch.float16


def test_pixels_moved_into_channels_keep_their_places():
    weight = torch.randn(8, 4 * 3, 3, 3)
    one = adapt_channels(weight, 1)
    assert one.shape == (8, 4, 3, 3)
    torch.testing.assert_close(one[:, 2], weight[:, 6:9].sum(1))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_the_first_convolution_is_adapted_and_no_other(channels):
    source = encoder()
    found = match_state(encoder(channels), source.state_dict(), channels)
    assert found.fits
    torch.testing.assert_close(found.found["stem.weight"], adapt_channels(source.stem.weight.detach(), channels))
    assert torch.equal(found.found["stages_0.1.weight"], source.stages_0[1].weight)
    assert match_state(encoder(3), encoder(1).state_dict(), 3).fits, "a network for grey images onto colour"
    wrong = {**source.state_dict(), "stages_0.1.weight": torch.zeros(8, 5, 1, 1)}
    assert list(match_state(encoder(channels), wrong, channels).shapes) == ["stages_0.1.weight"]


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
def test_files(wrap, tmp_path):
    state = encoder().state_dict()
    torch.save(wrap(state), tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        read = read_state(tmp_path / name)
        assert set(read) == set(state)
        assert all(torch.equal(read[key], state[key]) for key in state)


def test_files_that_are_none(tmp_path):
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "text.safetensors").write_text("not weights")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    texts = {}
    for name in ("gone.pth", "text.pth", "text.safetensors", "empty.pth"):
        with pytest.raises(ConfigError) as caught:
            read_state(tmp_path / name)
        texts[name] = str(caught.value).replace(str(tmp_path), "…")
    assert texts["gone.pth"].startswith(
        "model.weights=…/gone.pth does not exist. imagenet, none, or a file with the state dict of the encoder (.pth, .pt, "
        ".ckpt, .safetensors)."
    )
    for name in ("text.pth", "text.safetensors"):
        assert texts[name].startswith(f"model.weights=…/{name} cannot be read: it is truncated, or holds more than weights (")
        assert texts[name].endswith("Save it again with torch.save(encoder.state_dict(), FILE).")
    assert texts["empty.pth"].startswith("model.weights=…/empty.pth holds no weights. A state dict: tensors by name.")
