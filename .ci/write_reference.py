"""Write docs/reference.md from the docstrings of webapp/patterns: `write_reference.py` checks, `write_reference.py --write` rewrites.

The sources are parsed and not imported, so that the text is the same on every machine.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATTERNS = ROOT / "webapp" / "patterns"
PAGE = ROOT / "docs" / "reference.md"
INTRODUCTION = """\
# Reference of the patterns

The public names of `webapp.patterns`, with their signatures and docstrings. [The ten patterns](patterns.md) shows them in use.

This page is generated from the docstrings: change those, then run `make reference`.
"""
SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):$")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


def public_names() -> dict[str, tuple[Path, str]]:
    """Return the file and the name inside it of each public name, read from the package's own table."""
    tree = ast.parse((PATTERNS / "__init__.py").read_text())
    tables = [node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_SOURCES"]
    sources: dict[str, str] = ast.literal_eval(tables[0])
    return {name: _location(source) for name, source in sources.items()}


def _location(source: str) -> tuple[Path, str]:
    module, _, name = source.partition(":")
    path = PATTERNS / module.replace(".", "/")
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")), name


def find(path: Path, name: str) -> Definition:
    """Return the definition of a class or function at the top level of a file.

    Raises:
        LookupError: the file does not define it.
    """
    found = [node for node in ast.parse(path.read_text()).body if isinstance(node, Definition) and node.name == name]
    if not found:
        raise LookupError(f"{path.relative_to(ROOT)} does not define {name}")
    return found[-1]  # after its overloads


def page() -> str:
    """Return the whole reference as Markdown, by file and then in the order of the names."""
    files: dict[Path, list[str]] = {}
    for name, (path, inner) in sorted(public_names().items()):
        files.setdefault(path, []).append("\n".join(_entry(name, find(path, inner))))
    chapters = [f"## {path.relative_to(ROOT)}\n\n" + "\n".join(entries) for path, entries in sorted(files.items())]
    return "\n".join([INTRODUCTION, *chapters])


def _entry(name: str, node: Definition) -> Iterator[str]:
    yield f"### {name}\n"
    yield f"```python\n{_class_signature(name, node) if isinstance(node, ast.ClassDef) else _signature(name, node)}\n```\n"
    yield from _text(node)
    if isinstance(node, ast.ClassDef):
        yield from _members(node)


def _members(node: ast.ClassDef) -> Iterator[str]:
    for member in node.body:
        if isinstance(member, Function) and not member.name.startswith("_") and not _is_overload(member):
            kind = "property " if any("property" in ast.unparse(each) for each in member.decorator_list) else ""
            yield f"**{kind}`{_signature(member.name, member).removeprefix('def ')}`**\n"
            yield from _text(member)


def _is_overload(node: Function) -> bool:
    return any("overload" in ast.unparse(each) for each in node.decorator_list)


def _signature(name: str, node: Function) -> str:
    prefix = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{prefix} {name}({_arguments(node)}){returns}"


def _arguments(node: Function) -> str:
    return re.sub(r"^(self|cls)(, /)?(, |$)", "", ast.unparse(node.args))


def _class_signature(name: str, node: ast.ClassDef) -> str:
    """Return how an instance is made: from `__init__`, or from the fields of a dataclass or protocol."""
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            return f"class {name}({_arguments(member)})"
    declared = [member for member in node.body if isinstance(member, ast.AnnAssign)]
    fields = [ast.unparse(member) for member in declared if not ast.unparse(member.target).startswith("_")]
    bases = ", ".join(map(ast.unparse, node.bases))
    body = "".join(f"\n    {field}" for field in fields)
    return f"class {name}({bases}):{body}" if bases else f"class {name}:{body}"


def _text(node: Definition) -> Iterator[str]:
    text = ast.get_docstring(node)
    if text:
        yield f"{_markdown(text)}\n"


def _markdown(docstring: str) -> str:
    """Return a Google docstring as Markdown: its sections become lists."""
    lines: list[str] = []
    inside = False
    for line in cleandoc(docstring).splitlines():
        section = SECTION.match(line)
        if section:
            lines += [f"*{section[1]}:*", ""]
            inside = True
        elif inside and re.match(r"^ {4}\S", line):
            lines.append(_item(line.strip()))
        elif inside and line.startswith(" " * 8):
            lines[-1] += f" {line.strip()}"
        else:
            inside = inside and not line
            lines.append(line)
    return "\n".join(lines).rstrip()


def _item(line: str) -> str:
    """Return one line of a section as an item; the name of an argument or error as code."""
    name, colon, text = line.partition(": ")
    return f"- `{name}`: {text}" if colon and re.fullmatch(r"[\w*., ]+", name) else f"- {line}"


def main(*, write: bool) -> int:
    """Rewrite the page, or say that it is not current; return the exit code."""
    text = page()
    if PAGE.exists() and PAGE.read_text() == text:
        return 0
    if write:
        PAGE.write_text(text)
        return 0
    print("docs/reference.md is not current: run `make reference`.")
    return 1


if __name__ == "__main__":
    sys.exit(main(write="--write" in sys.argv))
