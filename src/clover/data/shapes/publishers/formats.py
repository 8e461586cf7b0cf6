"""The table of formats that the generated corpus can be written in."""

from __future__ import annotations

from typing import Literal, get_args

from clover.data.shapes.publishers.conceptual import Conceptual
from clover.data.shapes.publishers.didemo import DidemoRetrieval
from clover.data.shapes.publishers.lsmdc import LSMDC_BLANKS, LSMDC_CHOICES, LSMDC_RETRIEVAL
from clover.data.shapes.publishers.msrvtt import MsrvttQuestions, MsrvttRetrieval
from clover.data.shapes.publishers.msvd import MsvdQuestions
from clover.data.shapes.publishers.publisher import Publisher, PublisherLayout
from clover.data.shapes.publishers.shards import ShardLayout
from clover.data.shapes.publishers.tgif import TgifChoices, TgifFrames
from clover.data.shapes.publishers.webvid import Webvid
from clover.data.shapes.writing import Layout
from clover.errors import ConfigError

Format = Literal[
    "clover",
    "msrvtt",
    "msrvtt-mc",
    "msrvtt-qa",
    "msvd-qa",
    "didemo",
    "lsmdc",
    "lsmdc-mc",
    "lsmdc-fib",
    "tgif-action",
    "tgif-transition",
    "tgif-frame",
    "webvid",
    "cc3m",
    "webdataset",
]

FORMATS: tuple[str, ...] = get_args(Format)
"""The corpus's own format first, then those of publishers."""

_PUBLISHERS: dict[str, Publisher] = {
    "msrvtt": MsrvttRetrieval(),
    "msrvtt-mc": MsrvttRetrieval(has_choices=True),
    "msrvtt-qa": MsrvttQuestions(),
    "msvd-qa": MsvdQuestions(),
    "didemo": DidemoRetrieval(),
    "lsmdc": LSMDC_RETRIEVAL,
    "lsmdc-mc": LSMDC_CHOICES,
    "lsmdc-fib": LSMDC_BLANKS,
    "tgif-action": TgifChoices(kind="action"),
    "tgif-transition": TgifChoices(kind="transition"),
    "tgif-frame": TgifFrames(),
    "webvid": Webvid(),
    "cc3m": Conceptual(),
}


def publisher_layout(name: str) -> Layout:
    """Return the layout of a publisher's format.

    Raises:
        ConfigError: there is none of this name.
    """
    if name == "webdataset":
        return ShardLayout(name)
    if name not in _PUBLISHERS:
        raise ConfigError(f"there is no format {name!r} of the corpus; choose from {', '.join(FORMATS)}")
    return PublisherLayout(name, _PUBLISHERS[name])
