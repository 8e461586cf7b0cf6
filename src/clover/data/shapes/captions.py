"""Scene graph to sentences: captions, a paragraph, moments and labels, all true of the scene."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from clover.data.shapes.draws import generator, pick
from clover.data.shapes.scene import Event, Scene, SceneObject
from clover.data.shapes.splits import shown_actions
from clover.data.shapes.vocabulary import COUNTED_ACTIONS, MOVES, TIMES

NUM_CAPTIONS = 4

SHAPE_WORDS = {"ball": ("ball", "circle"), "ring": ("ring", "donut")}
SIZE_WORDS = {"small": ("small", "little"), "large": ("large", "big")}

VERBS: dict[str, tuple[str, ...]] = {
    "grows": ("grows", "gets bigger", "expands"),
    "shrinks": ("shrinks", "gets smaller"),
    "spins": ("spins", "rotates", "turns around"),
    "blinks": ("blinks", "flashes"),
    "jumps": ("jumps", "hops"),
    "bounces": ("bounces off the wall", "bounces back from the wall"),
    "appears": ("appears", "shows up"),
    "vanishes": ("vanishes", "disappears"),
}
MOVE_VERBS = ("moves", "slides", "goes", "travels")
SIDEWAYS = {
    "left": ("left", "to the left"),
    "right": ("right", "to the right"),
    "up": ("up", "upwards"),
    "down": ("down", "downwards"),
}
RELATION_WORDS = {
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
    "behind": ("behind",),
}
MORE_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("crimson", "scarlet"),
    "orange": ("amber",),
    "yellow": ("golden",),
    "green": ("emerald",),
    "blue": ("azure", "sapphire"),
    "purple": ("violet",),
    "white": ("snowy",),
    "black": ("ebony",),
    "square": ("box",),
    "ball": ("disc", "dot"),
    "triangle": ("wedge",),
    "cross": ("plus",),
    "ring": ("hoop",),
    "diamond": ("rhombus", "lozenge"),
    "small": ("tiny",),
    "large": ("huge",),
    "striped": ("stripy", "banded"),
    "dotted": ("spotted",),
    "grows": ("swells", "becomes larger"),
    "shrinks": ("contracts", "becomes smaller"),
    "spins": ("whirls", "twirls"),
    "blinks": ("flickers", "winks"),
    "jumps": ("leaps", "bounds"),
    "bounces off the wall": ("rebounds from the wall",),
    "appears": ("emerges", "comes into view"),
    "vanishes": ("fades away", "goes out of view"),
    "moves": ("drifts", "glides", "shifts"),
    "left": ("leftwards",),
    "right": ("rightwards",),
    "up": ("to the top",),
    "down": ("to the bottom",),
    "to the left of": ("on the left side of",),
    "to the right of": ("on the right side of",),
    "behind": ("half hidden by",),
    "circles": ("orbits", "revolves around"),
    "hits": ("strikes", "knocks into"),
}
"""What a speaker of many words says besides, by the first word for the same."""


@dataclass(frozen=True)
class Speaker:
    """One way of saying things, drawn once per sentence."""

    rng: np.random.Generator
    says_details: bool

    def word(self, synonyms: tuple[str, ...]) -> str:
        """One of several words for the same."""
        return pick(self.rng, synonyms)

    def only_word(self, word: str) -> str:
        """The word for what has one only."""
        return word

    def happens(self, probability: float, about: str) -> bool:
        """Whether something is said that need not be."""
        return bool(self.rng.uniform() < probability)

    def noun(self, item: SceneObject, *, article: str = "a") -> str:
        """A noun phrase: always colour and shape, sometimes size and texture."""
        words = [self.only_word(item.color), self.word(SHAPE_WORDS.get(item.shape, (item.shape,)))]
        if item.texture != "plain" and self.says_details:
            words.insert(0, self.only_word(item.texture))
        if self.says_details and self.happens(0.5, f"size of {item.depth}"):
            words.insert(0, self.word(SIZE_WORDS[item.size]))
        if article == "a" and words[0][0] in "aeiou":
            article = "an"
        return " ".join([article, *words])

    def verb(self, event: Event) -> str:
        """What one object does, with the number of repetitions where it counts."""
        if event.action in MOVES:
            direction = event.action.removeprefix("moves ")
            return f"{self.word(MOVE_VERBS)} {self.word(SIDEWAYS[direction])}"
        verb = self.word(VERBS[event.action])
        if event.action in COUNTED_ACTIONS and (event.count > 1 or self.happens(0.5, f"count of {event.actor}")):
            return f"{verb} {TIMES[event.count]}"
        return verb


class PlainSpeaker(Speaker):
    """A speaker who has one word for each thing, so that a blanked word can be only one."""

    def word(self, synonyms: tuple[str, ...]) -> str:
        """The first word of several."""
        return synonyms[0]


@dataclass(frozen=True)
class SteadySpeaker(Speaker):
    """A speaker who says the same of the same: scenes that differ in one thing are told in sentences that differ there.

    Attributes:
        key: Number from which all choices of words follow, together with what they are about.
        has_more_words: Whether `MORE_WORDS` are known.
    """

    key: int = 0
    has_more_words: bool = False

    def word(self, synonyms: tuple[str, ...]) -> str:
        """One of several words for the same, always the same one."""
        if self.has_more_words:
            synonyms = synonyms + MORE_WORDS.get(synonyms[0], ())
        return pick(self._draws(synonyms[0]), synonyms)

    def only_word(self, word: str) -> str:
        """The word, or another for the same."""
        return self.word((word,))

    def happens(self, probability: float, about: str) -> bool:
        """Whether something is said that need not be; always the same of the same."""
        return bool(self._draws(about).uniform() < probability)

    def _draws(self, about: str) -> np.random.Generator:
        return np.random.default_rng([self.key, zlib.crc32(about.encode())])


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How the videos of a corpus are talked about.

    Attributes:
        seed: Seed of the corpus.
        is_rich: Whether many words are known, and near-duplicates are told in the same words.
        told_as: Number of the video in whose words this one is told; None for its own.
    """

    seed: int
    is_rich: bool = False
    told_as: int | None = None

    def draws(self, scene: Scene, stream: str) -> np.random.Generator:
        """Random numbers for one kind of text about a scene."""
        return generator(self.seed, scene.split, scene.index if self.told_as is None else self.told_as, stream)

    def speaker(self, rng: np.random.Generator, *, says_details: bool) -> Speaker:
        """Somebody who talks in this way."""
        if not self.is_rich:
            return Speaker(rng, says_details)
        return SteadySpeaker(rng, says_details, key=int(rng.integers(2**31)), has_more_words=True)


def caption(scene: Scene, rng: np.random.Generator, wording: Wording) -> str:
    """One sentence about everything that the described objects do."""
    return tell(scene, wording.speaker(rng, says_details=bool(rng.uniform() < 0.6)))


def tell(scene: Scene, speaker: Speaker) -> str:
    """One sentence about everything that the described objects do, in the words of one speaker."""
    return _BY_KIND[scene.kind](scene, speaker)


def _sequence(scene: Scene, speaker: Speaker) -> str:
    noun = speaker.noun(scene.objects[0])
    verbs = [speaker.verb(event) for event in scene.events]
    if len(verbs) == 2 and speaker.rng.uniform() < 0.25:
        return f"after it {verbs[0]}, {noun} {verbs[1]}"
    joint = pick(speaker.rng, (" then ", " and then ", ", then "))
    return f"{noun} {joint.join(verbs)}"


def _in_turn(scene: Scene, speaker: Speaker) -> str:
    first, second = (f"{speaker.noun(scene.objects[event.actor])} {speaker.verb(event)}" for event in scene.events)
    return pick(
        speaker.rng,
        (
            f"{first}, then {second}",
            f"{first} and then {second}",
            f"first {first}, after that {second}",
            f"{first} before {second}",
        ),
    )


def _together(scene: Scene, speaker: Speaker) -> str:
    both = [f"{speaker.noun(scene.objects[event.actor])} {speaker.verb(event)}" for event in scene.events]
    first, second = both if speaker.rng.uniform() < 0.5 else both[::-1]
    return pick(speaker.rng, (f"{first} while {second}", f"{first} as {second}", f"while {first}, {second}"))


def _race(scene: Scene, speaker: Speaker) -> str:
    fast, slow = (next(event for event in scene.events if event.actor == actor) for actor in (0, 1))
    first = f"{speaker.noun(scene.objects[0])} {speaker.verb(fast)}"
    second = f"{speaker.noun(scene.objects[1])} {speaker.verb(slow)}"
    return pick(speaker.rng, (f"{first} faster than {second}", f"{second} slower than {first}"))


def _beside(scene: Scene, speaker: Speaker) -> str:
    relation = speaker.word(RELATION_WORDS[scene.relations[0].kind])
    actor, landmark = speaker.noun(scene.objects[0]), speaker.noun(scene.objects[1])
    verb = speaker.verb(scene.events[0])
    return pick(speaker.rng, (f"{actor} {relation} {landmark} {verb}", f"{actor} {verb} {relation} {landmark}"))


def _pair(scene: Scene, speaker: Speaker) -> str:
    actor, target = speaker.noun(scene.objects[0]), speaker.noun(scene.objects[1])
    active, passive = {
        "circle": (("circles", "goes around", "moves around"), "is circled by"),
        "hit": (("hits", "bumps into", "collides with"), "is hit by"),
    }[scene.kind]
    if speaker.rng.uniform() < 0.3:
        return f"{target} {passive} {actor}"
    return f"{actor} {speaker.word(active)} {target}"


_BY_KIND = {
    "single": _sequence,
    "sequence": _sequence,
    "repeated": _sequence,
    "together": _together,
    "in turn": _in_turn,
    "race": _race,
    "beside": _beside,
    "circle": _pair,
    "hit": _pair,
}


def captions(scene: Scene, wording: Wording, count: int = NUM_CAPTIONS) -> list[str]:
    """Different paraphrases of the scene, as many as asked for or as the grammar gives; the first stay the same."""
    rng = wording.draws(scene, "captions")
    found: dict[str, None] = {}
    for _ in range(12 * count):
        found.setdefault(caption(scene, rng, wording))
        if len(found) == count:
            break
    return list(found)


def paragraph(scene: Scene, wording: Wording) -> str:
    """Several sentences: who is there, what happens in order, how the camera moves."""
    return " ".join(text for _, _, text in sentences(scene, wording))


def sentences(scene: Scene, wording: Wording) -> list[tuple[float, float, str]]:
    """The sentences of the paragraph, each with the seconds from which and to which it holds."""
    speaker = wording.speaker(wording.draws(scene, "paragraph"), says_details=True)
    described = [item for item in scene.objects if item.is_described]
    there = " and ".join(speaker.noun(item) for item in described)
    whole = 0.0, scene.duration_seconds
    said = [(*whole, f"there {'is' if len(described) == 1 else 'are'} {there}"), *moments(scene, wording)]
    if scene.camera.movement != "still":
        said.append((*whole, f"the camera {scene.camera.movement}"))
    return [(start, end, f"{text}.") for start, end, text in said]


def moments(scene: Scene, wording: Wording) -> list[tuple[float, float, str]]:
    """Start, end and text of everything that happens."""
    rng = wording.draws(scene, "paragraph")
    found = []
    for event in scene.events:
        speaker = wording.speaker(rng, says_details=False)
        actor = speaker.noun(scene.objects[event.actor], article="the")
        if event.target is None:
            text = f"{actor} {speaker.verb(event)}"
        else:
            text = (
                f"{actor} {speaker.only_word(event.action)} {speaker.noun(scene.objects[event.target], article='the')}"
            )
        found.append((event.start_seconds, event.end_seconds, text))
    return found


def labels(scene: Scene) -> list[str]:
    """Names of everything a video shows, distractors included: attributes, actions, and pairs of them."""
    names: set[str] = set()
    for place, item in enumerate(scene.objects):
        names |= {item.color, item.shape, f"{item.size} {item.shape}", f"{item.color} {item.shape}"}
        if item.texture != "plain":
            names |= {item.texture, f"{item.texture} {item.color}"}
        for action in shown_actions(scene, place):
            names |= {action, f"{item.shape} {action}", f"{item.color} {action}"}
    for event in scene.events:
        if event.action in COUNTED_ACTIONS:
            names.add(f"{event.action} {TIMES[event.count]}")
        if event.target is not None:
            names.add(f"{event.action} a {scene.objects[event.target].color} {scene.objects[event.target].shape}")
    names |= {f"{scene.objects[0].shape} {relation.kind}" for relation in scene.relations}
    actions = [event.action for event in scene.events]
    if scene.kind in ("sequence", "in turn") and len(actions) > 1:
        names.add(f"{actions[0]} then {actions[1]}")
    return sorted(names)
