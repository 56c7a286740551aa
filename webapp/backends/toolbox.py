"""The tools that the product offers to models. Apps add theirs in `AppConfig.ready()`: search its documents, batches their status."""

from __future__ import annotations

from webapp.patterns import builtin_tools
from webapp.patterns.tools import Tool, ToolRegistry

toolbox = ToolRegistry(
    [
        builtin_tools.calculator(),
        builtin_tools.current_time(),
        Tool(builtin_tools.get_gpu_metrics),
    ]
)
