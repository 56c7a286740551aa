"""Write answers from tool results: passages with sources, sums, tables of facts, and errors."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from webapp.builtin import extraction, phrases
from webapp.builtin.text_parts import text_of
from webapp.patterns.types import Json, Message

MAX_PASSAGES = 3
MAX_QUOTE_CHARS = 700
SHORT_CHARS = 300
MAX_ROWS = 20
CITED = re.compile(r"^\[\d+\] (?P<document>[^\n]+?)(?: \((?P<url>\S+)\))?\n(?P<text>(?:>[^\n]*(?:\n|$))+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Result:
    """The reply of one tool: the call and its result, decoded if it is JSON."""

    name: str
    arguments: Json
    value: Any


def results_at_end(messages: list[Message]) -> list[Result]:
    """Return the tool replies at the end of the conversation; an empty list if it ends with something else."""
    replies: list[Message] = []
    for message in reversed(messages):
        if message["role"] == "tool":
            replies.insert(0, message)
            continue
        calls = {call["id"]: call["function"] for call in message.get("tool_calls") or () if "function" in call}
        return [_result(calls[reply["tool_call_id"]], reply) for reply in replies if reply["tool_call_id"] in calls]
    return []


def _result(function: Json, reply: Message) -> Result:
    arguments = _decoded(function["arguments"])
    return Result(function["name"], arguments if isinstance(arguments, dict) else {}, _decoded(text_of(reply)))


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def answer(results: list[Result]) -> str:
    """Return Markdown that reports the results of the tools."""
    return "\n\n".join(_one(result) for result in results)


def _one(result: Result) -> str:
    match result.name:
        case "calculator" if "expression" in result.arguments:
            return _sum(str(result.arguments["expression"]), result.value)
        case "search_documents":
            return _found(result.value, str(result.arguments.get("query", "")))
    return _facts(result.name, result.value)


def _sum(expression: str, value: Any) -> str:
    shown = expression.replace("*", "\\*")
    return f"{shown}: {value}" if isinstance(value, str) else f"{shown} = **{value}**"


def _found(value: Any, question: str) -> str:
    """Return the best passages of a search, under any of the usual field names."""
    if isinstance(value, str):
        return f"The search said: {value}" if value.strip() else phrases.NOTHING_FOUND
    rows = value if isinstance(value, list) else next((each for each in (value or {}).values() if isinstance(each, list)), [])
    passages = [row for row in rows if isinstance(row, dict) and _text(row)]
    return _cited(passages[:MAX_PASSAGES], question) if passages else phrases.NOTHING_FOUND


def from_citations(message: str) -> str:
    """Answer a question that contains numbered passages with sources; return empty text if it contains none."""
    rows = [{**found.groupdict(), "text": re.sub(r"^> ?", "", found["text"], flags=re.MULTILINE)} for found in CITED.finditer(message)]
    question = message[: message.find("[1]")]
    wanted = set(extraction.words(question))
    best = sorted(rows, key=lambda row: -len(wanted & set(extraction.words(row["text"]))))
    return _cited(best[:MAX_PASSAGES], question) if best else ""


def _cited(rows: list[Json], question: str) -> str:
    return "From your documents:\n\n" + "\n\n".join(_passage(number, row, question) for number, row in enumerate(rows, 1))


def _passage(number: int, row: Json, question: str) -> str:
    """Return a short passage unchanged, and of a long one the sentences about the question."""
    text = " ".join(_text(row).split())
    best = extraction.passages(question, text, 2) if len(text) > SHORT_CHARS else []
    told = " … ".join(sorted(best, key=text.find)) if best else text
    cut = told if len(told) <= MAX_QUOTE_CHARS else told[:MAX_QUOTE_CHARS].rsplit(" ", 1)[0] + " …"
    return f"> {cut}\n>\n> — {_source(number, row)}"


def _text(row: Json) -> str:
    return next((row[key] for key in ("text", "passage", "snippet", "content", "quote") if isinstance(row.get(key), str)), "")


def _source(number: int, row: Json) -> str:
    named = [row[key] for key in ("title", "document", "source", "name", "file") if isinstance(row.get(key), str) and row[key]]
    name = (named[0] if named else f"passage {number}").replace("[", "(").replace("]", ")")
    section = f", {row['heading']}" if isinstance(row.get("heading"), str) and row["heading"] else ""
    page = f", page {row['page']}" if isinstance(row.get("page"), int) else ""
    url = next((row[key] for key in ("url", "link", "href") if isinstance(row.get(key), str)), "")
    return f"[{name}]({url}){section}{page}" if url and not set(url) & set(" ()<>") else f"**{name}**{section}{page}"


def quoted(sentences: list[str]) -> str:
    """Quote sentences of the conversation's own text."""
    return "From the text above:\n\n" + "\n>\n".join(f"> {sentence}" for sentence in sentences)


def _facts(name: str, value: Any) -> str:
    """Format any result: a sentence, a list of facts, or a table of similar objects."""
    if not isinstance(value, dict | list):
        return f"`{name}` says: {value}"
    rows = value if isinstance(value, list) else [value]
    if rows and all(isinstance(row, dict) for row in rows) and isinstance(value, list):
        return f"`{name}` found {len(rows)}:\n\n{_table(rows[:MAX_ROWS])}"
    if isinstance(value, dict) and not any(isinstance(each, dict | list) for each in value.values()):
        return f"`{name}` says:\n\n" + "\n".join(f"- **{key}**: {each}" for key, each in value.items())
    return f"`{name}` says:\n\n```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"


def _table(rows: list[Json]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(column, "")) for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("|", "\\|").replace("\n", " ")
