"""Files that are no weights, or do something: one line each, and nothing is run."""

import os
import pickle
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from clover.cli import main
from clover.errors import CheckpointError
from clover.modeling.weight_files import read_weights

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.count": torch.tensor([1, 2])}


class Payload:
    """What a hostile file does when it is unpickled: it leaves a file behind."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


def truncated(place, **options):
    torch.save({"state_dict": {"a": torch.zeros(50_000)}}, place, **options)
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2])


def cut_safetensors(place):
    save_file({"a": torch.zeros(50_000)}, place)
    place.write_bytes(place.read_bytes()[:1000])


def float4(place):
    header = b'{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}'
    place.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")


def packed(place):
    """A pickle that grows a thousandfold when it is unpacked."""
    torch.save(STATE, place)
    with zipfile.ZipFile(place) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content + (b"\0" * 10_000_000 if name.endswith("data.pkl") else b""))


def newer_archive(place):
    torch.save(STATE, place)
    content = bytearray(place.read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 99  # the version of zip that the first entry needs
    place.write_bytes(content)


REFUSED = {
    "empty.pth": (lambda p: p.write_bytes(b""), "is empty"),
    "page.pth": (lambda p: p.write_text("\n<!DOCTYPE html><html>sign in</html>"), "a page of the web, not weights"),
    "pointer.pth": (
        lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "a Git LFS pointer",
    ),
    "error.safetensors": (lambda p: p.write_text('{"error": "not found"}'), "JSON text, not weights"),
    "truncated.pth": (truncated, "cut short"),
    "truncated_old.pth": (lambda p: truncated(p, _use_new_zipfile_serialization=False), "cut short or damaged"),
    "truncated.safetensors": (cut_safetensors, "not a whole safetensors file"),
    "letter.pth": (lambda p: p.write_text("dear all"), "not a file of weights"),
    "noise.pth": (lambda p: p.write_bytes(bytes(range(256)) * 40), "not a file of weights"),
    "module.pth": (lambda p: torch.save(torch.nn.Linear(2, 2), p), r"would run torch\.nn\.modules\.linear\.Linear"),
    "list.pth": (lambda p: torch.save([torch.zeros(2)], p), "holds a list"),
    "numbers.pth": (lambda p: torch.save({"state_dict": {"a": 3}}, p), "a int under 'a' where tensors"),
    "nothing.pth": (lambda p: torch.save({"state_dict": {}}, p), "an empty dictionary"),
    "nan.pth": (lambda p: torch.save({"a": torch.tensor([1.0, float("nan")])}, p), "a holds numbers that are none"),
    "hollow.pth": (lambda p: torch.save({"a": torch.zeros(0, 3)}, p), r"a is \[0, 3\], without a single number"),
    "sparse.pth": (lambda p: torch.save({"a": torch.eye(3).to_sparse()}, p), "sparse"),
    "complex.pth": (lambda p: torch.save({"a": torch.zeros(2, dtype=torch.complex64)}, p), "complex64"),
    "spread.pth": (
        lambda p: torch.save({"a": torch.ones(1).expand(10**6, 10**6)}, p),
        r"a is \[1000000, 1000000\], more numbers than the file has",
    ),
    "meta.pth": (lambda p: torch.save({"a": torch.empty(2, device="meta")}, p), "a has a shape and no numbers"),
    "eight_bits.pth": (lambda p: torch.save({"a": torch.ones(2).to(torch.float8_e4m3fn)}, p), "float8_e4m3fn"),
    "four_bits.safetensors": (float4, "float4"),
    "newer.pth": (newer_archive, "cut short or damaged"),
    "packed.pth": (packed, "is a compressed archive"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_weights_is_refused_in_one_line(name, tmp_path, capsys):
    make, message = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_weights(tmp_path / name)
    assert name in str(caught.value)
    assert main(["import", "--video", str(tmp_path / name), "--out", str(tmp_path / "init")]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert errors.startswith(f"clover: {tmp_path / name}")
    assert not (tmp_path / "init").exists()


@pytest.mark.parametrize("option", ["--video", "--text", "--clover"])
@pytest.mark.parametrize("layout", ["zip", "old", "plain pickle"])
def test_a_file_that_runs_code_is_refused_and_runs_none(layout, option, tmp_path, capsys):
    trace, place = tmp_path / "trace", tmp_path / "weights.pth"
    content = {"state_dict": STATE, "meta": Payload(trace)}
    if layout == "plain pickle":
        place.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, place, _use_new_zipfile_serialization=layout == "zip")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    words = ["--tokenizer", str(tmp_path)] if option == "--clover" else []
    assert main(["import", option, str(place), *words, "--out", str(tmp_path / "init")]) == 2
    errors = capsys.readouterr().err
    is_bare = layout == "plain pickle"
    assert ("not a file of weights" if is_bare else "loading it would run posix.system, which is refused") in errors
    assert errors.count("\n") == 1
    assert not trace.exists()
    assert not (tmp_path / "init").exists()
    os.system(f"touch {trace}")  # the payload does work where it is run
    assert trace.exists()


def test_places_that_are_none(tmp_path):
    with pytest.raises(CheckpointError, match=r"does not exist; .*nothing is downloaded"):
        read_weights(tmp_path / "nowhere.pth")
    with pytest.raises(CheckpointError, match=r"needs model\.safetensors or pytorch_model\.bin"):
        read_weights(tmp_path)


@pytest.mark.parametrize("wrap", [dict, lambda s: {"state_dict": s, "meta": {"epoch": 3}}, lambda s: {"model": s}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappings_are_taken_off(wrap, prefix, tmp_path):
    torch.save(wrap({prefix + name: value for name, value in STATE.items()}), tmp_path / "x.pth")
    file = read_weights(tmp_path / "x.pth")
    assert file.state.keys() == STATE.keys()
    assert all(torch.equal(file.state[name], value) for name, value in STATE.items())
    assert file.meta == ({"epoch": 3} if "state_dict" in wrap(STATE) else {})


def test_half_precision_becomes_single_and_folders_prefer_safetensors(tmp_path):
    save_file({"a": torch.ones(2, dtype=torch.float16)}, tmp_path / "model.safetensors")
    torch.save({"b": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    file = read_weights(tmp_path)
    assert file.path.name == "model.safetensors"
    assert file.state["a"].dtype == torch.float32


@given(st.binary(min_size=1, max_size=300))
def test_no_bytes_bring_anything_but_a_line(tmp_path_factory, content):
    place = tmp_path_factory.getbasetemp() / "any.pth"
    place.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"any\.pth"):
        read_weights(place)


@given(st.data())
def test_damage_anywhere_is_a_line_or_harmless(tmp_path_factory, data):
    """A flipped byte may land in a number; it never brings a traceback or another name."""
    place = tmp_path_factory.getbasetemp() / "flipped.pth"
    torch.save(STATE, place)
    content = bytearray(place.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    place.write_bytes(content)
    try:
        state = read_weights(place).state
    except CheckpointError as error:
        assert "flipped.pth" in str(error)
    else:
        assert all(isinstance(value, torch.Tensor) for value in state.values())
