"""Every command and every piece of Python on the pages runs: in the page's order, in a folder of the page's own."""

import re
import shlex

import pytest
from page_blocks import EXECUTED, ROOT, SHOWN, Block, Command, blocks_of, commands_of, inline_code, is_typed, pages
from page_sandbox import Sandbox, beginning, uncommented
from page_tables import INSTEAD, NOT_RUN, SHRUNK, STATUS, VARIES

PAGES = [page for page in pages() if any(block.language in EXECUTED for block in blocks_of(page))]

OTHERS = ("--version", "--debug", "--no-isolation")
"""Options of no command's own help."""


def all_commands():
    blocks = [block for page in PAGES for block in blocks_of(page) if block.language in ("bash", "console")]
    return [command for block in blocks for command in commands_of(block)]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_everything_on_the_page_runs(page, sandbox):
    for block in blocks_of(page):
        try:
            if block.language == "python":
                sandbox.python(block)
            elif block.language in EXECUTED:
                for command in commands_of(block):
                    sandbox.run(command)
        except Exception as error:
            error.add_note(f"in the block of {block.place}")
            raise


@pytest.mark.parametrize("page", pages())
def test_every_block_says_what_it_is(page):
    for block in blocks_of(page):
        assert block.language in (*EXECUTED, *SHOWN), f"{block.place}: a block of {block.language or 'no language'}"
        if block.language in SHOWN and block.page != "docs/commands.md":
            assert not is_typed(block.text), f"{block.place}: something to type, in a block that is only shown"


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("clover demo --quick\n", True),
        ('model.push_to_hub("me/small")   # makes it\n', True),
        ("then:\n    results = evaluate(model, tasks)\n", True),
        ("for path in paths:\n    model.encode_video(path)\n", True),
        ("src/clover/\n  model.py   the network\n", False),
        ("video -> encoder -> [b d]\n3.5\ntotal\n", False),
        ("location / { proxy_pass http://127.0.0.1:8000; }\n", False),
    ],
)
def test_what_is_typed_is_told_from_what_is_shown(text, typed):
    assert is_typed(text) == typed


@pytest.mark.parametrize("table", [SHRUNK, INSTEAD, NOT_RUN, VARIES, STATUS], ids=lambda table: " ".join(table)[:40])
def test_every_exception_is_still_needed(table):
    python = [block.text for page in PAGES for block in blocks_of(page) if block.language == "python"]
    used = {beginning(table, text) for text in (*(command.line for command in all_commands()), *python)}
    assert set(table) - used == set()


def test_a_command_ends_where_its_comment_begins():
    for command in all_commands():
        assert shlex.split(uncommented(command.line)) == shlex.split(command.line, comments=True), command.line


@pytest.mark.parametrize("page", [page for page in pages() if page != "docs/log.md"])
def test_commands_within_sentences_can_be_typed(page, tmp_path):
    sandbox = Sandbox(tmp_path, {})
    for span in inline_code(page):
        if span.startswith("clover plan ") and not re.search(r"[A-Z]{3,}|\.\.\.", span):
            sandbox.run(Command(line=span))
        elif script := re.match(r"python (benchmarks/\w+\.py)(.*)", span):
            text = (ROOT / script[1]).read_text(encoding="utf-8")
            unknown = [word for word in script[2].split() if word.startswith("--") and not knows(text, word)]
            assert not unknown, f"{page}: {script[1]} does not know {unknown[0]}"


def knows(script, option):
    """Whether a script declares an option, itself or by the helper that all of them share."""
    return any(option in text for text in (script, (ROOT / "benchmarks/common.py").read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", [page for page in pages() if page not in ("docs/log.md", "docs/changelog.md")])
def test_options_within_sentences_exist(page):
    known = (ROOT / "docs/commands.md").read_text(encoding="utf-8") + " ".join(OTHERS)
    spans = [span for span in inline_code(page) if not span.startswith(("python ", "make ", "benchmarks/"))]
    named = {option for span in spans for option in re.findall(r"(?<![\w-])--[a-z][\w.-]*", span)}
    unknown = [option for option in named if not re.search(rf"{re.escape(option)}(?![\w-])", known)]
    assert not unknown, f"{page}: no command has {', '.join(sorted(unknown))}"


def test_blocks_are_found_with_their_commands_and_outputs():
    text = "$ clover plan x \\\n      --devices 2xH100\nIt fits.\n$ clover runs list  # all\n"
    first, second = commands_of(Block(page="p", line=1, language="console", text=text))
    assert (first.line, first.output) == ("clover plan x --devices 2xH100", ("It fits.",))
    assert (second.line, second.output) == ("clover runs list  # all", ())


def test_what_a_page_shows_wrongly_is_noticed(sandbox):
    wrong = commands_of(Block(page="p", line=1, language="console", text="$ clover --version\n99.9\n"))
    with pytest.raises(AssertionError, match="does not print"):
        sandbox.run(wrong[0])
    with pytest.raises(AssertionError, match="ended with 2"):
        sandbox.run(commands_of(Block(page="p", line=1, language="bash", text="clover dance\n"))[0])
