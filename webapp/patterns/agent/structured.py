"""Structured output: a value of a pydantic type, or one that a JSON schema accepts, from any model.

    parsed = await parse(backend, Request.chat([...]), Invoice)
    parsed.value.total

The strictest way that the backend can is tried first (`json_schema`, then `json_object`, then an instruction alone). Whatever comes is
validated here; what is wrong with it goes back to the model, a bounded number of times. A refusal, an answer cut off by the length limit or
by the content filter is an error of its own and is not asked again.
"""

from __future__ import annotations

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
"""Characters of a wrong answer that the model gets to see again."""
MAX_CANDIDATES = 20
MAX_STARTS = 200
THINKING = re.compile(r"<(think|thinking|reasoning)>")
FENCED = re.compile(r"```[\w-]*+(.*?)```", re.DOTALL)
ABOUT_FORMAT = re.compile(r"response_format|json_?schema|json mode|structured|grammar|guided|schema", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """A valid value. `raw` is the text that it was read from, `usage` sums all answers, `answers` counts them."""

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
    """Ask for a value until one is valid.

    Args:
        schema: a pydantic model, any type that pydantic knows (`list[int]`), or a JSON schema as a dict.
        attempts: answers asked for at most; what a backend cannot do at all does not count.
        modes: the ways to ask, in order; one that the backend refuses is left for the next.
        on_wrong: told of each answer that is not valid what is wrong with it.

    Raises:
        OutputInvalid, OutputRefused, OutputTruncated, OutputFiltered: with the last text and the usage of all answers.
        BackendError, ChainError: no answer could be had.
        InputError: the schema is none.
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
    """What the model wrote is not what was asked for; the text is for the model."""


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
        """The next answer, in the first mode that the backend does not refuse."""
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
        if self.wrong:  # the last answer alone: what was wrong with those before is repaired, or said again
            feedback = f"Your answer was not accepted:\n{self.wrong}\n\n{self.shape.instruction}"
            shown = self.raw[:MAX_SHOWN] or "(nothing)"
            messages += [{"role": "assistant", "content": shown}, {"role": "user", "content": feedback}]
        return self.request.with_messages(messages).with_options(response_format=self.shape.response_format(self.mode))


class _Shape:
    """What is asked for: a JSON schema, and how an answer is read by it.

    A schema that is no object is wrapped in one with the single property `value`, since that is what servers take.
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
        """The value in a model's text. Raises `_WrongError` with what is wrong with the first that was found."""
        first: _WrongError | None = None
        for value in found_json(text):
            for form in self._forms(value):
                try:
                    return self.valid(form)
                except _WrongError as wrong:
                    first = first or wrong
        raise first or _WrongError("- It holds no JSON.")

    def _forms(self, value: Any) -> Iterator[Any]:
        """What may be meant, likeliest first: without the nulls that strict mode forces, out of the wrapper (which models forget)."""
        forms = [without_nulls(value, self.schema, self.schema), value] if self.strict else [value]
        for form in forms:
            yield form["value"] if self.wrapped and isinstance(form, dict) and form.keys() == {"value"} else form

    def valid(self, value: Any) -> Any:
        """The value, checked. Raises `_WrongError`."""
        raise NotImplementedError


class _TypeShape(_Shape):
    """By pydantic."""

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
            # As JSON, so that dates, enums and tuples are read from it in strict models too.
            return self._adapter.validate_json(json.dumps(value))
        except pydantic.ValidationError as error:
            raise _WrongError("\n".join(validation_messages.of_pydantic(error))) from error


class _SchemaShape(_Shape):
    """By a JSON schema."""

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


def found_json(text: str) -> Iterator[Any]:
    """The JSON values in a model's text, likeliest first: the whole of it, those in code fences, those amid prose. Thinking is left out."""
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
    """The text without what stands between thinking tags. In one pass: a model that loops writes thousands that it never closes."""
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
    return _SchemaShape(schema) if isinstance(schema, dict) else _TypeShape(schema)


def _wrapped(schema: Json) -> Json:
    inner = {key: value for key, value in schema.items() if key not in {"$defs", "definitions"}}
    outer: Json = {"type": "object", "properties": {"value": inner}, "required": ["value"], "additionalProperties": False}
    return outer | definitions(schema)


def _instructed(messages: list[Message], instruction: str) -> list[Message]:
    """The instruction in the system message: some chat templates take a single one, and only at the start."""
    first = messages[0] if messages else {}
    if first.get("role") in {"system", "developer"} and isinstance(first.get("content"), str):
        return [{**first, "content": f"{first['content']}\n\n{instruction}"}, *messages[1:]]
    return [{"role": "system", "content": instruction}, *messages]


def _is_about_format(error: errors.PatternError) -> bool:
    """Whether another way to ask may do better: the format is not supported, or the server fails over it."""
    match error:
        case errors.CapabilityMissing() | errors.ServerFailed():
            return True
        case errors.RequestRejected():
            return bool(ABOUT_FORMAT.search(error.message))
        case errors.AllFailed(cause=cause):
            lacking = any(attempt.outcome == "skipped" and "cannot do" in attempt.why for attempt in error.attempts)
            return lacking or (cause is not None and _is_about_format(cause))
    return False
