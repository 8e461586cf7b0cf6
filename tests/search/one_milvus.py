"""One Milvus server for all processes of a test run: a second one beside it does not start."""

import contextlib
import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from filelock import FileLock

# a process of its own, so that what it warns of and leaves open is none of ours
SERVER = """
import sys
from milvus import MilvusServer
ports = {"proxy_port": int(sys.argv[2]), "root_coord_port": int(sys.argv[3])}
server = MilvusServer(data_dir=sys.argv[1], wait_for_started=False, **ports)
server.start()
print(server.server_proc.pid, server.webservice_port, flush=True)
sys.stdin.read()
server.stop()
"""
START_SECONDS = 180
ANSWER_SECONDS = 30
END_SECONDS = 300
PORTS = range(23_000, 32_000)
"""Below those that a system hands out: a server that asks for any free one meanwhile does not get ours."""


def free_ports(count):
    """Some that nobody listens on; the server comes to them only seconds later."""
    found = []
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found[:count]


def is_healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=ANSWER_SECONDS) as answer:
            return b"OK" in answer.read()
    except OSError:
        return False


def is_running(process):
    """Whether there is a process of this number that has not ended."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


def is_there(known):
    """Whether a server that was started still answers, however slowly; False only once its process is gone."""
    begin = time.monotonic()
    while is_running(known["process"]):
        if is_healthy(known["health"]):
            return True
        assert time.monotonic() - begin < START_SECONDS, f"Milvus, process {known['process']}, no longer answers"
        time.sleep(0.2)
    return False


@contextlib.contextmanager
def shared_server(common, own):
    """The port of a server, started by whichever process needs it first, and stopped by it when none does any more.

    Args:
        common: Folder that all processes of the run know.
        own: Folder of this process, for the server's data.
    """
    starting, note = FileLock(common / "milvus.lock"), common / "milvus.json"
    with (common / "milvus.users").open("w") as users:
        with starting:
            known = json.loads(note.read_text()) if note.is_file() else None
            server = None
            if known is None or not is_there(known):
                server, known = started(own)
                note.write_text(json.dumps(known))
            fcntl.flock(users, fcntl.LOCK_SH)  # let go of even by a process that is killed
        yield known["port"]
        while server is not None:
            with starting, contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                note.unlink(missing_ok=True)  # of a server that was gone, another may have taken its place
                stop(server, known)
                server = None
            time.sleep(0.2)


def started(folder):
    """A server that answers, and where."""
    ports = free_ports(2)
    command = [sys.executable, "-W", "ignore", "-c", SERVER, str(folder), *map(str, ports)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said = server.stdout.readline()
    assert said, f"Milvus does not start; its launcher ended with {server.wait(END_SECONDS)}"
    process, health = map(int, said.split())
    known = {"port": ports[0], "health": health, "process": process}
    begin = time.monotonic()
    while not is_healthy(health):
        log = folder / "logs" / "milvus-stderr.log"
        if not is_running(process) or time.monotonic() - begin > START_SECONDS:
            stop(server, known)
            raise AssertionError(f"Milvus does not start: {log.read_text()[-2000:]}")
        time.sleep(0.2)
    return server, known


def stop(server, known):
    try:
        server.communicate(timeout=END_SECONDS)  # the end of its input is what it waits for
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.kill(known["process"], signal.SIGKILL)
        server.kill()
        server.communicate()
