"""Write answers that match a JSON schema: validate, ask again if they do not match, and show the value."""

from __future__ import annotations

from typing import Any

from chat.streaming.generation_state import GenerationState
from webapp.patterns.agent.structured import parse
from webapp.patterns.backend import Backend
from webapp.patterns.errors import OutputInvalid
from webapp.patterns.types import AttemptLog, Request

ATTEMPTS = 3


def schema_of(options: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema that a conversation's answers must match."""
    schema = (options.get("response_format") or {}).get("json_schema", {}).get("schema")
    return schema if isinstance(schema, dict) else None


async def answer(live: GenerationState, chain: Backend, request: Request, schema: dict[str, Any], trail: AttemptLog) -> None:
    """Put a value that matches `schema` into `live`. Raises the errors of `parse`; the last invalid answer is then shown."""
    tries: list[str] = []

    def wrong(why: str) -> None:
        tries.append(why)
        if len(tries) < ATTEMPTS:
            live.say(f"The answer did not match the schema. Retrying ({len(tries) + 1} of {ATTEMPTS}) …")

    try:
        parsed = await parse(chain, request, schema, attempts=ATTEMPTS, trail=trail, on_wrong=wrong)
    except OutputInvalid as error:
        live.apply(_event(live, error.raw, None, tries, invalid=True))
        raise
    live.outcome.finish_reason = "stop"
    live.apply(_event(live, parsed.raw, parsed.value, tries))


def _event(live: GenerationState, raw: str, value: Any, tries: list[str], **details: Any) -> dict[str, Any]:
    return {"k": "value", "raw": raw, "value": value, "tries": tries, "id": f"v-{live.id.hex[:12]}", **details}
