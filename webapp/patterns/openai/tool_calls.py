"""Streamed tool calls as servers send them, made what OpenAI's schema says: one index a call, one id, whole arguments in order."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from webapp.patterns.types import Json, ToolCallDelta


def new_call_id() -> str:
    """Return a new id: `call_` and 24 hex digits."""
    return f"call_{uuid.uuid4().hex[:24]}"


@dataclass(slots=True)
class _Call:
    index: int
    id: str
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    """All ids under which it arrived."""
    sent_index: Any = None
    """The index under which it arrived; None if the server sends none."""


class CallRepair:
    """The calls of one choice, as their fragments arrive.

    A fragment belongs to the call with its id; else, by its index, to the last call that came under it; else to the last call. It begins a
    new call instead where it carries a name and that call cannot take it: another id, another name once arguments came, or arguments that
    are already whole. A name may come in pieces, and the last fragment may hold the whole call once more.
    """

    def __init__(self, make_id: Callable[[], str] = new_call_id) -> None:
        self._calls: list[_Call] = []
        self._make_id = make_id

    def take(self, body: Json) -> tuple[tuple[ToolCallDelta, ...], bool]:
        """Return the fragments in a delta (or a complete message), and whether it was repaired, which happens in place."""
        fragments = _fragments(body)
        deltas = tuple(self._fragment(raw) for raw in fragments)
        mended = fragments is not body.get("tool_calls")
        for raw, delta in zip(fragments, deltas, strict=True):
            mended |= _mend(raw, delta)
        if mended:
            body.pop("function_call", None)
            body["tool_calls"] = fragments
        return deltas, mended

    def _fragment(self, raw: Json) -> ToolCallDelta:
        function = raw.get("function")
        if not isinstance(function, dict):
            function = raw
        identifier, name = _string(raw.get("id")), _string(function.get("name"))
        arguments = function.get("arguments")
        text = arguments if isinstance(arguments, str) else "" if arguments is None else json.dumps(arguments, ensure_ascii=False)
        call = self._owner(raw.get("index"), identifier, name)
        if call is None:
            return self._begin(raw.get("index"), identifier, name, text)
        text = "" if _is_repeated(call.arguments, text) else text
        new_name = _new_name(call, name)
        call.name += new_name
        call.arguments.append(text)
        if identifier:
            call.ids.add(identifier)
        return ToolCallDelta(call.index, name=new_name, arguments=text)

    def _begin(self, sent_index: Any, identifier: str, name: str, arguments: str) -> ToolCallDelta:
        call = _Call(len(self._calls), identifier or self._make_id(), name, [arguments], {identifier} - {""}, sent_index)
        self._calls.append(call)
        return ToolCallDelta(call.index, call.id, name, arguments)

    def _owner(self, sent_index: Any, identifier: str, name: str) -> _Call | None:
        """Return the call that a fragment continues; None if it begins one."""
        if not self._calls:
            return None
        if identifier and (known := self._last(call for call in self._calls if identifier in call.ids)):
            return known
        if sent_index is None:
            call: _Call | None = self._calls[-1]
        else:
            call = self._last(call for call in self._calls if call.sent_index == sent_index)
        if call is None or (name and _is_another(call, identifier, name, by_index=sent_index is not None)):
            return None
        return call

    def _last(self, calls: Iterable[_Call]) -> _Call | None:
        found = None
        for found in calls:  # noqa: B007 (the last one is wanted)
            pass
        return found


def _is_another(call: _Call, identifier: str, name: str, *, by_index: bool) -> bool:
    """Return whether a fragment with a name begins a call of its own rather than going on with `call`."""
    if not call.name:
        return False
    if identifier and call.ids:
        return True
    if not any(call.arguments) and not identifier and by_index:
        return False  # the name continues, or is repeated
    return name != call.name or _is_whole(call.arguments)


def _new_name(call: _Call, name: str) -> str:
    """Return what a fragment adds to the name: all of it, the next piece, or nothing where the name comes again."""
    if not call.name:
        return name
    if any(call.arguments) or name == call.name:
        return ""
    return name.removeprefix(call.name)


def _is_repeated(sent: list[str], text: str) -> bool:
    """Return whether a fragment holds the arguments, which are whole, once more."""
    if not text.startswith("{") or not text.endswith("}") or not _is_whole(sent):
        return False
    return text == "".join(sent) or (_is_whole([text]) and json.loads(text) == json.loads("".join(sent)))


def _is_whole(arguments: list[str]) -> bool:
    if not arguments[-1].endswith("}"):
        return False
    try:
        json.loads("".join(arguments))
    except ValueError:
        return False
    return True


def _fragments(body: Json) -> list[Json]:
    calls = body.get("tool_calls")
    if isinstance(calls, list) and calls and all(isinstance(call, dict) for call in calls):
        return calls
    if isinstance(calls, dict):
        return [calls]
    if isinstance(calls, list) and calls:
        return [call for call in calls if isinstance(call, dict)]
    function = body.get("function_call")
    return [{"index": 0, "function": function}] if isinstance(function, dict) else []


def _mend(raw: Json, delta: ToolCallDelta) -> bool:
    """Make a fragment match the delta, with unknown fields kept; return whether it changed."""
    function = raw.get("function")
    sent = function if isinstance(function, dict) else {}
    told = (raw.get("index"), raw.get("id") or "", sent.get("name") or "", sent.get("arguments") or "")
    if told == (delta.index, delta.id, delta.name, delta.arguments):
        return False
    raw["index"] = delta.index
    for name, value in (("id", delta.id), ("type", "function" if delta.id else "")):
        raw.pop(name, None)
        if value:
            raw[name] = value
    kept = {name: value for name, value in sent.items() if name != "name"}
    raw["function"] = {**kept, **({"name": delta.name} if delta.name else {}), "arguments": delta.arguments}
    return True


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
