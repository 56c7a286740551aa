"""Extract, exchange, and compile the texts of the interface languages.

`extract` writes every text of the source into webapp/locale/*/LC_MESSAGES/django.po and keeps the translations (it needs xgettext).
`export LANGUAGE` prints the texts without a translation as JSON (`--all`: all texts), `import LANGUAGE FILE` takes them back;
`validate LANGUAGE FILE` only says what would be refused.
`compile` writes the .mo files that the server reads. `check` reports what is missing or wrong. Only `extract` needs gettext.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import struct
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCALE = ROOT / "webapp" / "locale"
# The rule that selects the plural form, for each language.
PLURALS = {
    "de": "nplurals=2; plural=(n != 1);",
    "fr": "nplurals=2; plural=(n > 1);",
    "es": "nplurals=2; plural=(n != 1);",
    "ja": "nplurals=1; plural=0;",
    "zh_Hans": "nplurals=1; plural=0;",
}
IGNORED = [".venv", "tests", "bench", "docs", "deploy", ".ci", "webapp/locale"]
PLACEHOLDER = re.compile(r"%\((\w+)\)[sdr]|\{(\w*)\}|%[sd]")
TAG = re.compile(r"</?([a-zA-Z][\w-]*)")


@dataclass(frozen=True)
class Message:
    """A text of the source and its translation: one form, or several where the text has a plural."""

    text: str
    plural: str = ""
    context: str = ""
    forms: tuple[str, ...] = ()
    comments: tuple[str, ...] = field(default=(), compare=False)

    @property
    def key(self) -> tuple[str, str, str]:
        """Return what identifies the message in a catalog."""
        return (self.context, self.text, self.plural)

    @property
    def is_translated(self) -> bool:
        """Return whether every form is filled."""
        return bool(self.forms) and all(self.forms)


def plural_count(language: str) -> int:
    """Return the number of plural forms of a language."""
    return int(PLURALS[language].split(";")[0].removeprefix("nplurals="))


def catalog(language: str, suffix: str = "po") -> Path:
    """Return the path of the catalog of a language."""
    return LOCALE / language / "LC_MESSAGES" / f"django.{suffix}"


def read_po(path: Path) -> list[Message]:
    """Return the messages of a .po file, without its header, obsolete entries, and fuzzy translations."""
    messages = []
    for block in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
        comments: list[str] = []
        values: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("#"):
                comments.append(line)
            elif found := re.match(r'(msg\w+(?:\[\d+\])?)\s+(".*")$', line):
                name = found[1]
                values[name] = ast.literal_eval(found[2])
            elif line.startswith('"'):
                values[name] += ast.literal_eval(line)
        if not values.get("msgid"):
            continue  # the header, or an obsolete entry
        forms = tuple(text for key, text in values.items() if key.startswith("msgstr"))
        if any("fuzzy" in line for line in comments if line.startswith("#,")):
            forms = ()
        kept = tuple(line for line in comments if line.startswith(("#:", "#.", "#,")) and "fuzzy" not in line)
        messages.append(Message(values["msgid"], values.get("msgid_plural", ""), values.get("msgctxt", ""), forms, kept))
    return messages


def quoted(text: str) -> str:
    """Return a text as a .po file holds it: one line of the text a line of the file."""
    parts = [json.dumps(part, ensure_ascii=False) for part in text.splitlines(keepends=True)] or ['""']
    return parts[0] if len(parts) == 1 else '""\n' + "\n".join(parts)


def header(language: str) -> str:
    """Return the header of a catalog. It holds no date, so that equal texts give equal files."""
    return (
        "Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n"
        f"Language: {language}\nMIME-Version: 1.0\nPlural-Forms: {PLURALS[language]}\n"
    )


def write_po(language: str, messages: list[Message]) -> None:
    """Write the .po file of a language."""
    blocks = [f'msgid ""\nmsgstr {quoted(header(language))}']
    for message in messages:
        lines = list(message.comments)
        if message.context:
            lines.append(f"msgctxt {quoted(message.context)}")
        lines.append(f"msgid {quoted(message.text)}")
        if message.plural:
            lines.append(f"msgid_plural {quoted(message.plural)}")
            count = plural_count(language)
            forms = message.forms if len(message.forms) == count else ("",) * count
            lines += [f"msgstr[{number}] {quoted(form)}" for number, form in enumerate(forms)]
        else:
            lines.append(f"msgstr {quoted(message.forms[0] if message.forms else '')}")
        blocks.append("\n".join(lines))
    path = catalog(language)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def compiled(language: str) -> bytes:
    """Return the .mo file of a language: GNU's format without a hash table."""
    pairs = [(b"", header(language).encode())]
    for message in read_po(catalog(language)):
        if message.is_translated:
            text = f"{message.context}\x04{message.text}" if message.context else message.text
            text += f"\0{message.plural}" if message.plural else ""
            pairs.append((text.encode(), "\0".join(message.forms).encode()))
    pairs.sort()
    count = len(pairs)
    at = 28 + 16 * count
    tables, data = [b"", b""], b""
    for side in (0, 1):
        for pair in pairs:
            tables[side] += struct.pack("<II", len(pair[side]), at + len(data))
            data += pair[side] + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, at) + tables[0] + tables[1] + data


def source_messages() -> list[Message]:
    """Return every text of the source that is marked for translation."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    sys.path.insert(0, str(ROOT))
    import django
    from django.core.management import call_command
    from django.test import override_settings

    django.setup()
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        with tempfile.TemporaryDirectory() as folder, override_settings(LOCALE_PATHS=[folder]):
            options = {"ignore_patterns": IGNORED, "add_location": "file", "no_wrap": True, "verbosity": 0}
            call_command("makemessages", locale=["en"], **options)
            return read_po(Path(folder) / "en" / "LC_MESSAGES" / "django.po")
    finally:
        os.chdir(before)


def extract() -> None:
    """Bring every catalog up to date with the source and keep its translations."""
    source = source_messages()
    for language in PLURALS:
        path = catalog(language)
        known = {one.key: one.forms for one in read_po(path)} if path.exists() else {}
        write_po(language, [replace(one, forms=known.get(one.key, ())) for one in source])


def compile_all() -> None:
    """Write the .mo file of every language."""
    for language in PLURALS:
        catalog(language, "mo").write_bytes(compiled(language))


def as_json(messages: list[Message]) -> str:
    """Return messages for a translator: what a line holds is what `import` reads."""
    rows = []
    for one in messages:
        row: dict[str, object] = {"text": one.text}
        if one.plural:
            row["plural"] = one.plural
        if one.context:
            row["context"] = one.context
        row["where"] = " ".join(line[2:].strip() for line in one.comments if line.startswith(("#:", "#.")))
        row["translation"] = (list(one.forms) or [""]) if one.plural else (one.forms[0] if one.forms else "")
        rows.append(json.dumps(row, ensure_ascii=False))
    return "[\n" + ",\n".join(rows) + "\n]\n"


def take(language: str, text: str, *, write: bool = True) -> list[str]:
    """Put translations into the catalog of a language and return what was refused, with the reason.

    The JSON maps each text to its translation (a list of forms where the text has a plural), or is a list as `export` prints it.
    """
    given = json.loads(text)
    rows = {row["text"]: row["translation"] for row in given} if isinstance(given, list) else given
    messages = read_po(catalog(language))
    refused = [f"no such text: {text!r}" for text in rows.keys() - {one.text for one in messages}]
    taken = []
    for one in messages:
        value = rows.get(one.text, "")
        message = replace(one, forms=tuple(value) if isinstance(value, list) else (value,))
        why = fault(language, message) if any(message.forms) else "empty"
        if why and any(message.forms):
            refused.append(f"{why}: {one.text!r} -> {value!r}")
        taken.append(one if why else message)
    if write:
        write_po(language, taken)
        catalog(language, "mo").write_bytes(compiled(language))
    return refused


def parts(text: str) -> tuple[list[str], list[str]]:
    """Return the placeholders and the tags of a text, sorted."""
    return sorted(found[0] for found in PLACEHOLDER.finditer(text)), sorted(found[0] for found in TAG.finditer(text))


def fault(language: str, message: Message) -> str:
    """Return what is wrong with a translation, or nothing. One form of a plural may leave its number out ("one row")."""
    if not message.is_translated:
        return "not translated"
    if message.plural and len(message.forms) != plural_count(language):
        return f"needs {plural_count(language)} forms"
    allowed = [parts(message.text)] + ([parts(message.plural)] if message.plural else [])
    for form in message.forms:
        if parts(form) not in allowed:
            return f"placeholders or tags differ, expected {allowed[-1]}"
        if (form[0] == "\n") != (message.text[0] == "\n") or (form[-1] == "\n") != (message.text[-1] == "\n"):
            return "line breaks at the ends differ"
    return ""


def check() -> list[str]:
    """Return what is missing or wrong in the catalogs."""
    found = []
    for language in PLURALS:
        faults = ((fault(language, message), message.text) for message in read_po(catalog(language)))
        found += [f"{language}: {why}: {text!r}" for why, text in faults if why]
        if catalog(language, "mo").read_bytes() != compiled(language):
            found.append(f"{language}: django.mo is not compiled from django.po")
    return found


def main() -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["extract", "compile", "check", "export", "import", "validate"])
    parser.add_argument("language", nargs="?", choices=list(PLURALS))
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--all", action="store_true", help="export translated texts too")
    arguments = parser.parse_args()
    if arguments.command == "extract":
        extract()
        compile_all()
    elif arguments.command == "compile":
        compile_all()
    elif arguments.command == "check":
        found = check()
        sys.stdout.write("".join(f"{line}\n" for line in found))
        return 1 if found else 0
    elif not arguments.language:
        parser.error("name a language")
    elif arguments.command == "export":
        messages = read_po(catalog(arguments.language))
        sys.stdout.write(as_json([one for one in messages if arguments.all or not one.is_translated]))
    elif not arguments.file:
        parser.error("name a JSON file")
    else:
        refused = take(arguments.language, arguments.file.read_text(encoding="utf-8"), write=arguments.command == "import")
        sys.stderr.write("".join(f"refused, {line}\n" for line in refused))
        return 1 if refused else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
