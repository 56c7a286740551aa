"""Languages, links, line breaks and the outline of an answer."""

from __future__ import annotations

import re

import pytest

from webapp.rendering.markdown import render


@pytest.mark.parametrize(
    "text",
    [
        "**注意：**请先备份。",
        "这是**“重要”**的",
        "**この文は太字です。**続き",
        "これは**「強調」**です",
        "**한국어(Korean)**는",
        "**คำเตือน:**กรุณา",
        "**重要**内容",
    ],
)
def test_emphasis_works_beside_letters_of_scripts_without_spaces(text: str) -> None:
    html = render(text)
    assert html.count("<strong>") == 1
    assert "*" not in html


def test_strikethrough_works_beside_such_letters() -> None:
    assert "<s>文字。</s>続き" in render("~~文字。~~続き")


@pytest.mark.parametrize("text", ["snake_case_name", "2*3*4 = 24", "a * b * c", "f(**kwargs)"])
def test_signs_within_words_are_not_emphasis(text: str) -> None:
    assert "<em>" not in render(text) or text == "2*3*4 = 24"
    assert "<strong>" not in render(text)


@pytest.mark.parametrize(
    ("text", "href"),
    [
        ("请访问https://example.com。谢谢", "https://example.com"),
        ("（https://example.com/a）", "https://example.com/a"),
        ("详见https://example.com/docs，然后", "https://example.com/docs"),
        ("在https://example.com/docs了解", "https://example.com/docs"),
        ("https://zh.wikipedia.org/wiki/中文 は", "https://zh.wikipedia.org/wiki/%E4%B8%AD%E6%96%87"),
        ("「www.example.com」を", "http://www.example.com"),
        ("see https://example.com/a_(b).", "https://example.com/a_(b)"),
        ("(see https://example.com/a)", "https://example.com/a"),
        ("[链接](https://example.com/a)，好", "https://example.com/a"),
        ("http://localhost:8000/x, then", "http://localhost:8000/x"),
        ("mail me@example.com now", "mailto:me@example.com"),
        ("<https://example.com/x>", "https://example.com/x"),
    ],
)
def test_an_address_is_a_link_without_the_text_around_it(text: str, href: str) -> None:
    assert re.findall(r'href="([^"]*)"', render(text)) == [href]


@pytest.mark.parametrize("text", ["xhttps://example.com", "https://", "http:// example", "a.www.example.com"])
def test_other_text_is_not_an_address(text: str) -> None:
    assert "href" not in render(text)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("[https://bank.example](https://evil.example/x)", "evil.example"),
        ("[bank.example](https://bank.example.evil.example)", "bank.example.evil.example"),
        ("[www.bank.example/login](https://evil.example)", "evil.example"),
        ("[my bank](https://bank.example@evil.example/)", "evil.example"),
        ("[**bank.example**](https://evil.example)", "evil.example"),
    ],
)
def test_a_link_that_names_another_host_says_where_it_leads(text: str, host: str) -> None:
    assert f'<span class="link-host">({host})</span>' in render(text)


@pytest.mark.parametrize(
    "text",
    [
        "[bank.example](https://www.bank.example/x)",
        "[bank.example](https://login.bank.example)",
        "[the bank](https://bank.example)",
        "https://a.example/b",
    ],
)
def test_an_honest_link_has_no_mark(text: str) -> None:
    assert "link-host" not in render(text)


DOCUMENT = "/search/documents/0b9f2f3e-8f4c-4a55-9d5e-1f2f3e8f4c4a/"


@pytest.mark.parametrize("address", [DOCUMENT, f"{DOCUMENT}?passage=120#passage", f"{DOCUMENT}?passage=120"])
def test_a_citation_of_the_products_own_documents_is_a_link(address: str) -> None:
    assert f'href="{address}"' in render(f"[leave.docx]({address})")


@pytest.mark.parametrize(
    "address",
    [
        "//evil.example/search/documents/1/",
        "/search/documents/../../admin/",
        f"{DOCUMENT}?next=//evil",
        "/admin/",
        "/accounts/logout/",
        "\\/evil",
    ],
)
def test_no_other_address_of_the_product_is_a_link(address: str) -> None:
    assert "href" not in render(f"[x]({address})")


def test_single_line_breaks_are_kept() -> None:
    assert re.search(r"Roses are red,<br>\s*violets are blue", render("Roses are red,\nviolets are blue"))


@pytest.mark.parametrize("text", ["a<br>b", "a<br/>b", "a<BR />b"])
def test_a_break_element_breaks_the_line(text: str) -> None:
    assert re.search(r"a<br>\s*b", render(text))


@pytest.mark.parametrize("tag", ["sub", "sup", "kbd", "mark", "u"])
def test_some_elements_without_attributes_are_kept(tag: str) -> None:
    assert f"<{tag}>x <strong>y</strong></{tag}>" in render(f"a<{tag}>x **y**</{tag}>")


@pytest.mark.parametrize("text", ["<sub>open", "<sub onclick=x>a</sub>", "</sub>", "<br onclick=x>", "<b>x</b>", "<details>x</details>"])
def test_other_elements_are_text(text: str) -> None:
    html = render(text)
    assert "&lt;" in html
    assert "<sub" not in html


def test_headings_fit_the_outline_of_the_page() -> None:
    html = render("## A\n\n#### B\n\n#### C\n\n# D\n\n## E")
    assert re.findall(r'<(h\d)[^>]*class="heading-(\d)"', html.replace(' dir="auto"', "")) == [
        ("h3", "2"),
        ("h4", "4"),
        ("h4", "4"),
        ("h3", "1"),
        ("h4", "2"),
    ]


@pytest.mark.parametrize("tag", ["p", "ul", "ol", "blockquote", "table", "h3"])
def test_each_block_takes_its_direction_from_its_letters(tag: str) -> None:
    html = render("# عنوان\n\nنص\n\n- بند\n\n1. بند\n\n> اقتباس\n\n| أ | ب |\n|---|---|\n| ١ | ٢ |")
    assert re.search(rf'<{tag}[^>]* dir="auto"', html)


def test_code_is_left_to_right_and_has_its_buttons() -> None:
    html = render("```python\nx = 1\n```")
    assert 'dir="ltr"' in html
    for button in ('data-code="wrap"', 'data-code="download"', 'data-copy="code"'):
        assert button in html


def test_a_footnote_is_linked_both_ways_and_a_bracket_in_text_is_not_one() -> None:
    html = render("Text[^note] and [^abc].\n\n[^note]: The note.", anchor="m")
    assert 'href="#fn-m-note"' in html
    assert 'href="#fnref-m-note"' in html
    assert "[^abc]" in html
