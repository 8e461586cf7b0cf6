"""Shards that were cut short or damaged, and files that are no shards: what is there is read, the rest named."""

import shutil

import pytest
from made_shards import FORMATS, make_shard, reasons, sample, summary

from clover.errors import DataError


def test_cut_short_within_media(opened, tmp_path):
    whole = (FORMATS / "webvid/00000.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: 13_824 + 1000])
    corpus = opened(tmp_path / "a.tar")
    assert [key for key, _ in summary(corpus)] == ["00000002", "00000000"]
    assert len(corpus.failed) == 1
    assert reasons(corpus) == [
        (None, "16896 bytes or more", "14824: it was cut short"),
        (3, "2955 bytes of media", "1000: the shard was cut short (sample 00000003)"),
    ]


@pytest.mark.parametrize("name", ["webvid", "cc3m"])
def test_cut_short_anywhere(opened, tmp_path, name):
    whole = (FORMATS / name / "00000.tar").read_bytes()
    complete = opened(FORMATS / name)
    usable = [len(complete)]
    for size in range(len(whole) - 1, 511, -97):
        path = tmp_path / f"{size}.tar"
        path.write_bytes(whole[:size])
        try:
            corpus = opened(path)
        except DataError as error:
            assert "found none" in str(error)
            usable.append(0)
            continue
        usable.append(len(corpus))
        whole_media = {complete.name(place): complete.media(place) for place in range(len(complete))}
        assert all(corpus.media(place) == whole_media[corpus.name(place)] for place in range(len(corpus)))
        assert corpus.problems or not any(whole[size:])
    assert (usable[0], usable[-1], set(usable)) == (3, 0, {0, 1, 2, 3})


def test_reading_goes_on_behind_damage(opened, tmp_path):
    data = bytearray((FORMATS / "webvid/00000.tar").read_bytes())
    data[5632:5642] = b"x" * 10  # the header of 00000000.mp4
    (tmp_path / "a.tar").write_bytes(data)
    corpus = opened(tmp_path / "a.tar")
    assert [key for key, _ in summary(corpus)] == ["00000002", "00000003"]
    assert [row for row, *_ in reasons(corpus)] == [None, 1]
    assert reasons(corpus)[0][1:] == ("a member at byte 5632", "3584 bytes that are none")


def test_no_end_mark(opened, tmp_path):
    corpus = opened(make_shard(tmp_path / "a.tar", sample("1"), end=False))
    assert reasons(corpus) == [(None, "the end mark of an archive", "none: it may have been cut short")]
    (tmp_path / "b.tar").write_bytes(make_shard(tmp_path / "a.tar", sample("1")).read_bytes() + b"more")
    assert "more bytes" in reasons(opened(tmp_path / "b.tar"))[0][2]


@pytest.mark.parametrize(
    ("stats", "expected"),
    [(b"{", "a count in 00000_stats.json"), (b"[]", "a count in"), (b'{"count": 1e9}', "a count from 0 to 10000")],
)
def test_broken_counts(opened, tmp_path, stats, expected):
    shutil.copytree(FORMATS / "cc3m", tmp_path / "c")
    (tmp_path / "c/00000_stats.json").write_bytes(stats)
    corpus = opened(tmp_path / "c")
    assert (len(corpus), len(corpus.failed)) == (3, 0)
    assert reasons(corpus)[0][1].startswith(expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty file"),
        (b"no tar" * 200, "expected an uncompressed tar archive, found another beginning"),
        (b"\x1f\x8b" + b"\0" * 600, "uncompressed tar archive"),
        (bytes(10_240), "found none .0 failed.; the first problem: .*expected samples, found none"),
        (b"short", "uncompressed tar archive"),
    ],
)
def test_files_that_cannot_be_used(opened, tmp_path, content, message):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.tar.*{message}"):
        opened(tmp_path / "a.tar")


def test_no_shards(opened, tmp_path):
    with pytest.raises(DataError, match=r"none\.tar: expected a tar archive, found No such file"):
        opened(tmp_path / "none.tar")
    with pytest.raises(DataError, match=r"expected \*\.tar files in this folder, found none"):
        opened(tmp_path)
    with pytest.raises(DataError, match="no shards were given"):
        opened()
