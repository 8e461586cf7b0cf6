"""Results as plain figures for files and as tables for people."""

from __future__ import annotations

from dataclasses import asdict

from rich.table import Table

from clover.evaluation.open_answer import QuestionResult
from clover.evaluation.retrieval import RetrievalResult


def retrieval_figures(result: RetrievalResult) -> dict[str, object]:
    """Figures of metrics.json."""
    sides = {"text_to_video": result.text_to_video, "video_to_text": result.video_to_text}
    names = ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank")
    figures: dict[str, object] = {
        "num_queries": result.text_to_video.num_queries,
        "chance_recall_at_10": round(result.text_to_video.chance_recall_at_10, 4),
    }
    return figures | {
        side: {name: round(getattr(metrics, name), 4) for name in names} for side, metrics in sides.items()
    }


def question_figures(result: QuestionResult) -> dict[str, object]:
    """Figures of metrics.json."""
    names = ("num_questions", "accuracy", "most_frequent_answer", "question_only")
    figures: dict[str, object] = {name: round(getattr(result, name), 4) for name in names}
    if result.baselines:
        figures["baselines"] = {name: asdict(kind) for name, kind in result.baselines.items()}
    return figures


def retrieval_table(result: RetrievalResult) -> Table:
    """Both directions beside chance."""
    size = f"{result.text_to_video.num_queries} texts x {result.text_to_video.num_gallery} videos"
    table = Table(title=f"retrieval, {size}", title_justify="left")
    for heading in ("", "R@1", "R@5", "R@10", "median rank"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, metrics in (("text to video", result.text_to_video), ("video to text", result.video_to_text)):
        recalls = [f"{getattr(metrics, f'recall_at_{k}'):.1f} %" for k in (1, 5, 10)]
        table.add_row(name, *recalls, f"{metrics.median_rank:g}")
    chance = result.text_to_video
    recalls = [f"{getattr(chance, f'chance_recall_at_{k}'):.1f} %" for k in (1, 5, 10)]
    table.add_row("chance", *recalls, f"{(chance.num_gallery + 1) / 2:g}")
    return table


def question_table(result: QuestionResult) -> Table:
    """Accuracy beside its floors, and by type of question."""
    table = Table(title=f"open-ended questions, {result.num_questions}", title_justify="left")
    table.add_column("")
    table.add_column("accuracy", justify="right")
    low, high = result.interval
    table.add_row("the model", f"{result.accuracy:.1f} % ({low:.1f} to {high:.1f})")
    table.add_row("the model without the video", f"{result.question_only:.1f} %")
    table.add_row("most frequent training answer", f"{result.most_frequent_answer:.1f} %")
    table.add_section()
    table.add_row("the model, by kind of question:", "")
    for name, accuracy in result.by_type.items():
        table.add_row(f"  {name}", f"{accuracy:.1f} %")
    return table


def baselines_table(result: QuestionResult) -> Table:
    """What the answers to every kind of question rest on."""
    table = Table(title="with less of the video, by kind of question", title_justify="left")
    for heading in ("", "questions", "accuracy", "most frequent", "shuffled frames", "costs", "single frame"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, kind in result.baselines.items():
        low, high = kind.interval
        least, most = kind.shuffled_loss
        table.add_row(
            name,
            f"{kind.num_questions:,}",
            f"{kind.accuracy:.1f} % ({low:.1f} to {high:.1f})",
            f"{kind.most_frequent_answer:.1f} %",
            f"{kind.shuffled_frames:.1f} %",
            f"{least:.1f} to {most:.1f}",
            f"{kind.single_frame:.1f} %",
        )
    return table
