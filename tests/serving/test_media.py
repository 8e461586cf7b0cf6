"""Files, thumbnails and clips over HTTP; and that nothing but indexed files can be had."""

import io
import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_server import client_of, make_library, make_video, videos_of
from PIL import Image

from clover.data.video import probe
from clover.serving.ranges import wanted_span


@pytest.fixture
def video(client):
    return videos_of(client)["1 é ü.mp4"]


@pytest.fixture
def content(place):
    return (place / "videos" / "ball" / "1 é ü.mp4").read_bytes()


def test_a_file_comes_whole_and_in_parts(client, video, content):
    whole = client.get(video["file_url"])
    assert (whole.status_code, whole.content == content) == (200, True)
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-type"] == "video/mp4"
    size = len(content)
    for asked, begin, end in (("0-0", 0, 1), ("5-", 5, size), ("-7", size - 7, size), (f"9-{size * 9}", 9, size)):
        part = client.get(video["file_url"], headers={"Range": f"bytes={asked}"})
        assert (part.status_code, part.content == content[begin:end]) == (206, True)
        assert client.get(video["file_url"], headers={"Range": f"Bytes={asked}"}).status_code == 206
        assert part.headers["content-range"] == f"bytes {begin}-{end - 1}/{size}"
    for beyond in (f"{size}-", f"{size}-{size + 5}", "-0"):
        refused = client.get(video["file_url"], headers={"Range": f"bytes={beyond}"})
        assert (refused.status_code, refused.headers["content-range"]) == (416, f"bytes */{size}")
        assert list(refused.json()) == ["error"]
    for no_range in ("bytes=5-2", "bytes=-", "lines=1-2", "bytes=0-1,4-5", "bytes=٠-٣", "x" * 5000):
        assert client.get(video["file_url"], headers=[(b"range", no_range.encode())]).status_code == 200


def test_head_and_conditions(client, video, content):
    head = client.head(video["file_url"])
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(content))
    part = client.head(video["file_url"], headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.headers["content-length"]) == (200, str(len(content)))
    etag, modified = head.headers["etag"], head.headers["last-modified"]
    for known in (etag, f'W/{etag}, "x"', "*"):
        assert client.get(video["file_url"], headers={"If-None-Match": known}).status_code == 304
    for condition, status in ((etag, 206), (modified, 206), ('"other"', 200), ("yesterday", 200)):
        part = client.get(video["file_url"], headers={"Range": "bytes=0-3", "If-Range": condition})
        assert part.status_code == status


@given(st.text(max_size=20) | st.from_regex(r"bytes=\d{0,20}-\d{0,20}", fullmatch=True), st.integers(0, 10**6))
def test_any_range_is_within_the_file_or_none(asked, size):
    span = wanted_span(asked, size)
    assert span is None or span == (size, size) or 0 <= span[0] < span[1] <= size


def test_thumbnails_are_pictures_of_bounded_size(client, video):
    for asked, width in ((16, 48), (320, 48)):  # no larger than the video
        reply = client.get(video["thumbnail_url"], params={"width": asked, "at_seconds": 1.5})
        assert reply.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(reply.content)).size == (width, 32)
    again = client.get(
        video["thumbnail_url"], params={"at_seconds": 1.5}, headers={"If-None-Match": reply.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    other = client.get(video["thumbnail_url"], params={"at_seconds": 3})
    assert other.headers["etag"] != reply.headers["etag"]
    assert other.content != reply.content
    assert client.get(video["thumbnail_url"], params={"at_seconds": 1e6}).status_code == 200  # the last frame
    for wrong in ({"width": 5000}, {"at_seconds": -1}, {"at_seconds": "nan"}, {"width": "x"}):
        assert client.get(video["thumbnail_url"], params=wrong).status_code == 422


def test_clips_begin_and_end_where_asked(client, video, tmp_path):
    url = f"/api/videos/{video['id']}/clip"
    reply = client.get(url, params={"start_seconds": 1.3, "end_seconds": 2.7})
    assert reply.headers["content-type"] == "video/mp4"
    (tmp_path / "clip.mp4").write_bytes(reply.content)
    assert probe(tmp_path / "clip.mp4").duration_seconds == pytest.approx(1.4, abs=0.01)
    part = client.get(url, params={"start_seconds": 1.3, "end_seconds": 2.7}, headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, reply.content[4:8])
    assert part.content == b"ftyp"
    for start, end in ((2, 1), (1, 1), (0, 500), (100, 101), (-1, 1), ("inf", 2)):
        wrong = client.get(url, params={"start_seconds": start, "end_seconds": end})
        assert (wrong.status_code, list(wrong.json())) == (422, ["error"])


def test_what_is_kept_is_bounded(place, clover):
    limits = {"clip_bytes": 20_000, "thumbnail_bytes": 4_000}
    with client_of(place / "library", clover, **limits) as client:
        service = client.app.state.service
        video = videos_of(client)["2.mp4"]
        for number in range(12):
            clip = {"start_seconds": number / 4, "end_seconds": number / 4 + 0.5}
            assert client.get(f"/api/videos/{video['id']}/clip", params=clip).status_code == 200
            assert client.get(video["thumbnail_url"], params={"at_seconds": number / 2}).status_code == 200
            sizes = [path.stat().st_size for path in service._cutter._folder.iterdir()]
            assert sum(sizes) <= max(20_000, max(sizes))
            assert 0 < service.thumbnails.num_bytes <= 4_000
        folder = service._cutter._folder
    assert not folder.exists()


@pytest.mark.parametrize(
    "name",
    ["..", "../../etc/passwd", "%2e%2e%2fetc", "..%5c..", "/etc/passwd", "%00", "0" * 19, "0" * 21, "É" * 20, "0" * 20],
)
@pytest.mark.parametrize("what", ["", "/file", "/thumbnail", "/clip?start_seconds=0&end_seconds=1"])
def test_nothing_but_videos_has_a_name(client, name, what):
    reply = client.get(f"/api/videos/{name}{what}")
    assert reply.status_code in (404, 422)
    assert "root:" not in reply.text


@pytest.mark.parametrize(
    "path", ["../app.py", "%2e%2e/app.py", "..%2fapp.py", "/etc/passwd", "%2fetc%2fpasswd", ".%00"]
)
def test_nothing_but_the_page_is_static(client, path):
    reply = client.get(f"/static/{path}")
    assert reply.status_code in (404, 405)
    assert "create_app" not in reply.text and "root:" not in reply.text


SECRET = b"what nobody may see " * 50


def exchanged(path, how, secret):
    """Put something else in the place of an indexed file, with the same size and times where that can be."""
    state = path.stat()
    if how == "gone":
        path.unlink()
    elif how == "changed":
        path.write_bytes(SECRET)
    elif how == "link":
        secret.write_bytes(SECRET.ljust(state.st_size, b"x")[: state.st_size])
        os.utime(secret, ns=(state.st_atime_ns, state.st_mtime_ns))
        path.unlink()
        path.symlink_to(secret)
    elif how == "folder is a link":
        path.parent.rename(secret)
        path.parent.symlink_to(secret)
    elif how == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif how == "folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("how", ["gone", "changed", "link", "folder is a link", "pipe", "folder"])
def test_what_is_put_in_a_files_place_is_not_served(clover, tmp_path, how):
    path = make_video(tmp_path / "videos" / "0.mp4")
    make_library(tmp_path / "library", clover, [path])
    with client_of(tmp_path / "library", clover) as client:
        video = videos_of(client)["0.mp4"]
        clip = f"/api/videos/{video['id']}/clip?start_seconds=0&end_seconds=1"
        exchanged(path, how, tmp_path / "secret")
        for url in (video["file_url"], video["thumbnail_url"], clip):
            reply = client.get(url)
            assert (reply.status_code, list(reply.json())) == (404, ["error"])
            assert str(tmp_path) not in reply.text
        assert client.post("/api/search", json={"query": "ball"}).status_code == 200
        assert client.post("/api/search", json={"query": "ball", "rerank": 5}).status_code == 200


def test_a_file_that_breaks_off_is_no_mistake_of_the_server(clover, tmp_path):
    path = make_video(tmp_path / "videos" / "0.mp4", num_frames=96)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    shutil.copy(make_video(tmp_path / "videos" / "1.mp4", seed=1), tmp_path / "videos" / "1.webm")
    make_library(tmp_path / "library", clover, sorted((tmp_path / "videos").iterdir()))
    with client_of(tmp_path / "library", clover) as client:
        for video in videos_of(client).values():
            for at in (0, 1, 3.9):
                assert client.get(video["thumbnail_url"], params={"at_seconds": at}).status_code in (200, 404)
            clip = client.get(f"/api/videos/{video['id']}/clip", params={"start_seconds": 2, "end_seconds": 4})
            assert clip.status_code in (200, 404)
