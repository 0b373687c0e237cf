"""The messages that the course's classifier learns from: made up, labelled, and different for every seed.

A message's text decides whether it is for training or for evaluation, so no run trains on what any run evaluates.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from zlib import crc32

Example = tuple[str, int]

SUBJECTS = [
    "the app",
    "the new release",
    "support",
    "the search",
    "the upload",
    "my invoice",
    "the battery",
    "the delivery",
]
PRAISE = ["fast", "great", "helpful", "clear", "reliable", "pleasant", "quick", "excellent"]
BLAME = ["slow", "broken", "useless", "confusing", "unreliable", "rude", "late", "terrible"]
SHAPES = ("{subject} is {adverb} {word}", "{subject} was {adverb} {word} today", "i find {subject} {adverb} {word}")
ADVERBS = ("", "", "", "very", "very", "quite", "quite", "really", "really", "not")


def messages(count: int, seed: int) -> list[Example]:
    """Made-up messages as they arrive, each with the index of its label; "not" turns the word behind it around."""
    return list(islice(_arriving(seed), count))


def held_out(text: str) -> bool:
    """Whether a text is kept for evaluation: one text in five, by a hash of the text alone."""
    return crc32(text.encode()) % 5 == 0


def training_messages(count: int, seed: int) -> list[Example]:
    """Messages to train on; none of their texts is held out."""
    return list(islice((example for example in _arriving(seed) if not held_out(example[0])), count))


def evaluation_messages(count: int, seed: int) -> list[Example]:
    """Messages to evaluate on; all of their texts are held out."""
    return list(islice((example for example in _arriving(seed) if held_out(example[0])), count))


def _arriving(seed: int) -> Iterator[Example]:
    draw = random.Random(seed)
    while True:
        yield _message(draw)


def _message(draw: random.Random) -> Example:
    label, adverb = draw.randrange(2), draw.choice(ADVERBS)
    words = (BLAME, PRAISE)[label != (adverb == "not")]
    text = draw.choice(SHAPES).format(subject=draw.choice(SUBJECTS), adverb=adverb, word=draw.choice(words))
    return " ".join(text.split()), label
