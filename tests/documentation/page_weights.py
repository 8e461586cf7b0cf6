"""Files of others as their publishers name them, small and random: what a reader of the page on weights has."""

import json
import shutil

import torch
from plain_swin import made_state

from clover.cli import main
from clover.modeling.swin_import import import_video
from clover.modeling.weights import to_official
from clover.pipeline import Clover

SWIN = "swin_base_patch244_window877_kinetics400_22k.pth"
SIZES = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 6, "intermediate_size": 40}


def weights_of_others(demo):
    """Makers of the files; the words of all are those of the demo's model."""

    def exported(checkpoint):
        return lambda target: main(["export", str(demo / checkpoint), "--to", "official", str(target)])

    def answers(target):
        vocabulary = Clover.from_pretrained(demo / "checkpoint").config.answers
        target.write_text(json.dumps({answer: number for number, answer in enumerate(vocabulary)}))

    return {
        SWIN: _write_swin,
        "clip-vit-base-patch16": _write_clip,
        "bert-base-uncased": lambda target: _write_bert(demo / "checkpoint/tokenizer.json", target),
        "official.pth": exported("pretraining/checkpoint"),
        "msrvtt_qa.pth": exported("checkpoint"),
        "train_ans2label.json": answers,
    }


def _write_swin(target):
    state = made_state(width=8, depths=(2, 1), heads=(2, 4), window=(2, 4, 4), patch=(2, 4, 4))
    torch.save(to_official(import_video(state, source="made").state), target)


def _write_clip(target):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    CLIPVisionModel(CLIPVisionConfig(**SIZES, image_size=64, patch_size=16)).save_pretrained(target)


def _write_bert(tokenizer, target):
    from transformers import BertConfig, BertForPreTraining

    words = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"]
    config = BertConfig(vocab_size=len(words), max_position_embeddings=64, **SIZES)
    BertForPreTraining(config).save_pretrained(target)
    shutil.copy(tokenizer, target)
