"""Tensors to named losses: no encoder calls, no rank, no logging."""
