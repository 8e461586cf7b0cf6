"""Where the commands of a page are run: a folder of its own, with what the page's reader has."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
from contextlib import chdir, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from made_hub import Hub
from page_blocks import ROOT
from page_tables import INSTEAD, NOT_RUN, SHRUNK, STATUS, VARIES

from clover.cli import main

START_SECONDS = 120
"""Of a server, on a busy machine."""


def beginning(table, line):
    """The longest key that a command begins with, or None."""
    return max((key for key in table if line.startswith(key)), key=len, default=None)


class Sandbox:
    """Runs commands; what ``files`` makes appears when a command first names it."""

    def __init__(self, folder, files):
        self.folder, self.namespace = folder, {"__name__": "__page__"}
        self._files, self._server = files, None
        self.port = 1  # nobody listens there; a server that is started says its own
        self.instead = {
            "clover demo --out demo": self._demo,
            "clover demo --quick": lambda line: (0, ""),
            "clover serve": self._serve,
            "torchrun": self._torchrun,
            "make": self._make,
            "pip install": self._pip_install,
        }
        self.around = {"model.push_to_hub(": Hub(self.folder / ".hub").in_place}
        assert {*self.instead, *self.around} == set(INSTEAD)

    def close(self):
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM)
            self._server.communicate(timeout=START_SECONDS)
            self._server = None

    def python(self, block):
        """Run a block of Python; the blocks of a page share their names."""
        code = compile("\n" * block.line + block.text, block.page, "exec")
        if beginning(NOT_RUN, block.text):
            return
        self._provide(block.text)
        around = self.around.get(beginning(INSTEAD, block.text), nullcontext)
        with chdir(self.folder), around():
            exec(code, self.namespace)

    def run(self, command):
        """Run one command and compare what it says."""
        line = command.line
        if beginning(NOT_RUN, line):
            return
        self._provide(line)
        key = beginning(INSTEAD, line)
        status, output = (self.instead[key] if key else self._plain)(line)
        expected = STATUS.get(beginning(STATUS, line), 0)
        assert status == expected, f"{line}\nended with {status}, not {expected}:\n{output}"
        if key is None and beginning(VARIES, line) is None:
            said = [row.strip() for row in output.splitlines()]
            missing = [row for row in command.output if row.strip() not in ("", "...") and row.strip() not in said]
            assert not missing, f"{line}\ndoes not print\n{missing[0]}\nbut\n{output}"

    def _provide(self, text):
        for name, make in self._files.items():
            if re.search(rf"(?<![\w/.-]){re.escape(name)}(?![\w-])", text) and not (self.folder / name).exists():
                make(self.folder / name)

    def _plain(self, line):
        if line.startswith("clover "):
            return self._clover(line)
        line = re.sub(r"(localhost|127\.0\.0\.1):8000", rf"\1:{self.port}", line)
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    def _clover(self, line):
        """The command line in this process, with the options that make it short."""
        output = io.StringIO()
        words = self._words(f"{uncommented(line)} {' '.join(SHRUNK.get(beginning(SHRUNK, line), '').split())}")
        wide = patch.dict(os.environ, {"COLUMNS": "200"})
        with chdir(self.folder), wide, redirect_stdout(output), redirect_stderr(output):
            try:
                status = main(words[1:])
            except SystemExit as leaving:
                status = leaving.code or 0
        return status, output.getvalue()

    def _words(self, line):
        """As bash sees them: quotes, patterns of file names, comments."""
        done = subprocess.run(
            ["bash", "-c", f"printf '%s\\0' {line}"], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return done.stdout.split("\0")[:-1]

    def _demo(self, line):
        return 0 if (self.folder / "demo/report.html").is_file() else 1, ""

    def _serve(self, line):
        self.close()
        command = [sys.executable, "-m", *self._words(uncommented(line)), "--port", "0"]
        self._server = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        said = self._server.stdout.readline()
        address = re.search(r"http://\S+:(\d+)/", said)
        if address is None:
            return self._server.wait(START_SECONDS), said + self._server.stderr.read()
        self.port = int(address[1])
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/health", timeout=START_SECONDS) as answer:
            return 0 if answer.status == 200 else 1, said

    def _torchrun(self, line):
        match = re.fullmatch(r"torchrun --standalone --nproc-per-node \d+ -m (clover .*)", line)
        assert match, f"{line}: options of torchrun that the tests do not know"
        return self._clover(match[1])

    def _make(self, line):
        done = subprocess.run(
            ["make", "--dry-run", *self._words(uncommented(line))[1:]],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    def _pip_install(self, line):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        match = re.fullmatch(r"(?:[\w.-]+|\.)(?:\[([\w,]+)\])?", self._words(uncommented(line))[-1])
        named = set(match[1].split(",")) if match[1] else set()
        unknown = named - set(project["optional-dependencies"])
        return len(unknown), f"pyproject.toml has no extra {', '.join(unknown)}"


def uncommented(line):
    """Without the comment behind it; none of the pages has a # with a space before it in quotes (tested)."""
    return re.sub(r"\s+#.*", "", line)


def copy_folder(source):
    """A maker of a copy that may be changed."""
    return lambda target: shutil.copytree(source, target)
