"""Provide tools that need only this machine: arithmetic, the time, the GPUs, and a benchmark of any backend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from annotated_types import Interval

from webapp.patterns.agent.calculator import calculate
from webapp.patterns.agent.tools import Tool, ToolContext, ToolError
from webapp.patterns.backend import Backend
from webapp.patterns.types import Json, Request

Resolve = Callable[[str, ToolContext], Awaitable[Backend]]

MEBIBYTE = 2**20
BENCHMARK_SECONDS = 60.0
BENCHMARK_PROMPT = "Count from one to one hundred in words."


def calculator() -> Tool:
    """Return `calculate` as the tool named "calculator"."""
    return Tool(calculate, name="calculator")


def current_time(clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Tool:
    """Return a tool that tells the time of `clock` (aware, in any zone)."""

    def current_time(timezone: str = "UTC") -> Json:
        """Return the current date and time.

        Args:
            timezone: an IANA name, such as "Europe/Berlin".
        """
        now = clock().astimezone(_zone(timezone))
        return {"time": now.isoformat(timespec="seconds"), "weekday": now.strftime("%A"), "timezone": timezone}

    return Tool(current_time)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError; folders and odd paths are the others
        raise ToolError(f"There is no time zone named {name!r}. Use an IANA name, such as Europe/Berlin.") from error


def get_gpu_metrics() -> Json:
    """Load, memory, temperature and power of the NVIDIA GPUs of the machine that Patchbay runs on."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return {"gpus": [], "note": f"No NVIDIA GPU can be read on the machine that Patchbay runs on ({error})."}
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return {"driver": pynvml.nvmlSystemGetDriverVersion(), "gpus": [_gpu(pynvml, handle) for handle in handles]}
    finally:
        pynvml.nvmlShutdown()


def _gpu(nvml: Any, handle: Any) -> Json:
    """Return one GPU. Values that it does not support are null (passively cooled cards have no fan, MIG slices no utilization)."""

    def read(name: str, *arguments: Any) -> Any:
        try:
            return getattr(nvml, name)(handle, *arguments)
        except nvml.NVMLError:
            return None

    load = read("nvmlDeviceGetUtilizationRates")
    memory = read("nvmlDeviceGetMemoryInfo")
    power = read("nvmlDeviceGetPowerUsage")
    limit = read("nvmlDeviceGetEnforcedPowerLimit")
    return {
        "name": read("nvmlDeviceGetName"),
        "utilization_percent": load and load.gpu,
        "memory_used_mib": memory and memory.used // MEBIBYTE,
        "memory_total_mib": memory and memory.total // MEBIBYTE,
        "temperature_celsius": read("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
        "power_watts": power and round(power / 1000, 1),
        "power_limit_watts": limit and round(limit / 1000, 1),
        "fan_percent": read("nvmlDeviceGetFanSpeed"),
    }


def run_benchmark(resolve: Resolve) -> Tool:
    """Return a tool that measures a model with a few short answers, for a minute at most. It spends, so each call needs approval.

    Args:
        resolve: the backend for a model name, for whoever the tool runs for.
    """

    async def run_benchmark(
        me: ToolContext,
        model: str,
        requests: Annotated[int, Interval(ge=1, le=10)] = 3,
        concurrency: Annotated[int, Interval(ge=1, le=4)] = 1,
        max_tokens: Annotated[int, Interval(ge=1, le=256)] = 64,
    ) -> Json:
        """Measure how fast a model answers: time to first token, tokens per second, latency.

        Args:
            model: its name, as list_backends gives it.
            requests: how many answers to measure.
            concurrency: how many at once.
            max_tokens: length of an answer.
        """
        from webapp.patterns.benchmark import measure

        backend = await resolve(model, me)
        request = Request.chat([{"role": "user", "content": BENCHMARK_PROMPT}], model=model, max_tokens=max_tokens)
        report = await measure(backend, request, requests=requests, concurrency=concurrency, seconds=BENCHMARK_SECONDS)
        return {"model": model, "tokens_per_second": round(report.tokens_per_second, 1), **_rounded(asdict(report))}

    return Tool(run_benchmark, timeout=BENCHMARK_SECONDS + 5, acts=True)


def _rounded(value: Any) -> Any:
    """Round numbers to one decimal place, because more digits are noise and cost tokens."""
    if isinstance(value, float):
        return round(value, 1)
    return {key: _rounded(each) for key, each in value.items()} if isinstance(value, dict) else value
