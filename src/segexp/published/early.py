"""A word about missing weights before the libraries that know where they are have been imported.

segmentation_models_pytorch and torchvision take ten seconds and more to be imported on a slow machine. Their addresses are
repeated in `addresses.json`, which a test holds against them; `python -m segexp.published.renew` writes it again. A network or
an encoder that is not in it, such as the thousands of timm, gets the same message when it is built.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segexp.published.fetching import hub_ready, torch_ready

ADDRESSES = Path(__file__).with_name("addresses.json")


def check_weights(model: Mapping[str, Any]) -> None:
    """Check that the pretrained weights of a network are here or can be fetched, as far as their address is known.

    Args:
        model: the model section of a config, which need not be right otherwise.

    Raises:
        ConfigError: neither; within about `fetching.PATIENCE` seconds.
    """
    package, _, name = str(model.get("_target_")).rpartition(".")
    encoder, weights = str(model.get("encoder")), str(model.get("weights"))
    if package != "segexp.models" or weights == "none":
        return
    known = json.loads(ADDRESSES.read_text(encoding="utf-8"))
    if name == "EncoderDecoder" and weights in known["hub"].get(encoder, {}):
        hub_ready(*known["hub"][encoder][weights].split("@"))
    elif name == "TorchvisionNet" and weights == "imagenet" and encoder in known["torch"]:
        torch_ready(known["torch"][encoder])
