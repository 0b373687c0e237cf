"""The messages that the course's classifier learns from: made up, labelled, and different for every seed."""

from __future__ import annotations

import random

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
    """Made-up messages, each with the index of its label; "not" turns the word behind it around."""
    draw = random.Random(seed)
    return [_message(draw) for _ in range(count)]


def _message(draw: random.Random) -> Example:
    label, adverb = draw.randrange(2), draw.choice(ADVERBS)
    words = (BLAME, PRAISE)[label != (adverb == "not")]
    text = draw.choice(SHAPES).format(subject=draw.choice(SUBJECTS), adverb=adverb, word=draw.choice(words))
    return " ".join(text.split()), label
