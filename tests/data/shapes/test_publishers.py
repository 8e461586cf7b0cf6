"""The generated corpus in the publishers' layouts, read back with plain csv, json and tarfile; all media decoded."""

import csv
import io
import json
import re
import shutil
import tarfile
import zlib

import numpy as np
import pytest

from clover.data.shapes.captions import Wording, captions, paragraph
from clover.data.shapes.choices import choice, repetition, transition
from clover.data.shapes.corpus import ShapesConfig, read_pairs, write_corpus
from clover.data.shapes.plans import REPEATED
from clover.data.shapes.publishers.formats import FORMATS
from clover.data.shapes.publishers.msrvtt import RANGES
from clover.data.shapes.publishers.publisher import number_of
from clover.data.shapes.rendering import render
from clover.data.shapes.sampling import sample_scene
from clover.data.shapes.stills import still
from clover.data.video import probe, read_frames
from clover.errors import ConfigError, DataError

CONFIG = ShapesConfig(num_videos=6, size=64, seed=100)  # one with every kind of row in training and test
COUNTS = CONFIG.num_videos_per_split
TIME = re.compile(r"\d\d\.\d\d\.\d\d\.\d\d\d")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    root = tmp_path_factory.mktemp("publishers")
    for name in FORMATS[1:]:
        write_corpus(root / name, CONFIG, format=name, num_processes=1)
    return root


def scenes(*splits):
    return [sample_scene(CONFIG, split, index) for split in splits for index in range(COUNTS[split])]


def text_of(corpora, name, file):
    return (corpora / name / "annotations" / file).read_bytes().decode()


def table(corpora, name, file, delimiter=","):
    return list(csv.DictReader(io.StringIO(text_of(corpora, name, file), newline=""), delimiter=delimiter))


def plain(corpora, name, file):
    lines = text_of(corpora, name, file).split("\n")
    assert lines.pop() == ""
    return [line.split("\t") for line in lines]


def rows_of(corpora, name, file):
    return json.loads(text_of(corpora, name, file))


def check_shows(media, scene):
    """Whether a file shows a scene: its frames are the rendered ones, but for what compression changes."""
    frames = read_frames(media, 4)
    assert frames.problem is None
    shown = render(scene)[np.floor(frames.seconds * scene.frames_per_second + 1e-6).astype(int)].astype(int)
    assert frames.images.shape == shown.shape
    assert np.abs(frames.images - shown).mean() < 6.0


def media_in(folder):
    ignored = {".json", ".csv", ".tsv", ".txt"}
    return {path for path in folder.rglob("*") if path.is_file() and path.suffix not in ignored}


def test_msrvtt(corpora):
    data = rows_of(corpora, "msrvtt", "MSRVTT_data.json")
    assert [video["id"] for video in data["videos"]] == [0, 1, 2, 3, 6513, 7010]
    assert [video["split"] for video in data["videos"]] == 4 * ["train"] + ["validate", "test"]
    assert {type(value) for video in data["videos"] for value in video.values()} == {str, int, float}
    assert [row["sen_id"] for row in data["sentences"]] == list(range(len(data["sentences"])))
    for video, scene in zip(data["videos"], scenes("train", "validation", "test"), strict=True):
        texts = [row["caption"] for row in data["sentences"] if row["video_id"] == video["video_id"]]
        assert 4 <= len(set(texts)) == len(texts) <= 20
        assert texts[:4] == captions(scene, Wording(seed=CONFIG.seed))
        check_shows(corpora / "msrvtt" / "videos" / f"{video['video_id']}.mp4", scene)
    for size in ("7k", "9k"):
        listed = [row["video_id"] for row in table(corpora, "msrvtt", f"MSRVTT_train.{size}.csv")]
        assert listed == ["video0", "video1", "video2", "video3", "video6513"]
    (row,) = table(corpora, "msrvtt", "MSRVTT_JSFUSION_test.csv")
    sentence = captions(scenes("test")[0], Wording(seed=CONFIG.seed))[0]
    assert row == {"key": "ret0", "vid_key": "msr7010", "video_id": "video7010", "sentence": sentence}


def test_numbers_follow_one_another_where_the_original_has_too_few():
    config = ShapesConfig(num_videos=8000, size=64)
    counts = config.num_videos_per_split
    assert counts["train"] > len(RANGES["train"])
    first, last = (sample_scene(config, "test", index) for index in (0, counts["test"] - 1))
    assert number_of(first, config, RANGES) == counts["train"] + counts["validation"]
    assert number_of(last, config, RANGES) == 7999


def test_msrvtt_choices(corpora):
    assert text_of(corpora, "msrvtt-mc", "MSRVTT_data.json") == text_of(corpora, "msrvtt", "MSRVTT_data.json")
    (row,) = table(corpora, "msrvtt-mc", "MSR_MC_test.csv", "\t")
    options, label = choice(scenes("test")[0], CONFIG.seed)
    assert list(row) == ["key", "vid_key", "a1", "a2", "a3", "a4", "a5", "answer"]
    assert [row[f"a{place}"] for place in range(1, 6)] == options
    assert (row["vid_key"], int(row["answer"])) == ("msr7010", label)
    check_shows(corpora / "msrvtt-mc/videos/video7010.mp4", scenes("test")[0])


@pytest.mark.parametrize("name", ["msrvtt-qa", "msvd-qa"])
def test_questions(corpora, name):
    files = ("train_qa.json", "val_qa.json", "test_qa.json")
    rows = [row for file in files for row in rows_of(corpora, name, file)]
    assert [row["id"] for row in rows] == list(range(len(rows)))
    assert {row["question"].split()[0] for row in rows} <= {"what", "who", "how", "when", "where"}
    assert all(("category_id" in row) == (name == "msrvtt-qa") for row in rows)
    assert {row["video_id"] for row in rows_of(corpora, name, "test_qa.json")} == {
        7010 if name == "msrvtt-qa" else 1451
    }
    if name == "msrvtt-qa":
        files = {row["video_id"]: f"videos/video{row['video_id']}.mp4" for row in rows}
    else:
        lines = text_of(corpora, name, "youtube_mapping.txt").splitlines()
        mapping = {number: name for name, number in (line.split(" ") for line in lines)}
        assert list(mapping) == ["vid1", "vid2", "vid3", "vid4", "vid1201", "vid1451"]
        assert all(re.fullmatch(r"[\w-]{11}_\d+_\d+", value) for value in mapping.values())
        assert {value[0] for value in mapping.values()} >= {"_", "-"}
        numbers = {row["video_id"] for row in rows}
        files = {number: f"videos/YouTubeClips/{mapping[f'vid{number}']}.avi" for number in numbers}
    for number, scene in zip(sorted(files), scenes("train", "validation", "test"), strict=True):
        check_shows(corpora / name / files[number], scene)


def test_didemo(corpora):
    seen = []
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        rows = rows_of(corpora, "didemo", f"{name}_data.json")
        listed = text_of(corpora, "didemo", f"{name}_list.txt").split()
        for file, scene in zip(listed, scenes(split), strict=True):
            mine = [row for row in rows if row["video"] == file]
            assert " ".join(row["description"].strip() for row in mine) == paragraph(scene, Wording(seed=CONFIG.seed))
            check_shows(corpora / "didemo/videos" / file, scene)
        for row in rows:
            assert len(row["times"]) == 4
            assert all(0 <= first <= last < row["num_segments"] for first, last in row["times"])
            assert row["num_segments"] in (5, 6)
        if name == "train":
            assert [row["video"] for row in rows[:4]] == listed
            assert any(row["description"].endswith(" ") for row in rows)
        seen += [row["annotation_id"] for row in rows]
    assert seen == list(range(1, len(seen) + 1))
    assert {path.suffix for path in media_in(corpora / "didemo")} == {".mp4", ".mov", ".avi"}


def check_clips(corpora, name, rows, made_of):
    """The first five columns of a file of LSMDC, and the file that they name."""
    for clip, scene in zip(dict.fromkeys(row[0] for row in rows), made_of, strict=True):
        movie, times = clip.rsplit("_", 1)
        assert all(row[1:3] == row[3:5] == times.split("-") for row in rows if row[0] == clip)
        assert all(TIME.fullmatch(time) for time in times.split("-"))
        assert movie[0] in ("013" if scene.split == "train" else "13")
        check_shows(corpora / name / "videos" / movie / f"{clip}.avi", scene)


def test_lsmdc(corpora):
    files = ("LSMDC16_annos_training.csv", "LSMDC16_annos_val.csv", "LSMDC16_challenge_1000_publictect.csv")
    for file, split in zip(files, COUNTS, strict=True):
        rows = plain(corpora, "lsmdc", file)
        assert {len(row) for row in rows} == {6}
        check_clips(corpora, "lsmdc", rows, scenes(split))
        assert len(rows) == (1 if split == "test" else 4) * COUNTS[split]
        assert all(row[5][0].isupper() and row[5].endswith(".") for row in rows)


def test_lsmdc_choices(corpora):
    for file, split, width in (
        ("LSMDC16_multiple_choice_train.csv", "train", 10),
        ("LSMDC16_multiple_choice_valid.csv", "validation", 10),
        ("LSMDC16_multiple_choice_test_randomized.csv", "test", 11),
    ):
        rows = plain(corpora, "lsmdc-mc", file)
        check_clips(corpora, "lsmdc-mc", rows, scenes(split))
        for row, scene in zip(rows, scenes(split), strict=True):
            assert len(row) == width
            options, label = choice(scene, CONFIG.seed)
            right = int(row[10]) - 1 if split == "test" else 0
            assert row[5 + right].lower() == f"{options[label]}."
            assert len(set(row[5:10])) == 5


def test_lsmdc_blanks(corpora):
    for file, split in (
        ("LSMDC16_annos_training_FIB.csv", "train"),
        ("LSMDC16_annos_val_FIB.csv", "validation"),
        ("LSMDC16_annos_test_FIB.csv", "test"),
    ):
        rows = plain(corpora, "lsmdc-fib", file)
        check_clips(corpora, "lsmdc-fib", rows, scenes(split))
        assert len(rows) > COUNTS[split]
        for row in rows:
            assert len(row) == 8
            assert row[6].count("_____") == 1
            assert " ".join(row[6].replace("_____", row[7]).split()) == row[5]
        assert len({(row[0], row[7]) for row in rows}) == len(rows)


def tgif(corpora, kind):
    name = f"tgif-{'frame' if kind == 'frameqa' else kind}"
    for split, word in (("train", "Train"), ("test", "Test")):
        file = f"{word}_{kind}_question.csv"
        assert text_of(corpora, name, file).count("\r\n") == text_of(corpora, name, file).count("\n")
        rows = table(corpora, name, file, "\t")
        assert rows
        yield split, rows


@pytest.mark.parametrize(
    ("kind", "make", "drawn_as"), [("action", repetition, REPEATED), ("transition", transition, None)]
)
def test_tgif_choices(corpora, kind, make, drawn_as):
    num_gifs = 0
    for split, rows in tgif(corpora, kind):
        drawn = [sample_scene(CONFIG, split, index, drawn_as) for index in range(COUNTS[split])]
        made = [(scene, row) for scene in drawn if (row := make(scene, CONFIG.seed)) is not None]
        for row, (scene, (_, options, label)) in zip(rows, made, strict=True):
            assert list(row) == ["gif_name", "question", "a1", "a2", "a3", "a4", "a5", "answer", "vid_id", "key"]
            assert row["question"].startswith("What does the ") and row["question"].endswith(" ?")
            assert [row[f"a{place}"] for place in range(1, 6)] == options
            assert row["answer"] == str(label)
            assert row["vid_id"] == ("ACTION" if kind == "action" else "TRANS") + row["key"]
            media = corpora / f"tgif-{kind}/videos/gifs/{row['gif_name']}.gif"
            check_shows(media, scene)
            assert probe(media).duration_seconds == pytest.approx(scene.duration_seconds, abs=0.13)
        num_gifs += len(rows)
    assert len(media_in(corpora / f"tgif-{kind}")) == num_gifs


def test_repeated_actions_have_films_and_names_of_their_own(corpora):
    actions, frames = (
        {row["gif_name"] for _, rows in tgif(corpora, kind) for row in rows} for kind in ("action", "frameqa")
    )
    assert len(actions) == COUNTS["train"] + COUNTS["test"]
    assert not actions & frames


def test_tgif_frames(corpora):
    for split, rows in tgif(corpora, "frameqa"):
        assert list(rows[0]) == ["gif_name", "question", "answer", "type", "vid_id", "key", "description"]
        shown = {captions(scene, Wording(seed=CONFIG.seed))[0] + " .": scene for scene in scenes(split)}
        for row in rows:
            scene = shown[row["description"]]
            check_shows(corpora / f"tgif-frame/videos/gifs/{row['gif_name']}.gif", scene)
            colors, shapes = ({getattr(item, name) for item in scene.objects} for name in ("color", "shape"))
            numbers, sides = {"one", "two", "three", "four"}, {"left", "right", "top", "bottom"}
            assert row["answer"] in (shapes, numbers, colors, sides)[int(row["type"])]
    assert {row["type"] for row in rows} == {"0", "1", "2", "3"}


def test_webvid(corpora):
    for file, split in (("results_2M_train.csv", "train"), ("results_2M_val.csv", "validation")):
        rows = table(corpora, "webvid", file)
        assert list(rows[0]) == ["videoid", "contentUrl", "duration", "page_dir", "name"]
        for row, scene in zip(rows, scenes(split), strict=True):
            assert row["name"] == captions(scene, Wording(seed=CONFIG.seed))[0]
            assert re.fullmatch(r"PT00H00M\d\dS", row["duration"])
            check_shows(corpora / f"webvid/videos/{row['page_dir']}/{row['videoid']}.mp4", scene)


def test_conceptual(corpora):
    for file, split, folder in (
        ("Train_GCC-training.tsv", "train", "training"),
        ("Validation_GCC-1.1.0-Validation.tsv", "validation", "validation"),
    ):
        for (caption, link), scene in zip(plain(corpora, "cc3m", file), scenes(split), strict=True):
            shown = still(scene, CONFIG.seed)
            assert caption == shown.caption
            media = corpora / "cc3m" / folder / str(zlib.crc32(link.encode()))
            assert probe(media).is_image
            assert np.abs(read_frames(media, 1).images[0].astype(int) - render(scene)[shown.frame]).mean() < 6.0


@pytest.mark.parametrize(("kind", "ending"), [("webvid", "mp4"), ("cc3m", "jpg")])
def test_shards(corpora, kind, ending):
    for split, folder in (("train", "train"), ("validation", "val")):
        with tarfile.open(corpora / f"webdataset/{kind}/{folder}/00000.tar") as tar:
            content = {member.name: tar.extractfile(member).read() for member in tar}
        keys = list(dict.fromkeys(name.split(".")[0] for name in content))
        failed = {key for key in keys if f"{key}.{ending}" not in content}
        statistics = json.loads((corpora / f"webdataset/{kind}/{folder}/00000_stats.json").read_text())
        assert statistics["count"] - statistics["successes"] == statistics["failed_to_download"] == 1
        assert statistics["successes"] == len(keys) - len(failed) == COUNTS[split]
        assert {len(key) for key in keys} == {8 if kind == "webvid" else 9}
        assert len(failed) == (1 if kind == "webvid" else 0)
        if split == "train" and kind == "webvid":
            assert keys != sorted(keys)
        for key in keys:
            described = json.loads(content[f"{key}.json"])
            assert described["key"] == key
            assert described["caption"] == content[f"{key}.txt"].decode()
            assert (described["status"] == "success") == (described["error_message"] is None) == (key not in failed)
        for key, scene in zip(sorted(set(keys) - failed), scenes(split), strict=True):
            if kind == "webvid":
                check_shows(content[f"{key}.mp4"], scene)
            else:
                shown = still(scene, CONFIG.seed)
                image = read_frames(content[f"{key}.jpg"], 1).images[0].astype(int)
                assert np.abs(image - render(scene)[shown.frame]).mean() < 6.0


@pytest.mark.parametrize("name", FORMATS[1:])
def test_complete_ones_are_left_alone_and_damaged_ones_mended(corpora, tmp_path, name):
    folder = tmp_path / name
    shutil.copytree(corpora / name, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write_corpus(folder, CONFIG, format=name) == 0
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    summary = json.loads((folder / "corpus.json").read_text())
    content = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len(content) == len(summary["media"]) + len(summary["annotations"]) + 1
    (folder / summary["media"][0]).unlink()
    (folder / summary["media"][-1]).write_bytes(b"")
    (folder / summary["annotations"][0]).unlink()
    assert write_corpus(folder, CONFIG, format=name, num_processes=1) == 3
    assert content == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_other_formats_and_settings_are_refused_by_name(corpora, tmp_path):
    folder = corpora / "didemo"
    with pytest.raises(DataError, match="in the format 'didemo', not 'lsmdc'"):
        write_corpus(folder, CONFIG, format="lsmdc")
    with pytest.raises(DataError, match="in the format 'didemo', not 'clover'"):
        write_corpus(folder, CONFIG)
    with pytest.raises(DataError, match=r"other settings \(seed 100, not 1\)"):
        write_corpus(folder, ShapesConfig(num_videos=6, size=64, seed=1), format="didemo")
    with pytest.raises(DataError, match="is a corpus in the format 'didemo'"):
        read_pairs(folder, "train")
    with pytest.raises(ConfigError, match="there is no format 'msvd' of the corpus; choose from clover, msrvtt"):
        write_corpus(tmp_path / "new", CONFIG, format="msvd")
    summary = json.loads((folder / "corpus.json").read_text())
    note = {name: summary[name] for name in ("format", "version", "layout", "config")}
    (tmp_path / ".unfinished.json").write_text(json.dumps(note))
    with pytest.raises(DataError, match="in the format 'didemo', not 'webvid'"):
        write_corpus(tmp_path, CONFIG, format="webvid")
    assert write_corpus(tmp_path, CONFIG, format="didemo", num_processes=1) == 12
    assert not (tmp_path / ".unfinished.json").exists()


def test_a_summary_without_the_list_of_files_is_named(corpora, tmp_path):
    folder = tmp_path / "webvid"
    shutil.copytree(corpora / "webvid", folder)
    summary = json.loads((folder / "corpus.json").read_text())
    for media in (None, [3]):
        (folder / "corpus.json").write_text(json.dumps(summary | {"media": media}))
        with pytest.raises(DataError, match="does not list the files"):
            write_corpus(folder, CONFIG, format="webvid")


def test_the_number_of_processes_changes_nothing(tmp_path):
    config = ShapesConfig(num_videos=24, size=64, seed=100)
    for count in (1, 2):
        write_corpus(tmp_path / str(count), config, format="tgif-action", num_processes=count)
    contents = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "1", tmp_path / "2")
    ]
    assert contents[0] == contents[1]
