"""Any corpus to training shards: small videos with many key frames, small images, captions and their tags in tars."""
