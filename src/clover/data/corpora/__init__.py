"""The pre-training corpora WebVid and CC3M, as loose files or in tar shards, held in few bytes a row."""
