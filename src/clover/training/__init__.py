"""Losses to weights: optimiser, schedule, loop, checkpoints, logs."""
