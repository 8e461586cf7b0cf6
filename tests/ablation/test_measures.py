"""What is kept of every query: from the same frames and scores that the evaluations of a checkpoint use."""

import numpy as np
import pytest

from clover.ablation.measures import EvaluationData, measure_zero_shot, read_figures, read_queries
from clover.checkpoints import CloverConfig
from clover.data.shapes.corpus import ShapesConfig, read_pairs, write_corpus
from clover.data.text import Tokenizer
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
