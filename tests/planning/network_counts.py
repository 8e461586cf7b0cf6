"""What a network does and holds, counted by PyTorch: operations on the meta device, saved tensors on this machine."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from clover.modeling import window_attention
from clover.modeling.initialise import new_model
from clover.modeling.model import CloverModel
from clover.objectives.masked_words import focal_loss
from saved_memory import SavedMemory


def counted_flops(config, sample):
    """Operations of a forward pass, and of a forward and backward pass, of one sample; and the number of weights."""
    with torch.device("meta"):
        network = CloverModel(config).eval()
        clip = torch.empty(1, sample.num_frames, sample.frame_size, sample.frame_size, 3)
        token_ids = torch.zeros(2, sample.text_length, dtype=torch.long)
        is_token = torch.ones(2, sample.text_length, dtype=torch.bool)

        def run():  # `pretraining_output`, whose masked places the meta device cannot look up
            patches = network.video_encoder.patch_embedding(clip)
            video = network.video_encoder.encode_patches(torch.cat([patches, patches]))
            text = network.text_encoder(token_ids, is_token)
            fused = network.fuse(video, text, is_token, gives_video=False)
            ends = [
                network.embed_video(video),
                network.embed_text(text),
                network.fused_video_projection(fused.cls[:1]),
                network.fused_text_projection(fused.cls[1:]),
                network.masked_word_head(fused.text[1:, : sample.num_masked_words]),
            ]
            return sum(end.sum() for end in ends)

        with FlopCounterMode(display=False) as forward:
            end = run()
        with FlopCounterMode(display=False) as backward:
            end.backward()
    num_weights = sum(each.numel() for each in network.parameters())
    return forward.get_total_flops(), forward.get_total_flops() + backward.get_total_flops(), num_weights


def held_bytes(config, sample, monkeypatch):
    """What autograd holds for one sample more, attention probabilities not kept (as on a GPU)."""
    monkeypatch.setattr(window_attention, "KEPT_BYTES", 0)
    network = new_model(config).train()
    cells = config.video.output_grid(sample.num_frames, sample.frame_size, sample.frame_size)[1:]

    def held(batch_size):
        clip = torch.zeros(batch_size, sample.num_frames, *2 * (sample.frame_size,), 3, dtype=torch.uint8)
        token_ids = torch.ones(batch_size, sample.text_length, dtype=torch.long)
        is_masked = torch.arange(sample.text_length).expand(batch_size, -1) < sample.num_masked_words
        with SavedMemory([*network.parameters()]) as memory:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=sample.number_bytes == 2):
                output = network.pretraining_output(
                    clip, torch.zeros(batch_size, *cells, dtype=torch.bool), token_ids, token_ids,
                    torch.ones_like(is_masked), is_masked,
                )  # fmt: skip
            loss = focal_loss(output.word_scores, token_ids[is_masked], 2.0)
        del output, loss
        return memory.peak

    return (held(4) - held(2)) / 2
