"""The tools that need nothing but this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from webapp.patterns.agent import builtin_tools
from webapp.patterns.agent.tools import Tool, ToolContext, ToolRegistry
from webapp.patterns.backend import Backend
from webapp.patterns.errors import ModelNotFound
from webapp.patterns.types import AttemptLog, Delta, ModelInfo, Request, Response, StreamChunk, Usage

NOON = datetime(2026, 11, 22, 12, 0, 5, tzinfo=UTC)


@pytest.fixture
def registry() -> ToolRegistry:
    tools = [builtin_tools.calculator(), builtin_tools.current_time(lambda: NOON), Tool(builtin_tools.get_gpu_metrics)]
    return ToolRegistry(tools)


async def test_the_calculator_is_a_tool(registry: ToolRegistry) -> None:
    assert (await registry.call("calculator", '{"expression": "17*23"}')).text == "391"
    result = await registry.call("calculator", '{"expression": "1/0"}')
    assert (result.text, result.fault) == ("Division by zero has no value.", "failed")


async def test_the_time_is_told_in_any_zone(registry: ToolRegistry) -> None:
    assert json.loads((await registry.call("current_time", "")).text)["time"] == "2026-11-22T12:00:05+00:00"
    told = json.loads((await registry.call("current_time", '{"timezone": "Asia/Kolkata"}')).text)
    assert told == {"time": "2026-11-22T17:30:05+05:30", "weekday": "Sunday", "timezone": "Asia/Kolkata"}


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "", "/", "Europe", "a\\u0000b"])
async def test_an_unknown_zone_is_told_as_such(registry: ToolRegistry, zone: str) -> None:
    result = await registry.call("current_time", f'{{"timezone": "{zone}"}}')
    assert result.fault == "failed"
    assert "There is no time zone named" in result.text


async def test_the_clock_is_the_machines_unless_another_is_given() -> None:
    result = await ToolRegistry([builtin_tools.current_time()]).call("current_time", "")
    told = datetime.fromisoformat(json.loads(result.text)["time"])
    assert abs((datetime.now(UTC) - told).total_seconds()) < 5


class Counting:
    """A backend that answers two words at once."""

    name = "counting"

    def __init__(self) -> None:
        self.bodies: list[Any] = []

    async def stream(self, request: Request, *, trail: AttemptLog | None = None) -> AsyncGenerator[StreamChunk, None]:
        self.bodies.append(request.body)
        yield StreamChunk(b"", (Delta(text="one"),))
        yield StreamChunk(b"", (Delta(text=" two", finish_reason="stop", usage=Usage(9, 2)),))

    async def send(self, request: Request, *, trail: AttemptLog | None = None) -> Response:
        raise NotImplementedError

    async def models(self) -> list[ModelInfo]:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError


class TestBenchmark:
    @pytest.fixture
    def backend(self) -> Counting:
        return Counting()

    @pytest.fixture
    def registry(self, backend: Counting) -> ToolRegistry:
        async def resolve(model: str, me: ToolContext) -> Backend:
            if model != "fast":
                raise ModelNotFound(f"There is no model {model!r}.")
            assert me.user_id == 5
            return backend

        return ToolRegistry([builtin_tools.run_benchmark(resolve)])

    async def test_a_model_is_measured(self, registry: ToolRegistry, backend: Counting) -> None:
        result = await registry.call("run_benchmark", '{"model": "fast", "requests": 4, "concurrency": 2}', ToolContext(user_id=5))
        told = json.loads(result.text)
        assert (told["model"], told["answered"], told["failed"], told["tokens"]) == ("fast", 4, 0, 8)
        assert told["first_token_ms"]["p50"] >= 0
        assert {body["max_tokens"] for body in backend.bodies} == {64}

    async def test_it_is_bounded(self, registry: ToolRegistry, backend: Counting) -> None:
        arguments = '{"model": "fast", "requests": 1000, "concurrency": 99, "max_tokens": 0}'
        result = await registry.call("run_benchmark", arguments, ToolContext(user_id=5))
        assert result.fault == "wrong_arguments"
        assert "- requests: Input should be less than or equal to 10" in result.text
        assert backend.bodies == []

    async def test_an_unknown_model_is_told(self, registry: ToolRegistry) -> None:
        result = await registry.call("run_benchmark", '{"model": "slow"}')
        assert (result.text, result.fault) == ("There is no model 'slow'.", "failed")


class Nvml:
    """NVIDIA's library as far as it is used: one full card, one that supports little."""

    class NVMLError(Exception):
        pass

    NVML_TEMPERATURE_GPU = 0
    shut = False

    def __init__(self, *, present: bool) -> None:
        self.present = present

    def __getattr__(self, name: str) -> Any:
        values: dict[str, Any] = {
            "nvmlDeviceGetName": "NVIDIA H100",
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=0),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=5 * 2**20, total=80 * 2**30),
            "nvmlDeviceGetTemperature": 41,
            "nvmlDeviceGetPowerUsage": 72_340,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
        }

        def read(handle: str, *_: Any) -> Any:
            if (handle == "bare" and name != "nvmlDeviceGetName") or name not in values:
                raise self.NVMLError("Not Supported")
            return values[name]

        return read

    def nvmlInit(self) -> None:  # noqa: N802 - NVIDIA's name
        if not self.present:
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlShutdown(self) -> None:  # noqa: N802 - NVIDIA's name
        self.shut = True

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVIDIA's name
        return 2

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802 - NVIDIA's name
        return "580.1"

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802 - NVIDIA's name
        return ("full", "bare")[index]


async def test_a_machine_without_a_gpu_is_said_to_have_none(registry: ToolRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(present=False))
    told = json.loads((await registry.call("get_gpu_metrics", "")).text)
    note = "No NVIDIA GPU can be read on the machine that Patchbay runs on (NVML Shared Library Not Found)."
    assert told == {"gpus": [], "note": note}


async def test_gpus_are_measured_and_what_a_card_lacks_is_null(registry: ToolRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml(present=True)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    told = json.loads((await registry.call("get_gpu_metrics", "")).text)
    full = {
        "name": "NVIDIA H100",
        "utilization_percent": 0,
        "memory_used_mib": 5,
        "memory_total_mib": 81920,
        "temperature_celsius": 41,
        "power_watts": 72.3,
        "power_limit_watts": 700.0,
        "fan_percent": None,
    }
    assert told == {"driver": "580.1", "gpus": [full, dict.fromkeys(full) | {"name": "NVIDIA H100"}]}
    assert nvml.shut
