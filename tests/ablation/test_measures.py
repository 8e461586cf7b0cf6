"""What is kept of every query: from the same frames and scores that the evaluations of a checkpoint use."""

import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.ablation.measures import EvaluationData, measure_zero_shot, read_figures, read_queries
from clover.checkpoints import CloverConfig
from clover.data.shapes.corpus import ShapesConfig, read_pairs, write_corpus
from clover.data.text import Tokenizer
from clover.errors import DataError
from clover.evaluation.retrieval import evaluate_retrieval
from clover.modeling.initialise import new_model
from clover.modeling.sizes import small
from clover.pipeline import Clover
from clover.recipes.ablation import combined

SHAPES = ShapesConfig(num_videos=24, size=64, group_size=2, test_share=0.5, rich_words=True)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "corpus"
    write_corpus(folder, SHAPES, num_processes=1)
    return folder


@pytest.fixture(scope="module")
def clover(corpus):
    tokenizer = Tokenizer.train([pair.text for pair in read_pairs(corpus, "train")], 300)
    model = small(vocabulary_size=tokenizer.vocabulary_size)
    return Clover(new_model(model), tokenizer, CloverConfig(model=model, inputs=combined().inputs))


def test_queries_are_those_of_the_evaluations(corpus, clover, tmp_path):
    data = EvaluationData.open(corpus, SHAPES, "test", clover, tmp_path)
    assert len(data.paragraphs) == 12
    for pair in data.paragraphs[:4]:
        assert np.array_equal(data.read(pair.video), clover.clip(pair.video))
    assert data.groups(data.paragraphs).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    measure_zero_shot(clover, data, tmp_path / "zero_shot.json")
    figures, queries = read_figures(tmp_path / "zero_shot.json"), read_queries(tmp_path / "zero_shot.json")
    expected = evaluate_retrieval(clover, data.captions)
    assert queries["captions_rank"].tolist() == expected.text_ranks.tolist()
    assert figures["captions"]["recall_at_5"] == expected.text_to_video.recall_at_5
    assert figures["captions"]["num_queries"] == len(queries["captions_group"]) == 4 * 12
    first = queries["captions_scores"][0].astype(float)
    assert queries["captions_rank"][0] == 1 + (first > first[0]).sum()  # each video's first caption, in their order
    assert queries["captions_scores"].shape == queries["paragraphs_scores"].shape == (12, 12)
    right, classes = queries["probes_right"], queries["probes_class"]
    assert figures["probes"]["color"] == pytest.approx(100 * right[classes == "color"].mean())
    assert len(right) == len(queries["probes_group"]) == len(data.probes)


ARRAYS = {
    "captions_rank": np.arange(1, 40),
    "captions_scores": np.linspace(-1, 1, 64).astype(np.float16).reshape(8, 8),
    "probes_class": np.array(["color", "shape", "count"]),
    "right": np.array([True, False, True]),
}


def written(folder):
    """Queries of a run, as they are kept; the path of its figures."""
    np.savez_compressed(folder / "open.npz", allow_pickle=False, **ARRAYS)
    return folder / "open.json"


def refused(path):
    """What is said of queries that cannot be read; None where they can, to the last number."""
    try:
        found = read_queries(path)
        for name, array in ARRAYS.items():
            assert np.array_equal(found[name], array)
    except DataError as error:
        assert str(error).startswith(str(path.with_suffix(".npz")))
        assert f"remove {path} and run the ablation again" in str(error)
        assert "\n" not in str(error)
        return str(error)
    return None


CHANGES = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=3)


@given(CHANGES)
def test_a_file_with_a_few_changed_bytes_is_read_or_named(tmp_path_factory, changes):
    path = written(tmp_path_factory.getbasetemp())
    place = path.with_suffix(".npz")
    content = bytearray(place.read_bytes())
    for position, value in changes:
        content[position % len(content)] = value
    place.write_bytes(content)
    refused(path)


def test_every_single_changed_byte_of_the_list_of_arrays_is_read_or_named(tmp_path):
    """Where an archive says how each array is packed, whether it is encrypted, and what read it needs."""
    path = written(tmp_path)
    place = path.with_suffix(".npz")
    content = place.read_bytes()
    said = set()
    for position in range(content.index(b"PK\x01\x02"), len(content)):
        for value in (content[position] ^ 1, content[position] ^ 99):
            place.write_bytes(content[:position] + bytes([value]) + content[position + 1 :])
            said.add(refused(path))
    assert any("is encrypted" in (why or "") for why in said)
    assert any("compression" in (why or "") for why in said)


def test_what_is_no_archive_of_arrays_is_named(tmp_path):
    path = written(tmp_path)
    assert refused(path) is None
    place = path.with_suffix(".npz")
    np.save(tmp_path / "alone.npy", np.arange(3))
    (tmp_path / "alone.npy").rename(place)
    assert "cannot be read (it is a single array)" in refused(path)
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("right", "yes")
    assert "holds right, which is no array" in refused(path)
    np.savez(place, left=np.arange(3))
    assert "holds no captions_rank" in refused(path)
    place.unlink()
    assert "cannot be read" in refused(path)


def test_figures_that_are_none_are_named(tmp_path):
    for text in ("[" * 100_000, "{", "[1]", "\x80"):
        (tmp_path / "open.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError, match=r"open\.json .* remove it and run the ablation again"):
            read_figures(tmp_path / "open.json")
