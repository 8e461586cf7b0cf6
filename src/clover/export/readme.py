"""README.md of an exported folder: what is in it, and an example that runs as it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clover.export.checking import TOLERANCE
from clover.export.graphs import Graph, described
from clover.pipeline import Clover

_READ = '''import json
from pathlib import Path

import av  # pip install av numpy tokenizers {package}
import numpy as np
{imports}
import tokenizers

folder = Path(".")  # this folder
config = json.loads((folder / "config.json").read_text())
shown, words = config["preprocessing"]["frames"], config["preprocessing"]["text"]
tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def read_clip(path):
    """A clip [1, frames, size, size, 3]: the middle frame of each part of the video, made square."""
    with av.open(path) as container:
        frames = list(container.decode(video=0))
    part = len(frames) / shown["count"]
    chosen = [frames[int((place + 0.5) * part)] for place in range(shown["count"])]
    size = shown["size"]
    scale = {scale}
    pixels = []
    for frame in chosen:
        image = frame.to_ndarray(format="rgb24", width={width}, height={height}, interpolation="AREA")
        top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
        pixels.append(image[top : top + size, left : left + size])
    return np.stack(pixels)[None]


def read_texts(texts):
    """Word pieces [texts, length], and which of them are no padding."""
    rows = [tokenizer.encode(text, add_special_tokens=False).ids[: words["longest"] - 2] for text in texts]
    token_ids = np.full((len(rows), max(map(len, rows)) + 2), words["padding"], dtype=np.int64)
    is_token = np.zeros(token_ids.shape, dtype=bool)
    for row, ids in enumerate(rows):
        token_ids[row, : len(ids) + 2] = [words["first"], *ids, words["last"]]
        is_token[row, : len(ids) + 2] = True
    return token_ids, is_token

'''

_ONNX_USE = '''
def run(name, **inputs):
    """The outputs of a graph, by name."""
    session = onnxruntime.InferenceSession(str(folder / f"{name}.onnx"))
    return dict(zip([one.name for one in session.get_outputs()], session.run(None, inputs)))

'''

_TORCH_USE = '''
def run(name, **inputs):
    """The outputs of a graph, by name."""
    program = torch.export.load(folder / f"{name}.pt2").module()
    found = program(*(torch.from_numpy(value) for value in inputs.values()))
    return dict(zip(config["graphs"][name]["outputs"], [value.numpy() for value in found]))

'''

_END = """
texts = ["a red ball moves left", "a green star spins"]
token_ids, is_token = read_texts(texts)
video = run("video", clip=read_clip("clip.mp4"))
text = run("text", token_ids=token_ids, is_token=is_token)
print(text["text_embedding"] @ video["video_embedding"][0])  # cosine similarity of each text and the video
"""

_FUSE = """
video_tokens = np.repeat(video["video_tokens"], len(texts), axis=0)  # a video and a text for every pair
fused = run("fusion", video_tokens=video_tokens, text_tokens=text["text_tokens"], is_token=is_token)
print((fused["fused_for_text"] * text["text_embedding"]).sum(axis=1))  # the same by the fusion encoder
"""

_ANSWER = """best = fused["answer_scores"].argmax(axis=1)  # where the texts are questions
print([config["answers"][place] for place in best])
"""


def onnx_readme(
    clover: Clover, graphs: Sequence[Graph], worst: Mapping[str, float], checked_on: str, int8: Sequence[str]
) -> str:
    """README.md of a folder of ONNX files."""
    files = [
        "# Clover as ONNX",
        "",
        "`video.onnx`, `text.onnx` and `fusion.onnx` run in ONNX Runtime without Clover or PyTorch.",
    ]
    if int8:
        files.append("`video.int8.onnx`, `text.int8.onnx` and `fusion.int8.onnx` are the same with weights of 8 bits.")
    lines = [*files, "", *_tables(graphs), *_exactness(worst, checked_on)]
    if int8:
        lines += ["", "## 8 bits", "", *(f"- {line}" for line in int8)]
    return "\n".join([*lines, "", *_example(clover, "onnxruntime", _ONNX_USE)])


def torch_readme(clover: Clover, graphs: Sequence[Graph], worst: Mapping[str, float], checked_on: str) -> str:
    """README.md of a folder of torch.export programs."""
    files = [
        "# Clover as programs of torch.export",
        "",
        "`video.pt2`, `text.pt2` and `fusion.pt2` run in PyTorch without Clover. Load such files only from people you",
        "trust.",
    ]
    example = _example(clover, "torch", _TORCH_USE)
    return "\n".join([*files, "", *_tables(graphs), *_exactness(worst, checked_on), "", *example])


def _tables(graphs: Sequence[Graph]) -> list[str]:
    lines = ["| graph | | name | shape | type | |", "|---|---|---|---|---|---|"]
    for graph in graphs:
        plain = described(graph)
        for name, one in plain["inputs"].items():
            shape = ", ".join(map(str, one["shape"]))
            lines.append(f"| {graph.name} | in | `{name}` | {shape} | {one['type']} | {one['about']} |")
        for name, about in plain["outputs"].items():
            shape, _, meaning = about.partition("], ")
            lines.append(f"| {graph.name} | out | `{name}` | {shape.removeprefix('[')} | float32 | {meaning} |")
    return [
        *lines,
        "",
        "Sizes with a name are free from call to call; the fusion takes as many temporal cells as the checkpoint has",
        "learned positions for, and height and width of the frames are fixed for the same reason. `config.json` says",
        "how frames and words are prepared. Texts are padded at the end, and `is_token` is false there.",
    ]


def _exactness(worst: Mapping[str, float], checked_on: str) -> list[str]:
    found = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    return [
        "",
        f"Checked against the checkpoint on {checked_on}; largest differences (at most {TOLERANCE:.0e}): {found}.",
    ]


def _example(clover: Clover, package: str, use: str) -> list[str]:
    """The example; what it shows is what this checkpoint can do."""
    heads, is_square = clover.config.model.heads, clover.config.inputs.frames.test_fit == "square"
    read = _READ.replace("{package}", package)
    read = read.replace("{imports}", f"import {package}")
    if is_square:
        read = read.replace("    scale = {scale}\n", "").replace("{width}", "size").replace("{height}", "size")
    else:
        read = read.replace("{scale}", "size / min(chosen[0].width, chosen[0].height)")
        read = read.replace("{width}", "round(frame.width * scale)").replace("{height}", "round(frame.height * scale)")
    code = read + use + _END
    if not heads.answers_at_mask:  # there a text needs a [MASK]
        code += _FUSE + (_ANSWER if heads.num_answers else "")
    lines = [
        "## Example",
        "",
        "Needs a video `clip.mp4` beside this file. Frames are resized with PyAV's area filter here, in Clover with a",
        "bilinear one without aliasing: pixels differ by less than 2 of 255 in the mean, and embeddings a little.",
        "",
        "```python",
        *code.strip().splitlines(),
        "```",
        "",
    ]
    exact = clover.config.inputs.num_views == clover.config.inputs.burst_length == 1
    if not exact:
        lines.append("The example takes single frames; `config.json` says which frames in a row were taken in tests.\n")
    return lines
