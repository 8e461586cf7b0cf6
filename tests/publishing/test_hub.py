"""The Hugging Face Hub, played by a stand-in: nothing here reaches a network."""

from dataclasses import replace

import httpx
import pytest
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from made_hub import Hub
from test_model_card import made

from clover.errors import CheckpointError
from clover.files import is_hub_id
from clover.pipeline import Clover


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Hub(tmp_path / "hub").in_place() as stand_in:
        yield stand_in


def test_there_and_back(hub, tmp_path):
    clover = Clover.from_pretrained(made(tmp_path))
    address = clover.push_to_hub("me/clover-small", private=True, commit_message="first")
    assert address == "https://hub/me/clover-small/commit/1"
    assert hub.sent == [("me/clover-small", True, True), "first"]
    card = (hub.models["me/clover-small"] / "README.md").read_text()
    assert "# clover-small" in card
    assert "- steps: 1,200" in card
    back = Clover.from_pretrained("me/clover-small", revision="v1")
    assert back.fingerprint == clover.fingerprint
    assert hub.asked == [("me/clover-small", "v1"), "commit of v1"]


def test_a_card_that_was_exported_goes_along(hub, tmp_path):
    made(tmp_path)
    folder = tmp_path / "run" / "checkpoint"
    (folder / "README.md").write_text("mine")
    Clover.from_pretrained(folder).push_to_hub("me/small")
    assert (hub.models["me/small"] / "README.md").read_text() == "mine"


def test_a_folder_here_comes_first(hub, tmp_path):
    made(tmp_path)
    assert Clover.from_pretrained("run/checkpoint").fingerprint
    with pytest.raises(CheckpointError, match=r"run/chekpoint is not a checkpoint folder \(it does not exist\)"):
        Clover.from_pretrained("run/chekpoint")
    with pytest.raises(CheckpointError, match=r"^https://hub/me/small is an address, and addresses are not fetched"):
        Clover.from_pretrained("https://hub/me/small")
    assert hub.asked == [], "a mistyped folder is no model of the Hub"


def test_without_a_network_it_says_so_at_once_or_takes_the_cache(hub, tmp_path):
    hub.problem = OfflineModeIsEnabled("offline")
    with pytest.raises(
        CheckpointError, match=r"me/small is no folder here, and the Hub cannot be reached \(OfflineModeIsEnabled\)"
    ):
        Clover.from_pretrained("me/small")
    hub.cache["me/small"] = made(tmp_path)
    assert Clover.from_pretrained("me/small").source == hub.cache["me/small"]
    hub.problem = httpx.ConnectError("no route")
    assert Clover.from_pretrained("me/small").source == hub.cache["me/small"]


def test_what_the_hub_does_not_have(hub, tmp_path):
    with pytest.raises(CheckpointError, match="no folder here and no model on the Hub; check the name"):
        Clover.from_pretrained("me/nothing")


def of_status(status):
    response = httpx.Response(status, request=httpx.Request("POST", "http://h"))
    return HfHubHTTPError(f"status {status}", response=response)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (of_status(401), r" \(status 401\); log in with a token that may write"),
        (of_status(403), r" \(status 403\); log in with a token that may write"),
        (LocalTokenNotFoundError("no token"), r" \(no token\); log in with a token"),
        (of_status(503), r" \(status 503\); try again later"),
        (httpx.ConnectError("no route"), r": the Hub cannot be reached \(ConnectError\); check the network"),
        (TimeoutError(), r": the Hub cannot be reached \(TimeoutError\); check the network"),
        (OfflineModeIsEnabled("offline"), ": HF_HUB_OFFLINE is set in the environment; unset it"),
        (HFValidationError("no '--' there"), r": the name is malformed \(no '--' there\); give owner/name"),
    ],
)
def test_why_nothing_was_sent_and_what_mends_it(hub, problem, message, tmp_path):
    clover = Clover.from_pretrained(made(tmp_path))
    hub.problem = problem
    with pytest.raises(CheckpointError, match=f"^me/small could not be sent to the Hub{message}") as raised:
        clover.push_to_hub("me/small")
    assert ("log in" in str(raised.value)) == ("log in" in message)


@pytest.mark.parametrize("name", ["small", "a/b/c", "me/my model", "me/", "", "https://hub/me/small"])
def test_a_malformed_name_is_refused_before_anything_is_asked(hub, name, tmp_path):
    clover = Clover.from_pretrained(made(tmp_path))
    with pytest.raises(CheckpointError, match=r"is no name of a model on the Hub; give owner/name"):
        clover.push_to_hub(name)
    assert hub.sent == []


def test_what_comes_from_the_hub_is_checked_like_any_folder(hub, tmp_path):
    hub.models["me/small"] = made(tmp_path)
    (hub.models["me/small"] / "model.safetensors").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a readable weights file"):
        Clover.from_pretrained("me/small")


def test_the_library_is_asked_for_by_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"needs huggingface_hub; pip install 'clover-vl\[hf\]'"):
        Clover.from_pretrained("me/small")


@pytest.mark.parametrize(
    ("name", "is_id"),
    [
        ("me/small", True),
        ("me/small.v2-b", True),
        ("small", False),
        ("/me/small", False),
        ("a/b/c", False),
        ("../small", False),
        ("me/", False),
        (None, False),
    ],
)
def test_which_names_can_be_models_of_the_hub(name, is_id, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_id(name) == is_id


def test_the_card_of_a_model_made_here_says_that_nothing_is_known(tmp_path):
    loaded = Clover.from_pretrained(made(tmp_path))
    fresh = Clover(loaded.network, loaded.tokenizer, replace(loaded.config))
    assert "what they began as is unknown" in fresh.card()
