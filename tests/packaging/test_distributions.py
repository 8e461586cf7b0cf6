"""Wheel and sdist: what is in them, that one gives the other, and that the wheel works where there is nothing else."""

import email
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


def test_the_wheel_runs_the_demo_in_an_empty_environment(built, tmp_path):
    """Its dependencies are those of this environment, by their folder alone: no editable Clover comes along."""
    environment, home, work = (tmp_path / name for name in ("environment", "home", "work"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    home.mkdir()
    work.mkdir()
    python = environment / "bin/python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, built[0]], check=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    alone = {"HOME": str(home), "PATH": f"{environment / 'bin'}:/usr/bin:/bin", "OMP_NUM_THREADS": "1"}

    def run(*command):
        done = subprocess.run(command, cwd=work, env=alone, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run(python, "-c", "import clover; print(clover.__file__)").strip()
    assert Path(where).is_relative_to(packages)
    assert run("clover", "--version") == f"{VERSION}\n"
    said = run("clover", "demo", "--quick")
    assert "text to video" in said and "they mean little" in said
    assert {"checkpoint", "library", "report.html", "metrics.json"} <= {path.name for path in (work / "demo").iterdir()}
    assert "score" in run("clover", "search", "demo/library", "a red ball moves left")
