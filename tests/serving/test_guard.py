"""Who is let in: tokens, sessions, names of hosts, foreign pages, lengths."""

import pytest
from made_server import HERE, TOKEN, client_of
from starlette.testclient import TestClient

from clover.errors import ConfigError
from clover.search.engine import open_library
from clover.serving.app import create_app
from clover.serving.settings import ServingConfig

LOOSE = {"Content-Type": "application/json"}


@pytest.fixture
def closed(place, clover):
    with client_of(place / "library", clover, token=TOKEN) as client:
        yield client


def test_without_the_token_there_is_nothing(closed):
    for path in ("/api/library", "/api/videos", "/metrics", "/api/openapi.json", "/api/nothing", "/nothing"):
        reply = closed.get(path)
        assert (reply.status_code, list(reply.json())) == (401, ["error"])
        assert reply.headers["www-authenticate"] == "Bearer"
    assert closed.post("/api/search", json={"query": "ball"}).status_code == 401
    assert closed.get("/api/health").status_code == 200
    for wrong in ("Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"):
        assert closed.get("/api/library", headers={"Authorization": wrong}).status_code == 401
    assert closed.get("/api/library", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_session_stands_for_the_token_until_it_ends(closed):
    assert closed.post("/api/session", json={"token": "wrong"}).status_code == 401
    begun = closed.post("/api/session", json={"token": TOKEN})
    assert begun.status_code == 200
    cookie = begun.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert closed.get("/api/library").status_code == 200
    assert closed.get("/api/library").json()["needs_token"]
    kept = dict(closed.cookies)
    assert closed.delete("/api/session").status_code == 200
    closed.cookies.update(kept)
    assert closed.get("/api/library").status_code == 401


def test_tokens_cannot_be_tried_at_will(closed):
    statuses = [closed.post("/api/session", json={"token": str(number)}).status_code for number in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert closed.post("/api/session", json={"token": TOKEN}).status_code == 429
    assert closed.get("/api/library", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 429


def test_tokens_of_programs_cannot_be_tried_either_and_open_sessions_go_on(closed):
    assert closed.post("/api/session", json={"token": TOKEN}).status_code == 200
    session = dict(closed.cookies)
    closed.cookies.clear()
    wrong = [{"Authorization": f"Bearer {number}"} for number in range(12)]
    assert [closed.get("/api/library", headers=headers).status_code for headers in wrong] == [401] * 10 + [429] * 2
    closed.cookies.update(session)
    assert closed.get("/api/library").status_code == 200


def test_a_session_is_found_among_cookies_that_are_written_oddly(closed):
    session = closed.post("/api/session", json={"token": TOKEN}).cookies["clover_session"]
    closed.cookies.clear()
    for others in ('state={"a": 1}; ', "[x]=1; ", "a b; =; "):
        cookies = {"Cookie": f"{others}clover_session={session}"}
        assert closed.get("/api/library", headers=cookies).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "10.0.0.1:8000"])
def test_foreign_names_of_this_machine_are_refused(client, host):
    assert client.get("/api/library", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:1", "127.0.0.2:8000", "[::1]:8000", "LOCALHOST"]
)
def test_own_names_of_this_machine_are_taken(client, host):
    assert client.get("/api/library", headers={"Host": host}).status_code == 200


def test_pages_of_other_places_change_nothing_and_see_nothing(client):
    search = {"query": "ball"}
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999", f"{HERE}.evil.example"):
        assert client.post("/api/search", json=search, headers={"Origin": origin}).status_code == 403
        assert client.delete("/api/session", headers={"Origin": origin}).status_code == 403
    assert client.post("/api/search", json=search, headers={"Origin": HERE}).status_code == 200
    assert client.get("/api/library", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.get("/api/library", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    assert "access-control-allow-origin" not in client.get("/api/library", headers={"Origin": HERE}).headers


def test_a_reverse_proxy_names_its_address(place, clover):
    url = "https://films.example.org"
    with client_of(place / "library", clover, public_url=url, token=TOKEN) as client:
        there = {"Host": "films.example.org", "Origin": url}
        begun = client.post("/api/session", json={"token": TOKEN}, headers=there)
        assert begun.status_code == 200
        assert "Secure" in begun.headers["set-cookie"]
        assert client.post("/api/session", json={"token": TOKEN}, headers={"Host": "other.org"}).status_code == 403


def test_behind_a_reverse_proxy_clients_are_told_apart(place, clover):
    limits = {"public_url": "https://films.example.org", "token": TOKEN}
    config = ServingConfig(**limits)
    with TestClient(
        create_app(open_library(place / "library", clover), clover, config),
        base_url="https://films.example.org",
        client=("127.0.0.1", 50_000),
    ) as client:
        for number in range(11):
            there = {"X-Forwarded-For": f"{number}, 203.0.113.1"}
            last = client.post("/api/session", json={"token": "wrong"}, headers=there).status_code
        assert last == 429
        other = {"X-Forwarded-For": "203.0.113.1, 203.0.113.2"}
        assert client.post("/api/session", json={"token": TOKEN}, headers=other).status_code == 200


def test_bodies_say_their_length_and_kind(client):
    chunks = client.post("/api/search", content=iter([b'{"query": "ball"}']), headers=LOOSE)
    assert chunks.status_code == 411
    assert client.post("/api/search", content=b"query=ball").status_code == 415
    plain = client.post("/api/search", content=b'{"query": "ball"}', headers={"Content-Type": "text/plain"})
    assert plain.status_code == 415
    assert client.post("/api/search", headers=LOOSE | {"Content-Length": "1e3"}).status_code == 400
    assert client.put("/api/search", json={}).status_code == 405


def test_every_response_keeps_browsers_careful(client):
    for path in ("/api/library", "/api/nothing", "/api/videos/" + "0" * 20, "/nothing"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"host": "0.0.0.0"}, "set a token"),
        ({"host": "films.example.org"}, "set a token"),
        ({"token": "short"}, "16 or more"),
        ({"public_url": "films.example.org", "token": TOKEN}, "write it as https"),
        ({"public_url": "https://films.example.org"}, "https://films.example.org can be reached.*set a token"),
        ({"token": "sésame, ouvre-toi!"}, "printable ASCII"),
        ({"max_waiting": 0}, "max_waiting is 0"),
    ],
)
def test_unsafe_settings_are_refused(limits, sentence):
    with pytest.raises(ConfigError, match=sentence):
        ServingConfig(**limits)
    config = ServingConfig(host="0.0.0.0", token=TOKEN)
    assert config.is_loopback is False
    assert TOKEN not in repr(config)


def test_figures_count_patterns_of_addresses_not_addresses(client):
    for number in range(20):
        client.get(f"/api/videos/{number:020x}")
        client.request(f"MADE{number}", "/api/library")
    text = client.get("/metrics").text
    assert 'clover_requests_total{method="GET",route="/api/videos/{video}",status="404"}' in text
    assert "MADE1" not in text
    assert "clover_waiting_for_model 0.0" in text
    assert "process_resident_memory_bytes" in text
