"""Where weights come from goes along with them, into every copy, and onto the card."""

import json
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from clover.checkpoints import CloverConfig, InputConfig
from clover.data.text import Tokenizer
from clover.errors import CheckpointError
from clover.modeling.initialise import new_model
from clover.modeling.model import HeadConfig
from clover.modeling.sizes import tiny
from clover.pipeline import Clover
from clover.publishing.history import HISTORY_KEY, Event, kept_parts, of_teacher

SWIN = Event(kind="import", title="Video Swin", parts=("video_encoder",), name="swin_base.pth", digest="ab12")
SIGLIP = Event(
    kind="encoder", title="siglip_text_model", parts=("text_encoder",), name="somebody/siglip-small", digest="cd34"
)
RUN = Event(kind="run", title="pre-training", data=("webvid", "cc3m"), num_steps=4000)


@pytest.fixture
def clover():
    tokenizer = Tokenizer.train(["a red ball"], 100)
    model = tiny(vocabulary_size=tokenizer.vocabulary_size)
    return Clover(new_model(model, seed=0), tokenizer, CloverConfig(model=model))


def test_copies_and_other_uses_of_the_weights_keep_it(clover, tmp_path):
    clover.history = (SWIN, SIGLIP, RUN)
    clover.save_pretrained(tmp_path / "a")
    loaded = Clover.from_pretrained(tmp_path / "a")
    assert loaded.history == clover.history
    assert loaded.fingerprint == clover.fingerprint
    assert loaded.with_inputs(InputConfig(num_frames=4)).history == clover.history
    assert loaded.with_heads(HeadConfig(has_choices=True), seed=1).history == clover.history
    loaded.save_pretrained(tmp_path / "b")
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


def test_of_parts_only_what_made_them_is_kept():
    assert kept_parts([SWIN, SIGLIP, RUN], ["video_encoder"]) == (SWIN, RUN)
    assert kept_parts([SWIN, SIGLIP, RUN], ["text_encoder", "fusion"]) == (SIGLIP, RUN)


@pytest.mark.parametrize(
    "history",
    ["{", "3", '[{"kind": "theft"}]', '[{"kind": "run", "path": "/home"}]', "[" * 100_000, '[{"num_steps": 3}]'],
)
def test_a_damaged_history_is_one_line(history, clover, tmp_path):
    clover.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    save_file(load_file(weights), weights, metadata={"format": "pt", HISTORY_KEY: history})
    with pytest.raises(CheckpointError, match=r"model\.safetensors: the history of its weights is damaged"):
        Clover.from_pretrained(tmp_path)


def test_the_card_tells_it(clover, tmp_path):
    start = Event(kind="start", parts=("video_encoder", "text_encoder"), digest="ef56")
    clover.history = (SWIN, SIGLIP, *of_teacher((RUN,), "0789"), start, RUN)
    text = clover.card(name="student")
    for line in (
        "1. video encoder: imported from `swin_base.pth` (Video Swin), SHA-256 `ab12`",
        "2. text encoder: `somebody/siglip-small` of transformers (siglip_text_model), fingerprint `cd34`",
        "3. of the teacher: pre-training: 4,000 steps on webvid, cc3m",
        "4. taught by the checkpoint with fingerprint `0789`",
        "5. video encoder, text encoder: taken from the checkpoint with fingerprint `ef56`",
        "6. pre-training: 4,000 steps on webvid, cc3m",
        "Weights of others have licences of their publishers",
    ):
        assert line in text, line
    (tmp_path / "README.md").write_text(text)
    data = ModelCard.load(tmp_path / "README.md").data
    assert data.base_model == ["somebody/siglip-small"]
    assert data.datasets == ["webvid", "cc3m"]


def test_a_folder_of_an_encoder_is_no_model_of_the_hub(clover):
    clover.history = (Event(kind="encoder", title="vit", parts=("video_encoder",), name="my-vit", digest="1"),)
    assert "base_model" not in clover.card()
    assert "video encoder: `my-vit` of transformers (vit)" in clover.card()


def test_a_teacher_of_a_teacher_is_told_as_that(clover):
    first = of_teacher((SWIN, RUN), "01")
    clover.history = of_teacher((*first, Event(kind="run", title="distillation", num_steps=1)), "02")
    text = clover.card()
    for line in (
        "1. of the teacher's teacher: video encoder: imported from `swin_base.pth`",
        "2. of the teacher's teacher: pre-training",
        "3. of the teacher: taught by the checkpoint with fingerprint `01`\n",
        "4. of the teacher: distillation: 1 step\n",
        "5. taught by the checkpoint with fingerprint `02`\n",
    ):
        assert line in text, line
    assert "licences of their publishers" in text


def test_what_a_file_lacked_is_told_until_it_was_trained(clover):
    came = Event(kind="import", title="official Clover, retrieval", name="a.pth", digest="1", fresh=("mask token",))
    clover.history = (came,)
    assert "; not in it, and fresh: mask token" in clover.card()
    assert "- Drawn by chance and never trained: mask token; what needs them is meaningless." in clover.card()
    clover.history = (came, RUN)
    assert "never trained" not in clover.card()


def test_an_unknown_past_is_called_unknown(clover):
    clover.history = (Event(kind="start", digest="1"), *of_teacher((), "2"))
    assert clover.card().count("of whose past nothing is known") == 2


def test_what_a_file_says_of_itself_stays_on_its_line(clover):
    clover.history = (replace(SWIN, name="a`\n# b <script>", title="](http://x)"),)
    (line,) = [line for line in clover.card().splitlines() if line.startswith("1. ")]
    assert line == "1. video encoder: imported from `a_ # b _script_` (_(http://x)), SHA-256 `ab12`"


def test_a_teachers_data_are_not_what_the_student_saw(clover):
    clover.history = (*of_teacher((RUN,), "0789"), Event(kind="run", title="distillation", data=("clover-shapes",)))
    card = clover.card()
    assert 'datasets: ["clover-shapes"]' in card
    assert "of recorded films it knows nothing" not in card, "it was taught by a model that saw some"


def test_events_are_json_without_folders(clover, tmp_path):
    clover.history = (SWIN, RUN)
    clover.save_pretrained(tmp_path)
    header = (tmp_path / "model.safetensors").read_bytes()
    size = int.from_bytes(header[:8], "little")
    metadata = json.loads(header[8 : 8 + size])["__metadata__"]
    assert [event["kind"] for event in json.loads(metadata[HISTORY_KEY])] == ["import", "run"]
