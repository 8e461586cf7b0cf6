"""The harder corpus: groups that differ in one thing, words for the same, wrong captions, and probes."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.data.shapes.captions import MORE_WORDS, SteadySpeaker, Wording, captions, tell
from clover.data.shapes.changes import CHANGES, near_duplicates
from clover.data.shapes.corpus import describe, read_pairs, read_paragraphs, read_probes, write_corpus
from clover.data.shapes.motion import seen
from clover.data.shapes.noise import EMPTY_TALK
from clover.data.shapes.presets import hard_corpus, warm_corpus
from clover.data.shapes.probes import probes
from clover.data.shapes.sampling import ShapesConfig, sample_scene
from clover.data.shapes.splits import held_out
from clover.errors import ConfigError, DataError

HARD = hard_corpus(1000)


def differing_words(one, other):
    """How many words two sentences of the same length differ in, an article before a vowel aside."""
    one, other = ([word for word in text.split() if word not in ("a", "an")] for text in (one, other))
    return sum(a != b for a, b in zip(one, other, strict=True)) if len(one) == len(other) else None


def words(text):
    """The words of a sentence and how often each is there."""
    return Counter(text.replace(",", "").split())


def test_videos_of_a_group_differ_in_one_thing_and_are_told_in_the_same_words():
    num_alike = 0
    for first in range(0, 120, HARD.group_size):
        base = sample_scene(HARD, "test", first)
        for index in range(first + 1, first + HARD.group_size):
            scene = sample_scene(HARD, "test", index)
            assert scene.index == index
            if scene.background != base.background:  # nothing of this group fitted
                continue
            num_alike += 1
            num_objects = sum(a != b for a, b in zip(scene.objects, base.objects, strict=True))
            num_events = sum(a != b for a, b in zip(scene.events, base.events, strict=True))
            assert (num_objects, num_events) in ((1, 0), (0, 1), (1, 1), (0, 2))
            told = [describe(each, HARD)[""][0]["captions"][0] for each in (base, scene)]
            assert told[0] != told[1]
            if num_events == 0:
                assert differing_words(*told) == 1
    assert num_alike > 75  # of 90


def test_a_group_stays_in_the_picture_and_keeps_its_held_out_pairs():
    rules = held_out(HARD.seed)
    for index in range(160):
        scene = sample_scene(HARD, "test", index)
        actor, actions = scene.objects[0], [event.action for event in scene.events_of(0)]
        moved = [action for action in actions if (actor.shape, action) in rules.shape_actions]
        if scene.kind != "hit":  # whose way counts as a move
            assert moved or (actor.color, actor.shape) in rules.color_shapes
        state = seen(scene)
        assert (state.x - state.radius > -0.05).all() and (state.x + state.radius < 1.05).all()
        assert (state.y - state.radius > -0.05).all() and (state.y + state.radius < 1.05).all()


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_near_duplicates_are_distinct_and_not_the_scene_itself(index):
    base = sample_scene(ShapesConfig(seed=3), "test", index)
    alike = near_duplicates(base, 3, np.random.default_rng(index), held_out(3))
    shown = [(scene.objects, scene.events) for scene in [base, *alike]]
    assert all(one != other for place, one in enumerate(shown) for other in shown[:place])
    assert {scene.video for scene in alike} <= {base.video}


def test_probes_change_what_they_say_and_nothing_else():
    found = Counter()
    for index in range(150):
        scene = sample_scene(HARD, "test", index)
        for probe in probes(scene, Wording(seed=0, is_rich=True)):
            found[probe["class"]] += 1
            assert probe["caption"] != probe["changed"]
            if probe["class"] in ("color", "shape"):
                assert differing_words(probe["caption"], probe["changed"]) == 1
            if probe["class"] == "order":
                assert words(probe["caption"]) == words(probe["changed"])
    assert set(found) == set(CHANGES) and min(found.values()) >= 3


def test_a_changed_caption_is_not_true_of_its_video():
    for index in range(200):
        scene = sample_scene(HARD, "test", index)
        for word_class in ("color", "shape"):
            other = CHANGES[word_class](scene, np.random.default_rng(index))
            now = {getattr(item, word_class) for item in other.objects}
            assert len(now - {getattr(item, word_class) for item in scene.objects}) == 1


def test_a_steady_speaker_says_the_same_of_the_same_whatever_comes_before():
    scene = sample_scene(HARD, "test", 0)
    said = {tell(scene, SteadySpeaker(np.random.default_rng(1), True, key=5, has_more_words=True)) for _ in range(3)}
    assert len(said) == 1


def test_rich_words_are_used_and_known_words_stay():
    said = Counter()
    for index in range(300):
        for text in captions(sample_scene(HARD, "train", index), Wording(seed=0, is_rich=True)):
            said.update(text.split())
    assert {"crimson", "lozenge", "tiny", "orbits", "red", "ball"} <= set(said)
    plain = {word for texts in MORE_WORDS.values() for text in texts for word in text.split()}
    poor = " ".join(
        text for index in range(200) for text in captions(sample_scene(HARD, "train", index), Wording(seed=0))
    )
    assert not {"crimson", "lozenge", "tiny", "orbits"} & set(poor.split()) and len(plain) > 40


def test_noise_is_as_frequent_as_asked_for_marked_and_only_in_training():
    rows = [describe(sample_scene(HARD, "train", index), HARD)[""][0] for index in range(160)]
    num_captions = sum(len(row["captions"]) for row in rows)
    num_noisy = sum(len(row["noisy"]) for row in rows)
    assert num_noisy / num_captions == pytest.approx(HARD.noise_share, abs=0.05)
    assert {row["captions"][place] in EMPTY_TALK for row in rows for place in row["noisy"]} == {True, False}
    quiet = replace(HARD, noise_share=0.0)
    for index in range(40):
        scene = sample_scene(HARD, "train", index)
        noisy, true = describe(scene, HARD)[""][0], describe(scene, quiet)[""][0]
        for place, text in enumerate(true["captions"]):
            assert noisy["captions"][place] == text or place in noisy["noisy"]
        assert "noisy" not in true
    assert "noisy" not in describe(sample_scene(HARD, "test", 0), HARD)[""][0]


def test_the_corpus_of_warm_starts_has_other_videos_and_the_same_rules(tmp_path):
    warm, hard = replace(warm_corpus(8), size=64), replace(hard_corpus(8), size=64)
    for name, config in (("warm", warm), ("hard", hard)):
        write_corpus(tmp_path / name, config, num_processes=1)
    held = [json.loads((tmp_path / name / "corpus.json").read_text())["held_out"] for name in ("warm", "hard")]
    assert held[0] == held[1]
    videos = [{pair.video.name for pair in read_pairs(tmp_path / name, "train")} for name in ("warm", "hard")]
    assert not videos[0] & videos[1]
    assert sample_scene(warm, "train", warm.first_video) != sample_scene(hard, "train", 0)


def test_paragraphs_and_probes_are_read_back(tmp_path):
    write_corpus(tmp_path / "corpus", replace(hard_corpus(10), size=64), num_processes=1)
    paragraphs = read_paragraphs(tmp_path / "corpus", "test")
    assert len(paragraphs) == 2 and all(text.text.startswith("there ") for text in paragraphs)
    found = read_probes(tmp_path / "corpus", "test")
    assert [probe.index for probe in found] == list(range(len(found)))
    assert {probe.word_class for probe in found} <= set(CHANGES) and found[0].video.is_file()
    (tmp_path / "corpus" / "test_probes.jsonl").unlink()
    with pytest.raises(DataError, match=r"test_probes\.jsonl is missing"):
        read_probes(tmp_path / "corpus", "test")


def test_a_corpus_written_before_these_settings_is_still_the_same(tmp_path):
    config = ShapesConfig(num_videos=3, size=64)
    write_corpus(tmp_path / "corpus", config, num_processes=1)
    path = tmp_path / "corpus" / "corpus.json"
    summary = json.loads(path.read_text())
    for name in ("test_share", "first_video", "group_size", "noise_share", "rich_words"):
        del summary["config"][name]
    path.write_text(json.dumps(summary))
    (tmp_path / "corpus" / "test_probes.jsonl").unlink()
    assert write_corpus(tmp_path / "corpus", config, num_processes=1) == 1  # the probes alone
    with pytest.raises(DataError, match="group_size 1, not 2"):
        write_corpus(tmp_path / "corpus", replace(config, group_size=2), num_processes=1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"test_share": 0.0}, "test_share is 0.0"),
        ({"first_video": -1}, "first_video is -1"),
        ({"group_size": 9}, "group_size is 9"),
        ({"noise_share": 1.0}, "noise_share is 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(changed, said):
    with pytest.raises(ConfigError, match=said):
        ShapesConfig(**changed)


def test_layouts_of_publishers_do_not_know_these_settings(tmp_path):
    with pytest.raises(ConfigError, match="noise_share is for the corpus's own format"):
        write_corpus(tmp_path / "corpus", ShapesConfig(num_videos=3, noise_share=0.1), format="msrvtt")
