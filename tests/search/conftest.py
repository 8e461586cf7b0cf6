"""A real Milvus server for the tests: one of one's own by CLOVER_TEST_MILVUS=HOST:PORT, else that of the dev extra."""

import importlib.util
import os
from pathlib import Path

import pytest
from one_milvus import shared_server


@pytest.fixture(scope="session")
def running_milvus(tmp_path_factory):
    """Host and port."""
    if "CLOVER_TEST_MILVUS" in os.environ:
        yield os.environ["CLOVER_TEST_MILVUS"]
        return
    if importlib.util.find_spec("milvus") is None:
        pytest.fail(
            "these tests need a Milvus server: make setup installs one on x86-64 Linux; "
            "elsewhere start one and name it in CLOVER_TEST_MILVUS=HOST:PORT"
        )
    with shared_server(tmp_path_factory.getbasetemp().parent, tmp_path_factory.mktemp("milvus")) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
def milvus_server(running_milvus, monkeypatch):
    """Host and port; on a busy machine the server is slow to take a connection."""
    monkeypatch.setattr("clover.search.milvus_server._CONNECT_SECONDS", 120.0)
    return running_milvus


@pytest.fixture(params=["folder", "milvus"])
def place(request, tmp_path):
    """Where a library may be made: a folder, then a collection of a server."""
    if request.param == "folder":
        return str(tmp_path / "library")
    server = request.getfixturevalue("milvus_server")
    return f"milvus://{server}/test_{Path(tmp_path).name}_{os.getpid()}"
