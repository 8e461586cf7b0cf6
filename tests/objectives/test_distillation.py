"""What is learned from a teacher: nothing where both say the same, more the further apart they are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.data.similar_texts import most_similar
from clover.errors import ConfigError
from clover.objectives.distillation import DistillationObjectiveConfig, distillation_terms

TERMS = ("taught_embeddings", "taught_similarities", "taught_fusion")
FULL = DistillationObjectiveConfig()


def said(size=6, width=8, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "video": torch.randn(size, width, generator=generator, dtype=torch.float64),
        "text": torch.randn(size, width, generator=generator, dtype=torch.float64),
        "fused_scores": 2 * torch.rand(size, 4, generator=generator, dtype=torch.float64) - 1,
    }


def together(student, teacher):
    return student | {f"teacher_{name}": value for name, value in teacher.items()}


def values(terms):
    return {name: term.value.item() for name, term in terms.items()}


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), size=st.integers(1, 7), scale=st.floats(0.01, 100.0))
def test_a_student_that_says_the_same_has_nothing_to_learn(seed, size, scale):
    teacher = said(size, seed=seed)
    student = {name: value.clone() for name, value in teacher.items()}
    student |= {"video": scale * student["video"], "text": student["text"] / scale}
    leaves = {name: value.requires_grad_() for name, value in student.items()}
    terms = distillation_terms(together(leaves, teacher), FULL)
    assert values(terms) == pytest.approx(dict.fromkeys(TERMS, 0.0), abs=1e-9)
    sum(term.value for term in terms.values()).backward()
    assert all(leaf.grad.abs().max() < 1e-6 / min(scale, 1 / scale) for leaf in leaves.values())


@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_any_other_student_has_and_the_teacher_never(seed):
    teacher = {name: value.requires_grad_() for name, value in said(seed=seed).items()}
    student = {name: value.requires_grad_() for name, value in said(seed=seed + 1).items()}
    terms = distillation_terms(together(student, teacher), FULL)
    assert min(values(terms).values()) > 0.01
    sum(term.value for term in terms.values()).backward()
    assert all(value.grad is None for value in teacher.values())
    assert all(value.grad.abs().max() > 0 for value in student.values())


def test_the_order_of_a_batch_and_how_it_is_cut_change_nothing():
    both = together(said(), said(seed=1))
    whole = values(distillation_terms(both, FULL))
    turned = {name: value.flip(0) for name, value in both.items()}
    assert values(distillation_terms(turned, FULL)) == pytest.approx(whole)
    parts = [values(distillation_terms(both, FULL, rows=rows)) for rows in (slice(0, 2), slice(2, 3), slice(3, 6))]
    assert {name: sum(part[name] for part in parts) for name in whole} == pytest.approx(whole)


def test_similarities_compare_any_widths_and_rotations():
    """What counts is who is near whom: not where in the space, nor how wide it is."""
    teacher = said()
    turn = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))).Q
    turned = {name: torch.nn.functional.pad(teacher[name] @ turn, (0, 3)) for name in ("video", "text")}
    config = DistillationObjectiveConfig(embedding_weight=0.0, fused_weight=0.0)
    assert values(distillation_terms(together(turned, teacher), config)) == pytest.approx(
        {"taught_similarities": 0.0}, abs=1e-9
    )


@pytest.mark.parametrize("name", TERMS)
def test_only_what_has_a_weight_is_looked_at(name):
    weights = dict(zip(TERMS, ("embedding_weight", "similarity_weight", "fused_weight"), strict=True))
    config = DistillationObjectiveConfig(**(dict.fromkeys(weights.values(), 0.0) | {weights[name]: 0.5}))
    both = together(said(), said(seed=1))
    terms = distillation_terms({key: both[key] for key in config.compared}, config)
    assert list(terms) == [name]
    assert terms[name].weight == 0.5
    assert values(terms)[name] == pytest.approx(values(distillation_terms(both, FULL))[name])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embedding_weight": -1.0}, "distillation weights are -1, 1, 1"),
        ({"embedding_weight": 0.0, "similarity_weight": 0.0, "fused_weight": 0.0}, "more than 0 of one"),
        ({"temperature": 0.0}, "distillation temperature is 0.0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DistillationObjectiveConfig(**settings)


def test_most_similar_texts_share_most_words():
    token_ids = torch.tensor([[2, 5, 6, 7, 3], [2, 5, 6, 8, 3], [2, 9, 3, 0, 0], [2, 5, 6, 7, 3], [2, 7, 6, 9, 3]])
    is_token = token_ids != 0
    found = most_similar(token_ids, is_token, 2)
    assert found[0].tolist() == [1, 4]  # not 3, which says the same
    assert found[2].tolist() == [4, 0]
    assert most_similar(token_ids, is_token, 4)[0].tolist() == [1, 4, 2, 3]
    noisy = token_ids.masked_fill(~is_token, 8)
    assert torch.equal(most_similar(noisy, is_token, 2), found)
    assert most_similar(token_ids[:2], is_token[:2], 3).tolist() == [[1, 1, 1], [0, 0, 0]]
    assert most_similar(token_ids[:1], is_token[:1], 2).tolist() == [[0, 0]]
