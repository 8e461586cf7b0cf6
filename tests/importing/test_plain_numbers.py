"""Numbers of NumPy beside the weights, as mmcv writes them: read as numbers, and nothing of NumPy's is called."""

import os
import pickle
import random
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clover.errors import CheckpointError
from clover.modeling.weight_files import read_weights

SCALAR = np.float64(0).__reduce__()[0]
STATE = OrderedDict(weight=torch.arange(6.0).view(2, 3))


class Called:
    """What a file makes of a call: any function with any arguments, and a state that is put into what comes out."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


def written(place, meta, *, is_old=False):
    """A checkpoint of mmcv's; an old one as PyTorch 1.5 with NumPy 1 wrote it."""
    torch.save({"meta": meta, "state_dict": STATE}, place, _use_new_zipfile_serialization=not is_old)
    if is_old:
        content = place.read_bytes()
        place.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    return place


@pytest.mark.parametrize("is_old", [False, True])
def test_what_mmcv_says_of_the_best_checkpoint_is_read(is_old, tmp_path):
    meta = {
        "env_info": "sys.platform: linux\nPyTorch: 1.9.0",
        "seed": 0,
        "exp_name": "clover_msrvtt.py",
        "mmcv_version": "1.4.2",
        "time": "Wed Aug  3 10:21:45 2022",
        "epoch": 21,
        "iter": 29526,
        "hook_msgs": {
            "last_ckpt": "work_dirs/msrvtt/epoch_20.pth",
            "best_score": np.float64(0.386),
            "best_ckpt": "work_dirs/msrvtt/best_recall_1.pth",
        },
    }
    file = read_weights(written(tmp_path / "best.pth", meta, is_old=is_old))
    assert file.meta == meta
    assert type(file.meta["hook_msgs"]["best_score"]) is float
    assert torch.equal(file.state["weight"], STATE["weight"])


@given(
    st.sampled_from(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"]),
    st.sampled_from("<>="),
    st.binary(min_size=8, max_size=8),
)
def test_every_kind_of_number_comes_back(tmp_path_factory, code, order, content):
    kind = np.dtype(code).newbyteorder(order)
    content = b"\1" if code == "b1" else content[: kind.itemsize]
    number = np.frombuffer(content, kind)[0]
    place = tmp_path_factory.getbasetemp() / "number.pth"
    found = read_weights(written(place, {"number": Called(SCALAR, kind, content)})).meta["number"]
    assert type(found) in (int, float, bool)
    assert found == number or np.isnan([found, number]).all()


def abuses(trace):
    """Calls of what is let through, each of which carries a pickle that leaves a trace where somebody loads it."""
    payload = pickle.dumps(Called(os.system, f"touch {trace}"))
    number = np.dtype("f8")
    return {
        "an object from bytes": Called(SCALAR, np.dtype("O"), payload),
        "an object by its name": Called(SCALAR, Called(np.dtype, "object"), payload),
        "an object by its type": Called(SCALAR, Called(np.dtype, Called(getattr, object, "__class__")), payload),
        "an object in a record": Called(SCALAR, np.dtype([("a", "O")]), payload),
        "a number that becomes an object": Called(
            SCALAR, Called(np.dtype, "f8", False, True, state=(3, "|", None, None, None, -1, -1, 63)), payload
        ),
        "a record by its state": Called(np.dtype, "V8", False, True, state=(3, "|", None, ("a",), {}, 8, 1, 16)),
        "an order that is none": Called(np.dtype, "f8", False, True, state=(3, "8s", None, None, None, -1, -1, 0)),
        "a state that is none": Called(np.dtype, "f8", state=7),
        "text": Called(SCALAR, np.dtype("U8"), "abcdefgh".encode("utf-32-le")),
        "a time": np.datetime64("2022-08-03"),
        "an array": np.zeros(3),
        "bytes that are a list": Called(SCALAR, number, [1.0]),
        "bytes too many": Called(SCALAR, number, payload),
        "no kind": Called(SCALAR, "f8", payload),
        "no arguments": Called(SCALAR),
        "a call within": Called(SCALAR, number, Called(os.system, f"touch {trace}")),
    }


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("name", abuses(""))
def test_what_is_no_number_is_refused_and_nothing_is_run(name, is_old, tmp_path):
    trace = tmp_path / "trace"
    with pytest.raises(CheckpointError, match=r"x\.pth ") as caught:
        read_weights(written(tmp_path / "x.pth", abuses(trace)[name], is_old=is_old))
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    if name == "an object from bytes":
        assert "loading it would run numpy.dtype('O8'), which is refused" in str(caught.value)


def test_the_payload_of_these_files_does_run_where_it_is_loaded(tmp_path):
    """Else the test above would show nothing."""
    trace = tmp_path / "trace"
    pickle.loads(abuses(trace)["an object from bytes"].call[1][1])
    assert trace.exists()


def test_what_stands_in_for_numpy_does_so_for_these_files_alone(tmp_path):
    place = written(tmp_path / "x.pth", {"score": np.float64(1.0)})
    read_weights(place)
    with pytest.raises(pickle.UnpicklingError, match=r"multiarray\.scalar"):
        torch.load(place, weights_only=True)


@pytest.fixture
def trusted():
    """What a program trusts itself: things under NumPy's names, so many that ours are seldom the last, and its own."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    names = ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    own = {sorted, *((partial(dict, number=number), name) for name in names for number in range(200))}
    torch.serialization.add_safe_globals(list(own))
    yield own
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


def test_what_a_program_trusts_under_the_same_names_is_put_aside_and_put_back(trusted, tmp_path):
    score = read_weights(written(tmp_path / "x.pth", {"score": np.float64(1.5)})).meta["score"]
    assert (type(score), score) == (float, 1.5)
    assert set(torch.serialization.get_safe_globals()) == trusted


def test_what_a_program_trusts_is_none_of_a_files_business(trusted, tmp_path):
    place = written(tmp_path / "x.pth", {"sorted": Called(sorted, [2, 1])})
    with pytest.raises(CheckpointError, match="loading it would run sorted, which is refused"):
        read_weights(place)
    assert set(torch.serialization.get_safe_globals()) == trusted
    assert torch.load(place, weights_only=True)["meta"] == {"sorted": [1, 2]}


def test_what_a_program_begins_to_trust_meanwhile_is_kept(trusted, tmp_path, monkeypatch):
    load = torch.load

    def meanwhile(*given, **how):
        torch.serialization.add_safe_globals([reversed])
        return load(*given, **how)

    monkeypatch.setattr(torch, "load", meanwhile)
    read_weights(written(tmp_path / "x.pth", {}))
    assert set(torch.serialization.get_safe_globals()) == {*trusted, reversed}


def test_threads_read_at_the_same_time(tmp_path, monkeypatch):
    """Each takes its time between the moment when the stand-ins are made known and that when the file is read."""
    load = torch.load

    def slowly(*given, **how):
        time.sleep(random.choice((0.0, 0.001, 0.004)))
        return load(*given, **how)

    monkeypatch.setattr(torch, "load", slowly)
    place = written(tmp_path / "x.pth", {"score": np.float64(1.5)})
    before = set(torch.serialization.get_safe_globals())
    with ThreadPoolExecutor(4) as threads:
        found = [file.meta["score"] for file in threads.map(read_weights, [place] * 100)]
    assert found == [1.5] * 100
    assert set(torch.serialization.get_safe_globals()) == before
