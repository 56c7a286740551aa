"""Compute the built-in model's reply to a conversation, or its tool calls. Pure functions: no clock, no network, no randomness."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from webapp.builtin import arithmetic, extraction, phrases, schema_filling, tool_results
from webapp.builtin.protocol import Ask
from webapp.builtin.text_parts import text_of
from webapp.patterns.agent.calculator import calculate
from webapp.patterns.errors import PatternError
from webapp.patterns.types import Json, Message

LONG_TEXT_WORDS = 60
ASKED_CHARS = 1000
"""Characters of a question that are examined to choose a tool."""
SUMMARY = re.compile(r"\b(?:summari[sz]e|summary|sum up|tl;?dr|key points|main points|in short|shorten)\b", re.IGNORECASE)
COUNT = re.compile(r"\b(\d{1,2}|one|two|three|four|five|six|seven)\b[\w\s-]{0,20}\b(?:sentences?|points?|bullets?|lines?)\b", re.IGNORECASE)
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}
TITLE = re.compile(
    r"\b(?:title|headline)\b.{0,80}\b(?:for|of)\b|\b(?:write|give|suggest|create|generate|make)\b.{0,40}\btitle\b", re.IGNORECASE
)
WHO = re.compile(
    r"\b(?:who|what) (?:are|r) (?:you|u)\b|\bwhat(?:'s| is) your name\b|\bwhat can (?:you|i) (?:do|ask)\b|\bare you (?:an? )?"
    r"(?:ai|llm|gpt|chatgpt|language model|robot|bot|human|real)\b|\bwhich model (?:are|is)\b|\bintroduce yourself\b|^help\W*$",
    re.IGNORECASE,
)
HELLO = re.compile(
    r"^\W*(?:hi|hello|hey|hallo|good (?:morning|afternoon|evening|day)|greetings|test|ping)(?:\s+(?:there|you|all))?\W*$", re.IGNORECASE
)
THANKS = re.compile(r"^\W*(?:thanks|thank you|thx|cheers|great|nice|ok(?:ay)?|cool|perfect)\b[\w\s,]{0,25}\W*$", re.IGNORECASE)
GOODBYE = re.compile(r"^\W*(?:bye|goodbye|good ?night|see you|ciao)\b[\w\s]{0,15}\W*$", re.IGNORECASE)
CONNECT = re.compile(
    r"\b(?:connect|hook up|set ?up|configure|add|install|link|integrate|plug in)\b"
    r"(?=.*\b(?:backend|model|server|provider|endpoint|api|llm)s?\b)",
    re.IGNORECASE | re.DOTALL,
)
CONNECT_NAMED = re.compile(r"\b(?:connect|hook up|set ?up|configure|add|install|link|integrate|plug in|use|run)\b", re.IGNORECASE)
NAME = re.compile(r"(?<!\S)[\w.:-]*(?:[\d/_]|[a-z]-)[\w./:-]*")
TOOL_WORDS: dict[str, re.Pattern[str]] = {
    "current_time": re.compile(r"\b(?:what|which|current|today'?s)\b.*\b(?:time|date|day|weekday)\b", re.IGNORECASE),
    "get_gpu_metrics": re.compile(r"\bgpus?\b|\bvram\b", re.IGNORECASE),
    "list_backends": re.compile(r"\b(?:which|what|list|show)\b.*\b(?:backends|models|servers|routes)\b", re.IGNORECASE),
    "run_benchmark": re.compile(r"\bbenchmark\b|\bhow fast\b", re.IGNORECASE),
    "get_batch_status": re.compile(r"\bbatch(?:es)?\b", re.IGNORECASE),
}


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call of the model."""

    name: str
    arguments: Json


@dataclass(frozen=True, slots=True)
class Reply:
    """The text or the tool calls of the model."""

    text: str = ""
    calls: tuple[Call, ...] = ()


def respond(ask: Ask) -> Reply:
    """Return the reply to a valid request.

    Raises:
        ApiError: the wanted schema cannot be met by extraction.
    """
    results = tool_results.results_at_end(ask.messages)
    question = _question(ask.messages)
    if ask.choice not in {"auto", "none"} and not results:
        return Reply(calls=(_forced(ask, question),))
    if ask.choice != "none" and not results:
        calls = _wanted_calls(ask, question)
        if calls:
            return Reply(calls=calls if ask.parallel else calls[:1])
    text = tool_results.answer(results) if results else _said(ask.messages, question)
    return Reply(text if ask.schema is None else _as_json(ask, text, question))


def complete(prompt: str) -> str:
    """Return the completion of a prompt."""
    return _said([{"role": "user", "content": prompt}], prompt)


def _question(messages: list[Message]) -> str:
    return next((text_of(message) for message in reversed(messages) if message["role"] == "user"), "").strip()


def _wanted_calls(ask: Ask, question: str) -> tuple[Call, ...]:
    """Return calls of offered tools that this model can use, if the question needs one."""
    sums = arithmetic.expressions(question)
    if sums:
        return tuple(Call("calculator", {"expression": each}) for each in sums) if "calculator" in ask.tools else ()
    if not question or _own_words(question) or _pasted(question) or tool_results.from_citations(question):
        return ()
    asked = question[:ASKED_CHARS]
    named = next((name for name, pattern in TOOL_WORDS.items() if name in ask.tools and pattern.search(asked)), "")
    if named:
        return (Call(named, _guessed(ask.tools[named], question)),)
    if "search_documents" in ask.tools and not TITLE.search(question):
        return (Call("search_documents", {"query": asked}),)
    return ()


def _guessed(function: Json, question: str) -> Json:
    """Return arguments for the required parameters: the last word of the question that looks like a name or an id."""
    names = NAME.findall(question) or question.split()
    return {name: names[-1].strip("?.!,") for name in (function.get("parameters") or {}).get("required", ())}


def _forced(ask: Ask, question: str) -> Call:
    """Return the call that `tool_choice` demands, with arguments that the tool's schema accepts."""
    planned = _wanted_calls(ask, question)
    if ask.choice == "required":
        if planned:
            return planned[0]
        name = max(ask.tools, key=lambda name: _likeness(ask.tools[name], question))
    else:
        name = ask.choice
        if planned and planned[0].name == name:
            return planned[0]
    arguments = schema_filling.fill(ask.tools[name].get("parameters") or {"type": "object"}, question, question)
    return Call(name, arguments if isinstance(arguments, dict) else {})


def _likeness(function: Json, question: str) -> int:
    described = extraction.words(f"{function['name'].replace('_', ' ')} {function.get('description') or ''}")
    return len(set(described) & set(extraction.words(question)))


def _said(messages: list[Message], question: str) -> str:
    """Return the model's answer without a tool."""
    sums = arithmetic.expressions(question)
    if sums:
        return "\n".join(_sum(each) for each in sums)
    if TITLE.search(question):
        return _title(messages, question)
    if cited := tool_results.from_citations(question):
        return cited
    if SUMMARY.search(question[:300]) or SUMMARY.search(question[-200:]):
        return _summarized(messages, question)
    said = _own_words(question)
    if said:
        return said()
    if _pasted(question):
        return _read(question)
    return _from_conversation(messages, question) or (phrases.NO_ANSWER if question else phrases.HELLO)


def _own_words(question: str) -> Callable[[], str] | None:
    """Return an answer about the model itself or about Patchbay."""
    if SUMMARY.search(question[:300]):
        return lambda: _summarized([], question)
    if len(question) > 300:
        return None
    if HELLO.search(question):
        return lambda: phrases.HELLO
    server = phrases.server_in(question)
    if server and (CONNECT_NAMED.search(question) or len(question.split()) < 3):
        return lambda: phrases.connecting(server)
    if CONNECT.search(question):
        return phrases.connecting_any
    simple = ((WHO, phrases.WHO), (THANKS, phrases.THANKS), (GOODBYE, phrases.GOODBYE))
    return next((lambda text=text: text for pattern, text in simple if pattern.search(question)), None)


def _sum(expression: str) -> str:
    shown = expression.replace("*", "\\*")
    try:
        return f"{shown} = **{calculate(expression)}**"
    except PatternError as error:
        return f"{shown}: {error.message}"


def _title(messages: list[Message], question: str) -> str:
    """Return a few key words of the conversation, or of the text that the question quotes."""
    said = [text_of(message) for message in messages if message["role"] in {"user", "assistant"}]
    quoted = re.split(r"[:\n]", question, maxsplit=1)[1:]
    source = (quoted[0] if quoted and quoted[0].strip() else "") or "\n".join(text for text in said if text.strip() != question)
    return " ".join(extraction.keywords(source or question, 5)).capitalize() or "Conversation"


def _summarized(messages: list[Message], question: str) -> str:
    source = _source(messages, question)
    if not source:
        return phrases.NOTHING_TO_SUMMARIZE
    asked = COUNT.search(question[:300])
    total = len(extraction.sentences(source))
    count = (NUMBERS.get(asked.group(1).lower()) or int(asked.group(1))) if asked else min(5, max(1, round(total / 4)))
    if total <= 1 and not asked:
        return f"That is a single sentence; nothing can be left out:\n\n> {source.strip()}"
    picked = extraction.summary(source, count)
    bullets = "\n".join(f"- {sentence}" for sentence in picked)
    return f"{bullets}{extraction.NOTE}{len(picked)} most telling of {total} sentences, quoted as they stand.*"


def _source(messages: list[Message], question: str) -> str:
    """Return the text to summarize: the text after the instruction or before it, or else the longest earlier message."""
    lines = question.splitlines()
    around = [re.split(r":\s", question, maxsplit=1)[-1] if re.search(r"^[^\n.]{0,120}:\s", question) else ""]
    around += ["\n".join(lines[1:])] if lines and SUMMARY.search(lines[0]) and len(lines[0]) < 200 else []
    around += ["\n".join(lines[:-1])] if lines and SUMMARY.search(lines[-1]) and len(lines[-1]) < 200 else []
    around += [question] if len(question.split()) > LONG_TEXT_WORDS else []
    found = next((text for text in around if len(text.split()) > 3), "")
    before = [text_of(message) for message in messages[:-1] if message["role"] in {"user", "assistant"}]
    return found or max((text for text in before if len(text.split()) > LONG_TEXT_WORDS / 2), key=len, default="")


def _pasted(question: str) -> bool:
    return len(question.split()) > LONG_TEXT_WORDS


def _read(question: str) -> str:
    """Answer a long text without an instruction, or with a question at its start or end."""
    parts = extraction.sentences(question)
    asked = next((part for part in (parts[-1], parts[0]) if part.endswith("?")), "") if parts else ""
    if asked:
        rest = "\n".join(part for part in parts if part != asked)
        found = extraction.passages(asked, rest, 3)
        if found:
            return tool_results.quoted(found)
    return _summarized([], question)


def _from_conversation(messages: list[Message], question: str) -> str:
    """Return sentences of earlier long messages about the subject of the question."""
    long = [text_of(message) for message in messages[:-1] if message["role"] in {"system", "developer", "user"}]
    found = extraction.passages(question, "\n\n".join(text for text in long if len(text.split()) > LONG_TEXT_WORDS / 2), 3)
    return tool_results.quoted(found) if found else ""


def _as_json(ask: Ask, text: str, question: str) -> str:
    value: Any = schema_filling.fill(ask.schema, question, _plain(text)) if ask.schema else {"answer": _plain(text)}
    return json.dumps(value, ensure_ascii=False)


def _plain(text: str) -> str:
    """Return Markdown as plain text, because it goes into a JSON string."""
    told = text.partition(extraction.NOTE)[0]
    return " ".join(re.sub(r"[*`]|\\(?=\*)|^(?:> ?|- )", "", told, flags=re.MULTILINE).split())
