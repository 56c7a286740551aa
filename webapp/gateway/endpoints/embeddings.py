"""Serve embeddings through the chain, in the requested encoding, regardless of the backend's."""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode, b64encode
from typing import Any

from webapp.gateway.auth import Principal
from webapp.gateway.bodies import read_json
from webapp.gateway.endpoints.completions import chain_for, served_by
from webapp.gateway.http import Call, dump
from webapp.patterns.errors import BadAnswer
from webapp.patterns.types import Json, Request, Response


async def embeddings(call: Call, principal: Principal) -> None:
    """Answer POST embeddings."""
    body = await read_json(call)
    async with chain_for(call, principal, body) as (chain, trail):
        answer = await chain.send(Request(body, call.path), trail=trail)
        await call.respond(200, encoded(answer, body), served_by(trail))


def encoded(answer: Response, asked: Json) -> bytes:
    """Return the answer with vectors in the requested encoding, and with all required fields."""
    wanted = str if asked.get("encoding_format") == "base64" else list
    data = answer.body["data"]
    usage = {"prompt_tokens": 0, "total_tokens": 0}
    body = {"object": "list", "model": asked["model"], "usage": usage, **answer.body}
    if body == answer.body and all(isinstance(item.get("embedding"), wanted) and {"index", "object"} <= item.keys() for item in data):
        return answer.raw
    body["data"] = [{"object": "embedding", "index": number, **item, "embedding": _as(wanted, item)} for number, item in enumerate(data)]
    return dump(body)


def _as(wanted: type, item: Json) -> str | list[float]:
    """Return a vector as base64 of little-endian float32, or as numbers."""
    vector: Any = item.get("embedding")
    try:
        floats = _floats(vector)
    except (ValueError, TypeError) as error:
        raise BadAnswer("The backend answered with something that is no embedding.") from error
    if wanted is str:
        return vector if isinstance(vector, str) else b64encode(floats.tobytes()).decode()
    return vector if isinstance(vector, list) else floats.tolist()


def _floats(vector: Any) -> array[float]:
    if not isinstance(vector, str | list):
        raise TypeError("neither text nor numbers")
    floats = array("f", b64decode(vector, validate=True) if isinstance(vector, str) else vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return floats
