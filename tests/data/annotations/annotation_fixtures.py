"""Made-up files in the shape of the public ones, and short ways to read them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clover.data.annotations.problems import Problems

FORMATS = Path(__file__).parents[2] / "formats"


def read(reader: Callable[..., Any], folder: Path, *arguments: Any, **options: Any) -> tuple[Any, Problems]:
    problems = Problems()
    return reader(folder, *arguments, problems, **options), problems


def put(folder: Path, name: str, content: bytes | str | object) -> Path:
    """Write one file of bytes, of text or as JSON, and return the folder it is in."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_bytes(content.encode())
    else:
        path.write_text(json.dumps(content))
    return folder


def found(problems: Problems) -> list[tuple[str, int | None, str]]:
    """File name, row and expectation of every problem."""
    return [(problem.file.name, problem.row, problem.expected) for problem in problems]
