"""The conformance probe against real servers, willing and unwilling."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.responses_replies import responds
from tests.upstream import Received, Reply, Upstream, Wire, closed_port, embeds, endless, says, status
from webapp.backends import services
from webapp.backends.config import conformance
from webapp.backends.models import Backend, BackendModel, ProbeRun

pytestmark = pytest.mark.django_db(transaction=True)
MakeUpstream = Callable[..., Upstream]
KEY = "sk-test-abcdefghijklmnop-7f3d"


def capable() -> Reply:
    """A server that can do everything that is asked of it."""

    async def reply(received: Received, wire: Wire) -> None:
        body = received.body
        cities = "Rome" in json.dumps(body["messages"])
        calls = [("get_weather", '{"city": "Paris"}'), ("get_weather", '{"city": "Rome"}')][: 2 if cities else 1]
        text = '{"country": "France", "capital": "Paris"}' if body.get("response_format") else "OK"
        await (says(tool_calls=calls) if body.get("tools") else says(text))(received, wire)

    return reply


def plain(refusal: int = 500) -> Reply:
    """A server that chats and streams, and refuses the rest."""

    async def reply(received: Received, wire: Wire) -> None:
        body = received.body
        odd = body.get("tools") or body.get("response_format") or body["messages"][0]["role"] == "developer"
        odd = odd or not isinstance(body["messages"][0]["content"], str)
        await (status(refusal, {"error": {"message": f"I do not know that, and your key is {KEY}"}}) if odd else says("OK"))(received, wire)

    return reply


def probe(upstream_url: str) -> dict[str, str]:
    backend = services.add_backend(name="a", base_url=upstream_url, api_key=KEY)
    services.add_model(backend=backend, name="m")
    run, thread = services.start_probe(backend=backend, model="m", user=None)
    thread.join(30)
    run.refresh_from_db()
    assert run.finished_at is not None
    return {finding["name"]: finding["outcome"] for finding in run.results}


def test_a_server_that_can_do_all_is_told_so_with_evidence(make_upstream: MakeUpstream) -> None:
    upstream = make_upstream()
    upstream.default, upstream.embeds = capable(), embeds(8)
    upstream.models = [{"id": "m", "max_model_len": 8192}]
    found = probe(upstream.base_url)
    assert {name for name, outcome in found.items() if outcome != "yes"} <= {"files", "batches", "messages", "count_tokens", "responses"}
    run = ProbeRun.objects.get()
    tools = next(finding for finding in run.results if finding["name"] == "tools")
    assert tools["detail"] == 'It called get_weather({"city": "Paris"})'
    assert "get_weather" in tools["curl"]
    assert '"tool_calls"' in tools["answer"]
    window = next(finding for finding in run.results if finding["name"] == "context_length")
    assert window["detail"].startswith("8192")


def test_what_it_refuses_steers_the_chain_and_no_key_is_kept(make_upstream: MakeUpstream) -> None:
    """FAULTS 15: the key that this server echoes is not in the evidence."""
    upstream = make_upstream()
    upstream.default = plain()
    upstream.script(status(404), path="/v1/embeddings")
    found = probe(upstream.base_url)
    assert {name for name, outcome in found.items() if outcome == "no"} >= {"tools", "json_schema", "developer_role", "content_parts"}
    model, backend = BackendModel.objects.get(), Backend.objects.get()
    assert (model.capabilities["tools"], model.capabilities["chat"]) == (False, True)
    assert backend.capabilities["developer_role"] is False
    kept = json.dumps(ProbeRun.objects.get().results)
    assert KEY not in kept
    assert "$API_KEY" in kept


def test_a_key_that_the_cut_of_a_reason_would_halve_is_not_kept(make_upstream: MakeUpstream) -> None:
    """FAULTS 15."""
    upstream = make_upstream()
    upstream.default = status(500, f"{'x' * 185} {KEY}", content_type="text/plain")
    probe(upstream.base_url)
    assert KEY[:8] not in json.dumps(ProbeRun.objects.get().results)


def test_a_server_whose_answers_never_end_is_given_up(make_upstream: MakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "TIMEOUT_SECONDS", 0.3)
    upstream = make_upstream()
    upstream.default = endless(pace=0.01)
    found = probe(upstream.base_url)
    assert found["chat"] == "unclear"
    chat = next(finding for finding in ProbeRun.objects.get().results if finding["name"] == "chat")
    assert chat["detail"] == "ReadTimeout: no whole answer within 0.3 s"


def test_a_busy_server_is_no_server_that_cannot(make_upstream: MakeUpstream) -> None:
    upstream = make_upstream()
    upstream.default = plain(429)
    assert probe(upstream.base_url)["tools"] == "unclear"
    assert "tools" not in BackendModel.objects.get().capabilities


def test_a_server_that_does_not_answer_is_asked_little(make_upstream: MakeUpstream) -> None:
    found = probe(f"http://127.0.0.1:{closed_port()}/v1")
    assert found["models"] == found["chat"] == "no"
    assert found["tools"] == "unclear"


def test_a_probe_does_not_follow_a_redirect_or_reach_metadata(make_upstream: MakeUpstream) -> None:
    """FAULTS 14: by redirect."""
    upstream, other = make_upstream(), make_upstream()
    upstream.default = status(307, "", headers={"location": f"{other.base_url}/chat/completions"})
    found = probe(upstream.base_url)
    assert found["chat"] == "no"
    assert other.requests == []


def without(parameter: str, message: str, *, code: int = 400) -> Reply:
    """A server that chats, and refuses a parameter of every probe."""

    async def reply(received: Received, wire: Wire) -> None:
        refuses = parameter in received.body
        await (status(code, {"error": {"message": message, "param": parameter}}) if refuses else capable())(received, wire)

    return reply


def test_a_model_that_takes_max_completion_tokens_only_is_never_disabled(make_upstream: MakeUpstream) -> None:
    upstream = make_upstream()
    upstream.default = without("max_tokens", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    found = probe(upstream.base_url)
    assert {found[name] for name in ("chat", "stream", "tools", "parallel_tool_calls", "json_schema")} == {"yes"}
    chat = next(result for result in ProbeRun.objects.get().results if result["name"] == "chat")
    assert "max_completion_tokens" in chat["curl"]
    assert False not in BackendModel.objects.get(name="m").capabilities.values()


@pytest.mark.parametrize("code", [400, 429, 500, 503])
def test_a_chat_that_is_refused_for_another_reason_is_unclear(make_upstream: MakeUpstream, code: int) -> None:
    upstream = make_upstream()
    upstream.default = status(code, {"error": {"message": "Not today."}})
    assert probe(upstream.base_url)["chat"] == "unclear"
    assert "chat" not in BackendModel.objects.get(name="m").capabilities


def test_a_server_of_responses_alone_is_asked_by_a_translation(make_upstream: MakeUpstream) -> None:
    upstream = make_upstream()
    upstream.paths["/v1/chat/completions"] = status(404, {"error": {"message": "Not found"}})

    async def answer(received: Received, wire: Wire) -> None:
        body = received.body
        calls = [("get_weather", '{"city": "Paris"}'), ("get_weather", '{"city": "Rome"}')] if body.get("tools") else []
        text = '{"country": "France", "capital": "Paris"}' if body.get("text") else "OK"
        await (responds(tools=calls) if calls else responds(text))(received, wire)

    upstream.paths["/v1/responses"] = answer
    found = probe(upstream.base_url)
    assert found["chat_completions"] == "no"
    worked = ("responses", "chat", "stream", "stream_usage", "tools", "parallel_tool_calls", "json_schema", "developer_role")
    assert {name: found[name] for name in worked} == dict.fromkeys(worked, "yes")
    capabilities = Backend.objects.get().capabilities
    assert (capabilities["chat_completions"], capabilities["responses"]) == (False, True)
