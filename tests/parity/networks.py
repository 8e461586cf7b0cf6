"""Our networks in the geometry of a golden file, with its weights."""

import torch
from torch import Tensor

from clover.modeling.fusion import FusionConfig
from clover.modeling.initialise import initialise
from clover.modeling.layers import TransformerConfig
from clover.modeling.model import CloverModel, HeadConfig, ModelConfig
from clover.modeling.text_encoder import TextEncoderConfig
from clover.modeling.video_swin import VideoEncoderConfig
from clover.modeling.weights import from_official, load_strictly, to_official
from golden import Golden


def video_config(config: dict) -> VideoEncoderConfig:
    return VideoEncoderConfig(
        patch_size=tuple(config.get("patch_size", (2, 4, 4))),
        width=config["embed_dim"],
        depths=tuple(config["depths"]),
        num_heads=tuple(config["num_heads"]),
        window=tuple(config.get("window_size", (8, 7, 7))),
        feed_forward_ratio=float(config.get("mlp_ratio", 4.0)),
        stochastic_depth=0.0,
        clipped_window_bias="published",
    )


def transformer_config(config: dict, num_layers: int) -> TransformerConfig:
    return TransformerConfig(
        width=config["hidden_size"],
        num_layers=num_layers,
        num_heads=config["num_attention_heads"],
        feed_forward_width=config["intermediate_size"],
        dropout=0.0,
    )


def text_config(config: dict, num_layers: int) -> TextEncoderConfig:
    return TextEncoderConfig(
        vocabulary_size=config["vocab_size"],
        max_length=config["max_position_embeddings"],
        transformer=transformer_config(config, num_layers),
    )


def fusion_config(config: dict, bert: dict) -> FusionConfig:
    return FusionConfig(
        video_width=config["img_in_size"],
        num_spatial_positions=config["spacial_tokens"],
        num_temporal_positions=config["num_frames"],
        has_own_cls=not config["use_text_cls"],
        transformer=transformer_config(bert, config["num_hidden_layers"]),
    )


def whole_model(golden: Golden, **changes) -> CloverModel:
    """The recognizer of a golden file. Heads that the file has no weights for keep fresh ones."""
    model, bert = golden.config["model"], golden.config["bert"]
    qa = model.get("qa_head") or {}
    head = model.get("ssl_head") or {}
    config = ModelConfig(
        video=video_config(model["backbone"]),
        text=text_config(bert, model["text_backbone"]["num_hidden_layers"]),
        fusion=fusion_config(model["mm_backbone"], bert),
        embedding_width=head.get("vts_embed_dim", bert["hidden_size"]),
        projection_width=head.get("img_hidden_dim", 2 * bert["hidden_size"]),
        fused_dropout=0.0,
        heads=HeadConfig(
            num_answers=(qa.get("num_labels") or 0) if qa.get("type") == "QA_OE_Head" else 0,
            answers_at_mask=model.get("task") == "FIB",
            has_choices=qa.get("type") == "QA_MC_head",
        ),
        **changes,
    )
    network = CloverModel(config)
    initialise(network, seed=0)
    translation = from_official(golden.weights())
    fresh = ".*projection.*|masked_word_head.*|video_encoder.mask_token"
    if golden.name.startswith("pretrain"):
        fresh = ""
    lacking = load_strictly(network, translation.state, source=golden.name, may_lack=fresh)
    roundtrip = to_official({name: network.state_dict()[name] for name in translation.state})
    kept = {key: value for key, value in golden.weights().items() if key not in translation.unused}
    assert set(roundtrip) == set(kept)
    assert all(torch.equal(roundtrip[key], kept[key]) for key in kept)
    network.lacking = set(lacking)
    return network.eval()


def official_gradients(module: torch.nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Gradients of our parameters under official names; those without one are left out."""
    return to_official(
        {prefix + name: weight.grad for name, weight in module.named_parameters() if weight.grad is not None}
    )


def channels_last(clip: Tensor) -> Tensor:
    """``[b c t h w]`` to ``[b t h w c]``."""
    return clip.permute(0, 2, 3, 4, 1)


def channels_first(tokens: Tensor) -> Tensor:
    """``[b t h w d]`` to ``[b d t h w]``."""
    return tokens.permute(0, 4, 1, 2, 3)
