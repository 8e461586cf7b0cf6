"""Model to numbers; knows nothing of training."""
