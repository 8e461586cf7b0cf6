"""Encoders, heads and losses against their golden files."""

import re

import torch
import torch.nn.functional as F
from networks import (
    channels_first,
    channels_last,
    fusion_config,
    official_gradients,
    text_config,
    video_config,
)

from clover.modeling.fusion import FusionEncoder
from clover.modeling.heads import ChoiceHead, MaskedWordHead, OpenEndedHead, TextProjection, VideoProjection
from clover.modeling.initialise import initialise
from clover.modeling.model import Embeddings, PretrainingOutput
from clover.modeling.text_encoder import TextEncoder
from clover.modeling.video_swin import VideoEncoder
from clover.modeling.weights import from_official, load_strictly
from clover.modeling.windows import blocked_pairs, relative_position_index
from clover.objectives import contrastive
from clover.objectives.masked_words import focal_loss
from clover.objectives.pretraining import PretrainingObjectiveConfig, pretraining_losses
from golden import Golden, compare, compare_gradients

NOT_YET_COVERED = {
    "out.itm": "the image-text matching head, used by no released task",
    "weight.itm": "the same",
    "grad.itm": "the same",
    "gradnorm.itm": "the same",
}


def _load(module: torch.nn.Module, golden: Golden, official_prefix: str, our_prefix: str, may_lack: str = "") -> None:
    translation = from_official(golden.weights(official_prefix))
    state = {key.removeprefix(our_prefix): value for key, value in translation.state.items()}
    initialise(module, seed=0)
    load_strictly(module, state, source=golden.name, may_lack=may_lack)
    module.eval()


def swin_tables(golden: Golden) -> None:
    full = relative_position_index((8, 7, 7))
    ours = {
        "relative_position_index_8x7x7_first196": full[:196, :196],
        "relative_position_index_8x7x7_row_sums": full.sum(dim=1),
        "relative_position_index_2x3x3": relative_position_index((2, 3, 3)),
    }
    for name, sizes in golden.config.items():
        ours["blocked_" + name] = blocked_pairs(*(tuple(sizes[key]) for key in ("padded", "window", "shift")))
    expected = golden.group("out.")
    assert set(ours) == set(expected)
    for key, value in expected.items():
        assert torch.equal(ours[key].long(), value.long()), key


def swin(golden: Golden) -> None:
    if golden.name.startswith("swin_tables"):
        swin_tables(golden)
        return
    encoder = VideoEncoder(video_config(golden.config))
    has_mask = "in.v_token_mask" in golden.tensors
    _load(encoder, golden, "backbone.", "video_encoder.", may_lack="" if has_mask else "mask_token")
    inputs = golden.group("in.")
    middle, out = {}, {}
    patches = encoder.patch_embedding(channels_last(inputs["imgs"]))
    middle["patch_embed"] = channels_first(patches)
    if has_mask:
        cells = inputs["v_token_mask"].flatten(0, 1).bool()
        marked = encoder.replace_masked(torch.zeros_like(patches), cells) == encoder.mask_token
        out["mask_w"] = marked.all(dim=-1)[:, None].float()
        patches = encoder.replace_masked(patches, cells)
    tokens = patches
    for stage, blocks in enumerate(encoder.stages):
        for block in blocks:
            tokens = block(tokens, None)
        if stage < len(encoder.mergings):
            tokens = encoder.mergings[stage](tokens)
        middle[f"layers.{stage}"] = channels_first(tokens)
    features = encoder(channels_last(inputs["imgs"]), cells if has_mask else None)
    out["features"] = channels_first(features)
    compare(golden, "mid.", middle)
    compare(golden, "out.", out)
    (out["features"] * inputs["cotangent"]).sum().backward()
    compare_gradients(golden, official_gradients(encoder, "video_encoder."), prefix="backbone.")


def bert(golden: Golden) -> None:
    encoder = TextEncoder(text_config(golden.config, golden.config["num_hidden_layers"]))
    _load(encoder, golden, "text_backbone.", "text_encoder.")
    inputs = golden.group("in.")
    is_token = inputs["input_mask"].bool()
    hidden = encoder(inputs["token_ids"], is_token)
    weights = golden.weights()
    # Clover has no pooler; its output follows from our hidden states and the file's weights
    pooled = F.linear(hidden[:, 0], weights["bert.pooler.dense.weight"], weights["bert.pooler.dense.bias"]).tanh()
    compare(golden, "out.", {"last_hidden_state": hidden, "pooler_output": pooled})
    compare(golden, "mid.", {"embeddings": encoder.embed(inputs["token_ids"])})
    (hidden * inputs["cotangent"]).sum().backward()
    compare_gradients(golden, official_gradients(encoder, "text_encoder."), prefix="text_backbone.")


def fusion(golden: Golden) -> None:
    encoder = FusionEncoder(fusion_config(golden.config, golden.config))
    _load(encoder, golden, "multimodal_backbone.", "fusion_encoder.")
    inputs = golden.group("in.")
    text, is_token = inputs["text_embeds"], inputs["input_mask"].bool()
    video = inputs["visual_token"][:, :, None]
    fused = encoder(video, text, is_token)
    parts = [fused.video, fused.text]
    out = {"v_last_hidden_state": fused.video, "t_last_hidden_state": fused.text}
    if fused.own_cls is not None:
        parts.insert(1, fused.own_cls)
        out["cls_last_hidden_state"] = fused.own_cls
    out["last_hidden_state"] = torch.cat(parts, dim=1)
    for layer, probabilities in enumerate(encoder.transformer.attention_maps(*encoder.join(video, text, is_token))):
        out[f"attention.{layer}"] = probabilities
    compare(golden, "out.", out)
    (out["last_hidden_state"] * inputs["cotangent"]).sum().backward()
    compare_gradients(golden, official_gradients(encoder, "fusion_encoder."), prefix="multimodal_backbone.")


def heads(golden: Golden) -> None:
    config, inputs = golden.config, golden.group("in.")
    bag = _bag_of_heads(config)
    weights = {_official_head_name(key): value for key, value in golden.weights().items()}
    initialise(bag, seed=0)
    load_strictly(bag, from_official(weights).state, source=golden.name)
    bag.eval()
    ids = inputs["token_ids"]
    is_word = inputs["input_mask"].bool() & (ids != 101) & (ids != 102)
    words = inputs["text_seq"] * is_word[..., None]
    out = {
        "ssl.img": bag["video_projection"](inputs["visual_feat"].mean(dim=(2, 3, 4))),
        "ssl.text": bag["text_projection"](inputs["text_seq"][:, 0]),
        # two ways of pooling that Clover does not use, through the same projection
        "ssl.text_avg": bag["text_projection"](words.sum(dim=1) / is_word.sum(dim=1, keepdim=True)),
        "ssl.text_max": bag["text_projection"](words.amax(dim=1)),
        "V.from_cls_2d": bag["fused_video_projection"](inputs["cls"]),
        "V.from_seq_3d_mean": bag["fused_video_projection"](inputs["vis_seq"].mean(dim=1)),
        "T": bag["fused_text_projection"](inputs["cls"]),
        "mlm": bag["masked_word_head"](inputs["text_seq"]),
        "mc": bag["choice_head"](inputs["cls"]),
        "oe": bag["answer_head"](inputs["cls"]),
    }
    covered = golden.without(NOT_YET_COVERED)
    compare(covered, "out.", out)
    counted = [value for key, value in out.items() if key not in ("ssl.text_avg", "ssl.text_max")]
    sum((value * torch.arange(value.numel()).sin().view_as(value)).sum() for value in counted).backward()
    names = {_official_head_name(key): key for key in golden.weights()}
    gradients = {names[key]: value for key, value in official_gradients(bag).items()}
    compare_gradients(covered, gradients)


def _bag_of_heads(config: dict) -> torch.nn.ModuleDict:
    text_width, width = config["text_dim"], config["vts_embed_dim"]
    return torch.nn.ModuleDict(
        {
            "video_projection": VideoProjection(
                input_width=config["visual_dim"], hidden_width=config["img_hidden_dim"], output_width=width
            ),
            "text_projection": TextProjection(input_width=text_width, output_width=width),
            "fused_video_projection": VideoProjection(
                input_width=text_width, hidden_width=2 * text_width, output_width=width
            ),
            "fused_text_projection": TextProjection(input_width=text_width, output_width=width, dropout=0.1),
            "masked_word_head": MaskedWordHead(width=text_width, vocabulary_size=config["vocab"]),
            "choice_head": ChoiceHead(width=text_width),
            "answer_head": OpenEndedHead(width=text_width, num_answers=config["num_labels"]),
        }
    )


def _official_head_name(key: str) -> str:
    prefixes = {"ssl": "ssl_head", "V": "mlm_ssl_V_head", "T": "mlm_ssl_T_head", "mlm": "mlm_head"}
    prefixes |= {"mc": "qa_head", "oe": "qa_head", "itm": "itm_head"}
    head, rest = key.split(".", 1)
    return f"{prefixes[head]}.{rest}"


def _six(golden: Golden) -> dict[str, torch.Tensor]:
    return {name: value.clone().requires_grad_() for name, value in golden.group("in.").items()}


def _official_losses(six: dict[str, torch.Tensor], config: dict) -> dict[str, torch.Tensor]:
    """The four published numbers from our objectives."""
    constants = {"temperature": config["temperature"], "ranking_margin": config["margin"]}
    output = PretrainingOutput(embeddings=_embeddings(six), word_scores=torch.zeros(0, 2))
    objective = PretrainingObjectiveConfig(masked_word_weight=0.0, **constants)
    losses = pretraining_losses(output, torch.zeros(0, dtype=torch.long), objective)
    names = {"video_alignment": "nce_loss", "text_alignment": "v_nce_loss"}
    names |= {"text_ranking": "rank_t_tm_loss", "video_ranking": "rank_v_vm_loss"}
    return {names[name]: value for name, value in losses.terms.items()} | {"total": losses.total}


def _embeddings(six: dict[str, torch.Tensor]) -> Embeddings:
    return Embeddings(
        video=six["V_e"],
        text=six["T_e"],
        masked_video=six["V_m"],
        masked_text=six["T_m"],
        fused_for_video=six["M_vm"],
        fused_for_text=six["M_tm"],
    )


def _gradients_of(loss: torch.Tensor, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = torch.autograd.grad(loss, list(inputs.values()), retain_graph=True, allow_unused=True)
    return {name: value for name, value in zip(inputs, found, strict=True) if value is not None}


def loss_exclusive(golden: Golden) -> None:
    six = _six(golden)
    losses = _official_losses(six, golden.config)
    compare(golden, "out.", losses)
    gradients = {f"{loss}.{name}": value for loss in losses for name, value in _gradients_of(losses[loss], six).items()}
    expected = golden.group("grad.")
    compare(golden, "grad.", {key: gradients[key] for key in expected})
    _compare_with_paper(golden, six)


def _compare_with_paper(golden: Golden, six: dict[str, torch.Tensor]) -> None:
    """The float64 values of the paper's own equations: sums, and weight 1 for Eq. 3."""
    tau = golden.config["temperature"]
    paper = golden.group("paper64.")
    sides = {"v": ("V_e", ("T_e", "T_m", "M_vm")), "t": ("T_e", ("V_e", "V_m", "M_tm"))}
    ours = {}
    for side, (anchor, positives) in sides.items():
        embeddings = [six[name] for name in positives]
        for suffix, terms in (
            ("", contrastive.exclusive_nce(six[anchor], embeddings, tau)),
            ("_prime", contrastive.towards_anchor(six[anchor], embeddings, tau)),
        ):
            ours[f"L_{side}{suffix}_terms_mean"] = terms.mean(dim=1)
            ours[f"L_{side}{suffix}_sum"] = terms.sum()
            ours[f"L_{side}{suffix}_mean"] = terms.sum(dim=0).mean()
    for kind in ("sum", "mean"):
        parts = PretrainingObjectiveConfig(
            towards_anchor_weight=1.0, reduction=kind, masked_word_weight=0.0, temperature=tau
        )
        output = PretrainingOutput(embeddings=_embeddings(six), word_scores=torch.zeros(0, 2))
        terms = pretraining_losses(output, torch.zeros(0, dtype=torch.long), parts).terms
        ours[f"L_V_{kind}"], ours[f"L_T_{kind}"] = terms["video_alignment"], terms["text_alignment"]
        ours[f"L_TmA_{kind}"] = terms["video_alignment"] + terms["text_alignment"]
        scale = len(six["V_e"]) if kind == "sum" else 1
        ours[f"L_rank_T_m_{kind}"] = terms["text_ranking"] * scale
        ours[f"L_rank_V_m_{kind}"] = terms["video_ranking"] * scale
        ours[f"L_rank_{kind}"] = (terms["text_ranking"] + terms["video_ranking"]) * scale
    for name in ("nce_loss", "v_nce_loss"):
        ours[f"official_equivalent.{name}"] = _official_losses(six, golden.config)[name]
    assert set(ours) == set(paper), sorted(set(ours) ^ set(paper))
    for key, value in paper.items():
        torch.testing.assert_close(ours[key].detach().double(), value, rtol=1e-5, atol=1e-5, msg=key)


def loss_infonce(golden: Golden) -> None:
    out, gradients = {}, {}
    for size in golden.config["batch_sizes"]:
        pair = {name: golden.tensors[f"in.B{size}.{name}"].clone().requires_grad_() for name in ("video", "text")}
        tau = golden.config["temperature"]
        loss = contrastive.symmetric_info_nce(pair["video"], pair["text"], tau)
        out[f"B{size}.cos_sim_True"] = loss
        for name, value in _gradients_of(loss, pair).items():
            gradients[f"B{size}.cos_sim_True.{name}"] = value
    # the published class can also take similarities that are not cosines; Clover never does
    raw = {key: "similarities handed in" for key in golden.tensors if "cos_sim_False" in key}
    covered = golden.without(raw)
    compare(covered, "out.", out)
    compare(covered, "grad.", gradients)


def loss_focal(golden: Golden) -> None:
    out, gradients = {}, {}
    for key in golden.group("out."):
        case, gamma, reduction = re.fullmatch(r"(\w+)\.gamma([\d.]+)\.(mean|sum)", key).groups()
        logits = golden.tensors[f"in.{case}.logits"].clone().requires_grad_()
        loss = focal_loss(logits, golden.tensors[f"in.{case}.target"], float(gamma))
        out[key] = loss if reduction == "mean" else loss * len(logits)
        gradients[key] = _gradients_of(out[key], {"logits": logits})["logits"]
    compare(golden, "out.", out)
    expected = golden.group("grad.")
    assert expected, "no gradients in the file"
    compare(golden, "grad.", {key: gradients[key.removesuffix(".logits")] for key in expected})


def loss_gather(golden: Golden) -> None:
    """One process on the joined batch: every process' loss, and its rows of the gradient."""
    six = _six(golden)
    losses = _official_losses(six, golden.config)
    losses["infonce"] = contrastive.symmetric_info_nce(six["V_e"], six["T_e"], golden.config["temperature"])
    rows = golden.config["rows_per_rank"]
    out = {f"rank{rank}.{name}": value for rank in range(len(rows)) for name, value in losses.items()}
    compare(golden, "out.", {key: out[key] for key in golden.group("out.")})
    gradients = {}
    for loss in ("total", "infonce"):
        for name, value in _gradients_of(losses[loss], six).items():
            for rank, part in enumerate(value.split(rows)):
                gradients[f"rank{rank}.{loss}.{name}"] = part
    compare(golden, "grad.", {key: gradients[key] for key in golden.group("grad.")})
