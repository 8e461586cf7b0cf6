"""A library made for looking at, and a browser before its page."""

import re
from contextlib import contextmanager
from urllib.parse import urlsplit

import av
import numpy as np
from made_server import make_model
from playwright.sync_api import expect

from clover.pipeline import Clover
from clover.search.engine import open_library
from clover.search.indexing import signature
from clover.search.interface import Moment
from clover.search.windows import WindowConfig

RATE = 8
SECONDS = 12
QUERY = "a red ball"
QUESTION = "what color is the ball?"
HOSTILE = "<img src=x onerror=alert(1)>.webm"
FOUND = {"ball.webm": (4, 0.9), HOSTILE: (8, 0.7), "é 球.webm": (0, 0.5)}
"""Where in each video the query is found, in seconds, and its score there; elsewhere it scores 0.2."""


def write_webm(path, seed):
    """A square that moves, in a form that every Chromium plays, those without licensed codecs too."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=RATE, options={"deadline": "realtime", "cpu-used": "8"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(SECONDS * RATE):
            image = np.full((64, 96, 3), (40 * seed, 90, 70), dtype=np.uint8)
            left = number % 80
            image[24:40, left : left + 16] = (220, 40, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def make_place(folder):
    """``checkpoint``, ``films`` and ``library``, with vectors made so that the query finds what `FOUND` says."""
    make_model(folder / "checkpoint")
    clover = Clover.from_pretrained(folder / "checkpoint")
    wanted = clover.encode_text(QUERY).numpy()
    other = np.random.default_rng(0).normal(size=wanted.shape)
    other -= other @ wanted * wanted
    other /= np.linalg.norm(other)
    library = open_library(folder / "library", clover, WindowConfig(), checkpoint=str(folder / "checkpoint"))
    for seed, (name, (found, best)) in enumerate(FOUND.items()):
        path = folder / "films" / ("first" if seed else "second") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_webm(path, seed)
        moments = [
            Moment(
                video=str(path),
                start_seconds=float(start),
                end_seconds=float(start + 4),
                signature=signature(path),
                modified=path.stat().st_mtime,
                video_seconds=float(SECONDS),
                tags=("moving",),
            )
            for start in range(0, SECONDS - 3, 2)
        ]
        scores = [best if moment.start_seconds == found else 0.2 for moment in moments]
        vectors = [score * wanted + np.sqrt(1 - score**2) * other for score in scores]
        library.add(moments, np.array(vectors, dtype=np.float32))
    library.save()


MOST_MILLISECONDS = 60_000
"""That anything on the page may take, on a busy machine."""
expect.set_options(timeout=MOST_MILLISECONDS)


@contextmanager
def looking(browser, address, **settings):
    """A page of a new browser profile; nothing may have been asked of another host, or complained of, when it is left.

    What a test provokes on purpose it puts into ``page.expected``, as a pattern.
    """
    context = browser.new_context(**{"viewport": {"width": 1100, "height": 800}, **settings})
    context.set_default_timeout(MOST_MILLISECONDS)
    hosts, complaints = set(), []
    context.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page = context.new_page()
    page.expected = None
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
    try:
        page.goto(address)
        yield page
        assert hosts == {urlsplit(address).netloc}
        assert [one for one in complaints if page.expected is None or not re.search(page.expected, one)] == []
    finally:
        context.close()
