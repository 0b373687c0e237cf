"""A mix of requests to a language model: conversations that grow, single prompts, and a few long ones."""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated

from mlinfra.admission import AtLeastOne, Count, Invalid, NotNegative, Share, check
from mlinfra.admission.rules import Problem, real
from mlinfra.autoscaling.llm.pool import PoolRequest
from mlinfra.autoscaling.llm.requests import LLMRequest, Run

MOST_IDS = 2**24
"""Three bytes."""


@dataclass(frozen=True)
class Mix:
    """Poisson arrivals, `per_s` a second. Lengths are tokens, and vary by half of the mean both ways.

    A share of the arrivals are turns of conversations. Each turn sends all that was said before and a new message; the
    first message has `document` tokens more. The next turn comes `pause_s` later or more. A conversation ends after
    `turns`, or before the next prompt could have `longest` tokens. Of the other arrivals a share are long prompts.
    Every prompt begins with the same `system` tokens, and a share of all answers are long.
    """

    per_s: Annotated[float, real(0.001)] = 20.0
    count: AtLeastOne = 400
    conversations: Share = 0.7
    long: Share = 0.1
    system: Count = 0
    document: AtLeastOne = 2000
    message: AtLeastOne = 200
    long_prompt: AtLeastOne = 4000
    answer: AtLeastOne = 100
    long_answers: Share = 0.0
    long_answer: AtLeastOne = 800
    turns: AtLeastOne = 6
    pause_s: NotNegative = 2.0
    longest: AtLeastOne = 8192
    seed: int = 1

    def __post_init__(self) -> None:
        check(self)


@dataclass
class Conversation:
    """What has been said, as runs of tokens; the last run is the last answer."""

    runs: list[Run]
    last_s: float
    turns: int = 0


@dataclass
class Ids:
    """Token ids that nobody else has."""

    next: int = 1

    def run(self, tokens: int) -> Run:
        if self.next + tokens > MOST_IDS:
            raise Invalid("Mix", [Problem("count", f"must be less: all prompts together have {MOST_IDS:,} tokens")])
        first = self.next
        self.next += tokens
        return first, tokens


@dataclass
class Draws:
    """The state of a mix while it is drawn."""

    mix: Mix
    chance: random.Random
    ids: Ids = field(default_factory=Ids)
    open: list[Conversation] = field(default_factory=list)

    def tokens(self, mean: int) -> int:
        """A length from half of the mean to one and a half."""
        return self.chance.randint(mean - mean // 2, mean + mean // 2)

    def answer(self) -> int:
        """Tokens of an answer."""
        long = self.mix.long_answers and self.chance.random() < self.mix.long_answers
        return self.tokens(self.mix.long_answer if long else self.mix.answer)

    def conversation(self, now_s: float, system: list[Run]) -> Conversation:
        """One that has paused, or a new one."""
        paused = [each for each in self.open if each.last_s + self.mix.pause_s <= now_s]
        if not paused:
            self.open.append(Conversation([*system, self.ids.run(self.tokens(self.mix.document))], now_s))
            return self.open[-1]
        return self.chance.choice(paused)

    def prompt(self, now_s: float, system: list[Run]) -> tuple[list[Run], Conversation | None]:
        """The next prompt, and the conversation that its answer belongs to."""
        if self.chance.random() < self.mix.conversations:
            conversation = self.conversation(now_s, system)
            conversation.runs.append(self.ids.run(self.tokens(self.mix.message)))
            return list(conversation.runs), conversation
        long = self.chance.random() < self.mix.long
        return [*system, self.ids.run(self.tokens(self.mix.long_prompt if long else self.mix.message))], None

    def close(self, conversation: Conversation, answer: Run, now_s: float) -> None:
        """The answer is part of the next turn, unless the conversation is over."""
        conversation.runs.append(answer)
        conversation.last_s, conversation.turns = now_s, conversation.turns + 1
        next_turn = sum(count for _, count in conversation.runs) + 2 * (
            self.mix.message + max(self.mix.answer, self.mix.long_answer * (self.mix.long_answers > 0))
        )
        if conversation.turns == self.mix.turns or next_turn > self.mix.longest:
            self.open.remove(conversation)


def requests(mix: Mix) -> list[PoolRequest]:
    """The requests of the mix in the order of arrival."""
    draws, now_s, drawn = Draws(mix, random.Random(mix.seed)), 0.0, []
    system = [draws.ids.run(mix.system)] if mix.system else []
    for number in range(mix.count):
        now_s += draws.chance.expovariate(mix.per_s)
        prompt, conversation = draws.prompt(now_s, system)
        answer = draws.ids.run(draws.answer())
        drawn.append(pool_request(f"r{number}", prompt, answer, now_s))
        if conversation:
            draws.close(conversation, answer, now_s)
    return drawn


def pool_request(name: str, prompt: Sequence[Run], answer: Run, now_s: float) -> PoolRequest:
    """Both views of a request: token runs for the server, and the same tokens as text for the router."""
    return PoolRequest(LLMRequest(name, tuple(prompt), answer[1], now_s, output_from=answer[0]), text_of(prompt))


def text_of(prompt: Sequence[Run]) -> str:
    """Four characters a token, so that two texts share a beginning where the tokens do."""
    return "".join(text_of_run(*run) for run in prompt)


@lru_cache(maxsize=4096)
def text_of_run(first: int, count: int) -> str:
    """Each id as 3 bytes in base64."""
    return b64encode(b"".join(i.to_bytes(3, "big") for i in range(first, first + count))).decode()
