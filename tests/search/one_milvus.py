"""One Milvus server for all processes of a test run: a second one beside it does not start."""

import contextlib
import fcntl
import json
import socket
import subprocess
import sys
import time
import urllib.request

from filelock import FileLock

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
            if known is None or not is_healthy(known["health"]):
                server, known = started(own)
                note.write_text(json.dumps(known))
            fcntl.flock(users, fcntl.LOCK_SH)  # let go of even by a process that is killed
        yield known["port"]
        while server is not None:
            with starting, contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                note.unlink()
                stop(server)
                server = None
            time.sleep(0.2)


def started(folder):
    """A server that answers, and where."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-c", SERVER, str(folder), str(port)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    health = server.stdout.readline().strip()
    begin = time.monotonic()
    while not is_healthy(health):
        log = folder / "logs" / "milvus-stderr.log"
        if server.poll() is not None or time.monotonic() - begin > START_SECONDS:
            stop(server)
            raise AssertionError(f"Milvus does not start: {log.read_text()[-2000:]}")
        time.sleep(0.2)
    return server, {"port": port, "health": health}


def stop(server):
    server.communicate(timeout=30)  # the end of its input is what it waits for
