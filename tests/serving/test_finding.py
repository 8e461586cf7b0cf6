"""Searching, asking and listing over the API."""

import math
import threading
import time

import pytest
from made_server import client_of, make_library, make_video, videos_of

from clover.search.engine import open_library, search


def test_the_library_says_what_it_holds(client, place):
    assert client.get("/api/health").json()["status"] == "ok"
    found = client.get("/api/library").json()
    assert (found["num_videos"], found["folders"], found["tags"]) == (3, ["ball"], ["home"])
    assert (found["can_ask"], found["ask_needs_choices"], found["accepts_uploads"]) == (True, False, False)
    assert not found["needs_token"]
    videos = videos_of(client)
    assert {name: video["folder"] for name, video in videos.items()} == {
        "0.mp4": "ball",
        "1 é ü.mp4": "ball",
        "2.mp4": "",
    }
    assert videos["2.mp4"]["seconds"] == pytest.approx(11.0)
    assert all(video["is_playable"] and video["media_type"] == "video/mp4" for video in videos.values())
    for path in ("/api/library", "/api/videos", "/metrics", "/api/openapi.json"):
        assert str(place) not in client.get(path).text


def test_results_are_those_of_the_engine(client, place, clover):
    body = {"query": "a red ball", "num_results": 3, "rerank": 2}
    reply = client.post("/api/search", json=body).json()
    spans = search(open_library(place / "library", clover), clover, "a red ball", 3)
    key = ("start_seconds", "end_seconds", "score", "confidence")
    for span in spans:
        given = [pytest.approx([row[name] for name in key], abs=2e-3) for row in reply["results"]]
        assert [getattr(span, name) for name in key] in given
    assert [row["reranked"] is not None for row in reply["results"]] == [True, True, False]
    for row in reply["results"]:
        timeline = row["timeline"]
        assert len(timeline) == row["video"]["num_moments"]
        assert [point["start_seconds"] for point in timeline] == sorted(point["start_seconds"] for point in timeline)
        assert max(point["score"] for point in timeline) == pytest.approx(row["score"], abs=2e-4)


def test_timelines_of_long_videos_are_binned(place, clover, tmp_path, monkeypatch):
    monkeypatch.setattr("clover.serving.answering._MOST_POINTS", 3)
    monkeypatch.setattr("clover.serving.answering._BLOCK", 2)
    with client_of(place / "library", clover) as client:
        for row in client.post("/api/search", json={"query": "ball", "by_video": True}).json()["results"]:
            assert len(row["timeline"]) == math.ceil(
                row["video"]["num_moments"] / math.ceil(row["video"]["num_moments"] / 3)
            )
            assert row["timeline"][-1]["end_seconds"] == pytest.approx(row["video"]["seconds"], abs=0.01)
            assert max(point["score"] for point in row["timeline"]) == pytest.approx(row["score"], abs=2e-4)


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"folder": "ball"}, {"0.mp4", "1 é ü.mp4"}),
        ({"tags": ["home"]}, {"0.mp4", "1 é ü.mp4", "2.mp4"}),
        ({"tags": ["away"]}, set()),
        ({"min_seconds": 10}, {"2.mp4"}),
        ({"since": "2001-01-01", "max_seconds": 6}, {"0.mp4"}),
        ({"until": "2001-01-01T00:00:00+00:00"}, set()),
    ],
)
def test_filters_of_search_and_list_agree(client, filters, names):
    reply = client.post("/api/search", json={"query": "a ball", "by_video": True, "filters": filters}).json()
    assert {row["video"]["name"] for row in reply["results"]} == names
    listed = {("tag" if name == "tags" else name): value for name, value in filters.items()}
    page = client.get("/api/videos", params=listed).json()
    assert {video["name"] for video in page["videos"]} == names
    assert page["total"] == len(names)


def test_the_list_comes_in_pages_and_by_name(client):
    pages = [client.get("/api/videos", params={"offset": place, "limit": 1}).json() for place in range(4)]
    assert [page["total"] for page in pages] == [3] * 4
    assert len({video["id"] for page in pages for video in page["videos"]}) == 3
    assert pages[3]["videos"] == []
    assert [video["name"] for video in client.get("/api/videos", params={"name": "É"}).json()["videos"]] == [
        "1 é ü.mp4"
    ]
    video = videos_of(client)["2.mp4"]
    found = client.get(f"/api/videos/{video['id']}").json()
    moments = found.pop("moments")
    assert found == video
    assert len(moments) == video["num_moments"]


def test_questions_are_answered_with_evidence(client):
    body = {"question": "what color is the ball?", "num_answers": 2, "moments": 2}
    reply = client.post("/api/ask", json=body).json()
    assert len(reply["answers"]) == 2
    assert (reply["unknown"], reply["method"]) == (None, "open-ended head")
    assert sum(row["weight"] for row in reply["evidence"]) == pytest.approx(1, abs=1e-3)
    assert all(row["timeline"] and row["answers"] for row in reply["evidence"])
    video = videos_of(client)["2.mp4"]["id"]
    one = client.post("/api/ask", json={**body, "video": video, "choices": ["red", "green"]}).json()
    assert {row["video"]["id"] for row in one["evidence"]} == {video}
    assert {row["answer"] for row in one["answers"]} == {"red", "green"}
    unsure = client.post("/api/ask", json={**body, "min_probability": 0.99}).json()
    assert unsure["unknown"].startswith("the best answer")


def test_a_model_without_answers_needs_choices(place, clover, monkeypatch):
    from dataclasses import replace

    with client_of(place / "library", clover) as client:
        monkeypatch.setattr(clover, "config", replace(clover.config, answers=()))
        assert client.get("/api/library").json()["ask_needs_choices"]
        refused = client.post("/api/ask", json={"question": "what is it?"})
        assert (refused.status_code, "choices" in refused.json()["error"]) == (422, True)


@pytest.mark.parametrize(
    ("query", "note"),
    [
        ("сколько стоит", "none of these words"),
        ("赤いボール", "none of these words"),
        ("ball " * 2_000, "only its first 22 word pieces"),
    ],
)
def test_other_scripts_and_long_queries_are_answered_with_a_note(client, query, note):
    reply = client.post("/api/search", json={"query": query})
    assert reply.status_code == 200
    assert note in reply.json()["notes"][0]
    assert reply.json()["query"] == query


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("search", {"query": ""}, 422, "query"),
        ("search", {"query": " \n"}, 422, "blank"),
        ("search", {"query": "\u200b"}, 422, "nothing that the model can read"),
        ("search", {"query": "a" * 10_001}, 422, "at most 10000"),
        ("search", {"query": "a" * 300_000}, 413, "bytes"),
        ("search", {"query": "ball", "filters": {"folder": "../ball"}}, 404, "no such folder"),
        ("search", {"query": "ball", "filters": {"folder": "/etc"}}, 404, "no such folder"),
        ("search", {"query": "ball", "filters": {"since": "yesterday"}}, 422, "2026-01-31"),
        ("search", {"query": "ball", "filters": {"since": "0001-01-01"}}, 422, "2026-01-31"),
        ("search", {"query": "ball", "filters": {"since": "2026-02-01", "until": "2026-01-01"}}, 422, "smaller bound"),
        (
            "search",
            {"query": "ball", "filters": {"min_seconds": 2, "max_seconds": 1}},
            422,
            "filters: the smallest of the filters",
        ),
        ("search", {"query": "ball", "num_results": 0}, 422, "num_results"),
        ("search", {"query": "ball", "speed": "fast"}, 422, "speed"),
        ("ask", {"question": "what?", "choices": ["one"]}, 422, "two different"),
        ("ask", {"question": "what?", "choices": list("abcdefghijk"), "moments": 50}, 422, "more than 500"),
        ("ask", {"question": "what?", "video": "../../etc/passwd"}, 422, "video"),
        ("ask", {"question": "what?", "video": "0" * 20}, 404, "no such video"),
    ],
)
def test_mistakes_are_one_sentence(client, place, path, body, status, sentence):
    reply = client.post(f"/api/{path}", json=body)
    assert reply.status_code == status
    assert list(reply.json()) == ["error"]
    assert sentence in reply.json()["error"]
    assert str(place) not in reply.text


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("min_seconds=5&max_seconds=1", "the smallest of the filters is above the largest"),
        ("since=2026-02-01&until=2026-01-01", "smaller bound first"),
        ("since=yesterday", "since: this is no day"),
        ("min_second=5", "min_second: "),
        ("limit=0", "limit: "),
    ],
)
def test_mistakes_in_the_list_are_one_sentence(client, query, sentence):
    reply = client.get(f"/api/videos?{query}")
    assert reply.status_code == 422
    assert sentence in reply.json()["error"]
    assert "Value error" not in reply.text


def test_a_missing_body_is_named(client):
    reply = client.post("/api/search", headers={"Content-Type": "application/json"})
    assert (reply.status_code, "the body" in reply.json()["error"]) == (422, True)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b'{"query": NaN}', b'{"query": "\\ud800"}', b"[" * 100_000, b'{"query": 1' + b"0" * 9_000],
    ids=["nothing", "cut", "bytes", "nan", "surrogate", "deep", "huge"],
)
def test_bodies_that_are_no_json_are_refused(client, content):
    reply = client.post("/api/search", content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code in (400, 422)
    assert list(reply.json()) == ["error"]


def test_texts_that_wait_are_embedded_together(place, clover, monkeypatch):
    sizes, original, gate = [], clover.encode_text, threading.Event()

    def held(texts):
        sizes.append(len(texts))
        gate.wait(60)
        return original(texts)

    with client_of(place / "library", clover) as client:
        alone = client.post("/api/search", json={"query": "a ball"}).json()
        monkeypatch.setattr(clover, "encode_text", held)
        replies = []

        def ask():
            replies.append(client.post("/api/search", json={"query": "a ball"}).json())

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while sum(sizes) + len(client.app.state.service.model) < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        gate.set()
        for thread in threads:
            thread.join()
    assert len(replies) == 8
    assert sum(sizes) == 8
    assert len(sizes) <= 2  # what the thread took first, and all that waited meanwhile
    for reply in replies:
        assert [row["score"] for row in reply["results"]] == pytest.approx(
            [row["score"] for row in alone["results"]], abs=1e-3
        )


def test_a_library_that_another_command_extends_is_opened_again(clover, tmp_path):
    videos = [make_video(tmp_path / "videos" / f"{seed}.mp4", seed=seed) for seed in range(2)]
    make_library(tmp_path / "library", clover, videos[:1])
    with client_of(tmp_path / "library", clover) as client:
        assert client.get("/api/library").json()["num_videos"] == 1
        make_library(tmp_path / "library", clover, videos)
        deadline = time.monotonic() + 60
        while client.get("/api/library").json()["num_videos"] == 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert client.get("/api/library").json()["num_videos"] == 2
        (tmp_path / "library" / "library.json").write_text("{}")  # what cannot be read is not taken over
        time.sleep(0.3)
        assert client.post("/api/search", json={"query": "ball"}).json()["results"]
