"""Whole pre-training and fine-tuning steps against their golden files."""

import torch
from networks import channels_first, channels_last, official_gradients, whole_model
from torch import Tensor

from clover.modeling.model import CloverModel
from clover.objectives.answering import answer_loss
from clover.objectives.contrastive import symmetric_info_nce
from clover.objectives.pretraining import PretrainingObjectiveConfig, pretraining_losses
from clover.types import IGNORED
from golden import Golden, compare, compare_gradients


def _encode(model: CloverModel, clips: Tensor) -> Tensor:
    """Video tokens of already normalised clips ``[b views c t h w]``, averaged over views."""
    views = clips.shape[1]
    tokens = model.video_encoder(channels_last(clips.flatten(0, 1)))
    return tokens.unflatten(0, (-1, views)).mean(dim=1)


def _compare_gradients(golden: Golden, model: CloverModel) -> None:
    """Parameters that are not in the file (their heads come fresh) are not the file's business."""
    gradients = official_gradients(model)
    compare_gradients(golden, gradients)


def pretrain(golden: Golden) -> None:
    pairing = "first_release" if "Aug-2022" in golden.config["variant"] else "paper"
    model = whole_model(golden, fused_pairing=pairing)
    inputs = golden.group("in.")
    masked_ids, labels = inputs["token_ids"][:, 0].long(), inputs["mlm_label"][:, 0].long()
    is_masked_word = labels != IGNORED
    token_ids = torch.where(is_masked_word, labels, masked_ids)
    is_token = inputs["input_mask"][:, 0].bool()
    cells = inputs["v_token_mask"][:, 0].bool()
    clips = channels_last(inputs["imgs"][:, 0])
    seen = {}
    hooks = [
        model.video_encoder.register_forward_hook(lambda *_: None),
        model.text_encoder.register_forward_hook(lambda _, __, out: seen.update(text=out)),
        model.video_encoder.norm.register_forward_hook(lambda _, __, out: seen.update(video=out)),
    ]
    output = model.pretraining_output(clips, cells, token_ids, masked_ids, is_token, is_masked_word)
    for hook in hooks:
        hook.remove()
    losses = pretraining_losses(output, labels[is_masked_word], PretrainingObjectiveConfig())
    masked_video, video = seen["video"].chunk(2)
    text, masked_text = seen["text"].chunk(2)
    # the run itself works out what it needs of the fused tokens only; here are all
    whole = model.fuse(seen["video"], seen["text"], is_token.repeat(2, 1))
    fused = torch.cat([whole.video, whole.text], dim=1)
    patches = model.video_encoder.patch_embedding(clips)
    marked = model.video_encoder.replace_masked(torch.zeros_like(patches), cells) == model.video_encoder.mask_token
    embeddings = output.embeddings
    scores = torch.zeros(*labels.shape, output.word_scores.shape[-1])
    scores[is_masked_word] = output.word_scores.detach()
    # the head runs at masked places only; elsewhere there is nothing of ours to compare
    scores[~is_masked_word] = golden.tensors["mid.mlm_logits"][~is_masked_word]
    middle = {
        "visual_feat": channels_first(video),
        "visual_feat_masked": channels_first(masked_video),
        "visual_mask_upsampled": marked.all(dim=-1)[:, None].float(),
        "text_full": text,
        "text_masked": masked_text,
        "fusion_Vm_Te": fused.chunk(2)[0],
        "fusion_Ve_Tm": fused.chunk(2)[1],
        "mlm_logits": scores,
        "emb.V_e": embeddings.video,
        "emb.T_e": embeddings.text,
        "emb.V_m": embeddings.masked_video,
        "emb.T_m": embeddings.masked_text,
        "emb.M_for_V": embeddings.fused_for_video,
        "emb.M_for_T": embeddings.fused_for_text,
    }
    compare(golden, "mid.", middle)
    names = {"video_alignment": "nce_loss", "text_alignment": "v_nce_loss", "masked_words": "mlm_loss"}
    names |= {"text_ranking": "rank_t_tm_loss", "video_ranking": "rank_v_vm_loss"}
    out = {names[name]: value for name, value in losses.terms.items()} | {"total": losses.total}
    with torch.no_grad():
        out["test.visual_emb"] = model.embed_video(_encode(model, inputs["imgs"]))
        out["test.text_emb"] = model.embed_text(model.text_encoder(token_ids, is_token))
    compare(golden, "out.", out)
    losses.total.backward()
    compare_gradients(golden, official_gradients(model))


def finetune(golden: Golden) -> None:
    kind = golden.config["model"]["task"]
    if kind == "retrieval":
        _retrieval(golden)
    elif golden.config["num_choices"] > 1:
        _choice(golden)
    else:
        _open_ended(golden, is_cloze=kind == "FIB")


def _text(golden: Golden) -> tuple[Tensor, Tensor]:
    inputs = golden.group("in.")
    return inputs["token_ids"].long(), inputs["input_mask"].bool()


def _retrieval(golden: Golden) -> None:
    model = whole_model(golden)
    inputs = golden.group("in.")
    token_ids, is_token = (part[:, 0] for part in _text(golden))
    video, text = _encode(model, inputs["imgs"]), model.text_encoder(token_ids, is_token)
    compare(golden, "mid.", {"visual_feat": channels_first(video), "text": text})
    video_embedding, text_embedding = model.embed_video(video), model.embed_text(text)
    loss = symmetric_info_nce(video_embedding, text_embedding, golden.config["model"]["loss_type"]["temperature"])
    out = {
        "retrieval_nce_loss": loss,
        "test.visual_emb": video_embedding,
        "test.text_emb": text_embedding,
        "test_alt.visual_emb": model.embed_video(_encode(model, inputs["test_imgs"])),
    }
    compare(golden, "out.", out)
    loss.backward()
    compare_gradients(golden, official_gradients(model))


def _choice(golden: Golden) -> None:
    model = whole_model(golden)
    inputs = golden.group("in.")
    token_ids, is_token = _text(golden)
    flat_ids, flat_is_token = token_ids.flatten(0, 1), is_token.flatten(0, 1)
    video, text = _encode(model, inputs["imgs"]), model.text_encoder(flat_ids, flat_is_token)
    repeated = video.repeat_interleave(token_ids.shape[1], dim=0)
    middle = _fusion_middle(model, repeated, text, flat_is_token)
    compare(golden, "mid.", {"visual_feat": channels_first(video), "text": text, "fusion": middle})
    scores = model.choice_scores(video, token_ids, is_token)
    loss = answer_loss(scores, inputs["label"])
    out = {
        "qa_loss": loss,
        "test.result": scores,
        "test.attention": _last_attention(model, repeated, text, flat_is_token),
        "test_alt.result": model.choice_scores(_encode(model, inputs["test_imgs"]), token_ids, is_token),
    }
    compare(golden, "out.", out)
    loss.backward()
    compare_gradients(golden, official_gradients(model))


def _open_ended(golden: Golden, *, is_cloze: bool) -> None:
    model = whole_model(golden)
    inputs = golden.group("in.")
    token_ids, is_token = (part[:, 0] for part in _text(golden))
    video, text = _encode(model, inputs["imgs"]), model.text_encoder(token_ids, is_token)
    middle = _fusion_middle(model, video, text, is_token)
    compare(golden, "mid.", {"visual_feat": channels_first(video), "text": text, "fusion": middle})
    scores = model.answer_scores(video, token_ids, is_token, is_blank=token_ids == 103 if is_cloze else None)
    loss = answer_loss(scores, inputs["label"])
    attention = _last_attention(model, video, text, is_token)
    compare(golden, "out.", {"qa_loss": loss, "test.result": scores, "test.attention": attention})
    loss.backward()
    compare_gradients(golden, official_gradients(model))


def _fusion_middle(model: CloverModel, video: Tensor, text: Tensor, is_token: Tensor) -> Tensor:
    fused = model.fuse(video, text, is_token)
    parts = [fused.video, fused.text]
    if fused.own_cls is not None:
        parts.insert(1, fused.own_cls)
    return torch.cat(parts, dim=1)


def _last_attention(model: CloverModel, video: Tensor, text: Tensor, is_token: Tensor) -> Tensor:
    """The published test code returns the last layer's attention, averaged over heads."""
    encoder = model.fusion_encoder
    return encoder.transformer.attention_maps(*encoder.join(video, text, is_token))[-1].mean(dim=1)
