"""Questions as MSR-VTT and MSVD ask them: what, who, how, when or where comes first and is the question's type."""

from __future__ import annotations

from clover.data.shapes.draws import generator, pick
from clover.data.shapes.questions import BASE_FORMS, Witness, questions
from clover.data.shapes.scene import Scene

QUESTION_WORDS = ("what", "who", "how", "when", "where")

_REPHRASED = {"which object ": "who ", "in which direction does ": "where does "}
_NUM_WHEN = 2


def asked(scene: Scene, seed: int) -> list[tuple[str, str]]:
    """Return questions and their only right answers, of one word or few."""
    made = []
    for row in questions(scene, seed):
        question = row.question
        for old, new in _REPHRASED.items():
            question = question.replace(old, new) if question.startswith(old) else question
        if question.split(" ")[0] in QUESTION_WORDS:
            made.append((question, row.answer))
    return made + _when(scene, seed)


def _when(scene: Scene, seed: int) -> list[tuple[str, str]]:
    """Ask for the place in the order of what happens, where one thing comes after another."""
    if scene.kind not in ("sequence", "in turn"):
        return []
    event, answer = pick(
        generator(seed, scene.split, scene.index, "when"), ((scene.events[0], "first"), (scene.events[-1], "last"))
    )
    name = Witness(scene).name(scene.objects[event.actor])
    return [(f"when does the {name} {BASE_FORMS[event.action]}?", answer)] if name else []
