"""What a run was made of, in ``run.json`` beside what it left: its settings; code, machine and data of every start."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import clover
from clover.config import to_plain
from clover.distributed import is_first_process
from clover.files import checksum, write_text

RECORD_NAME = "run.json"
RECORD_FORMAT = "clover-run-1"

_LIBRARIES = ("numpy", "av", "pillow", "tokenizers", "safetensors", "peft", "transformers", "HanTa", "spacy", "nltk")
_MOST_MEASURED = 10_000
_GIT_SECONDS = 20


class RunRecord:
    """Writes the record of one run: at its start, whenever it goes on after an interruption, and at its end.

    Of several processes only the first (``RANK`` 0) writes. Names that begin with ``time_`` hold what differs from run
    to run even where nothing else does.
    """

    def __init__(
        self,
        folder: Path,
        *,
        title: str,
        settings: Any,
        stages: Mapping[str, int],
        data: Callable[[], Mapping[str, Any]],
        starting_checkpoint: str = "",
    ) -> None:
        """Describe the run; nothing is written yet.

        Args:
            folder: Of the run; gets run.json.
            title: What kind of run it is, in a few words.
            settings: Its whole config.
            stages: Number of steps by folder, relative to the run's, that gets a log; "." is the run's own.
            data: Gives the data's fingerprint; called when the run starts.
            starting_checkpoint: Fingerprint of the model that it starts from.
        """
        self.folder = Path(folder)
        self._data = data
        self._plain: dict[str, Any] = {
            "format": RECORD_FORMAT,
            "title": title,
            "experiment": to_plain(settings),
            "starting_checkpoint": starting_checkpoint,
            "stages": dict(stages),
            "is_finished": False,
            "sessions": [],
        }
        self._session: dict[str, Any] | None = None
        self._writes = is_first_process()

    def begin(self, *, resume: bool) -> None:
        """Note a start; that of a resumed run only once a stage goes on, for it may be refused until then.

        Raises:
            WriteError: the folder cannot be written.
        """
        if not self._writes:
            return
        changed: dict[str, Any] = {}
        if resume:
            known = _read(self.folder / RECORD_NAME)
            settings = self._plain["experiment"]
            self._plain |= known | {"format": RECORD_FORMAT, "stages": self._plain["stages"], "is_finished": False}
            if self._plain["experiment"] != settings:  # what may change is told: the record shows the last
                changed = {"settings_before": self._plain["experiment"]}
                self._plain["experiment"] = settings
        self._session = {
            "time_started": _now(),
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "first_steps": {},
            "code": code_version(),
            "environment": environment(),
            "data": dict(self._data()),
            **changed,
        }
        self._plain["sessions"] = [*self._plain["sessions"], self._session]
        if not resume:
            self._write()

    def enter(self, stage: Path, first_step: int) -> None:
        """Note with which step a stage begins or goes on.

        Args:
            stage: The stage's folder.
            first_step: From 0.
        """
        if self._session is not None:
            self._session["first_steps"][Path(stage).relative_to(self.folder).as_posix()] = first_step
            self._write()

    def finish(self, fingerprint: Callable[[], str], **notes: Any) -> None:
        """Note that the run is done, which checkpoint it left, and what else is to be known of that.

        Args:
            fingerprint: Gives the checkpoint's; called by the process that writes.
            notes: Fields of run.json.
        """
        if self._session is not None:
            self._session["time_finished"] = _now()
            self._plain |= notes | {"fingerprint": fingerprint(), "is_finished": True}
            self._write()

    def _write(self) -> None:
        write_text(self.folder / RECORD_NAME, json.dumps(self._plain, indent=2) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _read(path: Path) -> dict[str, Any]:
    """A record of earlier sessions; nothing where there is none, or none that can be read: a run goes on without."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(plain, dict) or not isinstance(plain.get("sessions", []), list):
        return {}
    return plain


def checksums(root: Path, pattern: str) -> dict[str, str]:
    """SHA-256 of the files in a folder (not below it) whose names fit a pattern, by name."""
    return {path.name: checksum(path) for path in sorted(Path(root).glob(pattern)) if path.is_file()}


def data_fingerprint(files: Mapping[str, str], media: Sequence[Path], root: Path) -> dict[str, Any]:
    """What tells two data sets apart without reading their media: seconds for millions of them.

    Args:
        files: SHA-256 of annotation and index files, by name.
        media: Videos, images or tars, as the run takes them.
        root: Their folder; two copies of one data set in different folders have one fingerprint.

    Returns:
        The checksums, the number of media, and digests of all names and of the sizes of at most 10,000 of them, evenly
        spread over the sorted names.
    """
    above = f"{root}{os.sep}"
    by_name = {path.removeprefix(above): path for path in map(str, media)}
    names = sorted(by_name)
    measured = names[:: -(-len(names) // _MOST_MEASURED) or 1]
    sizes = [_size(by_name[name]) for name in measured]
    return {
        "files": dict(files),
        "media": {
            "count": len(names),
            "names": _digest(names),
            "measured": len(sizes),
            "measured_bytes": sum(size for size in sizes if size is not None),
            "sizes": _digest([str(size) for size in sizes]),
        },
    }


def _size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size
    except OSError:
        return None


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def code_version(package: Path | None = None) -> dict[str, Any]:
    """The code that runs: version, commit where the package lies in a git work tree, digest of its source files.

    Args:
        package: Folder of the package; ours where none is given.

    Returns:
        ``commit`` and ``is_modified`` (whether the package's files differ from it) are None without git; ``sources``
        is there in any case, so that two modified trees can be told apart too.
    """
    package = package or Path(clover.__file__).parent
    commit = None
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is not None:
        commit = _git(package, "rev-parse", "HEAD")
    changes = _git(package, "status", "--porcelain", "--", ".") if commit else None
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return {
        "version": _version("clover-vl"),
        "commit": commit,
        "is_modified": None if changes is None else bool(changes),
        "sources": digest.hexdigest()[:16],
    }


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where there is no git, no work tree, or no such thing."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    words = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=_GIT_SECONDS, env=own)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def environment() -> dict[str, Any]:
    """What the run computes with: Python, libraries, processors, threads, processes, flags. No names of machines."""
    found = {name: _version(name) for name in _LIBRARIES}
    has_gpu = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "libraries": {
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            **{name: version for name, version in found.items() if version},
        },
        "cpu": {"name": _cpu_name(), "count": num_cpus(), "capability": torch.backends.cpu.get_cpu_capability()},
        "gpus": [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())] if has_gpu else [],
        "num_threads": torch.get_num_threads(),
        "world_size": int(os.environ.get("WORLD_SIZE", "1")),
        "deterministic": {
            "algorithms": torch.are_deterministic_algorithms_enabled(),
            "cudnn": torch.backends.cudnn.deterministic,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "matmul_precision": torch.get_float32_matmul_precision(),
        },
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def num_cpus() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
