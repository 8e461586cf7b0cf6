"""The pictures of the page in docs/images: the demo's test clips, joined to reels, searched and asked in a browser.

Clips of three seconds show no timeline, so a dozen are joined to a reel of about 45 seconds. Needs a Chromium, which
`make test` obtains, and the demo's checkpoint and corpus.

    python benchmarks/page_picture.py --demo demo
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

import av
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from clover.data.video_writer import write_video

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "serving"))
from obtain_chromium import find_chromium, flags  # noqa: E402  (found by the line above)

NUM_REELS = 36
CLIPS_IN_A_REEL = 13
RATE = 8
LARGER = 3  # the clips have 96 pixels
WIDTH, HEIGHT = 1180, 860
MOST_BYTES = 300_000
PICTURES = {
    "page.png": (f"?q={quote('an orange square moves down')}", "light"),
    "page-ask.png": (f"?view=ask&q={quote('what color is the star that spins?')}", "dark"),
}


def make_reels(clips: list[Path], folder: Path) -> None:
    for number in range(NUM_REELS):
        place = folder / ("mornings" if number % 2 else "evenings")
        place.mkdir(parents=True, exist_ok=True)
        images: list[np.ndarray] = []
        # of different lengths, as films are
        for clip in clips[number * CLIPS_IN_A_REEL : (number + 1) * CLIPS_IN_A_REEL - number % 5]:
            with av.open(str(clip)) as container:
                images += [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        larger = np.stack(images).repeat(LARGER, axis=1).repeat(LARGER, axis=2)
        write_video(place / f"reel-{number:02d}.mp4", larger, rate=RATE, keyframe_interval=2 * RATE)


def take(page: Page, path: Path) -> None:
    """A picture of the page as soon as its first preview moves, in few enough colours to be small."""
    page.wait_for_function("() => [...document.querySelectorAll('video')].some(video => video.currentTime > 0)")
    page.wait_for_timeout(1500)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < MOST_BYTES, path
    print(f"{path}: {path.stat().st_size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, required=True, help="folder that clover demo made")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    arguments = parser.parse_args()
    chromium, problems = find_chromium()
    if chromium is None:
        sys.exit(f"no Chromium opens a page: {'; '.join(problems)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    clover = [sys.executable, "-m", "clover"]
    with tempfile.TemporaryDirectory() as folder:
        reels, library = Path(folder) / "reels", Path(folder) / "demo"
        make_reels(sorted((arguments.demo / "corpus" / "videos" / "test").glob("*.mp4")), reels)
        windows = ["--length-seconds", "3", "--stride-seconds", "1"]
        checkpoint = ["--checkpoint", str(arguments.demo / "checkpoint")]
        subprocess.run([*clover, "index", str(reels), *checkpoint, "--out", str(library), *windows], check=True)
        command = [*clover, "serve", str(library), "--port", "0", "--uploads", ""]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
            try:
                address = re.search(r"http://\S+", server.stdout.readline())
                browser = playwright.chromium.launch(executable_path=chromium or None, args=flags())
                for name, (query, scheme) in PICTURES.items():
                    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
                    page.goto(f"{address[0]}{query}")
                    take(page, arguments.out / name)
                browser.close()
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
