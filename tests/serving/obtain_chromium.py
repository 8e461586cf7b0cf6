"""Obtains a Chromium for the tests of the page: one that is here, the system's package, or Playwright's own.

`make test` runs this first. Run again, it finds what it obtained and does nothing.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
VARIABLE = "CLOVER_TEST_CHROMIUM"
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
)
INSTALL_SECONDS = 900
START_MILLISECONDS = 120_000
"""That a Chromium may take to start, on a busy machine."""


def flags():
    """How Chromium is started; its sandbox refuses to be run by root."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return [*FLAGS, "--no-sandbox"] if is_root else list(FLAGS)


def candidates():
    """Chromiums that may be here, or only the one that CLOVER_TEST_CHROMIUM names; "" is Playwright's own."""
    named = os.environ.get(VARIABLE)
    if named:
        return [named]
    return [path for path in map(shutil.which, NAMES) if path] + [""]


def problem_of(path):
    """Why a Chromium does not open a page, in one line, or None where it does."""
    from playwright.sync_api import Error, sync_playwright

    if path and not Path(path).is_file():
        return "there is no such file"
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path or None, args=flags(), timeout=START_MILLISECONDS)
            browser.new_page().goto("about:blank", timeout=START_MILLISECONDS)
            browser.close()
    except Error as error:
        return error.message.strip().splitlines()[0]
    return None


def find_chromium():
    """The first Chromium that opens a page, and what was wrong with those before it; None where there is none."""
    problems = []
    for path in candidates():
        problem = problem_of(path)
        if problem is None:
            return path, problems
        problems.append(f"{path or 'that of Playwright'}: {problem}")
    return None, problems


def install_package():
    """The system's package, where apt-get may install one without asking anybody."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return "not tried: this takes apt-get and root"
    return run("apt-get", "update") or run("apt-get", "install", "--yes", "--no-install-recommends", "chromium")


def install_playwrights():
    """Playwright's own, with the libraries it needs where root may install them."""
    may_install = shutil.which("apt-get") is not None and os.geteuid() == 0
    options = ["--with-deps"] if may_install else []
    return run(sys.executable, "-m", "playwright", "install", *options, "chromium")


def run(*command):
    """None, or in one line why a command failed."""
    print(f"Chromium for the tests of the page: {' '.join(command)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = (done.stderr or done.stdout).strip().splitlines()
    return None if done.returncode == 0 else (said[-1] if said else f"it ended with status {done.returncode}")


def main():
    """Find or install one; the exit status says whether there is one now."""
    found, problems = find_chromium()
    for name, install in (("the system's package", install_package), ("Playwright's own", install_playwrights)):
        if found is not None or os.environ.get(VARIABLE):
            break
        problem = install()
        problems += [f"{name}: {problem}"] if problem else []
        found, later = find_chromium() if problem is None else (None, [])
        problems += later
    if found is not None:
        return 0
    print(
        "No Chromium for the tests of the page. Install one (Debian: apt-get install chromium; elsewhere: python -m "
        f"playwright install chromium), or name one in {VARIABLE}=PATH. What was tried:",
        *dict.fromkeys(problems),
        sep="\n  ",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
