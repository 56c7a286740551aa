"""The docs keep up with the code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
READERS = re.compile(r'\b(?:text|flag|number|items|environ(?:\.get)?)[\[(]"([A-Z][A-Z_]+)"')


def sources() -> list[Path]:
    return [path for folder in ("webapp", "chat", "batches", "search") for path in (ROOT / folder).rglob("*.py")]


def test_every_variable_that_is_read_is_documented() -> None:
    documented = (ROOT / "docs" / "configuration.md").read_text()
    read = {name for path in sources() for name in READERS.findall(path.read_text())}
    read -= {"DJANGO_SETTINGS_MODULE", "TIKTOKEN_CACHE_DIR", "PATH"}
    assert "PATCHBAY_HOME" in read
    assert sorted(name for name in read if f"`{name}`" not in documented) == []


def test_every_variable_of_the_contract_is_documented() -> None:
    documented = (ROOT / "docs" / "configuration.md").read_text()
    contract = """PATCHBAY_HOME DATABASE_URL REDIS_URL PATCHBAY_SECRET_KEY PATCHBAY_ENCRYPTION_KEYS PATCHBAY_ALLOWED_HOSTS
    PATCHBAY_TRUSTED_ORIGINS PATCHBAY_DEBUG PATCHBAY_BUILTIN PATCHBAY_DETECT OPENAI_API_KEY OPENAI_BASE_URL
    DJANGO_SUPERUSER_USERNAME DJANGO_SUPERUSER_PASSWORD DJANGO_SUPERUSER_EMAIL"""
    assert [name for name in contract.split() if f"`{name}`" not in documented] == []


def test_links_between_documents_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    links = [(page, target) for page in pages for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())]
    broken = [f"{page.name}: {target}" for page, target in links if not (page.parent / target).exists()]
    assert broken == []


def test_no_committed_file_names_a_package_registry() -> None:
    registries = re.compile(r"://(?:[\w.-]+\.)?(?:pypi\.org|pythonhosted\.org|npmjs\.org|debian\.org)")
    locks = [path for path in (ROOT / "requirements").iterdir() if registries.search(path.read_text())]
    assert locks == []
