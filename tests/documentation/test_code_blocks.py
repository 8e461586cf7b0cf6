"""Every command and every piece of Python on the pages runs: in the page's order, in a folder of the page's own."""

import re

import pytest
from page_blocks import EXECUTED, SHOWN, Block, blocks_of, commands_of, pages
from page_sandbox import beginning
from page_tables import INSTEAD, NOT_RUN, SHRUNK, STATUS, VARIES

PAGES = [page for page in pages() if any(block.language in EXECUTED for block in blocks_of(page))]
TYPED = re.compile(r"^\s*(\$ )?(clover|python|pip|make|torchrun|curl|from|import) ", re.MULTILINE)


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
            assert not TYPED.search(block.text), f"{block.place}: something to type, in a block that is only shown"


@pytest.mark.parametrize("table", [SHRUNK, INSTEAD, NOT_RUN, VARIES, STATUS], ids=lambda table: " ".join(table)[:40])
def test_every_exception_is_still_needed(table):
    used = {beginning(table, command.line) for command in all_commands()}
    assert set(table) - used == set()


def test_a_command_ends_where_its_comment_begins():
    for command in all_commands():
        assert not re.search(r"""["'][^"']*#[^"']*["']""", command.line), f"# in quotes: {command.line}"


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
