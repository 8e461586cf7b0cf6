"""MSRVTT-MC by fusion is trained on captions among those of other videos, where there are enough."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.errors import DataError
from clover.evaluation.benchmarks import BENCHMARKS
from clover.experiment.benchmarks import training_rows
from clover.experiment.configs import BenchmarkExperiment
from clover.types import Pair

ROW = BENCHMARKS["msrvtt-mc"]
EXPERIMENT = BenchmarkExperiment(by_fusion=True)


def rows(named):
    return [
        Pair(video=Path(f"{video}.mp4"), text=text, index=place, video_id=video, text_id=str(place))
        for place, (video, text) in enumerate(named)
    ]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("123456")), min_size=1, max_size=12))
def test_rows_are_made_or_refused_never_sought_for_ever(named):
    records = rows(named)
    others = [
        {other.text for other in records if other.video_id != record.video_id} - {record.text} for record in records
    ]
    if min(map(len, others)) < 4:
        with pytest.raises(DataError, match="chooses among 5 captions"):
            training_rows(ROW, EXPERIMENT, records)
        return
    for made, record, texts in zip(training_rows(ROW, EXPERIMENT, records), records, others, strict=True):
        assert made.options[made.label] == record.text
        assert len(set(made.options)) == 5
        assert set(made.options) - {record.text} <= texts


def test_the_one_with_too_few_is_named():
    with pytest.raises(DataError) as error:
        training_rows(ROW, EXPERIMENT, rows([("a", "1"), ("b", "2"), ("b", "3"), ("c", "4")]))
    assert str(error.value) == (
        "MSRVTT-MC by fusion chooses among 5 captions, and beside that of a, '1', other videos have 3 different ones; "
        "give more training rows"
    )
