"""clover demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from clover.allocator import keep_freed_memory
from clover.commands.options import parse
from clover.demo import DemoConfig, run_demo
from clover.evaluation.figures import question_table, retrieval_table
from clover.files import shell_word


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """The main job from nothing: corpus, pre-training, retrieval, questions, search, report."""

    out: str = "demo"
    """Folder for everything."""
    config: tyro.conf.OmitArgPrefixes[DemoConfig] = DemoConfig()
    """How much to do."""
    quick: bool = False
    """200 videos and a few steps, a minute: shows that everything runs, learns little."""


def demo(arguments: Sequence[str]) -> None:
    """Run `clover demo`."""
    options = parse(DemoOptions, arguments, command="demo")
    config = DemoConfig(num_videos=200, seed=options.config.seed, scale=0.02) if options.quick else options.config
    folder = Path(options.out)
    keep_freed_memory()
    result = run_demo(folder, config)
    console = Console()
    console.print()
    console.print(retrieval_table(result.retrieval))
    console.print(question_table(result.questions))
    if options.quick:
        print("figures of a quick run: they mean little")
    minutes = sum(result.seconds.values()) / 60
    print(f"\n{minutes:.1f} minutes. Look at {folder / 'report.html'}, or go on:")
    library, checkpoint, video = (
        shell_word(folder / name) for name in ("library", "checkpoint", "corpus/videos/test/000000.mp4")
    )
    print(f'  clover search {library} "a red ball moves left"')
    print(f'  clover ask {checkpoint} {video} "what color is the ball?"')
    print(f"  clover serve {library}")
    print(f"  clover index YOUR_VIDEOS --checkpoint {checkpoint} --out my-library")
