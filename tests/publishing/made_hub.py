"""A stand-in for the Hugging Face Hub: what its library does, on folders."""

import shutil
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import httpx
import huggingface_hub
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError


class Hub:
    """``models`` by name, ``cache`` of what was fetched."""

    def __init__(self, tmp_path):
        self.models, self.cache, self.asked, self.sent = {}, {}, [], []
        self.problem = None
        self.tmp_path = tmp_path

    def model_info(self, name, *, revision=None, timeout=None):
        assert timeout is not None
        self.asked.append((name, revision))
        if self.problem is not None:
            raise self.problem
        if name not in self.models:
            raise RepositoryNotFoundError("401", response=httpx.Response(404, request=httpx.Request("GET", "http://h")))
        return SimpleNamespace(sha=f"commit of {revision}")

    def snapshot_download(self, name, *, revision=None, allow_patterns=None, local_files_only=False):
        assert "model.safetensors" in allow_patterns
        assert not any("*" in pattern for pattern in allow_patterns), "nothing else is fetched"
        if local_files_only and name not in self.cache:
            raise LocalEntryNotFoundError("not cached")
        self.asked.append(revision)
        self.cache.setdefault(name, self.models.get(name))
        return str(self.cache[name])

    def create_repo(self, name, *, private=None, exist_ok=False, repo_type=None):
        self.sent.append((name, private, exist_ok))

    def upload_folder(self, *, repo_id, folder_path, commit_message, revision, repo_type):
        if self.problem is not None:
            raise self.problem
        self.models[repo_id] = shutil.copytree(folder_path, self.tmp_path / repo_id)
        self.sent.append(commit_message)
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    @contextmanager
    def in_place(self):
        """In place of the library's functions, as long as the block lasts."""
        with (
            patch.object(huggingface_hub, "HfApi", lambda **_: self),
            patch.object(huggingface_hub, "snapshot_download", self.snapshot_download),
        ):
            yield self
