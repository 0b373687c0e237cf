"""Notebook 2, the exercise to write a deployment: a guard in front of another one."""

from __future__ import annotations

import inspect
from typing import Any

from mlinfra.study import Exercise

NO_DECORATOR = "no decorator"
TEXT = "one two three"


def replies(answer: Any) -> Any:
    """What the guard answers with a limit of two words and of nine; a function makes the deployment first."""
    from ray import serve

    deployment = answer() if inspect.isfunction(answer) else answer
    if inspect.isclass(deployment):
        return NO_DECORATOR
    echo = serve.deployment(name="Echo")(_Echo).bind()
    return [_reply(deployment.options(user_config={"max_words": limit}).bind(echo)) for limit in (2, 9)]


class _Echo:
    def __call__(self, text: str) -> str:
        return f"passed on: {text}"


def _reply(app: Any) -> str:
    """The answer to three words, or the type of what is no text."""
    from mlinfra.course import ray_local

    reply = ray_local.start(app).remote(TEXT).result(_skip_asyncio_check=True)
    return reply if isinstance(reply, str) else type(reply).__name__


class _Guard:
    def __init__(self, classifier: Any) -> None:
        self.classifier, self.max_words = classifier, 12

    def reconfigure(self, config: dict[str, int]) -> None:
        self.max_words = config["max_words"]

    async def __call__(self, text: str) -> Any:
        return "too long" if len(text.split()) > self.max_words else await self.classifier.remote(text)


class _DeafGuard(_Guard):
    def reconfigure(self, config: dict[str, int]) -> None:
        pass


class _HastyGuard(_Guard):
    async def __call__(self, text: str) -> Any:
        return "too long" if len(text.split()) > self.max_words else self.classifier.remote(text)


def _right() -> Any:
    from ray import serve

    return serve.deployment(_Guard)


def _deaf() -> Any:
    from ray import serve

    return serve.deployment(_DeafGuard)


def _hasty() -> Any:
    from ray import serve

    return serve.deployment(_HastyGuard)


guard = Exercise(
    "guard",
    right=_right,
    mistakes=[
        (_Guard, "That is a plain class: `@serve.deployment` makes a deployment of it."),
        (_deaf, "A new limit has no effect: read `max_words` in `reconfigure`, which Serve calls with `user_config`."),
        (_hasty, "`remote` returns before the answer is there: `await` it. A response cannot be sent to a client."),
    ],
    praise="A deployment with a setting that can change while it runs.",
    effect=replies,
)
