"""A program at the gateway, through the openai package: streamed and whole answers in turn."""

from __future__ import annotations

import asyncio

import httpx2
import openai
from openai.types.chat import ChatCompletionMessageParam

from tests.soak.server import Server
from tests.soak.tally import Tally
from tests.soak.truth import answer, question

PATIENCE = 60.0
"""An answer that is not streamed may take ten times the first token's 3 s at the flaky step, and then goes to the next."""


class Caller:
    """Asks one question after the other. Each call has a name of its own, so that the upstreams' record shows one asked twice."""

    def __init__(self, name: str, server: Server, tally: Tally, sdk: openai.AsyncOpenAI) -> None:
        self.name, self._server, self._tally, self._sdk = name, server, tally, sdk

    async def run(self) -> None:
        number = 0
        while not self._server.over.is_set():
            number += 1
            await self._call(f"gateway-{self.name}-{number}", streamed=number % 2 == 0)

    async def _call(self, name: str, *, streamed: bool) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                words, reason = await (self._stream(name) if streamed else self._whole(name))
        except TimeoutError:
            self._tally.lost.append(f"{name}: neither an answer nor an error in {PATIENCE:.0f} s")
        except (openai.APIConnectionError, httpx2.HTTPError):
            self._tally.told["gateway connection"] += 1
            await asyncio.sleep(0.3)
        except openai.APIStatusError as error:
            self._refused(name, error)
        except openai.APIError:
            self._tally.told["gateway error in the stream"] += 1
        else:
            self._tally.compare(name, words, answer(name))
            if reason != "stop":
                self._tally.lost.append(f"{name}: the answer ended with {reason}")
            self._tally.done["gateway"] += 1

    def _refused(self, name: str, error: openai.APIStatusError) -> None:
        self._tally.told[f"gateway {error.status_code}"] += 1
        if error.status_code not in {429, 502, 503, 504}:
            self._tally.lost.append(f"{name}: {error.status_code} {error.message[:200]}")

    async def _whole(self, name: str) -> tuple[list[str], str | None]:
        made = await self._sdk.chat.completions.create(model="soak", messages=_messages(name))
        return (made.choices[0].message.content or "").split(), made.choices[0].finish_reason

    async def _stream(self, name: str) -> tuple[list[str], str | None]:
        text, reason = "", None
        async with await self._sdk.chat.completions.create(model="soak", messages=_messages(name), stream=True) as chunks:
            async for chunk in chunks:
                for choice in chunk.choices:
                    text += choice.delta.content or ""
                    reason = choice.finish_reason or reason
        return text.split(), reason


def _messages(name: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": question(name)}]
