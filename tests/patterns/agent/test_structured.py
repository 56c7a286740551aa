"""Structured output: how it is asked for, read, checked, asked again, and given up."""

from __future__ import annotations

import datetime as dt
import enum
import json
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.patterns.agent import structured
from webapp.patterns.agent.structured import Parsed, found_json, parse
from webapp.patterns.backend import Timeouts
from webapp.patterns.errors import (
    AllFailed,
    BackendError,
    CapabilityMissing,
    InputError,
    OutputFiltered,
    OutputInvalid,
    OutputRefused,
    OutputTruncated,
    PatternError,
    RequestRejected,
    ServerFailed,
    Unreachable,
)
from webapp.patterns.fallback.breakers import MemoryBreakers
from webapp.patterns.fallback.chain import Chain, Step
from webapp.patterns.types import AttemptLog, Json, ModelInfo, Request, Response, StreamChunk, Usage

QUESTION = Request.chat([{"role": "user", "content": "The invoice?"}], model="m")


class Invoice(pydantic.BaseModel):
    number: int
    total: float
    paid: bool = False


GOOD = '{"number": 7, "total": 9.5, "paid": true}'


class Scripted:
    """A server that answers with the given texts, bodies or errors, one a call; the last repeats."""

    name = "scripted"
    base_url = "http://scripted/v1"
    timeouts = Timeouts()

    def __init__(self, *answers: str | Json | Exception, **capabilities: bool) -> None:
        self.answers = answers
        self.capabilities: Mapping[str, bool] = capabilities
        self.bodies: list[Json] = []

    async def send(self, request: Request, *, trail: AttemptLog | None = None, timeouts: Timeouts | None = None) -> Response:
        answer = self.answers[min(len(self.bodies), len(self.answers) - 1)]
        self.bodies.append(dict(request.body))
        if isinstance(answer, Exception):
            raise answer
        choice = answer if isinstance(answer, dict) else {"message": {"content": answer}, "finish_reason": "stop"}
        return Response(b"", {"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}})

    def stream(
        self, request: Request, *, trail: AttemptLog | None = None, timeouts: Timeouts | None = None
    ) -> AsyncGenerator[StreamChunk, None]:
        raise NotImplementedError

    async def models(self) -> list[ModelInfo]:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError


async def read(text: str, kind: Any) -> Any:
    """Parse a scripted answer without a retry, and return the value."""
    return (await parse(Scripted(text), QUESTION, kind, attempts=1)).value


class TestAsking:
    async def test_a_valid_answer_is_a_typed_value(self) -> None:
        backend = Scripted(GOOD)
        trail = AttemptLog()
        parsed = await parse(backend, QUESTION, Invoice, trail=trail)
        assert parsed == Parsed(Invoice(number=7, total=9.5, paid=True), GOOD, Usage(10, 5), 1, "json_schema", trail)
        assert backend.bodies[0]["messages"] == QUESTION.messages

    async def test_who_asks_may_hear_what_was_wrong(self) -> None:
        heard: list[str] = []
        await parse(Scripted("{}", GOOD), QUESTION, Invoice, on_wrong=heard.append)
        assert len(heard) == 1
        assert "number: Field required" in heard[0]

    async def test_it_is_asked_for_by_strict_schema(self) -> None:
        backend = Scripted(GOOD)
        await parse(backend, QUESTION, Invoice)
        wanted = backend.bodies[0]["response_format"]
        assert wanted["type"] == "json_schema"
        assert wanted["json_schema"]["name"] == "Invoice"
        assert wanted["json_schema"]["strict"] is True
        schema = wanted["json_schema"]["schema"]
        assert schema["required"] == ["number", "total", "paid"]
        assert schema["additionalProperties"] is False
        assert schema["properties"]["paid"] == {"anyOf": [{"type": "boolean"}, {"type": "null"}]}

    async def test_what_strict_mode_cannot_say_is_asked_for_loosely(self) -> None:
        backend = Scripted('{"a": 1}')
        assert (await parse(backend, QUESTION, dict[str, int])).value == {"a": 1}
        assert backend.bodies[0]["response_format"]["json_schema"]["strict"] is False

    @pytest.mark.parametrize(
        "refusal",
        [
            CapabilityMissing("no json_schema"),
            RequestRejected("HTTP 400: response_format is not known"),
            ServerFailed("HTTP 500: boom"),
            AllFailed("all failed", cause=ServerFailed("boom")),
        ],
    )
    async def test_a_backend_that_cannot_is_asked_another_way(self, refusal: Exception) -> None:
        backend = Scripted(refusal, refusal, GOOD)
        parsed = await parse(backend, QUESTION, Invoice, attempts=1)
        assert (parsed.mode, parsed.answers) == ("prompt", 1)
        assert [(body.get("response_format") or {}).get("type") for body in backend.bodies] == ["json_schema", "json_object", None]
        assert "JSON schema" in backend.bodies[2]["messages"][0]["content"]

    async def test_a_chain_whose_only_living_step_cannot_is_asked_another_way(self) -> None:
        dead, old = Scripted(Unreachable("refused")), Scripted(GOOD, json_schema=False, json_object=False)
        old.name = "old"
        chain = Chain("default", [Step(dead, "a"), Step(old, "b")], breakers=MemoryBreakers())
        parsed = await parse(chain, QUESTION, Invoice)
        assert (parsed.mode, parsed.value.number) == ("prompt", 7)

    @pytest.mark.parametrize(
        "error", [Unreachable("refused"), RequestRejected("HTTP 400: temperature"), AllFailed("all"), PatternError("odd")]
    )
    async def test_other_errors_are_the_callers(self, error: PatternError) -> None:
        backend = Scripted(error)
        with pytest.raises(type(error)):
            await parse(backend, QUESTION, Invoice)
        assert len(backend.bodies) == 1

    async def test_the_last_way_to_ask_has_no_other(self) -> None:
        with pytest.raises(CapabilityMissing):
            await parse(Scripted(CapabilityMissing("no chat")), QUESTION, Invoice, modes=["prompt"])

    async def test_the_instruction_joins_the_system_message(self) -> None:
        backend = Scripted(GOOD)
        request = Request.chat([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "?"}])
        await parse(backend, request, Invoice, modes=["json_object"])
        messages = backend.bodies[0]["messages"]
        assert len(messages) == 2
        assert messages[0]["content"].startswith("Be brief.\n\nAnswer with JSON alone")

    async def test_a_system_message_of_parts_is_left_alone(self) -> None:
        backend = Scripted(GOOD)
        system = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
        await parse(backend, Request.chat([system]), Invoice, modes=["prompt"])
        assert [message["role"] for message in backend.bodies[0]["messages"]] == ["system", "system"]
        await parse(backend, Request({"messages": None}), Invoice, modes=["prompt"])
        assert len(backend.bodies[1]["messages"]) == 1


class TestAskingAgain:
    async def test_the_model_is_told_what_was_wrong(self) -> None:
        backend = Scripted('{"number": "seven", "total": 1}', "Sorry!", GOOD)
        parsed = await parse(backend, QUESTION, Invoice)
        assert (parsed.answers, parsed.usage) == (3, Usage(30, 15))
        second, third = backend.bodies[1]["messages"], backend.bodies[2]["messages"]
        assert second[1] == {"role": "assistant", "content": '{"number": "seven", "total": 1}'}
        assert "- number: Input should be a valid integer" in second[2]["content"]
        assert "JSON schema" in second[2]["content"]
        assert (len(third), third[1]["content"]) == (3, "Sorry!")
        assert "It holds no JSON" in third[2]["content"]

    async def test_it_gives_up_and_keeps_the_last_text_and_all_usage(self) -> None:
        backend = Scripted("nothing", '{"number": 1}')
        with pytest.raises(OutputInvalid, match="No valid answer in 2 tries:\n- total: Field required") as caught:
            await parse(backend, QUESTION, Invoice, attempts=2)
        assert (caught.value.raw, caught.value.usage) == ('{"number": 1}', Usage(20, 10))

    async def test_an_empty_and_an_endless_answer_are_shown_as_such(self) -> None:
        backend = Scripted("", "x" * 50_000, GOOD)
        await parse(backend, QUESTION, Invoice)
        assert backend.bodies[1]["messages"][1]["content"] == "(nothing)"
        assert len(backend.bodies[2]["messages"][1]["content"]) == structured.MAX_SHOWN

    @pytest.mark.parametrize(
        ("choice", "error"),
        [
            ({"message": {"content": None, "refusal": "No."}, "finish_reason": "stop"}, OutputRefused),
            ({"message": {"content": '{"number": 7, "to'}, "finish_reason": "length"}, OutputTruncated),
            ({"message": {"content": ""}, "finish_reason": "content_filter"}, OutputFiltered),
        ],
    )
    async def test_some_ends_are_not_asked_again(self, choice: Json, error: type[Exception]) -> None:
        backend = Scripted(choice)
        with pytest.raises(error) as caught:
            await parse(backend, QUESTION, Invoice)
        assert len(backend.bodies) == 1
        assert getattr(caught.value, "usage") == Usage(10, 5)  # noqa: B009 - the errors have it in common, Exception has not

    async def test_an_error_of_the_backend_when_asked_again_is_the_callers(self) -> None:
        with pytest.raises(BackendError):
            await parse(Scripted("?", Unreachable("gone")), QUESTION, Invoice)


class Colour(enum.Enum):
    RED = "red"


class Node(pydantic.BaseModel):
    name: str
    child: Node | None = None


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    day: dt.date
    pair: tuple[int, int]


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = pydantic.Field(default_factory=list, max_length=3)
    nick: str | None = pydantic.Field(None, min_length=2)


class Home(pydantic.BaseModel):
    pet: Cat | Dog = pydantic.Field(discriminator="kind")
    others: list[Cat] = []


class Some(pydantic.BaseModel):
    note: str | None


class Other(pydantic.BaseModel):
    note: str = "none"


class Either(pydantic.BaseModel):
    it: Other | Some


class TestReading:
    async def test_nulls_that_strict_mode_forced_become_defaults(self) -> None:
        assert await read('{"number": 7, "total": 1, "paid": null}', Invoice) == Invoice(number=7, total=1)
        home = await read('{"pet": {"kind": "dog", "tricks": null, "nick": null}, "others": [{"kind": "cat", "lives": null}]}', Home)
        assert home == Home(pet=Dog(kind="dog"), others=[Cat(kind="cat")])

    async def test_a_null_that_one_branch_wants_is_tried_both_ways(self) -> None:
        assert await read('{"it": {"note": null}}', Either) == Either(it=Some(note=None))

    async def test_a_recursive_model(self) -> None:
        value = await read('{"name": "a", "child": {"name": "b", "child": null}}', Node)
        assert value == Node(name="a", child=Node(name="b"))

    async def test_strict_models_read_from_json(self) -> None:
        assert await read('{"day": "2026-11-22", "pair": [1, 2]}', Strict) == Strict(day=dt.date(2026, 11, 22), pair=(1, 2))

    @pytest.mark.parametrize("text", ['{"value": [1, 2]}', "[1, 2]"])
    async def test_what_is_no_object_is_wrapped_and_unwrapped(self, text: str) -> None:
        backend = Scripted(text)
        assert (await parse(backend, QUESTION, list[int])).value == [1, 2]
        schema = backend.bodies[0]["response_format"]["json_schema"]["schema"]
        assert (schema["type"], schema["properties"]["value"]["type"]) == ("object", "array")

    async def test_an_enumeration(self) -> None:
        assert await read('{"value": "red"}', Colour) is Colour.RED

    async def test_a_json_schema_instead_of_a_type(self) -> None:
        schema = {"title": "A reading!", "type": "object", "properties": {"at": {"type": "string", "format": "date"}, "n": {"minimum": 3}}}
        backend = Scripted('{"at": "today", "n": 1}', '{"at": "2026-11-22", "n": 3}')
        assert (await parse(backend, QUESTION, schema)).value == {"at": "2026-11-22", "n": 3}
        assert backend.bodies[0]["response_format"]["json_schema"]["name"] == "A_reading_"
        told = backend.bodies[1]["messages"][-1]["content"]
        assert "- at: 'today' is not a 'date'" in told
        assert "- n: 1 is less than the minimum of 3" in told

    async def test_many_complaints_are_cut(self) -> None:
        schema = {"type": "array", "items": {"type": "integer"}}
        with pytest.raises(OutputInvalid) as caught:
            await parse(Scripted(json.dumps(["x" * 1000] * 30)), QUESTION, schema, attempts=1)
        assert "(and 20 more)" in caught.value.message
        assert len(caught.value.message) < 5000

    @pytest.mark.parametrize("schema", [{"type": "thing"}, {"properties": 3}, Scripted])
    async def test_what_is_no_schema_is_the_callers_mistake(self, schema: Any) -> None:
        with pytest.raises(InputError, match="schema"):
            await parse(Scripted(GOOD), QUESTION, schema)

    @pytest.mark.parametrize("reference", ["#/$defs/Nothing", "https://example.com/schema.json", "#"])
    async def test_a_reference_to_nowhere_is_the_callers_mistake(self, reference: str) -> None:
        with pytest.raises(InputError, match="leads nowhere"):
            await parse(Scripted("{}"), QUESTION, {"allOf": [{"$ref": reference}]})


class TestFinding:
    @pytest.mark.parametrize(
        "text",
        [
            GOOD,
            f"  \n{GOOD}\n",
            f"```json\n{GOOD}\n```",
            f"Here you are:\n```\n{GOOD}\n```\nAnything else?",
            f"Sure! {GOOD} Is that fine?",
            f'<think>maybe {{"number": 1, "total": 2}}?</think>{GOOD}',
            f'For example {{"number": "n"}} would be wrong, so: {GOOD}',
            f"{{{{ [1, {GOOD}",
        ],
    )
    async def test_json_is_found_in_what_models_write_around_it(self, text: str) -> None:
        assert await read(text, Invoice) == Invoice(number=7, total=9.5, paid=True)

    @pytest.mark.parametrize("text", ["", "no", "{", "[" * 50_000, "{" * 50_000, '{"a": NaN}', "9" * 5000, "```json\n{\n```"])
    def test_there_may_be_none(self, text: str) -> None:
        assert [value for value in found_json(text) if value != []] == []

    def test_a_tag_that_is_never_closed_is_text_and_one_that_is_closed_again_is_not(self) -> None:
        assert list(found_json('<think>{"a": 1}')) == [{"a": 1}]
        assert list(found_json('<think><think>{"a": 1}</think>It is {"b": 2}<reasoning>{"c": 3}</reasoning>')) == [{"b": 2}]

    @pytest.mark.parametrize("text", ["<think>" * 100_000, f"```{' ' * 100_000}x", f"```{'a' * 100_000} x"], ids=["tags", "spaces", "name"])
    def test_what_a_looping_model_writes_is_searched_within_a_moment(self, text: str) -> None:
        began = time.thread_time()
        assert list(found_json(text)) == []
        assert time.thread_time() - began < 1

    def test_no_more_than_a_few_values_are_tried(self) -> None:
        assert len(list(found_json("{} " * 1000))) == structured.MAX_CANDIDATES

    @given(st.text())
    def test_any_text_can_be_searched(self, text: str) -> None:
        assert all(isinstance(value, object) for value in found_json(text))

    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)))
    def test_json_is_found_as_it_was_written(self, value: Any) -> None:
        assert next(iter(found_json(f"```json\n{json.dumps(value)}\n```" if isinstance(value, dict) else json.dumps(value)))) == value
