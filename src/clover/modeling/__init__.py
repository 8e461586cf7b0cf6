"""Batch to tokens to fused tokens to embeddings and scores: tensors in, tensors out, no files and no words."""
