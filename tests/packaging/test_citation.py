"""CITATION.cff can be read by those who read such files, and agrees with the package."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
NEEDED = {"cff-version", "message", "title", "authors"}


def test_the_citation_names_the_software_and_its_paper():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(cited) >= NEEDED
    assert (cited["cff-version"], cited["version"], cited["license"]) == (
        "1.2.0",
        project["version"],
        project["license"],
    )
    paper = cited["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == ["Huang", "Li", "Feng", "Wu", "Sun", "Ji"]
    assert (paper["year"], paper["url"]) == (2023, project["urls"]["Paper"])
    assert paper["title"] in (ROOT / "README.md").read_text(encoding="utf-8").replace("\n", " ")


def test_the_changelog_has_the_form_it_says():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    kinds = [line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")]
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert "## Unreleased" in text
