"""A program that runs batches through the openai package: upload, create, poll, download."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx2
import openai
from openai.types import Batch, FileObject

from tests.soak.server import Server
from tests.soak.tally import Tally
from tests.soak.truth import answer, question

ROWS = 60
PATIENCE = 240.0
POLL_SECONDS = 1.0
T = TypeVar("T")


class Batcher:
    """Runs one batch after the other, and holds each one's files against its rows."""

    def __init__(self, server: Server, tally: Tally, sdk: openai.AsyncOpenAI) -> None:
        self._server, self._tally, self._sdk = server, tally, sdk

    async def run(self) -> None:
        number = 0
        while not self._server.over.is_set():
            number += 1
            names = [f"batch-{number}-{row}" for row in range(ROWS)]
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._run(f"soak-{number}", names)
            except TimeoutError:
                self._tally.lost.append(f"batch {number} had no end in {PATIENCE:.0f} s")

    async def _run(self, name: str, names: list[str]) -> None:
        uploaded = await self._again(lambda: self._upload(names))
        created = await self._again(lambda: self._create_once(name, uploaded.id))
        ended = await self._ended(created.id)
        if ended.status != "completed":
            self._tally.lost.append(f"{name} ended {ended.status}: {ended.errors}")
            return
        rows = await self._rows(ended.output_file_id)
        failed = await self._rows(ended.error_file_id)
        self._hold_against(name, names, rows, failed)

    async def _again(self, call: Callable[[], Awaitable[T]]) -> T:
        """Until the server is there to answer it."""
        while True:
            try:
                return await call()
            except (openai.APIConnectionError, httpx2.HTTPError):
                self._tally.told["batch connection"] += 1
            except openai.APIStatusError as error:
                self._tally.told[f"batch {error.status_code}"] += 1
                if error.status_code not in {429, 503}:
                    raise
            await asyncio.sleep(0.3)

    def _upload(self, names: list[str]) -> Awaitable[FileObject]:
        lines = [{"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": _body(name)} for name in names]
        content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return self._sdk.files.create(file=("soak.jsonl", content), purpose="batch")

    async def _create_once(self, name: str, file: str) -> Batch:
        """Create batch, unless a call whose answer was lost has created it."""
        async for batch in self._sdk.batches.list(limit=20):
            if (batch.metadata or {}).get("soak") == name:
                return batch
        return await self._sdk.batches.create(
            input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h", metadata={"soak": name}
        )

    async def _ended(self, batch: str) -> Batch:
        least = 0
        while True:
            try:
                found = await self._again(lambda: self._sdk.batches.retrieve(batch))
            except openai.NotFoundError:
                self._tally.lost.append(f"{batch} is gone")
                raise
            counts = found.request_counts
            done = counts.completed + counts.failed if counts else 0
            if done < least:
                self._tally.lost.append(f"{batch}: {least} rows were finished, now {done}")
            least = done
            if found.status in {"completed", "failed", "expired", "cancelled"}:
                return found
            await asyncio.sleep(POLL_SECONDS)

    async def _rows(self, file: str | None) -> list[dict[str, Any]]:
        if file is None:
            return []
        content = await self._again(lambda: self._content(file))
        return [json.loads(line) for line in content.splitlines()]

    async def _content(self, file: str) -> bytes:
        return (await self._sdk.files.content(file)).content

    def _hold_against(self, name: str, names: list[str], rows: list[dict[str, Any]], failed: list[dict[str, Any]]) -> None:
        """One output row for each input line, with its own answer."""
        counts = Counter(row["custom_id"] for row in [*rows, *failed])
        for custom_id in names:
            if counts[custom_id] != 1:
                (self._tally.doubled if counts[custom_id] else self._tally.lost).append(f"{name}: {counts[custom_id]} rows for {custom_id}")
        for row in failed:
            self._tally.lost.append(f"{name}: {row['custom_id']} failed although a good backend was left: {json.dumps(row)[:300]}")
        for row in rows:
            said = row["response"]["body"]["choices"][0]["message"]["content"].split()
            self._tally.compare(row["custom_id"], said, answer(row["custom_id"]))
        self._tally.done["batch rows"] += len(rows)
        self._tally.done["batches"] += 1


def _body(name: str) -> dict[str, Any]:
    return {"model": "soak", "messages": [{"role": "user", "content": question(name)}]}
