"""Hold the fixed texts of the built-in model, as Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass

HELLO = """Hello! I am **patchbay-builtin**, the small model that comes with Patchbay. I am not a language model, so I cannot chat freely, \
but without any key or network I can:

- **do arithmetic**: *What is 17\\*23?*
- **summarize** a text that you paste: *Summarize: …*
- **answer from your documents**, with the passages quoted: index some on the **Search** page, then ask
- **help you connect a real model**: *How do I connect Ollama?*
"""

WHO = """I am **patchbay-builtin**, the model that comes with Patchbay so that everything works before any backend is connected.

I am **not a language model**: I have no knowledge of my own and I do not write new text. I *extract*: I quote passages from your \
indexed documents, pick the sentences that carry a text you paste, and do arithmetic with a calculator. Everything runs on this machine, \
and nothing leaves it.

For real conversations connect a language model: ask me *How do I connect Ollama?* (or LM Studio, llama.cpp, vLLM, OpenAI).
"""

THANKS = "You are welcome."
GOODBYE = "Goodbye. Your conversations are kept here."

NO_ANSWER = """I cannot answer that: I am **patchbay-builtin**, an extractive model and not a language model.

What I can do: arithmetic (*What is 17\\*23?*), summaries of text you paste (*Summarize: …*), and answers quoted from documents that you \
index on the **Search** page. For everything else connect a language model: *How do I connect Ollama?*
"""

NOTHING_FOUND = """I found no passage in the indexed documents that answers this.

Add documents on the **Search** page (PDF, DOCX, HTML, Markdown, text or code), or connect a language model: *How do I connect Ollama?*
"""

NOTHING_TO_SUMMARIZE = """Paste the text after a colon, and I will pick its most telling sentences:

> Summarize: *your text here*
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A kind of backend that users connect."""

    title: str
    name: str
    base_url: str
    model: str
    before: str = ""
    key: str = ""


SERVERS: dict[str, Server] = {
    r"ollama": Server("Ollama", "ollama", "http://localhost:11434/v1", "llama3.2", "ollama pull llama3.2"),
    r"lm ?studio": Server("LM Studio", "lmstudio", "http://localhost:1234/v1", "MODEL", "lms server start"),
    r"llama[. -]?cpp|llama-server": Server(
        "llama.cpp", "llamacpp", "http://localhost:8080/v1", "MODEL", "llama-server -m model.gguf --jinja"
    ),
    r"vllm": Server("vLLM", "vllm", "http://localhost:8001/v1", "MODEL", "vllm serve MODEL --port 8001"),
    r"openai|chat ?gpt|gpt-?\d": Server("OpenAI", "openai", "https://api.openai.com/v1", "gpt-5-mini", key="OPENAI_API_KEY"),
    r"openrouter": Server("OpenRouter", "openrouter", "https://openrouter.ai/api/v1", "MODEL", key="OPENROUTER_API_KEY"),
    r"groq": Server("Groq", "groq", "https://api.groq.com/openai/v1", "MODEL", key="GROQ_API_KEY"),
    r"mistral": Server("Mistral", "mistral", "https://api.mistral.ai/v1", "mistral-small-latest", key="MISTRAL_API_KEY"),
    r"deepseek": Server("DeepSeek", "deepseek", "https://api.deepseek.com/v1", "deepseek-chat", key="DEEPSEEK_API_KEY"),
    r"gemini|google": Server(
        "Gemini", "gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "gemini-2.5-flash", key="GEMINI_API_KEY"
    ),
}
ANY = Server("An OpenAI-compatible server", "NAME", "http://HOST:PORT/v1", "MODEL")


def server_in(text: str) -> Server | None:
    """Return the server that a text mentions; None if it mentions none."""
    return next((server for pattern, server in SERVERS.items() if re.search(rf"\b(?:{pattern})", text, re.IGNORECASE)), None)


def connecting(server: Server) -> str:
    """Return the steps to connect `server`."""
    manage = ".venv/bin/python manage.py"
    key = f" --api-key-env {server.key}" if server.key else ""
    add = f"{manage} add_backend --name {server.name} --base-url {server.base_url}{key}"
    route = f"{manage} add_route --name default --step {server.name}/{server.model} --step builtin/patchbay-builtin"
    steps = [
        _step("On the machine of the server:", server.before) if server.before else "",
        f"Put your key into Patchbay's environment as `{server.key}`, or enter it in the next step." if server.key else "",
        _step(f"Add it as a backend: an administrator opens **Admin → Backends → Add** and enters `{server.base_url}`, or runs", add),
        _step("Put it first in the `default` route, with me as the last resort:", route),
    ]
    numbered = [f"{number}. {step}" for number, step in enumerate(filter(None, steps), 1)]
    hint = "\n\nReplace `MODEL` with one that the server offers; the **Backends** page lists them." if "MODEL" in server.model else ""
    return f"**{server.title}** connects in {len(numbered)} steps:\n\n" + "\n".join(numbered) + f"{hint}\n"


def _step(text: str, command: str) -> str:
    return f"{text}\n\n   ```sh\n   {command}\n   ```"


def connecting_any() -> str:
    """Return the steps to connect any OpenAI-compatible server."""
    known = "\n".join(f"| {s.title} | `{s.base_url}` |" for s in list(SERVERS.values())[:5])
    return f"{connecting(ANY)}\nUsual addresses:\n\n| Server | Base URL |\n|---|---|\n{known}\n"
