"""Players: whoever says something when asked. A model of ours or of `transformers`, an endpoint, or a simulation.

A player is a function `(texts, seed) -> texts`: one utterance for each text, all asked at once. That is all that search
and judging need (`search.guided.explore` takes players), so any player can stand where another did.

    ModelPlayer   a causal language model: ours, or any of `transformers` (full or with LoRA adapters); has
                  log-probabilities, so it can be trained
    Endpoint      a server with OpenAI's chat interface, through the official client; says text only: objectives that
                  need log-probabilities cannot use it
    Simulated     right or wrong at a stated rate, for controlled experiments: never evidence about real models

`judged_by` makes a judge of a player.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch

from actrix.budget import Budget
from actrix.errors import ActrixError
from actrix.language.model import LanguageModel
from actrix.language.sampler import Sampling, generate
from actrix.language.tasks.base import Verdict
from actrix.language.tokens import Tokenizer
from actrix.rng import seed_of


class Player(Protocol):
    """Says something to each of these texts. The same texts and seed give the same, as far as the player can."""

    def __call__(self, texts: list[str], seed: int) -> list[str]: ...


@dataclass
class ModelPlayer:
    """A causal language model with its tokenizer. Counts calls and new tokens in `budget`."""

    model: LanguageModel
    tokenizer: Tokenizer
    settings: Sampling
    budget: Budget = field(default_factory=Budget)

    @torch.no_grad()
    def __call__(self, texts: list[str], seed: int) -> list[str]:
        if not texts:
            return []
        eos, pad = self.tokenizer.eos, self.tokenizer.pad
        encoded = [self.tokenizer.encode(text) for text in texts]
        said = generate(self.model, encoded, replace(self.settings, n=1), eos=eos, pad=pad, seed=seed).completions()
        self.budget.spend(calls=len(said), tokens=sum(map(len, said)))
        return [self.tokenizer.decode(tokens) for tokens in said]


@dataclass
class Endpoint:
    """A model behind OpenAI's chat interface (OpenAI itself, vLLM, llama.cpp, Ollama ...).

    Calls, tokens in and out, and money (`price` per million tokens, in and out) count in `budget`; a call that the
    budget has no room for is not made. The client repeats a call that failed for reasons that pass (rate limits, 5xx,
    a broken connection), with growing pauses. What does not pass is an ActrixError that says what to do.

    The seed is sent with every request; whether it makes answers repeatable is up to the server.
    """

    model: str
    base_url: str | None = None  # None is OpenAI's own
    key: str = "OPENAI_API_KEY"  # the environment variable with the key; servers of one's own mostly need none
    system: str = ""  # said first, as the system's message
    max_tokens: int = 512
    temperature: float = 1.0
    at_once: int = 8  # calls under way at the same time
    retries: int = 4  # of one call
    timeout: float = 60.0  # seconds, of one try
    price: tuple[float, float] = (0.0, 0.0)
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        try:
            import openai
        except ImportError:
            raise ActrixError("endpoints need the package 'openai'", "pip install 'actrix[language]'") from None
        key = os.environ.get(self.key)
        if key is None and self.base_url is None:
            raise ActrixError(f"no key: the environment has no {self.key}", f"export {self.key}=…", misuse=True)
        self.client = openai.OpenAI(
            api_key=key or "none", base_url=self.base_url, max_retries=self.retries, timeout=self.timeout
        )

    def __call__(self, texts: list[str], seed: int) -> list[str]:
        if not self.budget.left(calls=len(texts)):
            raise ActrixError(
                f"{len(texts)} calls are wanted and the budget has room for {self.budget.rest.calls:g}",
                "raise the budget's calls, or ask for less",
            )
        with ThreadPoolExecutor(max(1, self.at_once)) as pool:
            asked = [pool.submit(self._ask, text, seed_of(seed, "call", i) % 2**31) for i, text in enumerate(texts)]
            try:
                return [call.result() for call in asked]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _ask(self, text: str, seed: int) -> str:
        import openai

        for kind in ("tokens", "money"):  # what a call will take of these is only known afterwards
            if not getattr(self.budget.rest, kind) > 0:
                raise ActrixError(f"the budget's {kind} are spent", f"raise the budget's {kind}")
        first: list[dict[str, str]] = [{"role": "system", "content": self.system}] if self.system else []
        try:
            reply = self.client.chat.completions.create(
                model=self.model,
                messages=[*first, {"role": "user", "content": text}],  # type: ignore[list-item]
                max_tokens=self.max_tokens,
                temperature=self.temperature,
                seed=seed,
            )
        except openai.AuthenticationError as error:
            raise ActrixError(f"the endpoint refuses the key in {self.key}: {_brief(error)}", "check it") from None
        except openai.NotFoundError as error:
            raise ActrixError(f"the endpoint has no model {self.model!r}: {_brief(error)}") from None
        except openai.APIConnectionError as error:  # time-outs too
            raise ActrixError(
                f"no answer from {self.client.base_url} after {self.retries + 1} tries: {_brief(error)}",
                "is the server running, and the address right?",
            ) from None
        except openai.APIError as error:
            raise ActrixError(f"the endpoint failed {self.retries + 1} times: {_brief(error)}", "try later") from None
        read, said = (reply.usage.prompt_tokens, reply.usage.completion_tokens) if reply.usage else (0, 0)
        money = (read * self.price[0] + said * self.price[1]) / 1e6
        self.budget.spend(calls=1, tokens=read + said, money=money)
        if not reply.choices:
            raise ActrixError("the endpoint's answer holds no choice", "is it an OpenAI-compatible server?")
        return reply.choices[0].message.content or ""


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


@dataclass
class Simulated:
    """Says what is right, or with probability `error` something wrong; a stand-in whose quality is known.

    right: text -> what is right; wrong: (text, random numbers) -> something that is not.
    """

    right: Callable[[str], str]
    wrong: Callable[[str, random.Random], str]
    error: float
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        if not 0 <= self.error <= 1:
            raise ActrixError(f"an error rate is in [0, 1], not {self.error}", misuse=True)

    def __call__(self, texts: list[str], seed: int) -> list[str]:
        said = []
        for i, text in enumerate(texts):
            draw = random.Random(f"{seed}/{i}/{text}")
            said.append(self.wrong(text, draw) if draw.random() < self.error else self.right(text))
        self.budget.spend(calls=len(texts))
        return said


NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def judged_by(
    player: Player, question: str, scale: tuple[float, float] = (0.0, 10.0), seed: int = 0
) -> Callable[[list[str]], list[Verdict]]:
    """A judge of a player: it is asked `question` with `{text}` in it, and the last number that it says, brought from
    `scale` to [0, 1], is the score. No number, or one outside the scale: no verdict (score None), never 0.

    What it says is the verdict's text; its cost is one call each.
    """
    low, high = scale
    if "{text}" not in question or not low < high:
        raise ActrixError("a judge's question needs {text} in it, and a scale from low to high", misuse=True)

    def judge(texts: list[str]) -> list[Verdict]:
        return [read(said) for said in player([question.replace("{text}", text) for text in texts], seed)]

    def read(said: str) -> Verdict:
        numbers: Sequence[str] = NUMBER.findall(said)
        if not numbers:
            return Verdict(None, {}, said, "no number was said", 1.0)
        value = float(numbers[-1])
        if not low <= value <= high:
            return Verdict(None, {}, said, f"{value:g} is outside the scale", 1.0)
        return Verdict((value - low) / (high - low), {}, said, cost=1.0)

    return judge
