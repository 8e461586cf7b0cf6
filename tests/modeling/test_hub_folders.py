"""Models that are named as they are on the Hub: what the cache holds is taken if it is all that is wanted."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import huggingface_hub
import pytest
from made_encoders import save_text, save_vision

from clover.errors import CheckpointError, TextError
from clover.experiment.borrowing import borrow
from clover.modeling.hub_folders import find_folder
from clover.modeling.pixels import PixelConfig
from clover.recipes.pretrain import shapes


@pytest.fixture
def vit(tmp_path):
    return save_vision("vit", tmp_path / "vit")


class Online:
    """The Hub, which has a model whole."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.asked = folder, []
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)
        download = huggingface_hub.snapshot_download
        monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *given, **how: self.get(download, given, how))

    def model_info(self, name, *, timeout):
        self.asked.append(name)
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=path.name) for path in self.folder.iterdir()])

    def get(self, download, given, how):
        return download(*given, **how) if how.get("local_files_only") else str(self.folder)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The library's cache with an empty snapshot of a model, as the library lays it out."""
    place = tmp_path / "cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(place))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    snapshot, reference = (place / "models--some--vit" / name for name in ("snapshots/0a1b", "refs/main"))
    snapshot.mkdir(parents=True)
    reference.parent.mkdir()
    reference.write_text("0a1b")
    monkeypatch.chdir(tmp_path)
    return snapshot


def _config_alone(folder):
    (folder / "model.safetensors").unlink()


def _weights_alone(folder):
    (folder / "config.json").unlink()


def _one_of_two_shards(folder):
    shutil.move(folder / "model.safetensors", folder / "model-1.safetensors")
    names = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


@pytest.mark.parametrize("spoil", [_config_alone, _weights_alone, _one_of_two_shards])
def test_a_part_of_a_model_in_the_cache_is_not_taken_for_it(vit, cache, spoil, monkeypatch):
    shutil.copytree(vit, cache, dirs_exist_ok=True)
    spoil(cache)
    hub = Online(vit, monkeypatch)
    assert find_folder("hf:some/vit", option="--video-encoder") == vit
    assert hub.asked == ["some/vit"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match=r"of the Hub the cache holds a part only \(HF_HUB_OFFLINE is set\)"):
        find_folder("hf:some/vit", option="--video-encoder")
    assert hub.asked == ["some/vit"]


def test_a_whole_model_in_the_cache_needs_no_hub(vit, cache, monkeypatch):
    shutil.copytree(vit, cache, dirs_exist_ok=True)
    hub = Online(vit, monkeypatch)
    assert find_folder("hf:some/vit", option="--video-encoder") == cache
    assert hub.asked == []


def test_a_mistyped_folder_is_nothing_of_the_hub(vit, cache, monkeypatch):
    hub = Online(vit, monkeypatch)
    (cache.parents[3] / "models").mkdir()
    with pytest.raises(CheckpointError, match=r"^models/typo is not a folder; give one that holds a config\.json"):
        find_folder("hf:models/typo", option="--video-encoder")
    assert hub.asked == []


PREPROCESSORS = ("preprocessor_config.json", "video_preprocessor_config.json")
WORDS = ("tokenizer.json", "vocab.txt")
FIGURES = json.dumps({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.2, 0.2, 0.2]})
NOTICE = "holds no preprocessor_config.json: pixels are normalised by ImageNet's figures"


class Unreachable:
    def __init__(self, monkeypatch):
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)

    def model_info(self, name, *, timeout):
        raise ConnectionError("no route to the Hub")


def models_alone(folder, cache):
    """Config and weights, which is what `AutoModel.from_pretrained` leaves in the cache."""
    for name in ("config.json", "model.safetensors"):
        shutil.copy(folder / name, cache / name)


def without(folder, names):
    for name in names:
        (folder / name).unlink(missing_ok=True)


def seen():
    """How the pixels of a run are normalised whose video encoder is the Hub's."""
    return borrow(replace(shapes(), video_encoder="hf:some/vit"), None).experiment.model.pixels


def words():
    return borrow(replace(shapes(), text_encoder="hf:some/vit"), None).tokenizer


@pytest.fixture
def clip(tmp_path):
    folder = save_vision("clip", tmp_path / "clip")
    without(folder, PREPROCESSORS)
    return folder


@pytest.fixture
def bert(tmp_path):
    return save_text("bert", tmp_path / "bert")


@pytest.mark.parametrize("name", [*PREPROCESSORS, "processor_config.json"])
def test_a_preprocessor_that_the_cache_lacks_is_had_from_the_hub(name, clip, cache, monkeypatch, capsys):
    models_alone(clip, cache)
    (clip / name).write_text(FIGURES)
    hub = Online(clip, monkeypatch)
    assert seen().mean == pytest.approx((127.5,) * 3)
    assert hub.asked == ["some/vit"]
    assert NOTICE not in capsys.readouterr().err
    shutil.copy(clip / name, cache / name)
    assert seen().mean == pytest.approx((127.5,) * 3)
    assert hub.asked == ["some/vit"]


def test_a_model_without_a_preprocessor_is_taken_from_the_cache_with_a_notice(clip, cache, monkeypatch, capsys):
    models_alone(clip, cache)
    (cache / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
    shutil.copy(cache / "processor_config.json", clip)
    hub = Online(clip, monkeypatch)
    assert seen() == PixelConfig()
    assert hub.asked == ["some/vit"]
    assert f"{cache} {NOTICE}" in capsys.readouterr().err


def test_offline_a_model_without_a_preprocessor_is_taken_with_a_notice(clip, cache, monkeypatch, capsys):
    models_alone(clip, cache)
    hub = Online(clip, monkeypatch)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert seen() == PixelConfig()
    assert hub.asked == []
    assert f"{cache} {NOTICE}" in capsys.readouterr().err


def test_where_the_hub_cannot_be_asked_figures_are_not_guessed(clip, cache, monkeypatch):
    models_alone(clip, cache)
    Unreachable(monkeypatch)
    with pytest.raises(CheckpointError) as caught:
        seen()
    assert str(caught.value) == (
        "there is no folder some/vit, and it cannot be had from the Hub (ConnectionError: no route to the Hub; the "
        "cache holds a part only, without a preprocessor_config.json); give the folder of a copy, or set "
        "HF_HUB_OFFLINE=1 to take what the cache holds"
    )
    (cache / "preprocessor_config.json").write_text("{")  # it is there, and what is wrong with it is another matter
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json does not say how pixels are normalised"):
        seen()


def test_a_tokenizer_that_the_cache_lacks_is_had_from_the_hub(bert, cache, monkeypatch):
    models_alone(bert, cache)
    hub = Online(bert, monkeypatch)
    assert words().vocabulary_size > 5
    assert hub.asked == ["some/vit"]
    shutil.copy(bert / "tokenizer.json", cache)
    assert words().vocabulary_size > 5
    assert hub.asked == ["some/vit"]


def test_a_model_that_has_no_tokenizer_anywhere_is_said_to_have_none(bert, cache, monkeypatch):
    models_alone(bert, cache)
    without(bert, WORDS)
    Online(bert, monkeypatch)
    with pytest.raises(TextError, match="holds no tokenizer"):
        words()


def test_without_the_hub_a_tokenizer_that_the_cache_lacks_is_asked_for(bert, cache, monkeypatch):
    models_alone(bert, cache)
    Unreachable(monkeypatch)
    with pytest.raises(CheckpointError) as caught:
        words()
    assert str(caught.value).endswith("the cache holds a part only, without a tokenizer); give the folder of a copy")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError) as caught:
        words()
    assert str(caught.value) == (
        "there is no folder some/vit, and of the Hub the cache holds a part only, without a tokenizer (HF_HUB_OFFLINE "
        "is set); give the folder of a copy"
    )
