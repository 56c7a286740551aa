"""The catalogs in webapp/locale hold every text of the source, translated and compiled."""

from __future__ import annotations

import gettext
import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ["de", "fr", "es", "ja", "zh_Hans"]
COMPLETE = LANGUAGES
"""The languages without a gap."""


@pytest.fixture(scope="module")
def messages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("messages_tool", ROOT / ".ci" / "messages.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_language_of_the_settings_has_a_catalog(messages: ModuleType) -> None:
    assert {code.replace("zh-hans", "zh_Hans") for code, _ in settings.LANGUAGES} == {"en", *messages.PLURALS}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_catalog_belongs_to_its_source(messages: ModuleType, language: str) -> None:
    assert messages.catalog(language, "mo").read_bytes() == messages.compiled(language)
    with messages.catalog(language, "mo").open("rb") as file:
        read = gettext.GNUTranslations(file)
    for message in messages.read_po(messages.catalog(language)):
        if message.is_translated and not message.context:
            shown = read.ngettext(message.text, message.plural, 1) if message.plural else read.gettext(message.text)
            assert shown == message.forms[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_keep_placeholders_and_tags(messages: ModuleType, language: str) -> None:
    known = [message for message in messages.read_po(messages.catalog(language)) if any(message.forms)]
    assert [why for message in known if (why := messages.fault(language, message))] == []


@pytest.mark.parametrize("language", COMPLETE)
def test_no_text_is_left_in_english(messages: ModuleType, language: str) -> None:
    assert [message.text for message in messages.read_po(messages.catalog(language)) if not message.is_translated] == []


@pytest.mark.skipif(not shutil.which("xgettext"), reason="xgettext (Debian's gettext) is not installed")
def test_the_catalogs_hold_exactly_the_texts_of_the_source(messages: ModuleType) -> None:
    source = {message.key for message in messages.source_messages()}
    for language in LANGUAGES:
        assert {message.key for message in messages.read_po(messages.catalog(language))} == source, "run `make messages`"


def test_a_wrong_translation_is_refused(messages: ModuleType) -> None:
    right = messages.Message("%(n)s <b>files</b>", forms=("%(n)s <b>Dateien</b>",))
    assert messages.fault("de", right) == ""
    for form in ("%(m)s <b>Dateien</b>", "%(n)s Dateien", "%(n)s <b>Dateien</b>\n", ""):
        assert messages.fault("de", messages.Message("%(n)s <b>files</b>", forms=(form,)))
    one, other = "%(n)s file", "%(n)s files"
    assert messages.fault("ja", messages.Message(one, other, forms=("%(n)s 件", "%(n)s 件"))) == "needs 1 forms"
