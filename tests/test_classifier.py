"""The text classifier: committed weights, training that gives them again, and what it cannot learn."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from mlinfra.course import classifier, messages

HELD_OUT = classifier.evaluation_messages(300, seed=0)


def test_training_again_predicts_as_the_committed_weights_do() -> None:
    again = classifier.train(classifier.training_messages(400, seed=0), seed=0)
    ids = [classifier.tokens(text) for text, _ in HELD_OUT]
    for ours, served in zip(
        classifier.probabilities(again, ids), classifier.probabilities(classifier.load(), ids), strict=True
    ):
        assert [round(p, 3) for p in ours] == [round(p, 3) for p in served]


def test_the_committed_weights_are_small_and_good() -> None:
    assert classifier.WEIGHTS.stat().st_size < 12_000
    assert classifier.accuracy(classifier.load(), HELD_OUT) > 0.85


def test_it_does_not_learn_to_turn_a_word_around() -> None:
    turned = [example for example in HELD_OUT if " not " in example[0]]
    plain = [example for example in HELD_OUT if " not " not in example[0]]
    assert len(turned) > 20
    assert classifier.accuracy(classifier.load(), turned) < 0.2
    assert classifier.accuracy(classifier.load(), plain) > 0.95


def test_training_leaves_the_random_numbers_of_others_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    classifier.train(classifier.messages(20, seed=0), seed=0, epochs=2)
    assert torch.equal(torch.rand(3), expected)


def test_no_two_words_of_the_messages_share_a_number() -> None:
    words = {word for text, _ in classifier.messages(3000, seed=2) for word in text.split()}
    assert len({classifier.token(word) for word in words}) == len(words)
    assert all(0 < classifier.token(word) < classifier.VOCABULARY for word in words)


def test_tokens_are_cut_and_padded() -> None:
    assert len(classifier.tokens("a " * 50)) == len(classifier.tokens("")) == classifier.LENGTH
    assert set(classifier.tokens("")) == {classifier.PADDING}
    assert classifier.tokens("The APP") == classifier.tokens("the app")


def test_an_empty_message_still_has_probabilities() -> None:
    (row,) = classifier.probabilities(classifier.load(), [classifier.tokens("")])
    assert math.isclose(sum(row), 1.0, rel_tol=1e-6)


def test_weights_are_saved_and_read_again(tmp_path: Path) -> None:
    model = classifier.train(classifier.messages(50, seed=3), seed=3, epochs=5)
    classifier.save(model, tmp_path / "model.pt")
    ids = [classifier.tokens(text) for text, _ in HELD_OUT[:5]]
    assert classifier.probabilities(classifier.load(tmp_path / "model.pt"), ids) == classifier.probabilities(model, ids)


def test_messages_are_the_same_for_the_same_seed() -> None:
    assert classifier.messages(50, seed=4) == classifier.messages(50, seed=4) != classifier.messages(50, seed=5)


def texts(examples: list[classifier.Example]) -> set[str]:
    return {text for text, _ in examples}


def test_no_training_sees_what_any_run_evaluates() -> None:
    trained = set().union(*(texts(classifier.training_messages(400, seed)) for seed in range(10)))
    evaluated = set().union(*(texts(classifier.evaluation_messages(300, seed)) for seed in range(10)))
    assert not trained & evaluated
    everything = texts(classifier.messages(50_000, seed=0))
    assert 0.15 < sum(map(messages.held_out, everything)) / len(everything) < 0.25
