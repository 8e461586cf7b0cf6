"""The model card: README.md of a checkpoint on the Hub, from its config and its run's records alone.

Nothing is said that is not recorded; what nobody noted or measured is said to be unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clover.errors import ConfigError
from clover.files import is_hub_id
from clover.publishing.history import Event, data_sources, lacks_some_of
from clover.publishing.records import Measurement, Records

UNKNOWN = "unknown"

_UNTOLD = ", of whose past nothing is known"
_OF_OTHERS = ("import", "encoder")
"""Events that bring weights that others trained."""

_TASKS = {
    "retrieval": ("video-text-retrieval", "text-to-video retrieval"),
    "choice": ("video-question-answering", "multiple-choice questions about videos"),
    "answer": ("video-question-answering", "open-ended questions about videos"),
}
_SETTINGS = {
    "training.batch_size": "batch size",
    "batch_size": "batch size",
    "training.optimizer.learning_rate": "learning rate",
    "optimizer.learning_rate": "learning rate",
    "training.optimizer.weight_decay": "weight decay",
    "num_epochs": "epochs",
    "seed": "seed",
    "freeze": "frozen parts",
    "lora.rank": "rank of the adapters (merged)",
}


def check_license(name: str) -> None:
    """Whether a licence is written as the Hub's cards have it; empty is allowed, and means that it is unknown.

    Raises:
        ConfigError: it is not.
    """
    if name and not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name):
        raise ConfigError(
            f"licence {name!r} has other signs than lower-case letters, digits, '.' and '-'; give it as the Hub "
            "abbreviates it, e.g. apache-2.0, cc-by-4.0"
        )


def model_card(
    config: Mapping[str, Any],
    records: Records,
    history: Sequence[Event] = (),
    *,
    name: str,
    fingerprint: str,
    num_weights: int,
    license_name: str = "",
) -> str:
    """Write the card.

    Args:
        config: Content of config.json.
        records: What is known of the checkpoint's last run.
        history: Where its weights come from.
        name: Of the model, as the heading.
        fingerprint: Of the checkpoint.
        num_weights: Of the network.
        license_name: Of the weights, as the Hub abbreviates it; empty: unknown.

    Returns:
        Markdown with front matter.
    """
    sections = [
        _front_matter(config, records, history, name, license_name),
        f"# {name}\n",
        _about(config, fingerprint, num_weights),
        _use(config),
        _origins(history),
        _training(records, history),
        _figures(records),
        _limits(config, records, history, license_name),
    ]
    return "\n".join(sections)


def _front_matter(
    config: Mapping[str, Any], records: Records, history: Sequence[Event], name: str, license_name: str
) -> str:
    """YAML between rules; every value is written as JSON, which is YAML."""
    heads = config["model"]["heads"]
    answers = bool(heads["num_answers"] or heads["has_choices"])
    fields: dict[str, Any] = {
        "license": license_name or UNKNOWN,
        "library_name": "clover",
        "pipeline_tag": "visual-question-answering" if answers else "feature-extraction",
        "tags": ["clover", "video", "text-to-video-retrieval", *(["video-question-answering"] if answers else [])],
    }
    borrowed = [event.name for event in history if event.kind == "encoder" and is_hub_id(event.name)]
    if borrowed:
        fields["base_model"] = list(dict.fromkeys(borrowed))
    datasets = [*_seen(records, history), *(_dataset(one) for one in records.measurements)]
    if datasets:
        fields["datasets"] = list(dict.fromkeys(datasets))
    if records.measurements:
        fields["metrics"] = sorted({_metric_type(one.metric) for one in records.measurements})
        fields["model-index"] = [{"name": name, "results": _index(records.measurements)}]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return "\n".join(["---", *lines, "---", ""])


def _dataset(one: Measurement) -> str:
    return one.dataset.partition(" (")[0]


def _metric_type(metric: str) -> str:
    return "recall" if metric.startswith("recall") else metric


def _index(measurements: Iterable[Measurement]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str, str], list[Measurement]] = {}
    for one in measurements:
        groups.setdefault((one.task, one.dataset, one.split), []).append(one)
    return [
        {
            "task": {"type": _TASKS[task][0], "name": _TASKS[task][1]},
            "dataset": {"type": dataset.partition(" (")[0], "name": dataset, "split": split},
            "metrics": [
                {"type": _metric_type(one.metric), "name": one.metric.replace("_", " "), "value": round(one.value, 4)}
                for one in rows
            ],
        }
        for (task, dataset, split), rows in groups.items()
    ]


def _about(config: Mapping[str, Any], fingerprint: str, num_weights: int) -> str:
    model, inputs = config["model"], config["inputs"]
    frames, heads = inputs["frames"], model["heads"]
    rows = {
        "architecture": "Clover (arXiv 2207.07885): video encoder, text encoder and fusion encoder, in one space of "
        f"{model['embedding_width']} numbers",
        "weights": f"{num_weights:,}",
        "sees": f"{_num_frames(inputs)} frames of {frames['size']} x {frames['size']} pixels",
        "reads": f"{inputs['max_text_length']} word pieces of {model['text']['vocabulary_size']:,}",
        "answers open questions": f"from {heads['num_answers']:,} answers" if heads["num_answers"] else "no",
        "answers multiple choice": "yes" if heads["has_choices"] else "no",
        "fingerprint": f"`{fingerprint}`",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items()), ""])


def _num_frames(inputs: Mapping[str, Any]) -> int:
    return int(inputs["num_frames"]) * int(inputs["num_views"])


def _use(config: Mapping[str, Any]) -> str:
    lines = [
        "## Use",
        "",
        "```python",
        "from clover import Clover",
        "",
        'model = Clover.from_pretrained(".")  # this folder, or its id on the Hub',
        'video = model.encode_video("clip.mp4")',
        'text = model.encode_text(["a red ball moves left"])',
        "print(text @ video)",
    ]
    heads = config["model"]["heads"]
    if heads["num_answers"] and not heads["answers_at_mask"]:
        lines.append('print(model.answer("clip.mp4", "what color is the ball?"))')
    return "\n".join([*lines, "```", ""])


def _sources(records: Records) -> list[tuple[str, str]]:
    data = records.setting("data")
    return data_sources(data) if isinstance(data, dict) else []


def _seen(records: Records, history: Iterable[Event]) -> list[str]:
    """Names of all that the weights were trained on by us; a teacher's data are seen through it alone."""
    earlier = [name for event in history if not event.generation for name in event.data]
    return list(dict.fromkeys([*earlier, *(name for name, _ in _sources(records))]))


def _origins(history: Sequence[Event]) -> str:
    lines = ["## Where the weights come from", ""]
    if not history:
        return "\n".join([*lines, "No history came with the weights: what they began as is unknown.", ""])
    lines += [f"{place}. {_told(event, history[: place - 1])}" for place, event in enumerate(history, 1)]
    others = [event for event in history if event.kind in _OF_OTHERS]
    if others:
        lines += [
            "",
            "Weights of others have licences of their publishers, which are not recorded here and bind this too.",
        ]
    return "\n".join([*lines, ""])


def _told(event: Event, before: Sequence[Event]) -> str:
    """One event in words; what a file says of itself cannot leave its line."""
    names = {part: _safe(part.replace("_", " ")) for part in event.parts}
    parts = ", ".join(f"{name} (in part)" if lacks_some_of(event, part) else name for part, name in names.items())
    parts = parts or "all parts"
    title, name, digest = _safe(event.title), _safe(event.name), _safe(event.digest)
    if event.kind == "import":
        of = "the list of its shards' SHA-256" if name.endswith(".index.json") else "SHA-256"
        told = f"{parts}: imported from `{name}` ({title}), {of} `{digest}`"
    elif event.kind == "encoder":
        told = f"{parts}: `{name}` of transformers ({title}), fingerprint `{digest}`"
    elif event.kind == "start":
        told = f"{parts}: taken from the checkpoint with fingerprint `{digest}`"
        told += "" if any(one.generation == event.generation for one in before) else _UNTOLD
    elif event.kind == "teacher":
        told = f"taught by the checkpoint with fingerprint `{digest}`"
        told += "" if any(one.generation > event.generation for one in before) else _UNTOLD
    else:
        data = f" on {', '.join(map(_safe, event.data))}" if event.data else ""
        of = f" of {parts}" if event.parts else ""
        told = f"{title}{of}: {event.num_steps:,} step{'s' if event.num_steps != 1 else ''}{data}"
    told += f"; not in it, and fresh: {', '.join(map(_safe, event.fresh))}" if event.fresh else ""
    told += f"; resized: {', '.join(_safe(one.told) for one in event.resized)}" if event.resized else ""
    whose = "of the teacher" + "'s teacher" * (event.generation - 1)
    return f"{whose}: {told}" if event.generation else told


def _safe(text: str) -> str:
    """Words from a file, on one line and without marks that Markdown or a browser would follow."""
    return re.sub(r"[`<>\[\]|&\\]", "_", " ".join(text.split()))[:200]


def _training(records: Records, history: Sequence[Event]) -> str:
    lines = ["## Training", ""]
    if not records.run:
        return "\n".join(
            [*lines, "No record of the run lies beside the checkpoint: its settings, code and machine are unknown.", ""]
        )
    run = records.run
    state = "" if run.get("is_finished", True) else " (not finished when this was written)"
    lines.append(f"- kind: {run.get('title') or UNKNOWN}{state}")
    if run.get("recipe"):
        lines.append(f"- recipe: {run['recipe']}")
    stages = run.get("stages") or {}
    steps = ", ".join(f"{count:,}" + (f" ({name})" if len(stages) > 1 else "") for name, count in stages.items())
    lines.append(f"- steps: {steps or UNKNOWN}")
    for setting, about in _SETTINGS.items():
        value = records.setting(setting)
        if value not in (None, "", [], 0):
            lines.append(f"- {about}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    lines.append(f"- started from: {_start(records, history)}")
    lines += _made_with(records)
    return "\n".join([*lines, "", "### Data", "", *_data(records), ""])


def _start(records: Records, history: Sequence[Event]) -> str:
    """What the run began with; imported encoders have a fingerprint as checkpoints do, and are none.

    Only a pre-training starts from them, by its setting ``init``; one that starts from a checkpoint leaves that event.
    """
    start = records.run.get("starting_checkpoint")
    if not start:
        return "no checkpoint"
    own = [event for event in history if not event.generation]
    is_told = any(event.kind == "start" and event.digest == start for event in own)
    if records.setting("init") and not is_told and any(event.kind == "import" for event in own):
        return "imported encoders (above)"
    return f"the checkpoint with fingerprint `{start}`"


def _made_with(records: Records) -> list[str]:
    if not records.sessions:
        return [f"- code and machine: {UNKNOWN}"]
    last = records.sessions[-1]
    code, machine = last.get("code", {}), last.get("environment", {})
    gpus = machine.get("gpus") or []
    cpu = machine.get("cpu", {})
    where = ", ".join(gpus) if gpus else f"no GPU; {cpu.get('count', UNKNOWN)} cores of {cpu.get('name', UNKNOWN)}"
    commit = f", commit `{code['commit'][:12]}`" if code.get("commit") else ""
    changed = " with changes of its own" if code.get("is_modified") else ""
    return [
        f"- code: clover-vl {code.get('version') or UNKNOWN}{commit}{changed}",
        f"- machine: {where}; {machine.get('world_size', UNKNOWN)} process(es); PyTorch "
        f"{machine.get('libraries', {}).get('torch', UNKNOWN)}",
    ]


def _data(records: Records) -> list[str]:
    lines = [f"- {name}: {about}" for name, about in _sources(records)]
    if records.run.get("benchmark"):
        rows = f"{records.run['num_rows']:,} rows of " if "num_rows" in records.run else ""
        lines.append(f"- {records.run['benchmark']}: {rows}its split `{records.run.get('train_split', UNKNOWN)}`")
    if not lines:
        lines.append(f"- {UNKNOWN}")
    data = records.sessions[-1].get("data", {}) if records.sessions else {}
    for name, part in _fingerprints(data):
        media = part.get("media") or {}
        if "count" in media:
            lines.append(
                f"- fingerprint{name}: {media['count']:,} media; digest of their names "
                f"`{media.get('names', UNKNOWN)}`, of their sizes `{media.get('sizes', UNKNOWN)}`"
            )
        lines += [f"  - `{file}`: SHA-256 `{digest}`" for file, digest in (part.get("files") or {}).items()]
    lines.append("- licences of the data: not recorded; they are those of whoever published them")
    return lines


def _fingerprints(data: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """The data's own fingerprint, or those of several sources."""
    if not isinstance(data, dict):
        return []
    if "media" in data or "files" in data:
        return [("", data)]
    return [(f" of {name}", part) for name, part in data.items() if isinstance(part, dict)]


def _figures(records: Records) -> str:
    lines = ["## Figures", ""]
    if records.measurements:
        lines += ["| on | split | metric | value | 95 % interval | chance |", "|---|---|---|---|---|---|"]
        for one in records.measurements:
            unit = "" if one.metric.endswith("rank") else " %"
            interval = f"{one.interval[0]:.1f} to {one.interval[1]:.1f}" if one.interval else UNKNOWN
            chance = ("-" if one.metric.endswith("rank") else UNKNOWN) if one.chance is None else f"{one.chance:.1f} %"
            metric = one.metric.replace("_", " ")
            lines.append(f"| {one.dataset} | {one.split} | {metric} | {one.value:.1f}{unit} | {interval} | {chance} |")
        lines.append("")
        told = {(one.dataset, one.task): one for one in records.measurements}
        for (dataset, task), one in told.items():
            notes = [note for note in (one.protocol, *one.remarks) if note]
            lines += [f"- {dataset}, {_TASKS[task][1]}: {note}" for note in notes]
    else:
        lines.append("No result of an evaluation lies beside the checkpoint: how good it is is unknown.")
    for stage, figures in records.evaluations.items():
        shown = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items())
        lines += ["", f"Noted during training{'' if stage == '.' else f' ({stage})'}, last values: {shown}."]
    return "\n".join([*lines, ""])


def _untrained(history: Sequence[Event]) -> list[str]:
    """Parts that a file lacked, if no run of ours came after it."""
    own = [event for event in history if not event.generation]
    last = max((place for place, event in enumerate(own) if event.kind == "run"), default=-1)
    return list(dict.fromkeys(_safe(part) for event in own[last + 1 :] for part in event.fresh))


def _limits(config: Mapping[str, Any], records: Records, history: Sequence[Event], license_name: str) -> str:
    inputs = config["inputs"]
    measured = {one.task for one in records.measurements}
    missing = [title for task, (_, title) in _TASKS.items() if task not in measured]
    lines = [
        "## Limits",
        "",
        f"- It sees {_num_frames(inputs)} frames of a video, and hears nothing; texts are cut after "
        f"{inputs['max_text_length']} word pieces.",
        *([f"- Not measured: {', '.join(missing)}."] if missing else []),
        "- Not measured: bias, safety, languages other than the training captions', videos unlike the training's.",
    ]
    saw_more = any(event.kind in _OF_OTHERS or set(event.data) - {"clover-shapes"} for event in history)
    if _seen(records, history) == ["clover-shapes"] and not saw_more:
        lines.append("- It was trained on drawn shapes: of recorded films it knows nothing.")
    untrained = _untrained(history)
    if untrained:
        lines.append(f"- Drawn by chance and never trained: {', '.join(untrained)}; what needs them is meaningless.")
    if records.foreign:
        lines.append(f"- Left out, because not of these very weights and preprocessing: {', '.join(records.foreign)}.")
    if not license_name:
        lines.append("- The licence of these weights is not recorded.")
    return "\n".join([*lines, ""])
