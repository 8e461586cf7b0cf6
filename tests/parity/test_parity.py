"""Every golden file, by its kind; a file of unknown kind fails."""

import components
import measures
import pytest
import recognizers

import golden

BY_KIND = {
    "swin": components.swin,
    "bert": components.bert,
    "fusion": components.fusion,
    "heads": components.heads,
    "loss_excl": components.loss_exclusive,
    "loss_infonce": components.loss_infonce,
    "loss_focal": components.loss_focal,
    "loss_gather": components.loss_gather,
    "pretrain": recognizers.pretrain,
    "finetune": recognizers.finetune,
    "metrics": measures.metrics,
}

FILES = sorted(golden.folder().glob("*.safetensors"))


def test_folder_has_files():
    assert FILES, f"no golden files in {golden.folder()}"


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_parity(path):
    check = next((BY_KIND[kind] for kind in BY_KIND if path.stem.startswith(kind)), None)
    assert check is not None, f"{path.name} is of no known kind ({', '.join(BY_KIND)})"
    check(golden.Golden.load(path))
