"""Uploads: what is taken, refused, indexed, and left behind."""

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from made_server import client_of, make_library, make_video, videos_of
from PIL import Image

from clover.search.lock import lock_file
from clover.serving.probing import probe_apart
from clover.serving.problems import ServingError
from clover.serving.room import Room


@pytest.fixture
def shelf(place, clover, tmp_path):
    """A library of its own that takes uploads."""
    make_library(tmp_path / "library", clover, [place / "videos" / "2.mp4"])
    return tmp_path


@pytest.fixture
def client(shelf, clover):
    limits = {"uploads": shelf / "uploads", "max_upload_bytes": 200_000}
    with client_of(shelf / "library", clover, **limits) as client:
        yield client


def send(client, content, name="film.mp4", field="file"):
    return client.post("/api/uploads", files={field: (name, content)})


LONGEST_SECONDS = 120
"""On a busy machine."""


def finished(client, upload):
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        found = client.get(f"/api/uploads/{upload['id']}").json()
        if found["state"] in ("done", "failed"):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def left(shelf):
    folder = shelf / "uploads"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def png(image):
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def test_a_film_is_taken_indexed_and_found(client, shelf, place):
    content = (place / "videos" / "ball" / "0.mp4").read_bytes()
    reply = send(client, content, "../../ein schöner <Film>.exe")
    assert reply.status_code == 202
    assert reply.json()["state"] in ("waiting", "indexing")
    done = finished(client, reply.json())
    assert (done["state"], done["progress"], done["error"]) == ("done", 1.0, None)
    assert done["name"] == "ein schöner <Film>.exe"
    video = done["video"]
    assert (video["folder"], video["tags"]) == ("uploaded files", ["uploaded"])
    assert video["name"].startswith("ein_schöner_Film-") and video["name"].endswith(".mp4")
    assert client.get(video["file_url"]).content == content
    assert left(shelf) == [video["name"]]
    found = client.post("/api/search", json={"query": "ball", "filters": {"folder": "uploaded files"}}).json()
    assert {row["video"]["id"] for row in found["results"]} == {video["id"]}
    assert client.get("/api/library").json()["num_videos"] == 2


def test_the_content_decides_what_a_file_is(client, shelf):
    image = png(Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)))
    done = finished(client, send(client, image, "page.html").json())
    assert done["state"] == "done"
    assert done["video"]["media_type"] == "image/png"
    assert done["video"]["name"].endswith(".png")
    assert client.get(done["video"]["thumbnail_url"]).status_code == 200


def bomb():
    """A PNG that says it has 30,000 x 30,000 pixels, in a few bytes."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (b"", 415, "not taken: it is empty"),
        (b"#!/bin/sh\nrm -rf /\n", 415, "no video or image"),
        (b"<html><script>alert(1)</script></html>", 415, "no video or image"),
        (b"#EXTM3U\nfile:///etc/passwd\n", 415, "not taken"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", 415, "not taken"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(60), 415, "no video or image"),
        (bomb(), 422, "too large"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), 415, "no video or image"),
        (bytes(250_000), 413, "at most 200000 bytes"),
        (bytes(500_000), 413, "at most"),
    ],
    ids=["empty", "script", "page", "playlist", "concat", "sound", "bomb", "broken", "large", "larger"],
)
def test_what_is_no_film_is_refused_and_leaves_nothing(client, shelf, content, status, sentence):
    reply = send(client, content)
    assert (reply.status_code, list(reply.json())) == (status, ["error"])
    assert sentence in reply.json()["error"]
    assert str(shelf) not in reply.text
    assert left(shelf) == []


def test_broken_films_are_refused(client, shelf, place):
    content = (place / "videos" / "2.mp4").read_bytes()
    start = content.index(b"mdat") + 4
    blank = content[:start] + bytes(len(content) - start)
    for broken in (blank, content[:600], content[: start + 10]):
        assert send(client, broken).status_code in (415, 422)
    assert left(shelf) == []


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "multipart/form-data"}, b"x", 415),
        ({"Content-Type": "multipart/form-data; boundary=a"}, b"no form at all", 400),
        (
            {"Content-Type": "multipart/form-data; boundary=a"},
            b'--a\r\nContent-Disposition: form-data; name="file"',
            400,
        ),
        ({"Content-Type": "application/json"}, b"{}", 415),
        (
            {"Content-Type": "multipart/form-data; boundary=a"},
            b'--a\r\nContent-Disposition: form-data; name="other"; filename="x"\r\n\r\nx\r\n--a--\r\n',
            422,
        ),
        (
            {"Content-Type": "multipart/form-data; boundary=a"},
            b'--a\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nx\r\n' * 2 + b"--a--\r\n",
            422,
        ),
        (
            {"Content-Type": "multipart/form-data; boundary=a"},
            b'--a\r\nContent-Disposition: form-data; name="x"\r\n\r\nx\r\n' * 21 + b"--a--\r\n",
            422,
        ),
        (
            {"Content-Type": "multipart/form-data; boundary=a"},
            b"--a\r\nContent-Disposition: " + b"x" * 5_000 + b"\r\n\r\nx\r\n--a--\r\n",
            400,
        ),
    ],
    ids=["no boundary", "no form", "cut off", "json", "other field", "two files", "many parts", "long header"],
)
def test_forms_that_are_none_are_refused(client, shelf, headers, body, status):
    reply = client.post("/api/uploads", content=body, headers=headers)
    assert (reply.status_code, list(reply.json())) == (status, ["error"])
    assert left(shelf) == []


def test_a_client_that_goes_away_is_no_mistake_of_the_server(client, shelf):
    body = b'--a\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nbegin'
    coming = [{"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"}]
    sent = []

    async def receive():
        return coming.pop(0)

    async def send_(message):
        sent.append(message)

    headers = {"host": "localhost", "content-type": "multipart/form-data; boundary=a", "content-length": "9999"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/uploads",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    client.portal.call(client.app, scope, receive, send_)
    assert sent[0]["status"] == 400
    assert left(shelf) == []


def test_a_library_that_another_command_holds_is_waited_for(client, shelf, place, monkeypatch):
    monkeypatch.setattr("clover.serving.uploads._RETRY_SECONDS", 0.05)
    content = (place / "videos" / "ball" / "0.mp4").read_bytes()
    with lock_file(shelf / "library" / ".lock", "the library"):
        upload = send(client, content).json()
        time.sleep(0.5)
        assert client.get(f"/api/uploads/{upload['id']}").json()["state"] == "waiting"
        assert client.post("/api/search", json={"query": "ball"}).status_code == 200
    assert finished(client, upload)["state"] == "done"
    monkeypatch.setattr("clover.serving.uploads._PATIENCE_SECONDS", 0.0)
    with lock_file(shelf / "library" / ".lock", "the library"):
        failed = finished(client, send(client, content).json())
    assert failed["state"] == "failed"
    assert "another command" in failed["error"]
    assert len(left(shelf)) == 1


def test_what_an_earlier_server_left_is_indexed_and_files_of_the_user_are_left_alone(shelf, clover):
    left_over = f"waiting-{'0' * 16}.mp4"
    make_video(shelf / "uploads" / left_over, seed=5)
    make_video(shelf / "uploads" / "holiday.mp4", seed=6)
    (shelf / "uploads" / f"link-{'0' * 16}.mp4").symlink_to("/etc/passwd")
    (shelf / "uploads" / f"broken-{'0' * 16}.mp4").write_bytes(b"broken")
    (shelf / "uploads" / "broken.mp4").write_bytes(b"broken")
    with client_of(shelf / "library", clover, uploads=shelf / "uploads") as client:
        deadline = time.monotonic() + LONGEST_SECONDS
        while left_over not in videos_of(client) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert set(videos_of(client)) == {"2.mp4", left_over}
    assert left(shelf) == ["broken.mp4", "holiday.mp4", f"link-{'0' * 16}.mp4", left_over]


def test_the_watcher_and_the_indexer_survive_what_they_did_not_expect(client, shelf, place, clover, monkeypatch):
    def broken(*_):
        raise RuntimeError("nobody thought of this")

    content = (place / "videos" / "ball" / "0.mp4").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("clover.serving.shelf.open_library", broken)
        patch.setattr("clover.serving.uploads.open_library", broken)
        failed = finished(client, send(client, content).json())
        assert (failed["state"], left(shelf)) == ("failed", [])
        make_library(shelf / "library", clover, [place / "videos" / "ball" / "0.mp4"])
        client.app.state.service.shelf.refresh()
        assert client.get("/api/library").json()["num_videos"] == 1
    client.app.state.service.shelf.refresh()
    assert client.get("/api/library").json()["num_videos"] == 2
    assert finished(client, send(client, content).json())["state"] == "done"


def test_all_files_together_have_a_limit(shelf, place, clover):
    content = (place / "videos" / "ball" / "0.mp4").read_bytes()
    (shelf / "uploads").mkdir()
    (shelf / "uploads" / "holiday.mp4").write_bytes(bytes(10 * len(content)))  # the user's own does not count
    limits = {"uploads": shelf / "uploads", "max_uploads_bytes": 2 * len(content)}
    with client_of(shelf / "library", clover, **limits) as client:
        first = send(client, content)
        assert first.status_code == 202
        second = send(client, content)  # with the form around it the two are more
        assert second.status_code == 507
        assert "uploaded files may take" in second.json()["error"]
        done = finished(client, first.json())
        assert left(shelf) == sorted([done["video"]["name"], "holiday.mp4"])
        (shelf / "uploads" / done["video"]["name"]).unlink()
        assert send(client, content).status_code == 202


def test_files_that_are_coming_count_and_let_go_of_their_room(tmp_path):
    room, one, two = Room(tmp_path, 100), "0" * 16, "1" * 16
    with room.reserved(one, 60):
        with pytest.raises(ServingError) as caught, room.reserved(two, 60):
            pass
        assert caught.value.status_code == 507
        (tmp_path / f".{one}.part").write_bytes(bytes(60))  # counts once, before its name and with it
        with room.reserved(two, 40):
            pass
        (tmp_path / f".{one}.part").rename(tmp_path / f"film-{one}.mp4")
        with room.reserved(two, 40):
            pass
    with pytest.raises(ServingError), room.reserved(two, 41):
        pass
    (tmp_path / f"film-{one}.mp4").unlink()
    with pytest.raises(ZeroDivisionError), room.reserved(one, 100):
        _ = 1 / 0
    with room.reserved(two, 100):
        pass


def test_what_is_deleted_while_it_is_counted_takes_no_room(tmp_path, monkeypatch):
    gone = tmp_path / f"film-{'0' * 16}.mp4"
    monkeypatch.setattr(Path, "iterdir", lambda _: iter([gone]))
    with Room(tmp_path, 100).reserved("1" * 16, 100):
        pass


def test_a_length_that_lies_beside_chunks_is_refused(client, shelf):
    def chunks():
        yield b"x" * 300_000

    for address, kind in (("/api/uploads", "multipart/form-data; boundary=a"), ("/api/search", "application/json")):
        headers = {"Content-Type": kind, "Content-Length": "5", "Transfer-Encoding": "chunked"}
        reply = client.post(address, content=chunks(), headers=headers)
        assert (reply.status_code, left(shelf)) == (411, [])
        assert "Content-Length alone" in reply.json()["error"]


def test_without_a_folder_nothing_is_taken(place, clover):
    with client_of(place / "library", clover) as client:
        assert send(client, b"x").status_code == 403
        assert client.get("/api/uploads/" + "0" * 16).status_code == 403


def test_unknown_uploads_are_unknown(client):
    assert client.get("/api/uploads/" + "0" * 16).status_code == 404
    assert client.get("/api/uploads/../../etc/passwd").status_code in (404, 422)


def test_the_probe_is_given_up_after_a_time(place):
    assert "too much time" in probe_apart(place / "videos" / "2.mp4", seconds=0.01).problem
    assert probe_apart(place / "videos" / "2.mp4").suffix == ".mp4"
