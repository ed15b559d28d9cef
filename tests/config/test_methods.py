"""What the keys of the training methods mean together."""

import pytest

from segexp.config.methods import method_problems


def problems(**trainer):
    return list(method_problems({"trainer": trainer}))


@pytest.mark.parametrize(
    "trainer",
    [
        {},
        {"swa": None, "ema": 0.9, "freeze_encoder": 0, "minutes": 3},
        {"swa": "75%", "minutes": 3.0, "freeze_encoder": "20%"},
        {"swa": 60, "ema": None, "minutes": None, "freeze_encoder": 5},
        {"swa": [1]},  # what is no moment at all is refused by its type
    ],
)
def test_nothing_to_say(trainer):
    assert problems(**trainer) == []


def test_two_averages():
    assert problems(swa="75%", ema=0.99) == [
        "trainer.ema=0.99 and trainer.swa=75% are two averages of the weights, and one of them is what is scored and kept. "
        "Type trainer.ema=null or trainer.swa=null"
    ]


def test_epochs_of_an_open_number():
    assert problems(swa=60, minutes=10) == [
        "trainer.swa=60 counts epochs, and with trainer.minutes=10 their number is open. Type trainer.swa=75% for the last "
        "quarter of the time"
    ]


def test_no_moments():
    assert [text.partition(".")[2][:22] for text in problems(swa="60", freeze_encoder="x%")] == [
        "swa is '60'. an epoch ",
        "freeze_encoder is 'x%'",
    ]
