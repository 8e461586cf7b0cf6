"""clover serve as a command: how it starts, what it refuses, how it ends; clients that keep it waiting."""

import io
import signal
import socket
import threading
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import httpx2
import pytest
import uvicorn
from made_server import END_SECONDS, TOKEN, served

from clover.cli import main
from clover.serving import server
from clover.serving.server import PatientProtocol, address_of, bind


def run(*arguments):
    errors = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(errors):
        status = main(["serve", *map(str, arguments)])
    return status, errors.getvalue()


def told(address, request):
    """What a server says to bytes that no client library would send."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=END_SECONDS) as connection:
        found = b""
        with suppress(ConnectionError):  # what is refused need not be read to its end
            connection.sendall(request)
            while part := connection.recv(65536):
                found += part
        return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_answers_and_ends_cleanly(place, tmp_path, number):
    with served(place / "library", "--uploads", "", TMPDIR=str(tmp_path), CLOVER_TOKEN=TOKEN) as (process, address):
        assert httpx2.get(f"{address}/api/library", timeout=END_SECONDS).status_code == 401
        known = {"Authorization": f"Bearer {TOKEN}"}
        found = httpx2.post(f"{address}/api/search", json={"query": "ball"}, headers=known, timeout=END_SECONDS)
        assert {row["video"]["name"] for row in found.json()["results"]} == {"0.mp4", "1 é ü.mp4", "2.mp4"}
        video = found.json()["results"][0]["video"]["id"]
        clip = f"{address}/api/videos/{video}/clip?start_seconds=0&end_seconds=1"
        clip = httpx2.get(clip, headers=known, timeout=END_SECONDS)
        assert clip.content[4:8] == b"ftyp"
        assert list(tmp_path.iterdir())
        for path in (
            "/api/videos/../../../etc/passwd",
            "/static/../app.py",
            "/static/%2e%2e/app.py",
            "//etc/passwd",
            "/%00",
        ):
            reply = told(address, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            assert reply.startswith((b"HTTP/1.1 404", b"HTTP/1.1 401", b"HTTP/1.1 307")), reply
            assert b"root:" not in reply and b"create_app" not in reply
        for junk in (
            b"\x16\x03\x01\x02\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,
            b"GET /\xff HTTP/9.9\r\n\r\n",
        ):
            assert b" 500 " not in told(address, junk)
        waiting = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
        process.send_signal(number)
        assert process.wait(END_SECONDS) == 0  # though a client says nothing
        waiting.close()
        errors = process.stderr.read()
    assert errors == "clover: the server has ended\n"
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_one_line(place, tmp_path, monkeypatch):
    monkeypatch.delenv("CLOVER_TOKEN", raising=False)
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "empty").write_text("\n")
        (tmp_path / "short").write_text("short")
        for arguments, message in (
            ((place / "library", "--port", port), f"port {port} of 127.0.0.1 is taken"),
            ((place / "library", "--port", "70000"), "port 70000"),
            ((place / "library", "--host", "0.0.0.0"), "set a token with --token-file or CLOVER_TOKEN"),
            ((place / "library", "--host", "no.such.host.invalid", "--token-file", tmp_path / "empty"), "is empty"),
            ((place / "library", "--token-file", tmp_path / "none"), "cannot be read"),
            ((place / "library", "--token-file", tmp_path / "short"), "16 or more"),
            ((place / "library", "--max-waiting", "0"), "max_waiting is 0"),
            ((place / "library", "--max-uploads-gib", "nan"), "--max-uploads-gib is nan; give a number of GiB"),
            ((place / "library", "--max-uploads-gib", "inf"), "--max-uploads-gib is inf; give"),
            ((place / "library", "--max-uploads-gib", "0"), "--max-uploads-gib is 0.0; give"),
            ((place / "nothing", "--port", "0"), "nothing is not a library"),
            ((place / "library", "--port", "0", "--checkpoint", tmp_path), "is not a checkpoint folder"),
        ):
            status, errors = run(*arguments)
            assert status == 2
            assert message in errors
            assert errors.count("\n") == 1
    assert not (place / "library-uploads").exists()


def test_without_the_extra_there_is_one_line(place, monkeypatch):
    monkeypatch.setattr("clover.commands.serve.find_spec", lambda name: None if name == "fastapi" else object())
    assert run(place / "library") == (2, "clover: fastapi is not installed: pip install 'clover-vl[serve]'\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_addresses_are_those_a_browser_takes(host):
    with bind(host, 0) as listening:
        assert address_of(listening).endswith(f":{listening.getsockname()[1]}/")


@pytest.fixture
def patient(monkeypatch):
    """The port of a server that sends much; what it waits for it reads anew for each wait: tests shorten it."""
    monkeypatch.setattr(server, "_HEADER_SECONDS", END_SECONDS)
    monkeypatch.setattr(server, "_WRITE_SECONDS", END_SECONDS)
    ended = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(int(scope["path"][1:] or 0)):
            await send({"type": "http.response.body", "body": bytes(2**16), "more_body": True})
        await send({"type": "http.response.body", "body": b"end"})
        ended.append(True)

    listening = bind("127.0.0.1", 0)
    config = uvicorn.Config(app, http=PatientProtocol, ws="none", lifespan="off", log_level="error")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()[1], ended
    running.should_exit = True
    thread.join()
    listening.close()


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_clients_that_do_not_finish_their_request_are_let_go(patient, begun, monkeypatch):
    if not begun:
        monkeypatch.setattr(server, "_HEADER_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", patient[0]), timeout=END_SECONDS) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * bool(begun))
        if begun:
            assert connection.recv(2**16).startswith(b"HTTP/1.1 200")
            monkeypatch.setattr(server, "_HEADER_SECONDS", 0.5)
        with pytest.raises(ConnectionError):
            connection.sendall(begun)
            while connection.recv(2**16):
                pass
            raise ConnectionResetError


def test_clients_that_do_not_read_are_let_go(patient, monkeypatch):
    port, ended = patient
    monkeypatch.setattr(server, "_WRITE_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", port), timeout=END_SECONDS) as connection:
        connection.sendall(b"GET /2000 HTTP/1.1\r\nHost: a\r\n\r\n")
        begin = time.monotonic()
        while not ended and time.monotonic() - begin < END_SECONDS:
            time.sleep(0.05)
    assert ended
    monkeypatch.setattr(server, "_WRITE_SECONDS", END_SECONDS)  # a slow client reads all the same
    assert httpx2.get(f"http://127.0.0.1:{port}/1", timeout=END_SECONDS).content.endswith(b"end")


def test_help_needs_no_model(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    assert "--token-file" in capsys.readouterr().out
    assert Path(server.__file__).is_file()
