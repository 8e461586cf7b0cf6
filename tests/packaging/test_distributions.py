"""Wheel and sdist: what is in them, that one gives the other, and that the wheel works where there is nothing else."""

import email
import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FILES = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

pytestmark = pytest.mark.slow


def build(source, out, *what):
    command = [sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Both, built from a copy with all that a working tree has lying about."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in (*FILES, "Makefile", "constraints.txt"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info"))
    (source / "src/clover/__pycache__").mkdir(exist_ok=True)
    (source / "src/clover/__pycache__/left.cpython-311.pyc").write_bytes(b"")
    (source / "tests").mkdir()
    (source / "tests/test_cli.py").write_text("")
    build(source, out, "--wheel", "--sdist")
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_package_with_its_data_and_nothing_else(built):
    files = contents(built[0])
    package = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/clover").rglob("*") if path.is_file()}
    package = {name for name in package if "__pycache__" not in name}
    metadata = f"clover_vl-{VERSION}.dist-info/"
    assert {name for name in files if not name.startswith(metadata)} == package
    for name in ("py.typed", "report/page.html", "report/style.css", "serving/page/index.html"):
        assert f"clover/{name}" in files
    message = email.message_from_bytes(files[f"{metadata}METADATA"])
    assert (message["Name"], message["Version"], message["License-Expression"]) == ("clover-vl", VERSION, "Apache-2.0")
    assert {"serve", "search", "lora", "docs"} <= set(message.get_all("Provides-Extra"))
    assert f"{metadata}licenses/LICENSE" in files


def test_the_sdist_gives_the_same_wheel(built, tmp_path):
    wheel, sdist = built
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    subprocess.run(["tar", "-xzf", sdist, "-C", tmp_path], check=True)
    assert set(FILES) <= names
    assert not [name for name in names if name.startswith(("tests", "docs")) or name.endswith(".pyc")]
    build(tmp_path / f"clover_vl-{VERSION}", tmp_path / "again", "--wheel")
    (again,) = (tmp_path / "again").glob("*.whl")
    assert contents(again) == contents(wheel)


def declared(wheel):
    """Names of what the wheel requires without any extra, and of all that this requires in turn."""
    metadata = email.message_from_bytes(contents(wheel)[f"clover_vl-{VERSION}.dist-info/METADATA"])
    waiting, seen = [Requirement(line) for line in metadata.get_all("Requires-Dist")], set()
    while waiting:
        requirement = waiting.pop()
        extras = {"", *requirement.extras}
        name = canonicalize_name(requirement.name)
        is_wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not is_wanted or (name, *sorted(extras)) in seen:
            continue
        seen.add((name, *sorted(extras)))
        for line in importlib.metadata.requires(name) or []:
            below = Requirement(line)
            if below.marker is None or any(below.marker.evaluate({"extra": extra}) for extra in extras):
                below.marker = None
                waiting.append(below)
    return {name for name, *_ in seen}


def link_packages(names, folder):
    """What these distributions brought into this environment, and nothing else, into another one."""
    own = Path(sysconfig.get_paths()["purelib"])
    for name in names:
        for top in {path.parts[0] for path in importlib.metadata.files(name)} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(own / top)


def test_the_wheel_runs_the_demo_where_only_what_it_declares_is_installed(built, tmp_path):
    """Of this environment comes along what the wheel requires without extras: no editable Clover, and no extra."""
    environment, home, work = (tmp_path / name for name in ("environment", "home", "work"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    home.mkdir()
    work.mkdir()
    python = environment / "bin/python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, built[0]], check=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    (packages,) = environment.glob("lib/python*/site-packages")
    link_packages(declared(built[0]), packages)
    alone = {"HOME": str(home), "PATH": f"{environment / 'bin'}:/usr/bin:/bin", "OMP_NUM_THREADS": "1"}

    def run(*command, fails=False):
        done = subprocess.run(command, cwd=work, env=alone, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == fails, done.stderr
        return done.stderr if fails else done.stdout

    where = run(python, "-c", "import clover; print(clover.__file__)").strip()
    assert Path(where).is_relative_to(packages)
    for extra in ("transformers", "fastapi", "faiss", "pytest"):
        assert f"No module named '{extra}'" in run(python, "-c", f"import {extra}", fails=True)
    assert run("clover", "--version") == f"{VERSION}\n"
    assert "pretrain" in run("clover", "--help")
    said = run("clover", "demo", "--quick")
    assert "text to video" in said and "they mean little" in said
    assert {"checkpoint", "library", "report.html", "metrics.json"} <= {path.name for path in (work / "demo").iterdir()}
    assert "score" in run("clover", "search", "demo/library", "a red ball moves left")
    (packages / "einops").unlink()  # as if it were not declared
    assert "No module named 'einops'" in run("clover", "search", "demo/library", "a red ball", fails=True)
