"""File and caption to batch: decoding, transforms, tokenising, tagging, masking, corpora, loading."""
