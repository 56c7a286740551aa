"""Hold the tools that the product offers to models. Each app adds its own in `AppConfig.ready()`."""

from __future__ import annotations

from webapp.patterns.agent import builtin_tools
from webapp.patterns.agent.tools import Tool, ToolRegistry

toolbox = ToolRegistry([builtin_tools.calculator(), builtin_tools.current_time(), Tool(builtin_tools.get_gpu_metrics)])
