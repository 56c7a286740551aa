"""Questions that running tools ask the user: waiting for the answer, and reading it from the fields of the form."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chat.html.elicitation_form import FIELD_PREFIX
from webapp.patterns.agent.interaction import Answer, Question
from webapp.patterns.types import Json

Fields = Mapping[str, Any]


@dataclass(slots=True)
class PendingQuestion:
    """A question that waits for its answer."""

    question: Question
    answer: asyncio.Future[Answer]

    @classmethod
    def of(cls, question: Question) -> PendingQuestion:
        """Return the question with a future for its answer."""
        return cls(question, asyncio.get_running_loop().create_future())

    def take(self, action: str, fields: Fields) -> str:
        """Take the user's answer; return what is wrong with it, empty for nothing."""
        if self.answer.done():
            return ""
        if action != "accept":
            self.answer.set_result(Answer("decline" if action == "decline" else "cancel"))
            return ""
        if self.question.url:
            self.answer.set_result(Answer("accept"))
            return ""
        content = read_fields(self.question.schema, fields)
        problem = _problem(self.question.schema, content)
        if not problem:
            self.answer.set_result(Answer("accept", content))
        return problem


def read_fields(schema: Json, fields: Fields) -> Json:
    """Return the object that the form's fields stand for, with the types of the schema. Empty fields are left out."""
    content: Json = {}
    for name, field in (schema.get("properties") or {}).items():
        given = fields.get(FIELD_PREFIX + name)
        kind = field.get("type") if isinstance(field, dict) else None
        if kind == "boolean":
            content[name] = given in {"true", "on", True}
        elif kind == "array":
            content[name] = [str(value) for value in (given if isinstance(given, list) else [given]) if value]
        elif given not in {None, ""}:
            content[name] = _number(str(given), kind) if kind in {"number", "integer"} else str(given)
    return content


def _number(text: str, kind: str) -> int | float | str:
    """Return the number that a text stands for; the text where it stands for none, which the schema then refuses."""
    try:
        return int(text) if kind == "integer" else float(text)
    except ValueError:
        return text


def _problem(schema: Json, content: Json) -> str:
    from jsonschema import Draft202012Validator, SchemaError, ValidationError

    known = {
        name: {key: value for key, value in field.items() if key != "pattern"} for name, field in (schema.get("properties") or {}).items()
    }
    try:  # without patterns: a hostile one could run forever
        Draft202012Validator({**schema, "properties": known}).validate(content)
    except ValidationError as error:
        where = ".".join(map(str, error.absolute_path))
        return f"{where}: {error.message}"[:300] if where else error.message[:300]
    except SchemaError:
        return ""  # the server's schema is broken: the server checks what it gets
    return ""
