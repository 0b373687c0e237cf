"""The text classifier that the notebooks train and serve: a bag of hashed words, one linear layer, in PyTorch.

It stands for the BERT of the course and is small enough to train in a second. A word that turns another around
("not slow") is what a bag of words cannot learn, so it is wrong where a reader can see why.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from zlib import crc32

import torch
from torch import Tensor, nn

from mlinfra.course.messages import Example as Example
from mlinfra.course.messages import evaluation_messages as evaluation_messages
from mlinfra.course.messages import messages as messages
from mlinfra.course.messages import training_messages as training_messages

LABELS = ("negative", "positive")
VOCABULARY, LENGTH, WIDTH = 499, 12, 4
PADDING = 0
WEIGHTS = Path(__file__).parent / "files" / "classifier.pt"


def token(word: str) -> int:
    """The number of a word: a hash, from 1 up to the vocabulary's size; 0 is padding."""
    return 1 + crc32(word.encode(errors="replace")) % (VOCABULARY - 1)


def tokens(text: str) -> list[int]:
    """`LENGTH` numbers for a text: its first words, then padding."""
    ids = [token(word) for word in text.lower().split()[:LENGTH]]
    return ids + [PADDING] * (LENGTH - len(ids))


class TextClassifier(nn.Module):
    """Tokens (n, LENGTH) to logits (n, 2): the mean of the words' vectors, then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.EmbeddingBag(VOCABULARY, WIDTH, mode="mean", padding_idx=PADDING)
        self.head = nn.Linear(WIDTH, len(LABELS))

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.encoder(ids))  # type: ignore[no-any-return]


def probabilities(model: TextClassifier, ids: Sequence[Sequence[int]]) -> list[list[float]]:
    """For each row of tokens the probability of each label."""
    with torch.no_grad():
        rows: list[list[float]] = torch.softmax(model(torch.tensor(ids)), -1).tolist()
    return rows


def accuracy(model: TextClassifier, examples: Iterable[Example]) -> float:
    """The share of the examples whose likelier label is the right one."""
    texts, labels = zip(*examples, strict=True)
    found = probabilities(model, [tokens(text) for text in texts])
    right = [row.index(max(row)) == label for row, label in zip(found, labels, strict=True)]
    return right.count(True) / len(right)


def train(examples: Sequence[Example], seed: int, epochs: int = 60) -> TextClassifier:
    """A classifier fitted to all examples at once, for so many steps of Adam."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TextClassifier()
    ids, labels = torch.tensor([tokens(text) for text, _ in examples]), torch.tensor([label for _, label in examples])
    steps = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(epochs):
        steps.zero_grad()
        nn.functional.cross_entropy(model(ids), labels).backward()  # type: ignore[no-untyped-call]
        steps.step()
    return model.eval()


def save(model: TextClassifier, path: Path) -> None:
    """The weights as a file of tensors, which `load` reads without running code."""
    torch.save(model.state_dict(), path)


def load(path: Path = WEIGHTS) -> TextClassifier:
    """The classifier with the weights of a file; by default those that the course serves."""
    model = TextClassifier()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()
