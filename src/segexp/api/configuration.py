"""A composed configuration with what can be found out about its data."""

from typing import TYPE_CHECKING, Any

from segexp.config import plain, report, with_data
from segexp.config.schema import SECTIONS, check_fields

if TYPE_CHECKING:
    from omegaconf import DictConfig


def completed(config: "DictConfig") -> tuple[dict[str, Any], str]:
    """Return plain values in which the facts about the data are filled in, and a sentence that says what was found.

    Channels and classes reach the network and the loss by interpolation, so the data come first.

    Raises:
        ConfigError: see `plain`; or a key of the data section is wrong.
        DataError: the folder of the data is missing or holds no known layout.
    """
    from segexp.data.autoconfig import complete

    values = plain(config)
    report(list(check_fields("data", values["data"], SECTIONS["data"])))
    found, sentence = complete(values["data"])
    return (plain(with_data(config, found)) if found else values), sentence
