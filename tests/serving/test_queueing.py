"""Bounded rows of work: what is refused, what is left undone."""

import threading
import time
from functools import partial

import pytest
from made_server import client_of

from clover.serving.problems import ServingError
from clover.serving.queueing import WorkQueue


@pytest.fixture
def held():
    """A queue of two whose thread waits for a gate; what it worked on."""
    gate, begun, done = threading.Event(), threading.Event(), []

    def work(task):
        begun.set()
        gate.wait(60)
        done.append(task)
        if task == "bad":
            raise ValueError(task)
        return task

    queue = WorkQueue(lambda tasks: [partial(work, task) for task in tasks], name="held", max_waiting=2)
    queue.start()
    queue.gate, queue.begun, queue.done = gate, begun, done
    yield queue
    gate.set()
    queue.stop()


def test_more_than_may_wait_is_refused_with_a_time(held):
    first = held.submit(1)
    held.begun.wait(60)
    waiting = [held.submit(2), held.submit(3)]
    with pytest.raises(ServingError) as refused:
        held.submit(4)
    assert refused.value.status_code == 503
    assert 1 <= int(refused.value.headers["Retry-After"]) <= 60
    held.gate.set()
    assert [future.result(60) for future in (first, *waiting)] == [1, 2, 3]


def test_what_nobody_waits_for_is_not_done_and_takes_no_place(held):
    held.submit(1)
    held.begun.wait(60)
    left = held.submit(2)
    assert left.cancel()
    assert len(held) == 0
    kept = [held.submit(3), held.submit(4)]
    held.gate.set()
    assert [future.result(60) for future in kept] == [3, 4]
    assert held.done == [1, 3, 4]


def test_a_task_that_fails_is_alone_in_it(held):
    held.gate.set()
    futures = [held.submit(1), held.submit("bad")]
    assert futures[0].result(60) == 1
    with pytest.raises(ValueError, match="bad"):
        futures[1].result(60)
    assert held.submit(3).result(60) == 3


def test_results_of_tasks_begun_together_come_one_by_one_and_what_nobody_waits_for_is_not_done():
    gate, begun, done = threading.Event(), threading.Event(), []

    def step(task):
        done.append(task)
        if task == 1:
            begun.set()
            gate.wait(60)
        return task

    queue = WorkQueue(lambda tasks: [partial(step, task) for task in tasks], name="steps", max_waiting=4, batch_size=4)
    futures = [queue.submit(task) for task in range(4)]
    queue.start()
    assert begun.wait(60)
    assert futures[0].result(60) == 0  # though the second goes on
    assert futures[2].cancel()
    gate.set()
    assert futures[3].result(60) == 3
    assert done == [0, 1, 3]
    queue.stop()


def test_a_thread_survives_what_its_work_raises():
    def broken(tasks):
        raise RuntimeError(f"{len(tasks)} tasks too many")

    queue = WorkQueue(broken, name="broken", max_waiting=2)
    queue.start()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="too many"):
            queue.submit(1).result(60)
    queue.stop()
    with pytest.raises(ServingError):
        queue.submit(1)


def test_a_full_server_says_when_to_come_again(place, clover, monkeypatch):
    gate, begun, original = threading.Event(), threading.Event(), clover.encode_text

    def slow(texts):
        begun.set()
        gate.wait(60)
        return original(texts)

    with client_of(place / "library", clover, max_waiting=2) as client:
        monkeypatch.setattr(clover, "encode_text", slow)
        replies = []

        def ask():
            replies.append(client.post("/api/search", json={"query": "a ball"}))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        threads[0].start()
        begun.wait(60)
        for thread in threads[1:]:
            thread.start()
        deadline = time.monotonic() + 60
        while len(replies) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert client.get("/api/health").status_code == 200
        gate.set()
        for thread in threads:
            thread.join()
        assert client.post("/api/search", json={"query": "a ball"}).status_code == 200
    refused = [reply for reply in replies if reply.status_code == 503]
    assert len(refused) == 5
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)
    assert {reply.status_code for reply in replies} == {200, 503}
