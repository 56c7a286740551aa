"""Patterns for OpenAI-compatible APIs as an async library: no Django, no server.

Import the public names from here: `from webapp.patterns import OpenAIBackend, Request, run_agent`. docs/patterns.md shows each with an
example. A name is loaded when it is first used, so that importing the package stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from webapp.patterns.agent.events import AgentResult as AgentResult
    from webapp.patterns.agent.events import Limits as AgentLimits
    from webapp.patterns.agent.loop import complete as run_agent
    from webapp.patterns.agent.loop import run as stream_agent
    from webapp.patterns.agent.structured import parse as parse_structured
    from webapp.patterns.agent.tools import Tool, ToolContext, ToolError, ToolRegistry
    from webapp.patterns.backend import Backend, Timeouts
    from webapp.patterns.batch.input_file import validate as validate_batch
    from webapp.patterns.batch.input_file import write as write_batch
    from webapp.patterns.batch.parallel import ParallelResult
    from webapp.patterns.batch.parallel import run as run_parallel
    from webapp.patterns.batch.remote import follow as follow_batch
    from webapp.patterns.batch.remote import results as batch_results
    from webapp.patterns.batch.remote import submit as submit_batch
    from webapp.patterns.batch.results import BatchResult
    from webapp.patterns.benchmark import measure as measure_backend
    from webapp.patterns.context.fitting import fit as fit_messages
    from webapp.patterns.context.history_repair import repair as repair_messages
    from webapp.patterns.context.summary import fit_with_summary
    from webapp.patterns.curl.commands import from_curl, to_curl
    from webapp.patterns.embeddings.embedding import embed as embed_texts
    from webapp.patterns.embeddings.similarity import top_k
    from webapp.patterns.errors import BackendError, ChainError, InputError, OutputError, PatternError
    from webapp.patterns.fallback.breakers import Breakers, MemoryBreakers
    from webapp.patterns.fallback.chain import Chain
    from webapp.patterns.fallback.execution import Step
    from webapp.patterns.fallback.throttle import ConcurrencyLimiter, Retry
    from webapp.patterns.openai.backend import OpenAIBackend
    from webapp.patterns.streaming import Accumulator
    from webapp.patterns.tokens.counting import Count, count_messages, count_text
    from webapp.patterns.types import Attempt, AttemptLog, Delta, ModelInfo, Request, Response, StreamChunk, ToolCall, Usage

_SOURCES = {
    "Accumulator": "streaming:Accumulator",
    "AgentLimits": "agent.events:Limits",
    "AgentResult": "agent.events:AgentResult",
    "Attempt": "types:Attempt",
    "AttemptLog": "types:AttemptLog",
    "Backend": "backend:Backend",
    "BackendError": "errors:BackendError",
    "BatchResult": "batch.results:BatchResult",
    "Breakers": "fallback.breakers:Breakers",
    "Chain": "fallback.chain:Chain",
    "ChainError": "errors:ChainError",
    "ConcurrencyLimiter": "fallback.throttle:ConcurrencyLimiter",
    "Count": "tokens.counting:Count",
    "Delta": "types:Delta",
    "InputError": "errors:InputError",
    "MemoryBreakers": "fallback.breakers:MemoryBreakers",
    "ModelInfo": "types:ModelInfo",
    "OpenAIBackend": "openai.backend:OpenAIBackend",
    "OutputError": "errors:OutputError",
    "ParallelResult": "batch.parallel:ParallelResult",
    "PatternError": "errors:PatternError",
    "Request": "types:Request",
    "Response": "types:Response",
    "Retry": "fallback.throttle:Retry",
    "Step": "fallback.execution:Step",
    "StreamChunk": "types:StreamChunk",
    "Timeouts": "backend:Timeouts",
    "Tool": "agent.tools:Tool",
    "ToolCall": "types:ToolCall",
    "ToolContext": "agent.tools:ToolContext",
    "ToolError": "agent.tools:ToolError",
    "ToolRegistry": "agent.tools:ToolRegistry",
    "Usage": "types:Usage",
    "batch_results": "batch.remote:results",
    "count_messages": "tokens.counting:count_messages",
    "count_text": "tokens.counting:count_text",
    "embed_texts": "embeddings.embedding:embed",
    "fit_messages": "context.fitting:fit",
    "fit_with_summary": "context.summary:fit_with_summary",
    "follow_batch": "batch.remote:follow",
    "from_curl": "curl.commands:from_curl",
    "measure_backend": "benchmark:measure",
    "parse_structured": "agent.structured:parse",
    "repair_messages": "context.history_repair:repair",
    "run_agent": "agent.loop:complete",
    "run_parallel": "batch.parallel:run",
    "stream_agent": "agent.loop:run",
    "submit_batch": "batch.remote:submit",
    "to_curl": "curl.commands:to_curl",
    "top_k": "embeddings.similarity:top_k",
    "validate_batch": "batch.input_file:validate",
    "write_batch": "batch.input_file:write",
}

__all__ = [
    "Accumulator",
    "AgentLimits",
    "AgentResult",
    "Attempt",
    "AttemptLog",
    "Backend",
    "BackendError",
    "BatchResult",
    "Breakers",
    "Chain",
    "ChainError",
    "ConcurrencyLimiter",
    "Count",
    "Delta",
    "InputError",
    "MemoryBreakers",
    "ModelInfo",
    "OpenAIBackend",
    "OutputError",
    "ParallelResult",
    "PatternError",
    "Request",
    "Response",
    "Retry",
    "Step",
    "StreamChunk",
    "Timeouts",
    "Tool",
    "ToolCall",
    "ToolContext",
    "ToolError",
    "ToolRegistry",
    "Usage",
    "batch_results",
    "count_messages",
    "count_text",
    "embed_texts",
    "fit_messages",
    "fit_with_summary",
    "follow_batch",
    "from_curl",
    "measure_backend",
    "parse_structured",
    "repair_messages",
    "run_agent",
    "run_parallel",
    "stream_agent",
    "submit_batch",
    "to_curl",
    "top_k",
    "validate_batch",
    "write_batch",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _SOURCES[name].partition(":")
    value = getattr(import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
