"""A real Milvus server for the tests: one of one's own by CLOVER_TEST_MILVUS=HOST:PORT, else that of the dev extra."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

# a process of its own, so that what it warns of and leaves open is none of ours
SERVER = """
import sys
from milvus import MilvusServer
server = MilvusServer(data_dir=sys.argv[1], proxy_port=int(sys.argv[2]), wait_for_started=False)
server.start()
print(server.webservice_port, flush=True)
sys.stdin.read()
server.stop()
"""
START_SECONDS = 180


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return b"OK" in answer.read()
    except OSError:
        return False


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory):
    """Host and port."""
    if "CLOVER_TEST_MILVUS" in os.environ:
        yield os.environ["CLOVER_TEST_MILVUS"]
        return
    if importlib.util.find_spec("milvus") is None:
        pytest.fail(
            "these tests need a Milvus server: make setup installs one on x86-64 Linux; "
            "elsewhere start one and name it in CLOVER_TEST_MILVUS=HOST:PORT"
        )
    folder, port = tmp_path_factory.mktemp("milvus"), free_port()
    command = [sys.executable, "-W", "ignore", "-c", SERVER, str(folder), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        health = server.stdout.readline().strip()
        begin = time.monotonic()
        while not is_healthy(health):
            log = folder / "logs" / "milvus-stderr.log"
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() - begin < START_SECONDS, log.read_text()[-2000:]
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
        server.stdin.close()
        server.wait(timeout=30)


@pytest.fixture(params=["folder", "milvus"])
def place(request, tmp_path):
    """Where a library may be made: a folder, then a collection of a server."""
    if request.param == "folder":
        return str(tmp_path / "library")
    server = request.getfixturevalue("milvus_server")
    return f"milvus://{server}/test_{Path(tmp_path).name}_{os.getpid()}"
