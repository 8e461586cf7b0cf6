"""A tiny checkpoint with every head, and a window that shifts."""

from dataclasses import replace

from clover.checkpoints import CloverConfig, InputConfig
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.modeling.initialise import new_model
from clover.modeling.model import HeadConfig
from clover.modeling.sizes import tiny
from clover.pipeline import Clover

TEXTS = ("a red ball moves left", "a green star spins", "what color is the ball?")
ANSWERS = ("red", "blue", "yes")


def made_checkpoint(*, depth=2):
    tokenizer = Tokenizer.train(TEXTS, 120)
    config = tiny(vocabulary_size=tokenizer.vocabulary_size)
    video = replace(config.video, depths=(depth,), num_heads=(2,), width=32, patch_size=(2, 16, 16), window=(2, 2, 2))
    heads = HeadConfig(num_answers=3, has_choices=True)
    config = replace(config, video=video, heads=heads)
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    inputs = InputConfig(num_frames=8, frames=frames, max_text_length=16)
    return Clover(new_model(config, seed=0), tokenizer, CloverConfig(model=config, inputs=inputs, answers=ANSWERS))
