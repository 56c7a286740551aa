"""Tests that the documents match the code: links, references, file names, and environment variables."""

from __future__ import annotations

import json
import re
import subprocess
import types
from pathlib import Path
from typing import Any

from webapp.patterns.agent import builtin_tools
from webapp.patterns.agent.tools import Tool, ToolRegistry

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
READERS = re.compile(r'\b(?:text|flag|number|items|environ(?:\.get)?)[\[(]"([A-Z][A-Z_]+)"')
FAULTS = re.compile(r"FAULTS? (\d+(?:(?:-|, (?:and )?| and )\d+)*)")
LINK = re.compile(r"\]\(([^):\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def tracked(*suffixes: str) -> list[Path]:
    """Return the files of the repository with one of these suffixes."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    paths = [ROOT / name for name in names if name.endswith(suffixes) and not name.startswith("tests/search/documents/")]
    return [path for path in paths if path.exists()]


def pages() -> list[Path]:
    return [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def numbers(reference: str) -> set[int]:
    """Return the numbers of a reference such as "1-3, 7 and 9"."""
    found: set[int] = set()
    for part in re.split(r"[^\d-]+", reference):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1)) if first else set()
    return found


def sources() -> list[Path]:
    return [path for folder in ("webapp", "chat", "batches", "search") for path in (ROOT / folder).rglob("*.py")]


def test_every_variable_that_is_read_is_documented() -> None:
    documented = (DOCS / "configuration.md").read_text()
    read = {name for path in sources() for name in READERS.findall(path.read_text())}
    read -= {"DJANGO_SETTINGS_MODULE", "TIKTOKEN_CACHE_DIR", "PATH"}
    assert "PATCHBAY_HOME" in read
    assert sorted(name for name in read if f"`{name}`" not in documented) == []


def test_every_variable_of_the_contract_is_documented() -> None:
    documented = (DOCS / "configuration.md").read_text()
    contract = (DOCS / "contract.md").read_text().split("\n## Environment\n")[1].split("\n## ")[0]
    names = re.findall(r"`([A-Z][A-Z_]+)`", contract)
    assert len(names) == 15
    assert [name for name in names if f"`{name}`" not in documented] == []


def test_links_between_documents_resolve() -> None:
    links = [(page, target) for page in pages() for target in LINK.findall(FENCE.sub("", page.read_text()))]
    broken = []
    for page, target in links:
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_the_index_lists_every_document() -> None:
    index = (DOCS / "README.md").read_text()
    assert sorted(page.name for page in DOCS.glob("*.md") if f"({page.name})" not in index and page.name != "README.md") == []


def test_faults_are_numbered_without_gaps() -> None:
    rows = [int(number) for number in re.findall(r"^\| (\d+) \|", (DOCS / "faults.md").read_text(), re.MULTILINE)]
    assert rows == list(range(1, len(rows) + 1))
    assert len(rows) >= 65


def test_every_reference_to_a_fault_resolves() -> None:
    known = {int(number) for number in re.findall(r"^\| (\d+) \|", (DOCS / "faults.md").read_text(), re.MULTILINE)}
    files = tracked(".py", ".md", ".html", ".js", ".css", ".toml", ".yaml")
    references = [(path, reference) for path in files for reference in FAULTS.findall(path.read_text())]
    assert len(references) > 100
    assert [f"{path.relative_to(ROOT)}: {reference}" for path, reference in references if not numbers(reference) <= known] == []


def test_every_reference_to_a_decision_resolves() -> None:
    known = {path.name[:4] for path in (DOCS / "adr").glob("0*.md")}
    replaced = {"0006", "0007", "0009"}
    files = [path for path in tracked(".py", ".md", ".toml", ".html") if path.parent != DOCS / "adr"]
    found = [(path.name, groups) for path in files for groups in re.findall(r"\bADR (\d{4})|docs/adr/(\d{4})", path.read_text())]
    cited = {(name, number) for name, groups in found for number in groups if number}
    assert sorted((name, number) for name, number in cited if number not in known) == []
    assert known & replaced == set()
    listed = (DOCS / "adr" / "README.md").read_text()
    assert sorted(path.name for path in (DOCS / "adr").glob("0*.md") if path.name not in listed) == []


def test_no_committed_file_names_a_package_registry() -> None:
    registries = re.compile(r"://(?:[\w.-]+\.)?(?:pypi\.org|pythonhosted\.org|npmjs\.org|debian\.org)")
    locks = [path for path in (ROOT / "requirements").iterdir() if registries.search(path.read_text())]
    assert locks == []


def test_the_files_that_the_architecture_names_exist() -> None:
    named = set(re.findall(r"`((?:webapp|chat|batches|search|tests|docs|bench)/[\w/.-]*)`", (DOCS / "architecture.md").read_text()))
    assert len(named) > 50
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


async def test_the_first_change_works_as_printed() -> None:
    section = (DOCS / "architecture.md").read_text().split("\n## Your first change\n")[1]
    tool, test = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    extended = types.ModuleType("builtin_tools")
    extended.__dict__.update(vars(builtin_tools))
    exec(compile(tool, "first_change.py", "exec"), extended.__dict__)
    names: dict[str, Any] = {"builtin_tools": extended, "json": json, "Tool": Tool, "ToolRegistry": ToolRegistry}
    exec(compile(test, "test_first_change.py", "exec"), names)
    await names["test_words_and_characters_are_counted"]()
