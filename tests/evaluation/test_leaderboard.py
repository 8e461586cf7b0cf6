"""MTEB runs a checkpoint on a tiny task of text-to-video retrieval, and finds what our own evaluation finds."""

from dataclasses import replace
from types import SimpleNamespace

import datasets
import mteb
import numpy as np
import pytest
import torch
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata

from clover.checkpoints import CloverConfig, InputConfig
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.data.video_writer import write_video
from clover.errors import ConfigError, DataError
from clover.evaluation.leaderboard import VideoTextEncoder
from clover.evaluation.retrieval import evaluate_retrieval
from clover.modeling.initialise import new_model
from clover.modeling.sizes import tiny
from clover.pipeline import Clover
from clover.types import Pair

TEXTS = ("a red ball moves left", "a green star spins", "a blue cross jumps", "two rings", "a heart", "nothing")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder, generator = tmp_path_factory.mktemp("videos"), np.random.default_rng(0)
    made = []
    for place, text in enumerate(TEXTS):
        images = np.repeat(generator.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8), 4, axis=0)
        video = write_video(folder / f"{place}.mp4", images.repeat(8, axis=1).repeat(8, axis=2))
        made.append(Pair(video=video, text=text, index=place, video_id=str(place), text_id=str(place)))
    return made


RIGHT = (1, 0, 2, 3, 4, 5)
"""For each text the video whose embedding it is taught: the first two are taught each other's."""


@torch.no_grad()
def taught(clover, pairs):
    """The model, its last layer of texts worked out so that each is near one video and far from other texts."""
    videos = clover.encode_video([pair.video for pair in pairs])
    last, seen = clover.network.text_projection.contract, []
    listener = last.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    clover.encode_text(list(TEXTS))
    listener.remove()
    wanted = torch.nn.functional.normalize(videos - videos.mean(dim=0))[list(RIGHT)]
    last.weight.copy_(torch.linalg.lstsq(seen[0], wanted, driver="gelsd").solution.T)
    last.bias.zero_()
    return clover


@pytest.fixture(scope="module")
def encoder(pairs, tmp_path_factory):
    tokenizer = Tokenizer.train(TEXTS, 100)
    model = replace(tiny(vocabulary_size=tokenizer.vocabulary_size), initial_weights="fan_in")
    inputs = InputConfig(num_frames=8, frames=TransformConfig(size=32, test_fit="square"), max_text_length=16)
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    clover = Clover(new_model(model, seed=0), tokenizer, CloverConfig(model=model, inputs=inputs))
    taught(clover, pairs).save_pretrained(folder)
    return VideoTextEncoder(folder, training_datasets=["MSRVTTT2V"])


def tiny_task(pairs):
    class TinyVideos(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="TinyVideos",
            description="Six clips of noise.",
            dataset={"path": "nowhere/tiny", "revision": "0"},
            type="Any2AnyRetrieval",
            category="t2v",
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
            modalities=["text", "video"],
        )

        def load_data(self, num_proc=None, **_):
            names = [pair.video_id for pair in pairs]
            queries = datasets.Dataset.from_dict({"id": names, "text": [pair.text for pair in pairs]})
            corpus = datasets.Dataset.from_dict({"id": names, "video": [str(pair.video) for pair in pairs]})
            right = {name: {name: 1} for name in names}
            self.dataset = {
                "default": {
                    "test": RetrievalSplitData(
                        queries=queries,
                        corpus=corpus.cast_column("video", datasets.Video()),
                        relevant_docs=right,
                        top_ranked=None,
                    )
                }
            }
            self.data_loaded = True

    return TinyVideos()


@pytest.mark.filterwarnings("ignore")
def test_recalls_are_those_of_our_own_evaluation(encoder, pairs, monkeypatch):
    seen, embed = {}, encoder._embed

    def noted(batch):
        found = embed(batch)
        seen[next(name for name in ("video", "text") if name in batch)] = found.numpy()
        return found

    monkeypatch.setattr(encoder, "_embed", noted)
    found = mteb.evaluate(encoder, [tiny_task(pairs)], cache=None, show_progress_bar=False)
    for name, own in (
        ("video", encoder.clover.encode_video([pair.video for pair in pairs])),
        ("text", encoder.clover.encode_text(list(TEXTS))),
    ):
        np.testing.assert_allclose(seen[name], own, atol=1e-5, err_msg=name)
    scores = found.task_results[0].scores["test"][0]
    own = evaluate_retrieval(encoder.clover, pairs).text_to_video
    assert own.recall_at_1 == pytest.approx(100 * 4 / 6), "four of the six texts are taught their own video"
    assert 100 * scores["recall_at_1"] == pytest.approx(own.recall_at_1, abs=0.01)
    assert 100 * scores["recall_at_5"] == pytest.approx(own.recall_at_5, abs=0.01)


def test_no_two_rows_have_one_embedding(encoder, pairs):
    for rows in (encoder.clover.encode_text(list(TEXTS)), encoder.clover.encode_video([pair.video for pair in pairs])):
        others = (rows @ rows.T)[~np.eye(len(rows), dtype=bool)]
        assert others.max() < 0.95, "else nothing could be told of their order"


def test_the_description_says_what_is_known(encoder):
    meta = encoder.mteb_model_meta
    assert meta.name == f"clover/{encoder.clover.fingerprint}"
    assert (meta.revision, meta.embed_dim, meta.modalities) == (encoder.clover.fingerprint, 32, ["text", "video"])
    assert meta.training_datasets == {"MSRVTTT2V"}
    assert meta.license is None


def loader(**columns):
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    collate = lambda batch: {name: [row[name] for row in batch] for name in columns}  # noqa: E731
    return torch.utils.data.DataLoader(rows, batch_size=4, collate_fn=collate)


def encoded(encoder, **columns):
    return encoder.encode(loader(**columns), task_metadata=None, hf_split="test", hf_subset="default")


def test_paths_contents_and_rows_of_either_are_one_video(encoder, pairs):
    paths = [pair.video for pair in pairs]
    own = encoder.clover.encode_video(list(paths)).numpy()
    contents = [path.read_bytes() for path in paths]
    for videos in (paths, contents, [{"path": str(path), "bytes": None} for path in paths]):
        np.testing.assert_allclose(encoded(encoder, video=videos), own, atol=1e-6)


def test_a_decoder_is_asked_for_the_frames_of_our_rule(encoder):
    images = np.random.default_rng(0).integers(0, 256, (20, 40, 48, 3), dtype=np.uint8)

    class Decoder:
        metadata = SimpleNamespace(num_frames=20)

        def get_frames_at(self, places):
            return SimpleNamespace(data=torch.from_numpy(images[places]).permute(0, 3, 1, 2))

    own = encoder.clover.encode_video(images).numpy()
    np.testing.assert_allclose(encoded(encoder, video=[Decoder()])[0], own, atol=1e-6)


def test_rows_with_both_are_the_mean_of_both(encoder, pairs):
    both = encoded(encoder, video=[pairs[0].video], text=[TEXTS[0]])
    video, text = encoded(encoder, video=[pairs[0].video]), encoded(encoder, text=[TEXTS[0]])
    mean = (video + text) / 2
    np.testing.assert_allclose(both, mean / np.linalg.norm(mean), atol=1e-6)


def test_what_is_no_video_is_refused(encoder):
    with pytest.raises(DataError, match="rows of image have neither a video nor a text"):
        encoded(encoder, image=[None])
    with pytest.raises(DataError, match="a NoneType is no video"):
        encoded(encoder, video=[None])


def test_similarities_are_cosines(encoder):
    first = np.array([[3.0, 0.0], [1.0, 1.0]])
    second = np.array([[1.0, 0.0], [0.0, 2.0]])
    expected = np.array([[1.0, 0.0], [0.5**0.5, 0.5**0.5]])
    np.testing.assert_allclose(encoder.similarity(first, second), expected, atol=1e-6)
    np.testing.assert_allclose(encoder.similarity_pairwise(first, second), expected.diagonal(), atol=1e-6)


def test_a_name_of_ones_own(encoder):
    named = VideoTextEncoder(encoder.clover.source, name="me/small")
    with pytest.raises(ConfigError, match="revision 'v1' is of a model on the Hub"):
        VideoTextEncoder(encoder.clover.source, "v1")
    assert named.mteb_model_meta.name == "me/small"
