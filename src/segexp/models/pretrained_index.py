"""`python -m segexp.models.pretrained_index` writes `pretrained_urls.json` from the installed libraries."""

from typing import Any

from segexp.atomic import write_json
from segexp.models.pretrained import ADDRESSES


def addresses() -> dict[str, dict[str, Any]]:
    """Return the locations of encoder weights.

    Returns:
        "hub": encoder of segmentation_models_pytorch to name of the weights to "repository@revision"; "torch": encoder of
        torchvision's dilated networks to URL.
    """
    from segmentation_models_pytorch.encoders import encoders

    from segexp.models.torchvision_net import STRIDES, imagenet_url

    hub = {
        name: {key: f"{at['repo_id']}@{at['revision']}" for key, at in encoder["pretrained_settings"].items()}
        for name, encoder in encoders.items()
    }
    return {"hub": hub, "torch": {name: imagenet_url(name) for name in STRIDES}}


if __name__ == "__main__":
    write_json(ADDRESSES, addresses(), sort_keys=True)
