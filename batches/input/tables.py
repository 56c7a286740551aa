"""Requests from a table and a prompt template: `{{ column }}` stands for the row's value, and nothing else in it means anything."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

import jiter

from webapp.patterns.errors import InputError
from webapp.patterns.types import Json

Row = Mapping[str, Any]
PLACEHOLDER = re.compile(r"\{\{([^{}]+)\}\}")  # no neighbors that match the same: it must not go back and forth
ID_COLUMNS = ("custom_id", "id")
MAX_CELL_CHARS = 1_000_000
SNIFF_CHARS = 8192
LINE = "line"

csv.field_size_limit(MAX_CELL_CHARS)


@dataclass(frozen=True, slots=True)
class Prompting:
    """How a row becomes a request."""

    endpoint: str
    model: str
    template: str
    system: str = ""
    max_tokens: int | None = None

    def body(self, row: Row) -> Json:
        """The request's body for one row."""
        text = fill(self.template, row)
        if self.endpoint.endswith("/embeddings"):
            return {"model": self.model, "input": text}
        messages = [{"role": "system", "content": fill(self.system, row)}] if self.system else []
        limit = {"max_tokens": self.max_tokens} if self.max_tokens else {}
        return {"model": self.model, "messages": [*messages, {"role": "user", "content": text}], **limit}


def fill(template: str, row: Row) -> str:
    """The template with the row's values, each put in once and literally.

    Raises:
        InputError: it names a column that the row does not have.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1].strip()
        if not name:
            return match[0]
        if name not in row:
            known = ", ".join(f"{{{{ {column} }}}}" for column in row)
            raise InputError(f"The template names {{{{ {name} }}}}, and the columns are {known}.", param="template")
        return _text(row[name])

    return PLACEHOLDER.sub(value, template)


def _text(cell: Any) -> str:
    try:
        return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)
    except ValueError as error:  # Python writes no integers of thousands of digits
        raise InputError("A cell holds a number that is too long.", param="file") from error


def requests(rows: Iterable[Row], prompting: Prompting) -> Iterator[tuple[str, Json]]:
    """(custom_id, body) for each row. Ids are the `custom_id` or `id` column's, made unique where they repeat, else the row's number."""
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        name = next((_text(row[column]) for column in ID_COLUMNS if row.get(column) not in (None, "")), f"row-{number}")
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}-row-{number}"), prompting.body(row)


def lines(text: str) -> Iterator[Row]:
    """Each line that is not blank as a row with one column, `line`."""
    return ({LINE: line.strip()} for line in text.splitlines() if line.strip())


def read(file: BinaryIO, filename: str) -> Iterator[Row]:
    """The rows of a CSV (any common delimiter, a header line) or JSONL file.

    Raises:
        InputError: it cannot be read, with the line.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        yield from _rows(text, filename)
    except UnicodeDecodeError as error:
        raise InputError("The file is not UTF-8: save it as UTF-8 and try again.", param="file") from error
    except csv.Error as error:
        raise InputError(f"The CSV file cannot be read: {error}.", param="file") from error
    finally:
        text.detach()


def _rows(text: io.TextIOWrapper, filename: str) -> Iterator[Row]:
    head = text.read(SNIFF_CHARS)
    text.seek(0)
    is_json = filename.lower().endswith((".jsonl", ".ndjson", ".json")) or head.lstrip("\ufeff \r\n").startswith("{")
    yield from _jsonl(text) if is_json else _csv(text, head)


def _jsonl(text: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            row = jiter.from_json(line.encode(), allow_inf_nan=False)
        except ValueError as error:
            raise InputError(f"Line {number} is not valid JSON: {error}.", param="file", line=number) from error
        if not isinstance(row, dict):
            raise InputError(f"Line {number} is not a JSON object.", param="file", line=number)
        yield row


def _csv(text: Iterable[str], head: str) -> Iterator[Row]:
    first = head.partition("\n")[0]
    delimiter = max(",;\t|", key=first.count)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    header = [name.strip() for name in next(reader, [])]
    if not any(header) or len(set(header)) != len(header):
        raise InputError("The first line must name the columns, each once.", param="file", line=1)
    for cells in reader:
        if not any(cells):
            continue
        if len(cells) != len(header):
            message = f"Line {reader.line_num} has {len(cells)} cells, and the header has {len(header)}."
            raise InputError(message, param="file", line=reader.line_num)
        yield dict(zip(header, cells, strict=True))


@dataclass(frozen=True, slots=True)
class Survey:
    """All rows looked through: how many there are, and the first requests that they make."""

    rows: int
    sample: list[tuple[str, Json]]


def survey(rows: Iterable[Row], prompting: Prompting, *, most: int = 200) -> Survey:
    """Fill the template with every row, and keep the first `most` requests. Raises `InputError` for a row that cannot be filled in."""
    made = requests(rows, prompting)
    sample = list(islice(made, most))
    return Survey(len(sample) + sum(1 for _ in made), sample)
