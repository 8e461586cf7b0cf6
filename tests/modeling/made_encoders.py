"""Tiny models of transformers with random weights, saved into folders as people have them."""

import json
from pathlib import Path

import tokenizers
import torch
import transformers
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

CAPTIONS = [
    "a red ball moves left and then a blue cube spins",
    "the small green triangle slides down while a star shrinks",
    "two people are cutting tomatoes in the kitchen",
    "a dotted orange square grows behind the déjà vu sign",
]

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_EYE = {**_SMALL, "image_size": 32, "patch_size": 8}


def vision_model(name: str) -> transformers.PreTrainedModel:
    """A model by the name of its kind; positions are not all alike."""
    t = transformers
    depth = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    swin = {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
    made = {
        "clip": lambda: t.CLIPVisionModel(t.CLIPVisionConfig(**_EYE)),
        "siglip": lambda: t.SiglipVisionModel(t.SiglipVisionConfig(**_EYE)),
        "dinov2": lambda: t.Dinov2Model(t.Dinov2Config(**depth, image_size=32, patch_size=8)),
        "dinov2_with_registers": lambda: t.Dinov2WithRegistersModel(
            t.Dinov2WithRegistersConfig(**depth, image_size=32, patch_size=8)
        ),
        "dinov3_vit": lambda: t.DINOv3ViTModel(t.DINOv3ViTConfig(**_EYE, num_register_tokens=4)),
        "vit": lambda: t.ViTModel(t.ViTConfig(**_EYE)),
        "deit": lambda: t.DeiTModel(t.DeiTConfig(**_EYE)),
        "beit": lambda: t.BeitModel(t.BeitConfig(**_EYE)),
        "swin": lambda: t.SwinModel(t.SwinConfig(**swin)),
        "swinv2": lambda: t.Swinv2Model(t.Swinv2Config(**swin)),
        "convnext": lambda: t.ConvNextModel(t.ConvNextConfig(hidden_sizes=[16, 32], depths=[1, 1], num_stages=2)),
        "dinov3_convnext": lambda: t.DINOv3ConvNextModel(t.DINOv3ConvNextConfig(hidden_sizes=[16, 32], depths=[1, 1])),
        "metaclip_2": lambda: t.MetaClip2VisionModel(t.MetaClip2VisionConfig(**_EYE)),
        "blip": lambda: t.BlipVisionModel(t.BlipVisionConfig(**_EYE)),
        "videomae": lambda: t.VideoMAEModel(t.VideoMAEConfig(**_EYE, num_frames=4, tubelet_size=2)),
        "vivit": lambda: t.VivitModel(t.VivitConfig(**_SMALL, image_size=32, num_frames=4, tubelet_size=[2, 8, 8])),
        "timesformer": lambda: t.TimesformerModel(t.TimesformerConfig(**_EYE, num_frames=4)),
        "vjepa2": lambda: t.VJEPA2Model(
            t.VJEPA2Config(
                **depth,
                crop_size=32,
                patch_size=8,
                frames_per_clip=4,
                pred_hidden_size=16,
                pred_num_attention_heads=2,
                pred_num_hidden_layers=1,
            )
        ),
    }
    return _drawn(made[name])


IMAGE_MODELS = (
    *("clip", "siglip", "dinov2", "dinov2_with_registers", "dinov3_vit", "vit", "deit", "beit"),
    *("swin", "swinv2", "convnext", "dinov3_convnext", "metaclip_2", "blip"),
)
VIDEO_MODELS = ("videomae", "vivit", "timesformer", "vjepa2")


def text_model(name: str, vocabulary_size: int) -> transformers.PreTrainedModel:
    """A text model by the name of its kind."""
    t = transformers
    sizes = {**_SMALL, "vocab_size": vocabulary_size, "max_position_embeddings": 64}
    made = {
        "bert": lambda: t.BertModel(t.BertConfig(**sizes)),
        "electra": lambda: t.ElectraModel(t.ElectraConfig(**sizes, embedding_size=16)),
        "distilbert": lambda: t.DistilBertModel(
            t.DistilBertConfig(
                vocab_size=vocabulary_size, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=64
            )
        ),
        "roberta": lambda: t.RobertaModel(t.RobertaConfig(**sizes, pad_token_id=1)),
        "mpnet": lambda: t.MPNetModel(t.MPNetConfig(**sizes, pad_token_id=1)),
        "deberta-v2": lambda: t.DebertaV2Model(
            t.DebertaV2Config(**sizes, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8)
        ),
        # as microsoft/deberta-v3-base says of itself, but for the sizes
        "deberta-v3": lambda: t.DebertaV2Model(
            t.DebertaV2Config(
                **sizes,
                relative_attention=True,
                pos_att_type="p2c|c2p",
                position_buckets=8,
                share_att_key=True,
                norm_rel_ebd="layer_norm",
                position_biased_input=False,
                type_vocab_size=0,
                max_relative_positions=-1,
            )
        ),
        "albert": lambda: t.AlbertModel(t.AlbertConfig(**sizes, embedding_size=16)),
    }
    return _drawn(made[name])


_TOKENIZER_OF = {"roberta": "byte_pairs", "mpnet": "byte_pairs", "deberta-v2": "unigrams", "deberta-v3": "unigrams"}
TEXT_MODELS = ("bert", "electra", "distilbert", "roberta", "mpnet", "deberta-v2", "deberta-v3", "albert")


def _drawn(make) -> transformers.PreTrainedModel:
    """Weights far enough apart to tell one place from another, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = make().eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight) * 0.1)
    return model


def tokenizer(kind: str) -> tokenizers.Tokenizer:
    """A tokenizer of a kind, learnt from a few captions."""
    if kind == "word_pieces":
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer(lowercase=True)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.train_from_iterator(
            CAPTIONS, trainers.WordPieceTrainer(vocab_size=160, show_progress=False, special_tokens=special)
        )
    elif kind == "byte_pairs":
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        made = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        made.train_from_iterator(
            CAPTIONS,
            trainers.BpeTrainer(vocab_size=400, show_progress=False, special_tokens=special, initial_alphabet=alphabet),
        )
        made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    else:
        special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
        made = tokenizers.Tokenizer(models.Unigram())
        made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.train_from_iterator(
            CAPTIONS,
            trainers.UnigramTrainer(vocab_size=120, show_progress=False, special_tokens=special, unk_token="[UNK]"),
        )
    return made


def save_vision(name: str, folder: Path) -> Path:
    """A folder with a vision model and a preprocessor of its own figures."""
    vision_model(name).save_pretrained(folder)
    rule = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.2, 0.5], "rescale_factor": 1 / 255}
    (folder / "preprocessor_config.json").write_text(json.dumps(rule))
    return folder


def save_text(name: str, folder: Path) -> Path:
    """A folder with a text model and its tokenizer."""
    words = tokenizer(_TOKENIZER_OF.get(name, "word_pieces"))
    text_model(name, words.get_vocab_size()).save_pretrained(folder)
    words.save(str(folder / "tokenizer.json"))
    return folder
