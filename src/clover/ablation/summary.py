"""All runs of an ablation made into rows, claims and a page."""

from __future__ import annotations

import json
from collections import Counter
from statistics import mean
from typing import Any

import numpy as np

from clover.ablation import tables
from clover.ablation.claims import EVALUATIONS, METRIC, Effect, Judged, effects, judge, plain_difference
from clover.ablation.folders import AblationFolder
from clover.ablation.results import Results, read_results
from clover.ablation.settings import AblationConfig, stored
from clover.config import to_plain
from clover.data.annotations.problems import counted
from clover.data.shapes.corpus import read_pairs, read_paragraphs, read_questions
from clover.data.video import read_frames
from clover.errors import DataError
from clover.evaluation.retrieval import one_text_per_video
from clover.files import write_text
from clover.recipes.ablation import SWEEPS, SYSTEMS
from clover.report.ablation import AblationReport, Panel, Plot, Section, write_ablation_report
from clover.report.ablation_plots import EffectLine, curves, effect_plot, similarity_histograms, sweep_plot
from clover.report.pictures import film_strip

_STEPS = (("tma", "comb"), ("tma-sm", "tma"), ("clover", "tma-sm"), ("clover", "comb"))
_OTHERS = (("ind-a", "comb"), ("ind-f", "comb"), ("clover", "ind-a"), ("clover", "ind-f"), ("clover-32", "clover"))
_SAME_COMPUTE = (("clover", "comb-compute"), ("clover", "ind-a-compute"), ("clover", "ind-f-compute"))
_FRESH = (("clover-fresh", "comb-fresh"),)
_VARIANTS = (("tma-sm-adjectives", "tma-sm"), ("tma-sm-adjectives", "tma"))
_NUM_PANELS, _NUM_SHOWN = 4, 3
_TOLD = {
    "holds": "hold",
    "does not hold": "do not hold",
    "cannot be told": "cannot be told",
    "not measured": "not measured",
}
"""Verdicts on several claims."""


def summarise(folder: AblationFolder) -> tuple[list[Judged], Results]:
    """Write ablation.json, report.html, report.md and plots/ into the folder.

    Raises:
        DataError: there is no whole run, or one is broken.
        WriteError: the folder cannot be written.
    """
    results, config = read_results(folder), stored(folder.path)
    if config is None:
        raise DataError(f"{folder.path} has no settings.json; restore it, or run the ablation in another folder")
    judged = judge(results)
    found = effects(results, (*_STEPS, *_OTHERS, *_SAME_COMPUTE, *_FRESH, *_VARIANTS))
    write_text(folder.path / "ablation.json", json.dumps(_plain(results, config, judged, found), indent=1) + "\n")
    write_ablation_report(folder.path, _report(folder, results, config, judged, found))
    return judged, results


def _plain(results: Results, config: AblationConfig, judged: list[Judged], found: list[Effect]) -> dict[str, Any]:
    runs = [results.runs[key] for key in sorted(results.runs)]
    starts = {run.start for run in runs if SYSTEMS[run.system].is_warm}
    return {
        "settings": to_plain(config),
        "machine": {**_machine(results), "seconds": round(_seconds(results), 1)},
        "warm_encoders": next(iter(starts), ""),
        "rows": [row for run in runs for row in run.rows()],
        "claims": [each.plain() for each in judged],
        "effects": [
            {"first": each.first, "second": each.second, "evaluation": each.what.evaluation, "metric": each.what.metric}
            | plain_difference(each.found)
            for each in found
        ],
        "sweeps": [
            {"setting": setting, "setting_value": value}
            | {key: row[key] for key in ("seed", "evaluation", "metric", "value")}
            for (setting, value), run in sorted(results.sweeps.items())
            for row in run.rows()
        ],
    }


def _machine(results: Results) -> dict[str, Any]:
    """What the runs were computed with: kinds of devices and processors, and threads of each run."""
    abouts = [run.about for run in (*results.runs.values(), *results.sweeps.values())]
    return {
        "devices": sorted({str(about["device"]) for about in abouts}),
        "processors": sorted({about["environment"]["cpu"]["name"] for about in abouts}),
        "gpus": sorted({name for about in abouts for name in about["environment"]["gpus"]}),
        "threads_per_run": sorted({about["environment"]["num_threads"] for about in abouts}),
        "torch": sorted({about["environment"]["libraries"]["torch"] for about in abouts}),
    }


def _seconds(results: Results) -> float:
    """Of all runs together, one after another: of each system the median times its number of runs."""
    groups = [tables.runs_of(results, name) for name in results.systems]
    return sum(map(tables.seconds_of, groups)) + tables.seconds_of(list(results.sweeps.values()))


def _report(
    folder: AblationFolder, results: Results, config: AblationConfig, judged: list[Judged], found: list[Effect]
) -> AblationReport:
    machine = _machine(results)
    seeds = {seed for _, seed in results.runs}
    done = [(len(results.runs), "run"), (len(results.systems), "system"), (len(seeds), "seed")]
    facts = [
        "{} of {}, {}".format(*(counted(number, what) for number, what in done))
        + (f", and {len(results.sweeps)} with one setting changed" if results.sweeps else ""),
        f"{config.corpus.num_videos} generated videos, {config.corpus.noise_share:.0%} of training captions noise",
        f"{config.num_steps} steps of {config.batch_size}, evaluated on the {config.evaluated_split} split",
        f"{_seconds(results) / 3600:.1f} hours of runs on {', '.join(machine['gpus'] or machine['processors'])}, "
        f"{' or '.join(counted(number, 'thread') for number in machine['threads_per_run'])} each",
    ]
    counts = Counter(each.verdict for each in judged)
    headline = [(str(counts[verdict]), f"claims {told}") for verdict, told in _TOLD.items() if counts[verdict]]
    sections = [
        Section(title="The paper's claims", tables=[tables.claims_table(judged)], plots=_effect_plots(judged)),
        _systems_section(results),
        _same_compute_section(results, found),
        *_variant_sections(results, found),
        Section(
            title="What the embeddings are like (Table 4)",
            tables=[tables.similarity_table(results, _main(results))],
            plots=[_histograms(results)],
        ),
        Section(
            title="One thing changed in a caption",
            text="Which of two captions, told in the same words but for one thing, is nearer to the video?",
            tables=[tables.probes_table(results, results.systems)],
        ),
        _questions_section(folder, results, config),
        Section(title="Losses of pre-training", plots=[_curves(results)]),
        *_sweep_sections(results),
        Section(title="What two systems find", panels=_panels(folder, results, config)),
        Section(title="All differences", tables=[tables.effects_table(found)], is_folded=True),
        Section(title="Where the time went", tables=[tables.time_table(results)]),
    ]
    return AblationReport(title="Clover: the ablations", facts=facts, headline=headline, sections=sections)


def _main(results: Results) -> list[str]:
    """Those of the paper; where none of them has a run, the others."""
    return [name for name in results.systems if not SYSTEMS[name].is_footnote] or results.systems


def _systems_section(results: Results) -> Section:
    fresh = [name for name in results.systems if not SYSTEMS[name].is_warm]
    shown = [tables.system_table(results, _main(results)), tables.ranks_table(results, _main(results))]
    if fresh:
        shown.append(tables.system_table(results, fresh))
    text = "All systems see the same videos and captions in the same order for the same number of steps"
    text += ", from the same warm encoders" + ("; those of the last table start from nothing." if fresh else ".")
    return Section(title="The systems (Tables 3 and 5)", text=text, tables=shown)


def _same_compute_section(results: Results, found: list[Effect]) -> Section:
    longer = [name for name in results.systems if SYSTEMS[name].has_compute_of]
    text = "Systems with cheaper steps get so many more of them that all take Clover's operations."
    if not longer:
        return Section(title="The same compute", text=f"{text} No such run was made.")
    pairs = [each for each in found if (each.first, each.second) in _SAME_COMPUTE]
    names = [*longer, *(["clover"] if "clover" in results.systems else [])]
    shown = [tables.system_table(results, names), *([tables.effects_table(pairs)] if pairs else [])]
    return Section(title="The same compute", text=text, tables=shown)


def _questions_section(folder: AblationFolder, results: Results, config: AblationConfig) -> Section:
    asked = read_questions(folder.corpus, config.evaluated_split)
    table = tables.questions_table(results, _main(results), asked, read_questions(folder.corpus, "train"))
    return Section(title="Open questions, by what they ask", tables=[table])


def _variant_sections(results: Results, found: list[Effect]) -> list[Section]:
    names = [name for name in results.systems if SYSTEMS[name].is_variant]
    if not names:
        return []
    beside = [SYSTEMS[name].derives_from for name in names if SYSTEMS[name].derives_from in results.systems]
    pairs = [each for each in found if (each.first, each.second) in _VARIANTS]
    shown = [tables.system_table(results, [*dict.fromkeys(beside), *names])]
    return [Section(title="Looked into", tables=[*shown, *([tables.effects_table(pairs)] if pairs else [])])]


def _effect_plots(judged: list[Judged]) -> list[Plot]:
    groups: dict[str, list[EffectLine]] = {}
    for each in judged:
        if each.found is None or each.claim.what.evaluation == "similarity":
            continue
        line = EffectLine(
            label=f"{SYSTEMS[each.claim.better].title} - {SYSTEMS[each.claim.worse].title}",
            mean=each.found.mean,
            interval=each.found.interval,
            by_seed=each.found.by_seed,
            published=each.claim.published,
        )
        groups.setdefault(EVALUATIONS[each.claim.what.evaluation], []).append(line)
    if not groups:
        return []
    about = (
        "Differences between systems: the mean (tick), its 95 % interval over seeds and queries (bar), every seed "
        "(dots) and the paper's difference (diamond)"
    )
    return [Plot(name="effects", svg=effect_plot(groups, "points of R@1 or accuracy"), about=about)]


def _histograms(results: Results) -> Plot:
    found = {}
    for name in _main(results):
        scores = tables.runs_of(results, name)[0].queries("zero_shot.json")["captions_scores"].astype(np.float32)
        is_other = ~np.eye(len(scores), dtype=bool)
        found[SYSTEMS[name].title] = np.diag(scores), scores[is_other]
    about = "Cosines of captions with their own video and with the others, by system, of its first seed"
    return Plot(name="similarities", svg=similarity_histograms(found), about=about)


def _curves(results: Results) -> Plot:
    logs = {SYSTEMS[name].title: [run.log for run in tables.runs_of(results, name)] for name in _main(results)}
    names = ["pair_alignment", "video_alignment", "masked_words", "text_ranking"]
    return Plot(
        name="curves", svg=curves(logs, names), about="Losses of pre-training over the steps, by system; smoothed"
    )


def _sweep_sections(results: Results) -> list[Section]:
    points = tables.sweep_points(results)
    if not points:
        return []
    titles = {name: SWEEPS[name].title for name in points}
    svg = sweep_plot(
        {titles[name]: found for name, found in points.items()}, {titles[name]: SWEEPS[name].own for name in points}
    )
    text = "One seed, one setting of Clover changed at a time. " + tables.chance_of_sweeps(results)
    plot = Plot(
        name="sweeps", svg=svg, about="Figures over the values of each setting; the dotted line is Clover's own value"
    )
    return [Section(title="Sensitivity", text=text, tables=tables.sweep_tables(results), plots=[plot])]


def _panels(folder: AblationFolder, results: Results, config: AblationConfig) -> list[Panel]:
    """A few captions, evenly spread and not chosen, with what the first and the last system find."""
    names = [name for name in ("comb", "clover") if name in results.systems] or results.systems[:1]
    seeds = results.seeds(*names)
    if not seeds:
        return []
    videos = [pair.video for pair in read_paragraphs(folder.corpus, config.evaluated_split)]
    texts = [pair.text for pair in one_text_per_video(read_pairs(folder.corpus, config.evaluated_split))]
    scores = [results.runs[name, seeds[0]].queries("zero_shot.json")["captions_scores"] for name in names]
    panels = []
    for place in np.linspace(0, len(texts) - 1, _NUM_PANELS).round().astype(int):
        found, strips = [], []
        for name, each in zip(names, scores, strict=True):
            order = np.argsort(-each[place].astype(np.float32), kind="stable")
            rank = int(np.flatnonzero(order == place)[0]) + 1
            found.append((SYSTEMS[name].title, f"the right video is at rank {rank}"))
            strips.append(
                [
                    (film_strip(read_frames(videos[video], 6).images, height=48), bool(video == place))
                    for video in order[:_NUM_SHOWN]
                ]
            )
        panels.append(Panel(query=texts[place], found=found, strips=strips))
    return panels


def say_results(judged: list[Judged], results: Results) -> list[str]:
    """A few lines for the terminal."""
    lines = []
    for name in results.systems:
        runs = tables.runs_of(results, name)
        values = [mean(tables.figures_of(runs, each, metric)) for each, metric in METRIC.items()]
        lines.append(f"{SYSTEMS[name].title:38} {len(runs)} seeds  " + "  ".join(f"{value:5.1f}" for value in values))
    counts = Counter(each.verdict for each in judged)
    return [*lines, "claims: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())]
