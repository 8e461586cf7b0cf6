"""The site: built strictly, loading nothing from elsewhere, searchable; its page of commands is what they print."""

import re
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from obtain_chromium import START_MILLISECONDS, find_chromium, flags
from page_blocks import ROOT
from playwright.sync_api import sync_playwright

from clover.cli import COMMANDS

LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "srcset", "video": "src"}
"""Elements that make a browser fetch something, and by which attribute; links that are clicked do not."""
MANY_SECONDS = 60_000
"""Of a page, on a busy machine; milliseconds."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Built with the configuration of `make docs`, in which a warning is an error."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--quiet", "--site-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def address(site):
    """Of the site on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Loaded(HTMLParser):
    """Addresses that a page makes a browser fetch."""

    def __init__(self, text):
        super().__init__()
        self.addresses = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag in LOADING and given.get("rel") != "canonical":
            self.addresses.append(given.get(LOADING[tag]) or "")


def test_no_page_and_no_style_loads_anything_from_elsewhere(site):
    pages, styles = list(site.rglob("*.html")), list(site.rglob("*.css"))
    assert len(pages) > 25 and styles
    for page in pages:
        foreign = [
            address for address in Loaded(page.read_text(encoding="utf-8")).addresses if urlsplit(address).netloc
        ]
        assert foreign == [], f"{page.relative_to(site)} loads {foreign[0]}"
    for style in styles:
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"@import|url\(\s*[\"']?(https?:)?//", text), f"{style.name} loads from elsewhere"


def test_foreign_addresses_would_be_noticed():
    text = (
        '<link rel="stylesheet" href="https://fonts.example/css"><a href="https://arxiv.org">a</a><script src="a.js">'
    )
    assert Loaded(text).addresses == ["https://fonts.example/css", "a.js"]


def test_every_page_is_in_the_navigation():
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!relative", lambda loader, node: node.value)
    configuration = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    named = set(re.findall(r"[\w/.-]+\.md", str(configuration["nav"])))
    assert named == {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}


def test_the_page_of_commands_is_what_they_print():
    code = "import write_commands; print(write_commands.page(), end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "docs", capture_output=True, text=True, check=True)
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    assert done.stdout == page, "docs/commands.md is out of date; run make docs"
    assert all(f"\n## clover {name}\n" in page for name in COMMANDS)


def test_the_reference_has_every_package_and_its_docstrings(site):
    text = " ".join(path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html"))
    for name in ("clover.pipeline.Clover.encode_video", "clover.objectives.contrastive", "clover.search.engine.search"):
        assert f'id="{name}"' in text
    packages = {path.parent.name for path in (ROOT / "src/clover").glob("*/__init__.py")}
    missing = [name for name in packages - {"commands", "ablation", "report"} if f'id="clover.{name}"' not in text]
    assert missing == []
    assert "Normalised embedding of one video" in text


@pytest.mark.slow
def test_pages_are_whole_in_a_browser_and_can_be_searched(address):
    path, problems = find_chromium()
    assert path is not None, problems
    requested, failed = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path or None, args=flags(), timeout=START_MILLISECONDS)
        for scheme in ("light", "dark"):
            context = browser.new_context(color_scheme=scheme)
            page = context.new_page()
            page.set_default_timeout(MANY_SECONDS)
            page.on("request", lambda request: requested.append(request.url))
            page.on("requestfailed", lambda request: failed.append(request.url))
            page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
            page.on("pageerror", lambda error: failed.append(str(error)))
            for name in ("index", "how-it-works", "commands", "api/pipeline"):
                page.goto(f"{address}/{name}.html", wait_until="networkidle")
            page.goto(f"{address}/how-it-works.html", wait_until="networkidle")
            assert page.locator("img[src$='clover.svg']").evaluate("image => image.naturalWidth") > 0
            shown = page.evaluate("getComputedStyle(document.body).backgroundColor")
            brightness = sum(map(int, re.findall(r"\d+", shown)[:3])) / 3
            assert (brightness > 200) == (scheme == "light")
            context.close()
        page = browser.new_page()
        page.set_default_timeout(MANY_SECONDS)
        page.on("request", lambda request: requested.append(request.url))
        page.goto(f"{address}/index.html")
        page.locator("input.md-search__input").click()
        page.locator("input.md-search__input").type("re-ranking")
        page.locator(".md-search-result__item a[href*='own-videos']").first.wait_for(state="attached")
        browser.close()
    assert failed == []
    assert requested and {urlsplit(url).netloc for url in requested} <= {urlsplit(address).netloc, ""}


def test_the_drawing_needs_nothing_else():
    text = Path(ROOT / "docs/images/clover.svg").read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"(href|src)=\"(?!#)|url\((?!#)", text)
