"""Code blocks of the README and of the pages, and the commands in them."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXECUTED = ("bash", "console", "python")
SHOWN = ("text", "nginx")
"""What a reader looks at and does not type: drawings, trees of files, output, configuration of other programs."""

_SHELL = re.compile(r"^\s*(\$ )?(clover|python3?|pip|make|torchrun|curl|from|import) ", re.MULTILINE)
_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)(?P<rest>[^`\n]*)$")


@dataclass(frozen=True, kw_only=True)
class Block:
    page: str
    line: int
    language: str
    text: str

    @property
    def place(self):
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Command:
    line: str
    output: tuple[str, ...] = ()
    """What the page shows below it."""


def pages():
    """README and every page of the site."""
    found = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
    return ["README.md", "CONTRIBUTING.md", *found]


def blocks_of(page):
    """The fenced blocks of a page, in order; the fence of a block is as deep as it begins."""
    blocks, fence, lines, begin = [], None, [], 0
    for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), start=1):
        match = _FENCE.match(line)
        if fence is None and match:
            fence, lines, begin = match, [], number
        elif fence is not None and line.strip() == fence["ticks"]:
            text = "".join(row.removeprefix(fence["indent"]) + "\n" for row in lines)
            blocks.append(Block(page=page, line=begin, language=fence["language"], text=text))
            fence = None
        elif fence is not None:
            lines.append(line)
    assert fence is None, f"{page}:{begin}: a block that does not end"
    return blocks


def is_typed(text):
    """Whether something in a block is typed by a reader: a command of a shell, or a line or all of it Python."""
    return bool(_SHELL.search(text)) or any(map(_does_something, [text, *text.splitlines()]))


def _does_something(text):
    """Whether a text is Python that calls, imports or assigns; words and numbers of a drawing may be Python too."""
    try:
        tree = ast.parse(text.strip())
    except SyntaxError:
        return False
    return any(isinstance(node, (ast.Call, ast.Import, ast.ImportFrom, ast.Assign)) for node in ast.walk(tree))


def inline_code(page):
    """What stands between single ticks in the sentences of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def commands_of(block):
    """The commands of a block: every line of bash, what follows a prompt in a console; \\ continues a line."""
    commands, output = [], []
    joined = re.sub(r"\s*\\\n\s*", " ", block.text)
    for line in joined.splitlines():
        prompted = line.startswith("$ ")
        if block.language == "console" and not prompted:
            output.append(line)
            continue
        commands, output = _with_output(commands, output), []
        line = line.removeprefix("$ ") if prompted else line
        if line.strip() and not line.lstrip().startswith("#"):
            commands.append(Command(line=line.strip()))
    return _with_output(commands, output)


def _with_output(commands, output):
    if output:
        assert commands, f"output before any command: {output[0]}"
        commands[-1] = Command(line=commands[-1].line, output=tuple(output))
    return commands
