"""What the tests of shards share."""

import pytest

from clover.data.corpora.shards import open_shards


@pytest.fixture
def opened(tmp_path):
    return lambda *paths: open_shards(paths, cache_folder=tmp_path / "cache")
