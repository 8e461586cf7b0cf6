"""The page of an ablation: tables, plots and panels, as one HTML file and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clover.files import write_text
from clover.report.page import render
from clover.report.pictures import data_address


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text."""

    headings: list[str]
    rows: list[list[str]]
    note: str = ""
    """Below it."""
    num_names: int = 1
    """Leading columns of words; the others hold numbers, and a last one without heading words again."""

    @property
    def of_words(self) -> list[bool]:
        """By column, whether it holds words."""
        last = len(self.headings) - 1
        return [place < self.num_names or (place == last and not name) for place, name in enumerate(self.headings)]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot."""

    name: str
    """Of its file, without ending."""
    svg: bytes
    about: str
    """What it shows, for who cannot see it."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What two systems found for one caption."""

    query: str
    found: list[tuple[str, str]]
    """Of each system its title, and the rank of the right video in words."""
    strips: list[list[tuple[str, bool]]]
    """Of each system its first videos as pictures, and whether each is the right one."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the page."""

    title: str
    text: str = ""
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    is_folded: bool = False
    """Shown when asked for."""


@dataclass(frozen=True, kw_only=True)
class AblationReport:
    """Everything on the page."""

    title: str
    facts: list[str]
    headline: list[tuple[str, str]]
    """A number and what it counts."""
    sections: list[Section]


def write_ablation_report(folder: Path, report: AblationReport) -> None:
    """Write report.html, which needs no other file, and report.md with its plots beside it.

    Raises:
        WriteError: the folder cannot be written.
    """
    plots = [plot for section in report.sections for plot in section.plots]
    for plot in plots:
        write_text(folder / "plots" / f"{plot.name}.svg", plot.svg.decode("utf-8"))
    addresses = {plot.name: data_address(plot.svg, "image/svg+xml") for plot in plots}
    write_text(folder / "report.html", render("ablation.html", report=report, plots=addresses))
    write_text(folder / "report.md", markdown(report))


def markdown(report: AblationReport) -> str:
    """The page without its panels."""
    lines = [f"# {report.title}", "", " · ".join(report.facts), ""]
    lines += ["; ".join(f"**{number}** {what}" for number, what in report.headline), ""]
    for section in report.sections:
        if section.panels and not (section.tables or section.plots):
            continue
        lines += [f"## {section.title}", ""]
        if section.text:
            lines += [section.text, ""]
        for table in section.tables:
            lines += [*_markdown_table(table), ""]
        lines += [f"![{plot.about}](plots/{plot.name}.svg)\n" for plot in section.plots]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_table(table: Table) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = line(["---" if of_words else "---:" for of_words in table.of_words])
    return [line(table.headings), rule, *map(line, table.rows), *(["", table.note] if table.note else [])]
