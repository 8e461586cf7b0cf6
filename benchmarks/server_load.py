"""A server under load: good, bad and hostile requests mixed, over 64 connections that are kept open.

Starts `clover serve` on a copy of the demo's library and sends it requests drawn at random (seed 0) from three kinds:

- good: searches (some re-ranked, some with filters), questions, lists, files by range, thumbnails, clips, pages;
- bad: blank queries, wrong types, unknown fields and videos, ranges behind the end, uploads of no film;
- hostile: paths that lead out, foreign hosts and origins, bodies that are too long or of another kind, broken forms.

Every answer must have a status that its kind allows; 5xx other than 503 is counted apart and must be zero. Latency is
that of the client, connection kept; memory is the server's own (resident), as its metrics say. `ratio` is how many
searches a second the server answers at 64 connections over those at one: what embedding together is worth.

    python benchmarks/server_load.py --demo demo [--requests 12000] [--save]
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from common import arguments, device_name, finish

CONNECTIONS = 64
COLORS = ("red", "green", "blue", "white")
SHAPES = ("ball", "square", "triangle", "star")
MOVES = ("moves left", "moves right", "rolls", "jumps up", "falls down", "hides behind a box")
SHARES = {"good": 0.7, "bad": 0.15, "hostile": 0.15}
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One request, and which statuses are right."""

    kind: str
    name: str
    method: str
    path: str
    allowed: tuple[int, ...]
    options: dict[str, object] = field(default_factory=dict)


def query(draw: random.Random) -> str:
    return f"a {draw.choice(COLORS)} {draw.choice(SHAPES)} {draw.choice(MOVES)}"


def searching(text: str) -> Sent:
    options: dict[str, object] = {"json": {"query": text}}
    return Sent(kind="good", name="search", method="POST", path="/api/search", allowed=(200, 503), options=options)


def good(draw: random.Random, videos: list[dict[str, object]]) -> Sent:
    video = draw.choice(videos)
    start = round(draw.uniform(0, 2), 1)
    short, asked = {"max_seconds": 100}, {"question": f"what color is the {draw.choice(SHAPES)}?", "moments": 2}
    kinds = {
        "search": (30, "POST", "/api/search", {"json": {"query": query(draw), "by_video": draw.random() < 0.3}}),
        "search filtered": (
            5,
            "POST",
            "/api/search",
            {"json": {"query": query(draw), "filters": short}},
        ),
        "search reranked": (1, "POST", "/api/search", {"json": {"query": query(draw), "rerank": 5}}),
        "ask": (2, "POST", "/api/ask", {"json": asked}),
        "list": (5, "GET", f"/api/videos?limit=20&offset={draw.randint(0, 100)}", {}),
        "video": (5, "GET", f"/api/videos/{video['id']}", {}),
        "file": (15, "GET", str(video["file_url"]), {"headers": {"Range": f"bytes={draw.randint(0, 900)}-"}}),
        "thumbnail": (15, "GET", f"{video['thumbnail_url']}?at_seconds={start}", {}),
        "clip": (1, "GET", f"/api/videos/{video['id']}/clip?start_seconds=0&end_seconds={start + 0.5}", {}),
        "library": (5, "GET", "/api/library", {}),
        "page": (5, "GET", "/", {}),
    }
    name = draw.choices(list(kinds), [row[0] for row in kinds.values()])[0]
    _, method, path, options = kinds[name]
    return Sent(kind="good", name=name, method=method, path=path, allowed=(200, 206, 503), options=options)


def bad(draw: random.Random, videos: list[dict[str, object]]) -> Sent:
    url = str(draw.choice(videos)["file_url"])
    rows = [
        ("POST", "/api/search", {"json": {"query": draw.choice(["", "  ", None, 5, ["a"]])}}),
        ("POST", "/api/search", {"json": {"query": "ball", draw.choice(SHAPES): 1}}),
        ("POST", "/api/search", {"json": {"query": "ball", "num_results": draw.choice([0, 101, "many"])}}),
        ("POST", "/api/ask", {"json": {"question": "what?", "choices": ["one"]}}),
        ("GET", f"/api/videos/{draw.getrandbits(80):020x}", {}),
        ("GET", "/api/videos?limit=100000", {}),
        ("GET", f"/api/uploads/{draw.getrandbits(64):016x}", {}),
        ("GET", url, {"headers": {"Range": "bytes=99999999-"}}),
        ("GET", url.replace("/file", "/thumbnail?width=9999"), {}),
        ("GET", url.replace("/file", "/clip?start_seconds=5&end_seconds=1"), {}),
        ("POST", "/api/search", {"content": b"{", "headers": JSON}),
        ("PUT", "/api/search", {"json": {}}),
    ]
    method, path, options = draw.choice(rows)
    return Sent(kind="bad", name="bad", method=method, path=path, allowed=(404, 405, 416, 422, 503), options=options)


def hostile(draw: random.Random, videos: list[dict[str, object]]) -> Sent:
    form = {"Content-Type": "multipart/form-data; boundary=a"}
    rows = [
        ("GET", "/api/videos/..%2f..%2f..%2fetc%2fpasswd/file", {}),
        ("GET", "/static/%2e%2e/%2e%2e/app.py", {}),
        ("GET", "/static//etc/passwd", {}),
        ("GET", "/%00", {}),
        ("GET", "/api/library", {"headers": {"Host": "evil.example"}}),
        ("POST", "/api/search", {"json": {"query": "ball"}, "headers": {"Origin": "http://evil.example"}}),
        ("POST", "/api/search", {"content": b"[" * 50_000, "headers": JSON}),
        ("POST", "/api/search", {"content": b'{"query": "\\ud800"}', "headers": JSON}),
        ("POST", "/api/search", {"content": b"a" * 400_000, "headers": JSON}),
        ("POST", "/api/search", {"json": {"query": "ball " * 10_000}}),
        ("POST", "/api/search", {"json": {"query": "ball", "filters": {"folder": "../../etc"}}}),
        ("POST", "/api/search", {"data": {"query": "ball"}}),
        ("POST", "/api/session", {"json": {"token": "x" * 5_000}}),
        ("POST", "/api/uploads", {"content": b"no form", "headers": form}),
        ("POST", "/api/uploads", {"content": b"--a\r\nContent-Disposition: form-data;", "headers": form}),
        ("DELETE", "/api/library", {}),
    ]
    method, path, options = draw.choice(rows)
    allowed = (400, 403, 404, 405, 411, 413, 415, 422, 503)
    return Sent(kind="hostile", name="hostile", method=method, path=path, allowed=allowed, options=options)


async def answered(client: httpx2.AsyncClient, requests: list[Sent], num_connections: int) -> dict[str, object]:
    """Send requests over some connections; latencies by name, statuses, and what was not as it should be."""
    waiting = iter(requests)
    seconds: dict[str, list[float]] = defaultdict(list)
    statuses: Counter[str] = Counter()
    wrong: list[str] = []

    async def connection() -> None:
        for sent in waiting:
            begin = time.perf_counter()
            reply = await client.request(sent.method, sent.path, **sent.options)  # type: ignore[arg-type]
            seconds[sent.name].append(time.perf_counter() - begin)
            statuses[f"{sent.kind} {reply.status_code}"] += 1
            if reply.status_code not in sent.allowed:
                wrong.append(f"{sent.method} {sent.path[:80]}: {reply.status_code}")

    begin = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(num_connections)))
    return {"seconds": seconds, "statuses": statuses, "wrong": wrong, "whole": time.perf_counter() - begin}


def memory(client: httpx2.Client) -> dict[str, float]:
    """Resident memory of the server in MiB, and how much of it is kept on purpose, within bounds."""
    text = client.get("/metrics").text
    names = ("process_resident_memory_bytes", "clover_thumbnail_bytes", "clover_encoded_window_bytes")
    found = [re.search(rf"^{name} (\S+)", text, re.MULTILINE) for name in names]
    resident, *kept = [float(one[1]) / 2**20 for one in found if one is not None]
    return {"resident": round(resident, 1), "kept": round(sum(kept), 1)}


def percentiles(values: list[float]) -> dict[str, float]:
    """In milliseconds."""
    row = sorted(values)
    found = {f"p{share}": round(1000 * row[min(len(row) - 1, len(row) * share // 100)], 1) for share in (50, 95, 99)}
    return {"count": len(row), **found, "max": round(1000 * row[-1], 1)}


async def load(address: str, num_requests: int) -> dict[str, object]:
    draw = random.Random(0)
    makers = {"good": good, "bad": bad, "hostile": hostile}
    limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    with httpx2.Client(base_url=address, timeout=120) as quiet:
        videos = quiet.get("/api/videos?limit=200").json()["videos"]
        kinds = draw.choices(list(SHARES), list(SHARES.values()), k=num_requests)
        requests = [makers[kind](draw, videos) for kind in kinds]
        searches = [searching(query(draw)) for _ in range(max(64, num_requests // 20))]
        async with httpx2.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
            await answered(client, requests[: num_requests // 20], CONNECTIONS)  # fills what is kept
            alone = await answered(client, searches[: len(searches) // 4], 1)
            together = await answered(client, searches, CONNECTIONS)
            used = [memory(quiet)]
            found = []
            for begin in (0, num_requests // 2):
                found.append(await answered(client, requests[begin : begin + num_requests // 2], CONNECTIONS))
                used.append(memory(quiet))
        is_alive = quiet.get("/api/health").status_code == 200
    statuses: Counter[str] = sum((part["statuses"] for part in found), Counter())
    seconds: dict[str, list[float]] = defaultdict(list)
    for part in found:
        for name, values in part["seconds"].items():
            seconds[name] += values
    rate_alone = len(searches) // 4 / alone["whole"]
    rate_together = len(searches) / together["whole"]
    return {
        "ratio": round(rate_together / rate_alone, 3),
        "requests": sum(statuses.values()),
        "connections": CONNECTIONS,
        "requests_per_second": round(sum(statuses.values()) / sum(part["whole"] for part in found), 1),
        "searches_per_second": {"one connection": round(rate_alone, 1), "64 connections": round(rate_together, 1)},
        "milliseconds": {name: percentiles(values) for name, values in sorted(seconds.items())},
        "statuses": dict(sorted(statuses.items())),
        "server_errors": sum(count for status, count in statuses.items() if re.search(r" 5(?!03)", status)),
        "unexpected": [one for part in (*found, together) for one in part["wrong"]][:20],
        "memory_mib": dict(zip(("start", "middle", "end"), used, strict=True)),
        "is_alive": is_alive,
    }


def main() -> None:
    options = arguments(__doc__, demo=True, numbers={"requests": (12_000, "how many requests")})
    demo = Path(options.demo or "demo").resolve()
    num_requests = 600 if options.quick else int(options.requests)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "library"
        shutil.copytree(demo / "library", library)
        command = [sys.executable, "-m", "clover", "serve", str(library), "--port", "0", "--device", "cpu"]
        command += ["--checkpoint", str(demo / "checkpoint")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            found = re.search(r"http://\S+[^/\s]", server.stdout.readline())
            assert found is not None, "the server did not start"
            result = asyncio.run(load(found[0], num_requests))
            server.send_signal(signal.SIGTERM)
            result["exit_status"] = server.wait(60)
    finish(
        {
            "name": "server_load",
            "device": f"{device_name(accelerator=False)}, shared with the client",
            "baseline": "the same searches one after another over one connection",
            **result,
        },
        options.save,
    )
    if result["server_errors"] or result["unexpected"] or result["exit_status"]:
        sys.exit(f"not as it should be: {json.dumps(result['unexpected'])}")


if __name__ == "__main__":
    main()
