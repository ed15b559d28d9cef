import pickle

import pytest

from segexp.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DeviceError,
    SegexpError,
    listed,
    nearest,
    sentence,
)

KINDS = (SegexpError, DataError, ConfigError, CheckpointError, DeviceError)


def test_message_is_one_paragraph_of_closed_sentences():
    error = DataError("a.png is 3x4 and its mask is 4x3", "Equal sizes were expected.", "Make the mask again")
    assert str(error) == "a.png is 3x4 and its mask is 4x3. Equal sizes were expected. Make the mask again."
    assert "\n" not in str(error)


def test_parts_that_are_missing_leave_no_gap():
    assert str(SegexpError("Nothing is here")) == "Nothing is here."
    assert str(SegexpError("Nothing is here", do="Put something there!")) == "Nothing is here. Put something there!"


@pytest.mark.parametrize("kind", KINDS)
def test_survives_the_trip_from_a_worker_process(kind):
    error = pickle.loads(pickle.dumps(kind("found", "expected", "do")))
    assert type(error) is kind
    assert (error.found, error.expected, error.do) == ("found", "expected", "do")
    assert str(error) == "found. expected. do."


@pytest.mark.parametrize(("kind", "code"), [(k, 2 if k is ConfigError else 1) for k in KINDS])
def test_only_a_wrong_command_line_exits_with_two(kind, code):
    assert kind("x").exit_code == code
    assert issubclass(kind, SegexpError)


@pytest.mark.parametrize(
    ("text", "closed"),
    [("a", "a."), ("a.", "a."), ("really?", "really?"), ("so:", "so:"), ("  padded  ", "padded."), ("!", "!")],
)
def test_sentence(text, closed):
    assert sentence(text) == closed


def test_nearest_proposes_the_closest_first():
    assert nearest("unetp", ["unet", "unetpp", "dilated"]) in ("Did you mean unetpp, unet?", "Did you mean unet, unetpp?")
    assert nearest("dilatd", ["unet", "unetpp", "dilated"]) == "Did you mean dilated?"
    assert nearest("aaaa", ["aaab", "aaac", "aaad", "aaae"], count=2).count(",") == 1


def test_nearest_lists_what_there_is_when_nothing_is_close():
    assert nearest("zzz", ["unet", "dilated", "unet"]) == "Known names: dilated, unet."
    many = nearest("?", [f"name{n:02d}" for n in range(21)])
    assert many.endswith("name19, ….")
    assert nearest("zzz", []) == ""


def test_listed():
    assert listed([]) == ""
    assert listed([1, 2]) == "1, 2"
    assert listed(range(5)) == "0, 1, 2, 3, 4"
    assert listed((f"{n}.png" for n in range(7)), limit=2) == "0.png, 1.png and 5 more"
