"""The folders that `clover export --to onnx` and `--to torch` leave: graphs, tokenizer, config.json, README.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clover.config import to_plain
from clover.errors import MediaError
from clover.export import readme
from clover.export.checking import TOLERANCE, check, made_clips
from clover.export.graphs import Graph, described, graphs_of
from clover.export.onnx_files import OnnxModel, require_onnx, write_onnx
from clover.export.programs import TorchPrograms, write_program
from clover.export.quantised import SUFFIX, QuantisationCost, measure, measure_retrieval, quantise
from clover.files import check_replaceable, check_writable, write_folder
from clover.pipeline import Clover
from clover.types import Pair

_GRAPHS = ("video", "text", "fusion")
_BESIDE = ("config.json", "README.md", "tokenizer.json")
_ONNX_FILES = {*_BESIDE, *(f"{name}{suffix}.onnx" for name in _GRAPHS for suffix in ("", SUFFIX))}
_TORCH_FILES = {*_BESIDE, *(f"{name}.pt2" for name in _GRAPHS)}
_NUM_CLIPS = 6
_MADE_TEXTS = ("a red ball moves left", "two people talk", "a dog runs over the grass", "someone cuts an onion")


def export_onnx(
    clover: Clover,
    out: Path,
    *,
    int8: bool = False,
    pairs: Sequence[Pair] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Write ``video.onnx``, ``text.onnx`` and ``fusion.onnx``, checked in ONNX Runtime, whole or not at all.

    Args:
        clover: The checkpoint, on the processor.
        out: Folder; an earlier export for ONNX Runtime is replaced, and nothing else.
        int8: Write the three in 8 bits too.
        pairs: Videos whose clips are checked too, and on whose retrieval the cost of 8 bits is measured.
        progress: Of that measurement; called with (videos done, videos).

    Returns:
        Lines that say what was written, how exact it is, and what 8 bits cost.

    Raises:
        ExportError: a library is missing, or the graphs do not compute what the checkpoint does.
        ConfigError: the model cannot be written as graphs.
        WriteError: the place cannot be written, or holds other things, which would be lost.
    """
    require_onnx()
    check_replaceable(out, _ONNX_FILES, verb="export")
    check_writable(out.parent)
    graphs = graphs_of(clover)
    told: list[str] = []

    def fill(aside: Path) -> None:
        for graph in graphs:
            write_onnx(graph, aside / f"{graph.name}.onnx")
        model = OnnxModel(aside)
        worst, checked_on = _checked(clover, graphs, model.run, pairs)
        cost = _in_8_bits(clover, graphs, aside, model, pairs, progress) if int8 else None
        config = exported_config(clover, graphs, kind="onnx", worst=worst, checked_on=checked_on)
        if cost is not None:
            config["int8"] = cost.plain
        text = readme.onnx_readme(clover, graphs, worst, checked_on, cost.lines if cost else [])
        _finish(clover, aside, config, text)
        told.extend(_told(worst, checked_on, cost))

    write_folder(out, fill)
    return told


def export_torch(clover: Clover, out: Path, *, pairs: Sequence[Pair] = ()) -> list[str]:
    """Write ``video.pt2``, ``text.pt2`` and ``fusion.pt2``, loaded back and checked, whole or not at all.

    Arguments, result and errors are those of `export_onnx`; what may be replaced is an earlier export of programs.
    """
    check_replaceable(out, _TORCH_FILES, verb="export")
    check_writable(out.parent)
    graphs = graphs_of(clover)
    told: list[str] = []

    def fill(aside: Path) -> None:
        for graph in graphs:
            write_program(graph, aside / f"{graph.name}.pt2")
        worst, checked_on = _checked(clover, graphs, TorchPrograms(aside, graphs).run, pairs)
        config = exported_config(clover, graphs, kind="torch", worst=worst, checked_on=checked_on)
        _finish(clover, aside, config, readme.torch_readme(clover, graphs, worst, checked_on))
        told.extend(_told(worst, checked_on, None))

    write_folder(out, fill)
    return told


def exported_config(
    clover: Clover, graphs: Sequence[Graph], *, kind: Literal["onnx", "torch"], worst: dict[str, float], checked_on: str
) -> dict[str, Any]:
    """What a program in any language needs to know to feed the graphs, for config.json."""
    inputs, model = clover.config.inputs, clover.config.model
    frames, tokenizer = inputs.frames, clover.tokenizer
    return {
        "format": f"clover-{kind}-1",
        "fingerprint": clover.fingerprint,
        "preprocessing": {
            "frames": {
                "count": inputs.num_frames * inputs.num_views,
                "clips_of_one_video": inputs.num_views,
                "sampling": "the middle frame of each of so many equal parts of the video",
                "frames_in_a_row": inputs.burst_length,
                "distance_in_a_row": inputs.burst_interval,
                "only_first_seconds": inputs.max_seconds or None,
                "size": frames.size,
                "fit": {
                    "square": "resized to size x size, the aspect not kept",
                    "center_crop": "short side resized to size, then the middle size x size pixels",
                }[frames.test_fit],
                "pixels": "RGB, uint8; the graph normalises",
            },
            "normalisation_inside": to_plain(model.pixels),
            "text": {
                "tokenizer": "tokenizer.json",
                "longest": inputs.max_text_length,
                "first": tokenizer.cls_id,
                "last": tokenizer.sep_id,
                "padding": tokenizer.pad_id,
                "mask": tokenizer.mask_id,
                "too_long": "cut at the end, the last stays last",
            },
        },
        "graphs": {graph.name: described(graph) for graph in graphs},
        "answers": list(clover.config.answers),
        "largest_differences": {name: float(f"{value:.2g}") for name, value in worst.items()},
        "checked_on": checked_on,
    }


def _checked(clover: Clover, graphs: Sequence[Graph], run: Any, pairs: Sequence[Pair]) -> tuple[dict[str, float], str]:
    clips, source = _clips(clover, pairs)
    return check(clover, graphs, run, clips), f"noise of four sizes and {len(clips)} {source}"


def _clips(clover: Clover, pairs: Sequence[Pair]) -> tuple[list[np.ndarray], str]:
    """Clips of the first videos that can be read, else made ones."""
    clips: list[np.ndarray] = []
    for video in dict.fromkeys(pair.video for pair in pairs):
        if len(clips) == _NUM_CLIPS:
            break
        try:
            clips.append(clover.clip(video))
        except MediaError:
            continue
    return (clips, "clips of the corpus") if clips else (made_clips(clover, _NUM_CLIPS), "made clips")


def _in_8_bits(
    clover: Clover,
    graphs: Sequence[Graph],
    folder: Path,
    before: OnnxModel,
    pairs: Sequence[Pair],
    progress: Callable[[int, int], None] | None,
) -> QuantisationCost:
    paths = [(folder / f"{graph.name}.onnx", folder / f"{graph.name}{SUFFIX}.onnx") for graph in graphs]
    for source, target in paths:
        quantise(source, target)
    sizes = (sum(one.stat().st_size for one, _ in paths), sum(one.stat().st_size for _, one in paths))
    after = OnnxModel(folder, suffix=SUFFIX)
    if pairs:
        return measure_retrieval(clover, before.run, after.run, pairs, sizes=sizes, progress=progress)
    clips = made_clips(clover, 2 * _NUM_CLIPS)
    return measure(clover, before.run, after.run, sizes=sizes, clips=clips, texts=_MADE_TEXTS)


def _told(worst: dict[str, float], checked_on: str, cost: QuantisationCost | None) -> list[str]:
    largest = max(worst.values())
    first = f"largest difference from the checkpoint: {largest:.1e} (at most {TOLERANCE:.0e}), on {checked_on}"
    return [first, *(cost.lines if cost else [])]


def _finish(clover: Clover, folder: Path, config: dict[str, Any], text: str) -> None:
    clover.tokenizer.save(folder)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(text, encoding="utf-8")
