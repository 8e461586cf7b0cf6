"""What the tests of importing share: a random BERT as it is published, and a corpus to train on."""

import pytest
import torch
from plain_swin import made_state

from clover.data.shapes.corpus import ShapesConfig, write_corpus

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{number}" for number in range(35))]
SIZES = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 6, "intermediate_size": 40}


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    """A random BERT with its pre-training heads, loud enough that an epsilon or a transposed matrix shows."""
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=20, layer_norm_eps=1e-3, **SIZES)
    model = BertForPreTraining(config).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.2)
    folder = tmp_path_factory.mktemp("bert")
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    return model, folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "corpus"
    write_corpus(folder, ShapesConfig(num_videos=24, size=64), num_processes=1)
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A small file in the layout of torchvision."""
    place = tmp_path_factory.mktemp("swin3d") / "swin3d.pth"
    torch.save(made_state(width=8, depths=(2, 1), heads=(2, 4), window=(2, 4, 4), patch=(2, 4, 4)), place)
    return place
