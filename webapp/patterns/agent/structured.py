"""Produce structured output from any model: a value of a pydantic type, or one that a JSON schema accepts.

    parsed = await parse(backend, Request.chat([...]), Invoice)
    parsed.value.total

The strictest mode that the backend supports is tried first (`json_schema`, then `json_object`, then an instruction alone). Each answer is
validated here, and the model is told about the error, a bounded number of times. A refusal, and an answer that was truncated by the length
limit or the content filter, are errors of their own and are not retried.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, overload

from webapp.patterns import errors
from webapp.patterns.agent import validation_messages
from webapp.patterns.agent.strict import definitions, resolved, strict, without_nulls
from webapp.patterns.backend import Backend
from webapp.patterns.openai.decoder import read_usage
from webapp.patterns.types import AttemptLog, Json, Message, Request, Response, Usage

T = TypeVar("T")
Mode = Literal["json_schema", "json_object", "prompt"]
MODES: tuple[Mode, ...] = ("json_schema", "json_object", "prompt")

MAX_SHOWN = 20_000
"""Characters of an invalid answer that are shown to the model again."""
MAX_CANDIDATES = 20
MAX_STARTS = 200
THINKING = re.compile(r"<(think|thinking|reasoning)>")
FENCED = re.compile(r"```[\w-]*+(.*?)```", re.DOTALL)
ABOUT_FORMAT = re.compile(r"response_format|json_?schema|json mode|structured|grammar|guided|schema", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """A valid value. `raw` is its source text, `usage` the sum over all answers, `answers` their number."""

    value: T
    raw: str
    usage: Usage
    answers: int
    mode: Mode
    trail: AttemptLog


@overload
async def parse(
    backend: Backend,
    request: Request,
    schema: type[T],
    *,
    attempts: int = 3,
    modes: Sequence[Mode] = MODES,
    trail: AttemptLog | None = None,
    on_wrong: Callable[[str], None] | None = None,
) -> Parsed[T]: ...
@overload
async def parse(
    backend: Backend,
    request: Request,
    schema: Any,
    *,
    attempts: int = 3,
    modes: Sequence[Mode] = MODES,
    trail: AttemptLog | None = None,
    on_wrong: Callable[[str], None] | None = None,
) -> Parsed[Any]: ...
async def parse(
    backend: Backend,
    request: Request,
    schema: Any,
    *,
    attempts: int = 3,
    modes: Sequence[Mode] = MODES,
    trail: AttemptLog | None = None,
    on_wrong: Callable[[str], None] | None = None,
) -> Parsed[Any]:
    """Request a value until one is valid.

    Args:
        schema: a pydantic model, any type that pydantic knows (`list[int]`), or a JSON schema as a dict.
        attempts: maximum number of answers; a mode that the backend does not support does not count.
        modes: the modes in order; one that the backend refuses is skipped.
        on_wrong: called with the error of each invalid answer.

    Raises:
        OutputInvalid, OutputRefused, OutputTruncated, OutputFiltered: with the last text and the usage of all answers.
        BackendError, ChainError: no backend answered.
        InputError: the schema is not valid.
    """
    asking = _Asking(backend, request, _shape(schema), list(modes), trail if trail is not None else AttemptLog())
    for _ in range(max(attempts, 1)):
        answer = await asking.answer()
        asking.check_end(answer)
        try:
            value = asking.shape.read(asking.raw)
        except _WrongError as wrong:
            asking.wrong = wrong
            if on_wrong:
                on_wrong(str(wrong))
        else:
            return Parsed(value, asking.raw, asking.usage, asking.answers, asking.mode, asking.trail)
    raise errors.OutputInvalid(f"No valid answer in {asking.answers} tries:\n{asking.wrong}", raw=asking.raw, usage=asking.usage)


class _WrongError(Exception):
    """Report that the model's answer is not valid. The text is for the model."""


@dataclass(slots=True)
class _Asking:
    """The state of one `parse`."""

    backend: Backend
    request: Request
    shape: _Shape
    modes: list[Mode]
    trail: AttemptLog
    usage: Usage = field(default_factory=Usage)
    answers: int = 0
    raw: str = ""
    wrong: _WrongError | None = None

    @property
    def mode(self) -> Mode:
        return self.modes[0]

    async def answer(self) -> Response:
        """Return the next answer, in the first mode that the backend accepts."""
        while True:
            try:
                answer = await self.backend.send(self._request(), trail=self.trail)
            except errors.PatternError as error:
                if len(self.modes) == 1 or not _is_about_format(error):
                    raise
                self.modes.pop(0)
            else:
                self.answers += 1
                self.usage += read_usage(answer.body) or Usage()
                self.raw = answer.text
                return answer

    def check_end(self, answer: Response) -> None:
        refusal = answer.message.get("refusal")
        if refusal:
            raise errors.OutputRefused(f"The model refused: {refusal}", raw=self.raw or str(refusal), usage=self.usage)
        if answer.finish_reason == "length":
            raise errors.OutputTruncated("The answer was cut off by the limit of tokens.", raw=self.raw, usage=self.usage)
        if answer.finish_reason == "content_filter":
            raise errors.OutputFiltered("The content filter ended the answer.", raw=self.raw, usage=self.usage)

    def _request(self) -> Request:
        messages = self.request.messages
        if self.mode != "json_schema":
            messages = _instructed(messages, self.shape.instruction)
        if self.wrong:  # only the last answer: earlier errors are fixed, or reported again
            feedback = f"Your answer was not accepted:\n{self.wrong}\n\n{self.shape.instruction}"
            shown = self.raw[:MAX_SHOWN] or "(nothing)"
            messages += [{"role": "assistant", "content": shown}, {"role": "user", "content": feedback}]
        return self.request.with_messages(messages).with_options(response_format=self.shape.response_format(self.mode))


class _Shape:
    """The requested shape: a JSON schema, and the way to read an answer by it.

    A schema that is not an object is wrapped in an object with the property `value`, because servers require objects.
    """

    def __init__(self, name: str, schema: Json) -> None:
        self.name = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "answer"
        self.wrapped = resolved(schema, schema).get("type") != "object"
        self.schema = _wrapped(schema) if self.wrapped else schema
        self.strict = strict(self.schema)

    @property
    def instruction(self) -> str:
        schema = json.dumps(self.schema, ensure_ascii=False)
        return f"Answer with JSON alone, without prose or code fences: one object that this JSON schema accepts.\n{schema}"

    def response_format(self, mode: Mode) -> Json | None:
        if mode == "json_schema":
            given = {"name": self.name, "schema": self.strict or self.schema, "strict": self.strict is not None}
            return {"type": "json_schema", "json_schema": given}
        return {"type": "json_object"} if mode == "json_object" else None

    def read(self, text: str) -> Any:
        """Return the value in a model's text. Raises `_WrongError` with the error of the first candidate."""
        first: _WrongError | None = None
        for value in found_json(text):
            for form in self._forms(value):
                try:
                    return self.valid(form)
                except _WrongError as wrong:
                    first = first or wrong
        raise first or _WrongError("- It holds no JSON.")

    def _forms(self, value: Any) -> Iterator[Any]:
        """Yield the possible readings, likeliest first: without the nulls of strict mode, and without the wrapper, which models omit."""
        forms = [without_nulls(value, self.schema, self.schema), value] if self.strict else [value]
        for form in forms:
            yield form["value"] if self.wrapped and isinstance(form, dict) and form.keys() == {"value"} else form

    def valid(self, value: Any) -> Any:
        """Return the validated value. Raises `_WrongError`."""
        raise NotImplementedError


class _TypeShape(_Shape):
    """A shape defined by a pydantic type."""

    def __init__(self, kind: Any) -> None:
        import pydantic

        try:
            self._adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(kind)
            schema = self._adapter.json_schema()
        except pydantic.PydanticUserError as error:
            raise errors.InputError(f"{kind!r} has no JSON schema: {error.message}", param="schema") from error
        super().__init__(getattr(kind, "__name__", "answer"), schema)

    def valid(self, value: Any) -> Any:
        import pydantic

        try:
            # As JSON, so that strict models accept dates, enums, and tuples.
            return self._adapter.validate_json(json.dumps(value))
        except pydantic.ValidationError as error:
            raise _WrongError("\n".join(validation_messages.of_pydantic(error))) from error


class _SchemaShape(_Shape):
    """A shape defined by a JSON schema."""

    def __init__(self, schema: Json) -> None:
        from jsonschema import Draft202012Validator, SchemaError

        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise errors.InputError(f"This is not a JSON schema: {error.message}", param="schema") from error
        self._validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        super().__init__(str(schema.get("title") or "answer"), schema)

    def valid(self, value: Any) -> Any:
        from referencing.exceptions import Unresolvable

        try:
            wrong = validation_messages.of_schema(self._validator.iter_errors(value))
        except (Unresolvable, RecursionError) as error:
            raise errors.InputError(f"A reference in the schema leads nowhere: {error}", param="schema") from error
        if wrong:
            raise _WrongError("\n".join(wrong))
        return value


def response_format(schema: Json) -> Json:
    """Return the `response_format` that `parse` sends first. A backend that refuses it is asked in other ways.

    Raises:
        InputError: the schema is not valid.
    """
    wanted = _shape(schema).response_format("json_schema")
    assert wanted is not None
    return wanted


def found_json(text: str) -> Iterator[Any]:
    """Yield the JSON values in a model's text, likeliest first: the whole text, code fences, JSON inside prose. Thinking is excluded."""
    text = _without_thinking(text).strip()
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    sources = [text, *(inside.strip() for inside in FENCED.findall(text))]
    for source in sources[:MAX_CANDIDATES]:
        try:
            yield decoder.decode(source)
        except (ValueError, RecursionError):
            continue
    yield from _amid_prose(text, decoder)


def _without_thinking(text: str) -> str:
    """Return the text outside of thinking tags, in one pass: a looping model writes thousands that it never closes."""
    kept, at, unclosed = [], 0, set[str]()
    for opening in THINKING.finditer(text):
        tag = opening[1]
        if opening.start() < at or tag in unclosed:
            continue
        end = text.find(f"</{tag}>", opening.end())
        if end < 0:
            unclosed.add(tag)
            continue
        kept.append(text[at : opening.start()])
        at = end + len(f"</{tag}>")
    return "".join([*kept, text[at:]])


def _amid_prose(text: str, decoder: json.JSONDecoder) -> Iterator[Any]:
    position = found = 0
    for _ in range(MAX_STARTS):
        start = re.compile(r"[{\[]").search(text, position)
        if not start or found >= MAX_CANDIDATES:
            return
        try:
            value, position = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            position = start.end()
        else:
            found += 1
            yield value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _shape(schema: Any) -> _Shape:
    return _SchemaShape(schema) if isinstance(schema, dict) else _shape_of_type(schema)


@functools.lru_cache(maxsize=64)
def _shape_of_type(kind: Any) -> _TypeShape:
    """Return the shape of a type. pydantic takes a millisecond to make a schema, and programs ask for few types."""
    return _TypeShape(kind)


def _wrapped(schema: Json) -> Json:
    inner = {key: value for key, value in schema.items() if key not in {"$defs", "definitions"}}
    outer: Json = {"type": "object", "properties": {"value": inner}, "required": ["value"], "additionalProperties": False}
    return outer | definitions(schema)


def _instructed(messages: list[Message], instruction: str) -> list[Message]:
    """Put the instruction into the system message, because some chat templates accept only one, at the start."""
    first = messages[0] if messages else {}
    if first.get("role") in {"system", "developer"} and isinstance(first.get("content"), str):
        return [{**first, "content": f"{first['content']}\n\n{instruction}"}, *messages[1:]]
    return [{"role": "system", "content": instruction}, *messages]


def _is_about_format(error: errors.PatternError) -> bool:
    """Return whether another mode may work: the format is not supported, or the server fails over it."""
    match error:
        case errors.CapabilityMissing() | errors.ServerFailed():
            return True
        case errors.RequestRejected():
            return bool(ABOUT_FORMAT.search(error.message))
        case errors.AllFailed(cause=cause):
            lacking = any(attempt.outcome == "skipped" and "cannot do" in attempt.why for attempt in error.attempts)
            return lacking or (cause is not None and _is_about_format(cause))
    return False
