"""All eleven benchmarks with the small model, from publishers' files to numbers, through the commands a user types.

    python benchmarks/eleven.py --checkpoint demo/pretraining/checkpoint [--out FOLDER] [--only NAME ...] [--save]

The files are the generated corpus laid out as the publishers lay theirs out (`clover corpus shapes --format`). Each
benchmark is fine-tuned by its small recipe, then evaluated on its test split, also with the frames of every video
shuffled and with the middle frame alone. `--save` writes benchmarks/results/eleven.json; what is already in FOLDER is
not done again; `--quick` only shows that it runs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

from common import RESULTS, device_name

FORMATS = {
    "msrvtt-retrieval": "msrvtt",
    "didemo-retrieval": "didemo",
    "lsmdc-retrieval": "lsmdc",
    "tgif-action": "tgif-action",
    "tgif-transition": "tgif-transition",
    "msrvtt-mc": "msrvtt-mc",
    "lsmdc-mc": "lsmdc-mc",
    "tgif-frame": "tgif-frame",
    "msrvtt-qa": "msrvtt-qa",
    "msvd-qa": "msvd-qa",
    "lsmdc-fib": "lsmdc-fib",
}
NUM_VIDEOS = {"tgif-action": 6000, "tgif-transition": 15_000}
NUM_STEPS = {"tgif-action": 600, "tgif-transition": 900}
"""Where not the usual ones: what is done when takes longer to learn, and a quarter of the scenes give a transition."""
USUAL_VIDEOS, USUAL_STEPS = 2500, 350
KEPT = (
    "benchmark",
    "metric",
    "value",
    "interval",
    "chance",
    "shuffled_frames",
    "shuffled_loss",
    "single_frame",
    "num_queries",
    "protocol",
    "split",
    "num_gallery",
    "selected_on",
    "fingerprint",
    "remarks",
)


def clover(*arguments: object) -> str:
    """Run a command of ours and return what it printed; its progress is shown."""
    done = subprocess.run(
        [sys.executable, "-m", "clover", *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def run(name: str, folder: Path, checkpoint: Path, *, quick: bool) -> dict[str, object]:
    """One benchmark from nothing to its row."""
    num_videos = (400 if name.startswith("tgif") else 60) if quick else NUM_VIDEOS.get(name, USUAL_VIDEOS)
    data, out = folder / "corpora" / FORMATS[name], folder / "runs" / name
    result = out / "result.json"
    places = ("--annotations", data / "annotations", "--videos", data / "videos")
    made_by = {
        "checkpoint": hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest(),
        "quick": quick,
    }
    stamp = out / "made_by.json"
    if not result.is_file() or not stamp.is_file() or json.loads(stamp.read_text()) != made_by:
        clover("corpus", "shapes", data, "--format", FORMATS[name], "--num-videos", num_videos)
        num_steps = NUM_STEPS.get(name, USUAL_STEPS)
        limits = ("--max-steps", 4, "--batch-size", 8) if quick else ("--max-steps", num_steps)
        clover("finetune", name, "--checkpoint", checkpoint, *places, "--out", out, *limits, "--overwrite")
        clover("evaluate", name, out / "checkpoint", *places, "--baselines", "--json", "--out", result)
        stamp.write_text(json.dumps(made_by))
    plain = json.loads(result.read_text())
    return {key: plain[key] for key in KEPT}


def main() -> None:
    """Run them, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="pre-trained checkpoint folder")
    parser.add_argument("--out", default="benchmarks-shapes", help="folder of corpora and runs")
    parser.add_argument("--only", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("--quick", action="store_true", help="a few videos and steps: shows that it runs")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/eleven.json")
    options = parser.parse_args()
    if options.quick and options.save:
        parser.error("--quick shows that it runs; its figures are not worth saving")
    rows = []
    start = time.monotonic()
    for name in options.only:
        rows.append(run(name, Path(options.out), Path(options.checkpoint), quick=options.quick))
        print(f"{name}: {rows[-1]['value']:.1f}", file=sys.stderr, flush=True)
    print("| benchmark | metric | value (95 % interval) | chance | shuffled frames | single frame | queries |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        low, high = row["interval"]
        print(
            f"| {row['benchmark']} | {str(row['metric']).replace('_', ' ')} | {row['value']:.1f} % ({low:.1f} to "
            f"{high:.1f}) | {row['chance']:.1f} % | {row['shuffled_frames']:.1f} % | {row['single_frame']:.1f} % | "
            f"{row['num_queries']:,} |"
        )
    print(f"{(time.monotonic() - start) / 60:.0f} minutes on {device_name()}")
    if options.save:
        path = RESULTS / "eleven.json"
        there = json.loads(path.read_text()) if path.is_file() else []
        made = {row["benchmark"]: row for row in [*there, *rows]}
        rows = [made[name] for name in FORMATS if name in made]
        aside = path.with_suffix(".part")
        aside.write_text(json.dumps(rows, indent=2) + "\n")
        aside.replace(path)
        print(f"saved {path}")


if __name__ == "__main__":
    main()
