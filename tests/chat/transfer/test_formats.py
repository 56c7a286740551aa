"""The export formats: reasoning, tool calls, citations and archives."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from chat.models import Conversation, Message
from chat.transfer import imports
from chat.transfer.conversations import Imported, Turn
from chat.transfer.markup import split_details, with_artifacts_as_code, without_citations

INPUTS = Path(__file__).parent / "inputs"


def read(data: object) -> Imported:
    found = imports.read(io.BytesIO(json.dumps(data).encode()))
    assert not found.problems
    (conversation,) = found.conversations
    return conversation


def texts_of(turn: Turn) -> list[tuple[str, str]]:
    return [(part["kind"], part.get("text") or shown(part)) for part in turn.parts]


def shown(call: dict[str, Any]) -> str:
    return f"{call['name']}({call['arguments']}) = {call['result'] or call['error']}"


def upload(client: Client, name: str) -> str:
    response = client.post("/chat/import/", {"file": SimpleUploadedFile(name, (INPUTS / name).read_bytes())})
    return response.content.decode()


@pytest.mark.django_db
def test_an_archive_in_parts_is_imported_whole(as_owner: Client) -> None:
    assert "2 conversations imported" in upload(as_owner, "import-chatgpt-in-parts.zip")
    assert set(Conversation.objects.values_list("title", flat=True)) == {"Split zero", "Split one"}


@pytest.mark.django_db
def test_one_bad_conversation_is_named_and_the_others_are_imported(as_owner: Client) -> None:
    page = upload(as_owner, "import-one-bad-conversation.json")
    assert "2 conversations imported" in page
    assert "Bad one: A message is not an object." in page
    assert set(Conversation.objects.values_list("title", flat=True)) == {"Good one", "Good two"}


@pytest.mark.django_db
def test_details_of_open_webui_are_reasoning_and_tool_calls(as_owner: Client) -> None:
    upload(as_owner, "import-open-webui-details.json")
    answer = Message.objects.get(role="assistant")
    assert answer.text == "Because of **rain**."
    assert [part["kind"] for part in answer.parts] == ["reasoning", "text", "tool"]
    page = as_owner.get(f"/chat/{answer.conversation_id}/").content.decode()
    assert "Thought for 3 s" in page
    assert "<strong>rain</strong>" in page
    assert "get_weather" in page
    assert "&lt;details" not in page
    assert "&gt; The user" not in page


@pytest.mark.parametrize("folder", ["", "export/", "ChatGPT 2026/data/"])
@pytest.mark.parametrize("name", ["conversations.json", "conversations-000.json", "conversations_1.json"])
def test_conversations_are_found_in_any_folder_of_an_archive(folder: str, name: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{folder}user.json", "{}")
        archive.writestr(f"__MACOSX/{folder}._{name}", b"\x00")
        archive.writestr(f"{folder}{name}", json.dumps([chatgpt(message("user", "Hi"))]))
    buffer.seek(0)
    assert [one.title for one in imports.read(buffer).conversations] == ["t"]


def message(role: str, text: str = "", **more: Any) -> dict[str, Any]:
    return {"id": f"id-{text}", "author": {"role": role}, "content": {"content_type": "text", "parts": [text]}, **more}


def chatgpt(*messages: dict[str, Any]) -> dict[str, Any]:
    mapping = {str(number): {"parent": str(number - 1) if number else None, "message": one} for number, one in enumerate(messages)}
    return {"title": "t", "conversation_id": "c", "mapping": mapping, "current_node": str(len(messages) - 1)}


def test_thoughts_and_tool_calls_of_chatgpt_go_to_the_answer_after_them() -> None:
    thoughts = {"content_type": "thoughts", "thoughts": [{"summary": "Searching", "content": "I look it up."}]}
    found = read(
        chatgpt(
            message("user", "Who?"),
            message("assistant", content=thoughts),
            message("assistant", content={"content_type": "code", "text": "search('x')"}, recipient="web.run"),
            message("tool", "results"),
            message("assistant", "She did."),
        )
    )
    assert [turn.role for turn in found.turns] == ["user", "assistant"]
    assert texts_of(found.turns[1]) == [
        ("reasoning", "**Searching**\n\nI look it up."),
        ("tool", "web.run(search('x')) = "),
        ("text", "She did."),
    ]


def test_a_picture_that_the_model_made_is_named() -> None:
    picture = {
        "content_type": "multimodal_text",
        "parts": [{"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-X"}],
    }
    found = read(chatgpt(message("user", "Draw"), message("tool", content=picture)))
    assert found.turns[1].text == "(Not imported: picture)"


@pytest.mark.parametrize(
    ("text", "metadata", "expected"),
    [
        ("It is so \ue200cite\ue202turn0search0\ue202turn0news1\ue201.", {}, "It is so."),
        ("It is so【2:0†source】.", {}, "It is so."),
        ("It is so 【6†L1-L4】 there.", {}, "It is so there."),
        ("See turn\ue202turn0search0 here", {}, "See turn here"),
        ('Ask \ue200entity\ue202["person","Ada Lovelace","writer"]\ue201 now', {}, "Ask Ada Lovelace now"),
        ("A \ue203marked\ue204 word", {}, "A marked word"),
        (':::writing{variant="email"}\nDear all\n:::\nEnd', {}, "Dear all\nEnd"),
        (
            "True\ue200cite\ue202turn0search0\ue201.",
            {
                "content_references": [
                    {
                        "matched_text": "\ue200cite\ue202turn0search0\ue201",
                        "items": [{"title": "News [1]", "url": "https://news.example/a"}],
                    }
                ]
            },
            "True ([News  1](https://news.example/a)).",
        ),
        (
            "True【1†source】.",
            {"citations": [{"start_ix": 4, "end_ix": 14, "metadata": {"title": "Docs", "url": "https://docs.example"}}]},
            "True ([Docs](https://docs.example)).",
        ),
        (
            "True\ue200cite\ue202x\ue201.",
            {"content_references": [{"matched_text": "\ue200cite\ue202x\ue201", "title": "x", "url": "javascript:alert(1)"}]},
            "True.",
        ),
    ],
)
def test_citation_marks_become_links_or_go(text: str, metadata: dict[str, Any], expected: str) -> None:
    assert without_citations(text, metadata) == expected


CLAUDE: dict[str, Any] = {
    "uuid": "k1",
    "name": "Planets",
    "updated_at": "2026-01-05T03:32:10.5Z",
    "chat_messages": [
        {
            "uuid": "a",
            "sender": "human",
            "text": "How many?",
            "content": [{"type": "text", "text": "How many?"}],
            "parent_message_uuid": "00000000-0000-4000-8000-000000000000",
            "attachments": [{"file_name": "sky.txt", "extracted_content": "Stars."}, {"file_name": "", "extracted_content": "pasted"}],
            "files": [{"file_name": "sky.txt"}, {"file_name": "moon.png"}],
        },
        {
            "uuid": "b",
            "sender": "assistant",
            "parent_message_uuid": "a",
            "content": [
                {"type": "thinking", "thinking": "I count."},
                {"type": "tool_use", "id": "t1", "name": "search", "input": {"q": "planets"}},
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "eight"}], "is_error": False},
                {"type": "text", "text": "Eight."},
            ],
        },
        {"uuid": "c", "sender": "assistant", "parent_message_uuid": "a", "text": "Nine.", "content": []},
    ],
}


def test_claude_is_imported_with_thinking_tools_files_and_branches() -> None:
    found = read([CLAUDE])
    assert (found.title, found.source, found.leaf) == ("Planets", "k1", "c")
    assert found.turns[0].text == "How many?\n\n(Not imported: moon.png)"
    assert [file.name for file in found.turns[0].files] == ["sky.txt", "pasted.txt"]
    assert texts_of(found.turns[1]) == [("reasoning", "I count."), ("tool", 'search({"q": "planets"}) = eight'), ("text", "Eight.")]
    assert [turn.parent for turn in found.turns] == [None, "a", "a"]


def test_messages_of_claude_without_parents_follow_each_other() -> None:
    messages = [{"uuid": str(number), "sender": sender, "text": sender} for number, sender in enumerate(["human", "assistant", "human"])]
    found = read([{"uuid": "k", "name": "", "chat_messages": messages}])
    assert [turn.parent for turn in found.turns] == [None, "0", "1"]


def test_artifacts_are_code_blocks() -> None:
    text = '<antThinking>no</antThinking>Here: <antArtifact identifier="x" type="text/html" title="Page"><p>``` hi</p></antArtifact> done'
    assert with_artifacts_as_code(text) == "Here: \n\n**Page**\n\n````html\n<p>``` hi</p>\n````\n\n done"


LIBRECHAT: dict[str, Any] = {
    "conversationId": "l1",
    "title": "Boats",
    "options": {"promptPrefix": "Be brief."},
    "messages": [
        {"messageId": "q", "parentMessageId": "00000000-0000-0000-0000-000000000000", "text": "Why?", "isCreatedByUser": True},
        {
            "messageId": "a",
            "parentMessageId": "q",
            "sender": "GPT",
            "model": "gpt-4o",
            "text": "",
            "content": [
                {"type": "think", "think": "Hm."},
                {"type": "tool_call", "tool_call": {"id": "t", "name": "web", "args": '{"q":1}', "output": "wind"}},
                {"type": "text", "text": "Because of \ue202turn0search0wind."},
            ],
        },
    ],
}


def test_librechat_is_imported_with_thinking_and_tools() -> None:
    found = read(LIBRECHAT)
    assert (found.title, found.system_prompt, found.leaf) == ("Boats", "Be brief.", "a")
    assert texts_of(found.turns[1])[:2] == [("reasoning", "Hm."), ("tool", 'web({"q":1}) = wind')]
    assert found.turns[1].model == "gpt-4o"


def test_a_recursive_export_of_librechat_is_imported_with_its_branches() -> None:
    question, answer = LIBRECHAT["messages"]
    other = {"messageId": "b", "text": ":::thinking\nLet me see.\n:::\nBecause.", "sender": "GPT"}
    found = read({**LIBRECHAT, "messages": None, "messagesTree": [{**question, "children": [answer, other]}]})
    assert [(turn.key, turn.parent) for turn in found.turns] == [("q", None), ("a", "q"), ("b", "q")]
    assert texts_of(found.turns[2]) == [("reasoning", "Let me see."), ("text", "Because.")]


def test_think_tags_in_an_imported_answer_are_reasoning() -> None:
    chat = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nThe answer."}]}
    found = read([{"id": "o", "title": "t", "chat": chat}])
    assert texts_of(found.turns[1]) == [("reasoning", "Hm."), ("text", "The answer.")]
    assert found.turns[1].text == "The answer."


def test_details_that_were_never_closed_are_reasoning_to_the_end() -> None:
    parts = split_details('<details type="reasoning" done="false">\n<summary>Thinking…</summary>\n> On and on')
    assert [(part["kind"], part["text"]) for part in parts] == [("reasoning", "On and on")]


def test_details_that_a_model_wrote_stay_text() -> None:
    text = "<details><summary>More</summary>words</details>"
    assert split_details(text) == [{"kind": "text", "text": text}]


@pytest.mark.django_db
def test_an_imported_tool_call_is_shown_and_not_sent_to_a_model(as_owner: Client) -> None:
    from chat.generation.history import of_answer

    upload(as_owner, "import-open-webui-details.json")
    assert of_answer(Message.objects.get(role="assistant").parts) == [{"role": "assistant", "content": "Because of **rain**."}]


def test_a_file_of_an_unknown_format_says_which_are_known() -> None:
    (problem,) = imports.read(io.BytesIO(b'[{"title": "x"}]')).problems
    for name in ("ChatGPT", "Claude", "LibreChat", "Open WebUI", "Patchbay"):
        assert name in problem
