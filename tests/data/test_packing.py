"""Packs: every sample once, the same bytes however it was interrupted, and everything that is left out is named."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_media import make_video

from clover.data.corpora.shards import open_shards
from clover.data.packing.encoding import EncodingConfig
from clover.data.packing.pack import pack_here, pack_on_ray, summarise
from clover.data.packing.parts import pack_part
from clover.data.packing.samples import BadSample, PackedSample, SampleJob
from clover.data.packing.settings import PackingConfig, Part
from clover.data.packing.sources import SourceOptions, open_source
from clover.data.packing.tags import read_captions, read_tags, tags_as_json
from clover.data.packing.workers import pack_samples
from clover.data.shapes.corpus import ShapesConfig, read_pairs, write_corpus
from clover.data.tagging import tag
from clover.data.video import probe, read_frames
from clover.errors import ConfigError, DataError, TextError
from clover.files import WriteError

FORMATS = Path(__file__).parents[1] / "formats"
CONFIG = PackingConfig(encoding=EncodingConfig(short_side=32), samples_per_shard=3)
ROWS = 9


@pytest.fixture(scope="module")
def webvid(tmp_path_factory):
    """A caption file of nine clips; the third is missing and the sixth is no video."""
    folder = tmp_path_factory.mktemp("webvid")
    rows = ["videoid,contentUrl,duration,page_dir,name"]
    for number in range(ROWS):
        rows.append(f"{100 + number},u,PT1S,1_50,Dog {number} runs quickly over the café terrace")
        if number != 2:
            path = folder / "videos/1_50" / f"{100 + number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            make_video(path, 6 + number)
    path.with_name("105.mp4").write_bytes(b"no video at all" * 50)
    (folder / "results.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return SourceOptions(path=str(folder / "results.csv"))


def content(folder):
    """Every file but the index that reading leaves."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".index.json")}


def packed(folder, cache):
    """Members of every sample of a pack, by key."""
    corpus = open_shards(folder, cache_folder=cache)
    assert not corpus.problems
    members = {}
    for shard in corpus.shards:
        with tarfile.open(shard) as archive:
            for member in archive:
                members.setdefault(member.name.split(".")[0], {})[member.name.split(".")[1]] = archive.extractfile(
                    member
                ).read()
    assert list(members) == [corpus.name(place) for place in range(len(corpus))]
    return members


@given(num_samples=st.integers(0, 10_000), count=st.integers(1, 300))
def test_every_sample_is_in_exactly_one_part(num_samples, count):
    parts = [Part(index=index, count=count).positions(num_samples) for index in range(count)]
    assert [position for part in parts for position in part] == list(range(num_samples))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_pack_is_a_corpus(webvid, tmp_path):
    source, manifest = pack_here(webvid, tmp_path / "out", CONFIG, Part())
    assert (manifest.num_samples, manifest.num_bad, len(manifest.shards)) == (7, 2, 3)
    samples = packed(tmp_path / "out", tmp_path / "cache")
    assert list(samples) == [f"{place:09d}" for place in (0, 1, 3, 4, 6, 7, 8)]
    for key, members in samples.items():
        about, caption = json.loads(members["json"]), members["txt"].decode()
        assert caption == source.corpus.caption(int(key))
        assert read_tags(about, caption) == tag([caption])[0]
        assert (about["name"], about["source"], about["index"]) == (str(100 + int(key)), "webvid", int(key))
        assert about["tagger"].startswith("hanta-")
        info = probe(members["mp4"])
        assert (info.width, info.height, info.num_frames) == (84, 32, 6 + int(key))
        assert (about["width"], about["height"], about["num_frames"]) == (84, 32, 6 + int(key))
        assert about["duration"] == pytest.approx(info.duration_seconds, abs=1e-6)
    corpus = open_shards(tmp_path / "out", cache_folder=tmp_path / "cache")
    assert len(read_frames(corpus.media(0), 4).images) == 4
    bad = [json.loads(line) for line in (tmp_path / "out/bad-0000.jsonl").read_text().splitlines()]
    assert [(row["index"], row["name"]) for row in bad] == [(2, "102"), (5, "105")]
    assert "no such file" in bad[0]["reason"]
    assert "is not a video" in bad[1]["reason"]
    summary = summarise(tmp_path / "out", 1)
    assert (summary.num_complete, summary.num_samples, summary.num_bad, summary.num_shards) == (1, 7, 2, 3)
    assert summary.num_bytes == sum(path.stat().st_size for path in (tmp_path / "out").glob("*.tar"))
    assert summary.num_hours == pytest.approx(sum(6 + int(key) for key in samples) / 30 / 3600)


def test_parts_make_up_the_whole(webvid, tmp_path):
    for index in (2, 0, 1):
        pack_here(webvid, tmp_path / "parts", CONFIG, Part(index=index, count=3))
        assert summarise(tmp_path / "parts", 3).num_complete == {2: 1, 0: 2, 1: 3}[index]
    pack_here(webvid, tmp_path / "whole", CONFIG, Part())
    assert packed(tmp_path / "parts", tmp_path) == packed(tmp_path / "whole", tmp_path)
    assert sorted(path.name for path in (tmp_path / "parts").glob("*.tar")) == [
        f"shard-000{part}-00000.tar" for part in range(3)
    ]


def test_shards_are_full_by_size_too(webvid, tmp_path):
    config = PackingConfig(encoding=CONFIG.encoding)
    assert [config.is_full(10**6, size) for size in (255_999_999, 256_000_000)] == [False, True]
    _, manifest = pack_here(webvid, tmp_path / "out", config, Part())
    assert [shard.num_samples for shard in manifest.shards] == [7]


def test_what_was_lost_is_made_again_and_a_complete_part_left_alone(webvid, tmp_path):
    out = tmp_path / "out"
    pack_here(webvid, out, CONFIG, Part())
    whole = content(out)
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    pack_here(webvid, out, CONFIG, Part())
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == times
    for damage in (
        lambda: (out / "shard-0000-00001.tar").unlink(),
        lambda: (out / "shard-0000-00000.tar").write_bytes(b"short"),
        lambda: (out / "part-0000.json").write_text("{"),
        lambda: (out / "part-0000.json").unlink(),
        lambda: (out / "bad-0000.jsonl").write_text(""),
    ):
        damage()
        assert content(out) != whole
        pack_here(webvid, out, CONFIG, Part())
        assert content(out) == whole


KILLING = """
import os, random, signal, sys, time, json
from pathlib import Path
from clover.data.packing.pack import pack_here
from clover.data.packing.encoding import EncodingConfig
from clover.data.packing.settings import PackingConfig, Part
from clover.data.packing.sources import SourceOptions
from clover.data.tagging import load_tagger
load_tagger("hanta")
source = SourceOptions(path=sys.argv[1])
config = PackingConfig(encoding=EncodingConfig(short_side=32), samples_per_shard=2)
instants, num_kills, num_lives = random.Random(0), 0, 0
while num_kills < 20:
    seconds = 0.03
    while True:
        child = os.fork()
        if not child:
            pack_here(source, Path(sys.argv[2], str(num_lives)), config, Part())
            os._exit(0)
        time.sleep(instants.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != -signal.SIGKILL:
            assert status == 0, status
            break
        num_kills, seconds = num_kills + 1, seconds * 1.03  # a slow machine comes to its end as well
    num_lives += 1
"""


def test_killed_at_any_instant_the_bytes_are_the_same(webvid, tmp_path):
    pack_here(webvid, tmp_path / "whole", PackingConfig(encoding=CONFIG.encoding, samples_per_shard=2), Part())
    command = [sys.executable, "-W", "ignore", "-c", KILLING, webvid.path, tmp_path / "killed"]
    subprocess.run(command, check=True)
    lives = sorted((tmp_path / "killed").iterdir())
    assert lives
    for life in lives:
        assert content(life) == content(tmp_path / "whole")


class Killer(bytes):
    """Bytes that end the process that gets them."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_sample_that_kills_its_process_costs_only_itself(tmp_path):
    video = make_video(tmp_path / "a.mp4", 5)
    jobs = [
        SampleJob(position=place, name=str(place), source="made", captions=("a dog",), media=media)
        for place, media in enumerate([video, video, Killer(b"x"), video])
    ]
    jobs.append(BadSample(position=4, name="4", reason="bad from the start"))
    outcomes = list(pack_samples(jobs, CONFIG, 1))
    assert [type(outcome) for outcome in outcomes] == [PackedSample, PackedSample, BadSample, PackedSample, BadSample]
    assert outcomes[2].reason == "the process that decoded it was killed"
    assert outcomes[4] == jobs[4]
    assert outcomes[0].members[0] == outcomes[1].members[0] == outcomes[3].members[0]


def test_generated_corpus_with_all_its_captions(tmp_path):
    write_corpus(tmp_path / "corpus", ShapesConfig(num_videos=30), num_processes=1)
    options = SourceOptions(path=str(tmp_path / "corpus"), split="test")
    source, _ = pack_here(options, tmp_path / "out", CONFIG, Part())
    samples = list(packed(tmp_path / "out", tmp_path / "cache").values())
    assert len(samples) == len(source) == len({pair.video_id for pair in read_pairs(tmp_path / "corpus", "test")})
    read = [read_captions(json.loads(members["json"]), members["txt"].decode()) for members in samples]
    texts = [caption.text for captions in read for caption in captions]
    assert texts == [pair.text for pair in read_pairs(tmp_path / "corpus", "test")]
    assert [caption.words for captions in read for caption in captions] == tag(texts)
    with pytest.raises(DataError, match="no split named 'dance'"):
        open_source(SourceOptions(path=str(tmp_path / "corpus"), split="dance"))


@pytest.mark.parametrize("shape", ["folder", "file", "pattern"])
def test_tars_of_others(tmp_path, shape):
    shutil.copytree(FORMATS / "webdataset/cc3m", tmp_path / "tars")
    (tmp_path / "tars/99999.tar").write_bytes(b"no tar")
    path = {"folder": "tars", "file": "tars/00000.tar", "pattern": "t*/*.tar"}[shape]
    source, _ = pack_here(SourceOptions(path=str(tmp_path / path)), tmp_path / "out", CONFIG, Part())
    samples = packed(tmp_path / "out", tmp_path / "cache")
    assert [members["txt"].decode() for members in samples.values()] == [source.corpus.caption(p) for p in range(3)]
    for place, members in enumerate(samples.values()):
        assert list(members) == ["jpg", "txt", "json"]
        before, after = (read_frames(media, 1, short_side=32) for media in (source.corpus.media(place), members["jpg"]))
        brightness = [frames.images.mean(-1).reshape(-1) for frames in (before, after)]
        assert np.corrcoef(brightness)[0, 1] > 0.95
    assert any("samples were never fetched" in line for line in source.remarks)
    assert any("1 tars cannot be read" in line for line in source.remarks) == (shape != "file")


def test_cc3m_rows_without_images_are_bad(tmp_path):
    images = open_shards(FORMATS / "webdataset/cc3m", cache_folder=tmp_path / "cache")
    options = SourceOptions(path=str(FORMATS / "cc3m/Train_GCC-training.tsv"), media=str(tmp_path / "images"))
    (tmp_path / "images/training").mkdir(parents=True)
    first = open_source(options).corpus.name(0)
    (tmp_path / "images/training" / first).write_bytes(images.media(0))
    source, manifest = pack_here(options, tmp_path / "out", CONFIG, Part())
    assert source.about["format"] == "cc3m"
    assert (manifest.num_samples, manifest.num_bad) == (1, len(source) - 1)
    (members,) = packed(tmp_path / "out", tmp_path / "cache").values()
    assert list(members) == ["jpg", "txt", "json"]


def test_nothing_could_be_packed(webvid, tmp_path):
    options = SourceOptions(path=webvid.path, media=str(tmp_path))
    with pytest.raises(
        DataError, match=r"none of 9 samples could be packed; bad-0000.jsonl lists them.*100: .*no such"
    ):
        pack_here(options, tmp_path / "out", CONFIG, Part())


def test_another_pack_is_refused_by_what_differs(webvid, tmp_path):
    out = tmp_path / "out"
    pack_here(webvid, out, CONFIG, Part(index=0, count=2))
    before = content(out)
    other = PackingConfig(encoding=EncodingConfig(short_side=64), samples_per_shard=3)
    for config, part, message in (
        (other, Part(count=2), r"\(short_side 32, not 64\)"),
        (CONFIG, Part(count=3), r"\(num_parts 2, not 3\)"),
    ):
        with pytest.raises(DataError, match=f"out holds a pack of other settings {message}; choose another folder"):
            pack_here(webvid, out, config, part)
    moved = shutil.copytree(Path(webvid.path).parent, tmp_path / "moved")
    pack_here(SourceOptions(path=str(moved / "results.csv")), out, CONFIG, Part(index=0, count=2))
    assert content(out) == before
    (moved / "results.csv").write_text((moved / "results.csv").read_text().replace("Dog 8", "Cat 8"))
    with pytest.raises(DataError, match="source fingerprint"):
        pack_here(SourceOptions(path=str(moved / "results.csv")), out, CONFIG, Part(index=0, count=2))


def test_places_that_cannot_be_used(webvid, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(DataError, match="full is not empty and holds no pack"):
        pack_here(webvid, tmp_path / "full", CONFIG, Part())
    (tmp_path / "full/pack.json").write_text("[]")
    with pytest.raises(DataError, match=r"pack\.json does not describe a pack"):
        pack_here(webvid, tmp_path / "full", CONFIG, Part())
    with pytest.raises(DataError, match=r"notes\.txt is a file"):
        pack_here(webvid, tmp_path / "full/notes.txt", CONFIG, Part())
    with pytest.raises(WriteError, match="cannot write"):
        pack_here(webvid, Path("/proc/clover"), CONFIG, Part())


def test_a_full_disk_keeps_what_was_finished(webvid, tmp_path, monkeypatch):
    out, source = tmp_path / "out", open_source(webvid)

    def add(self, *_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tarfile.TarFile.addfile", add)
        with pytest.raises(WriteError, match=r"shard-0000-00000\.tar: No space left"):
            pack_part(source, out, CONFIG, Part())
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2/2", "part 2/2 does not exist; they are counted from 0/2 to 1/2"),
        ("-1/2", "does not exist"),
        ("0/0", "1 part or more"),
        ("1", "not of the form i/n"),
        ("1/2/3", "not of the form"),
        ("a/b", "not of the form"),
    ],
)
def test_parts_that_do_not_exist(text, message):
    with pytest.raises(ConfigError, match=message):
        Part.parse(text)


def test_sources_that_do_not_exist(webvid, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("x")
    for path, error, message in (
        ("none.csv", DataError, "no such file or folder"),
        ("none-*.tar", DataError, "expected tars that this path or pattern names, found none"),
        ("empty", DataError, r"expected \*.tar files, or corpus.json"),
        ("a.txt", ConfigError, "name it with --format"),
    ):
        with pytest.raises(error, match=message):
            open_source(SourceOptions(path=str(tmp_path / path)))
    with pytest.raises(DataError, match="expected the folder of the media, found none; name it with --media"):
        open_source(SourceOptions(path=webvid.path, media=str(tmp_path / "none")))
    with pytest.raises(ConfigError, match="10 parts of 9 samples; use 9 parts or fewer"):
        pack_here(webvid, tmp_path / "out", CONFIG, Part(count=10))
    with pytest.raises(TextError, match="unknown tagger 'dance'"):
        pack_here(webvid, tmp_path / "out", PackingConfig(tagger="dance"), Part())
    assert not (tmp_path / "out").exists()


words = st.lists(st.text(st.characters(codec="utf-8"), min_size=1), max_size=6)


@given(words.map(" ".join).map(str.strip))
def test_tags_come_back_through_json(caption):
    tagged = tag([caption])[0]
    about = json.loads(json.dumps({"tags": tags_as_json(tagged)}))
    assert read_tags(about, caption) == tagged
    if tagged:
        assert read_tags(about, caption[: tagged[-1].end - 1]) is None


@pytest.mark.parametrize(
    "tags",
    [
        None,
        "x",
        [],
        [[0, 1]],
        [[0, 9, "NOUN"]],
        [[0, 1, "DANCE"]],
        [[1, 1, "X"]],
        [[1, 2, "X"], [0, 1, "X"]],
        [[0.0, 1, "X"]],
    ],
)
def test_tags_that_do_not_fit_are_no_tags(tags):
    assert read_tags({"tags": tags}, "a dog") is None


def test_ray_without_ray(webvid, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"ray is not installed: pip install 'clover-vl\[ray\]'"):
        pack_on_ray(webvid, tmp_path / "out", CONFIG, "local")
