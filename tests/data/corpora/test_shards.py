"""Tar shards: every planted trap, other writers' habits, the kept index, and media that are really decoded."""

import json
import shutil
import tarfile

import pytest
from made_shards import FORMATS, MEDIA, make_shard, reasons, sample, summary

from clover.data.corpora.index_files import index_file
from clover.data.corpora.shards import open_shards
from clover.data.video import probe, read_frames
from clover.errors import MediaError
from clover.files import WriteError


def test_keys_are_not_sorted_and_a_failed_sample_is_listed(opened):
    corpus = opened(FORMATS / "webvid")
    assert summary(corpus) == [
        ("00000002", "Baker dusting flour, slow motion, close up"),
        ("00000000", "Red kite turning above a wet field"),
        ("00000003", "Café terrace at dusk with paper lanterns"),
    ]
    assert [(failed.key, failed.status) for failed in corpus.failed] == [
        ("00000001", "failed_to_download: HTTP Error 404: Not Found")
    ]
    assert not corpus.problems


def test_images_that_are_only_counted_are_listed_as_failed(opened):
    corpus = opened(FORMATS / "cc3m")
    assert [key for key, _ in summary(corpus)] == ["000000000", "000000001", "000000002"]
    assert [(failed.key, failed.status) for failed in corpus.failed] == [
        ("000000003", "not in the shard"),
        ("000000004", "not in the shard"),
    ]


def test_clips_of_one_video(opened):
    corpus = opened(FORMATS / "webvid_clips")
    assert [key for key, _ in summary(corpus)] == ["00000000_000", "00000000_001"]
    assert [corpus[place].video_id for place in range(2)] == ["00000000", "00000000"]
    assert opened(FORMATS / "webvid")[0].video_id == "00000002"


@pytest.mark.parametrize("name", ["webvid", "webvid_clips", "cc3m"])
def test_media_are_the_members_and_can_be_decoded(opened, name):
    corpus = opened(FORMATS / name)
    shown = []
    with tarfile.open(FORMATS / name / "00000.tar") as archive:
        for place in range(len(corpus)):
            ending = "jpg" if name == "cc3m" else "mp4"
            assert corpus.media(place) == archive.extractfile(f"{corpus.name(place)}.{ending}").read()
            assert probe(corpus.media(place)).is_image == (name == "cc3m")
            frames = read_frames(corpus.media(place), 4)
            assert frames.images.shape == (4, 48, 64, 3)
            assert frames.problem is None
            shown.append(frames.images.mean())
    assert len(set(shown)) == (1 if name == "webvid_clips" else 3)


def test_several_shards_keep_their_order(opened, tmp_path):
    second = make_shard(tmp_path / "b/00001.tar", sample("000010000", "two"))
    first = make_shard(tmp_path / "b/00000.tar", sample("000000000", "one"))
    assert summary(opened(tmp_path / "b")) == [("000000000", "one"), ("000010000", "two")]
    corpus = opened(second, first)
    assert summary(corpus) == [("000010000", "two"), ("000000000", "one")]
    assert [corpus[place].shard for place in range(2)] == [second, first]
    assert corpus[-1].caption == "one"
    with pytest.raises(IndexError):
        corpus.caption(2)


def test_other_writers_habits(opened, tmp_path):
    shard = make_shard(
        tmp_path / "a.tar",
        [
            ("./dir/1.txt", " one \n".encode("utf-8-sig")),
            ("./._1.txt", b"\0"),
            ("./dir/2.TXT", b"two"),
            ("README", b"no ending"),
            ("./dir/1.m4a", b"sound"),
            ("./dir/2.WebM", b"second"),
            ("./dir/1.seg.mp4", b"part"),
            ("./dir/1.mp4", b"first"),
            ("./dir/3.json", {"caption": "in the JSON"}),
            ("./dir/3.jpg", b"third"),
        ],
    )
    corpus = opened(shard)
    assert summary(corpus) == [("dir/1", "one"), ("dir/2", "two"), ("dir/3", "in the JSON")]
    assert [corpus.media(place) for place in range(3)] == [b"first", b"second", b"third"]
    assert not corpus.problems


def test_long_names_and_archives_joined_together(opened, tmp_path):
    long = "folder/" * 30 + "1"
    first = make_shard(tmp_path / "a.tar", sample(long))
    second = make_shard(tmp_path / "b.tar", sample("2", "two"))
    (tmp_path / "c.tar").write_bytes(first.read_bytes() + second.read_bytes())
    corpus = opened(tmp_path / "c.tar")
    assert summary(corpus) == [(long, "a caption"), ("2", "two")]
    assert corpus.media(1) == MEDIA
    assert not corpus.problems


def test_a_failed_status_counts_even_with_media(opened, tmp_path):
    failed = {"status": "failed_to_subsample", "error_message": "no key\ud800frame" + "!" * 500}
    shard = make_shard(tmp_path / "a.tar", [*sample("1"), *sample("2", **failed), *sample("3", status=None)])
    corpus = opened(shard)
    assert [key for key, _ in summary(corpus)] == ["1", "3"]
    (only,) = corpus.failed
    assert (only.shard, only.key) == (shard, "2")
    assert only.status.startswith("failed_to_subsample: no key\\ud800frame!!")
    assert len(only.status) == 200


def test_samples_that_cannot_be_used_are_named(opened, tmp_path):
    bad = {
        "1": (sample("1", media=None), "media", "only .txt, .json"),
        "2": (sample("2", media=b""), "media", "an empty 2.mp4"),
        "3": (sample("3", caption=" \n"), "a caption", "an empty one"),
        "4": ([("4.mp4", MEDIA)], "a caption", "neither .txt nor caption in .json"),
        "5": ([("5.mp4", MEDIA), ("5.txt", b"caf\xe9")], "UTF-8", "other bytes in 5.txt"),
        "6": ([("6.mp4", MEDIA), ("6.txt", b"one"), ("6.json", b"{")], "JSON", "none in 6.json"),
        "7": ([("7.mp4", MEDIA), ("7.txt", b"one"), ("7.json", [1])], "a JSON object", "list in 7.json"),
        "8": ([("8.mp4", MEDIA), ("8.json", {"caption": "\ud800"})], "a caption in Unicode", "half of a surrogate"),
        "9": ([("9.mp4", MEDIA), ("9.json", {"caption": None})], "a caption", "neither"),
        "10": ([("10.mp4", MEDIA), ("10.txt", b"x" * (2 << 20))], "at most 1048576 bytes of text", "2097152 in"),
        "11": ([("11.mp4", MEDIA), ("11.json", b"[" * 100_000)], "JSON", "none in 11.json"),
        "12": ([("12.mp4", MEDIA), ("12.json", {"caption": 7})], "a caption", "neither"),
    }
    members = [*sample("0"), *(member for case, *_ in bad.values() for member in case), *sample("13")]
    corpus = opened(make_shard(tmp_path / "a.tar", members))
    assert [key for key, _ in summary(corpus)] == ["0", "13"]
    for row, ((key, (_, expected, found)), problem) in enumerate(
        zip(bad.items(), corpus.problems, strict=True), start=1
    ):
        assert (problem.row, problem.expected) == (row, expected)
        assert problem.found.startswith(found)
        assert problem.found.endswith(f"(sample {key})")


def test_a_member_that_is_there_twice_is_read_once(opened, tmp_path):
    shard = make_shard(tmp_path / "a.tar", [*sample("1", "first"), *sample("1", "second", media=b"other")])
    corpus = opened(shard)
    assert summary(corpus) == [("1", "first")]
    assert corpus.media(0) == MEDIA
    assert [found for _, _, found in reasons(corpus)] == [
        f"another 1.{ending}, which is not read" for ending in ("mp4", "txt", "json")
    ]


def test_links_and_folders_in_a_shard_are_no_samples(opened, tmp_path):
    with tarfile.open(make_shard(tmp_path / "a.tar", sample("1")), "a") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo("2.mp4")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    corpus = opened(tmp_path / "a.tar")
    assert summary(corpus) == [("1", "a caption")]
    assert not corpus.problems


def test_the_index_is_made_once(tmp_path, monkeypatch):
    shutil.copytree(FORMATS / "webvid", tmp_path / "w")
    first = open_shards(tmp_path / "w")
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == [
        "00000.tar",
        "00000.tar.index.json",
        "00000_stats.json",
    ]
    with monkeypatch.context() as patch:
        patch.setattr("clover.data.corpora.index_files.index_shard", None)
        again = open_shards(tmp_path / "w")
    assert list(again) == list(first)
    assert list(again.failed) == list(first.failed)
    assert again.problems == first.problems
    assert again.media(2) == first.media(2)


def test_an_index_of_another_shard_is_made_again(opened, tmp_path):
    shard = make_shard(tmp_path / "a.tar", sample("1", "one"))
    assert summary(opened(shard)) == [("1", "one")]
    make_shard(shard, [*sample("1", "one"), *sample("2", "two")])
    assert summary(opened(shard)) == [("1", "one"), ("2", "two")]


@pytest.mark.parametrize(
    "change",
    [
        lambda index: "{",
        lambda index: "[]",
        lambda index: "[" * 100_000,
        lambda index: json.dumps({**index, "version": 2}),
        lambda index: json.dumps({**index, "stamp": None}),
        lambda index: json.dumps({**index, "samples": None}),
        lambda index: json.dumps({**index, "samples": [["1", "x", 0]]}),
        lambda index: json.dumps({**index, "samples": [["1", "x", -1, 5]]}),
        lambda index: json.dumps({**index, "samples": [["1", "x", 0, 10**30]]}),
        lambda index: json.dumps({**index, "samples": [["1", "\ud800", 0, 5]]}),
        lambda index: json.dumps({**index, "failed": ["12"]}),
        lambda index: json.dumps({**index, "problems": [[0.5, "a", "b"]]}),
    ],
)
def test_a_broken_index_is_made_again(opened, tmp_path, change):
    shard = make_shard(tmp_path / "a.tar", sample("1", "one"))
    opened(shard)
    path = index_file(shard, tmp_path / "cache")
    whole = path.read_text()
    path.write_text(change(json.loads(whole)))
    assert summary(opened(shard)) == [("1", "one")]
    assert path.read_text() == whole


def test_where_no_index_can_be_written(tmp_path):
    shard = make_shard(tmp_path / "a.tar", sample("1", "one"))
    index_file(shard, None).mkdir()
    corpus = open_shards(shard)
    assert summary(corpus) == [("1", "one")]
    assert reasons(corpus)[0][:2] == (None, "a place beside it to keep its index")
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(WriteError, match="cannot write"):
        open_shards(shard, cache_folder=tmp_path / "cache")


def test_a_shard_that_changes_while_it_is_used(opened, tmp_path):
    shard = make_shard(tmp_path / "a.tar", sample("1", "one"))
    corpus = opened(shard)
    shard.write_bytes(shard.read_bytes()[:515])
    with pytest.raises(MediaError, match=r"a\.tar, sample 1: only 3 of 10 bytes are there"):
        corpus.media(0)
    shard.unlink()
    with pytest.raises(MediaError, match="cannot be read"):
        corpus.media(0)


def test_progress(tmp_path):
    shards = [make_shard(tmp_path / f"{number}.tar", sample(str(number))) for number in range(2)]
    calls = []
    open_shards(shards, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]


def test_few_bytes_a_sample(opened, tmp_path):
    members = [member for number in range(500) for member in sample(f"{number:09d}", "a caption of some length " * 3)]
    corpus = opened(make_shard(tmp_path / "a.tar", members))
    assert corpus.num_bytes / len(corpus) < 75 + 60
