"""The process that reads one file: `python -m search.parsing PATH NAME` prints JSON, either `Parsed.as_json` or {"error"}.

It knows neither Django nor secrets, and limits itself before it looks at the file.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from pathlib import Path

from search.parsing.document import Unreadable
from search.parsing.reader import parse

CPU_SECONDS = 30
MEMORY = 512 * 1024 * 1024


def limit() -> None:
    """Bound this process: seconds of CPU, memory, and no files written."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> int:
    """Read the file that the command line names, and print the answer."""
    limit()
    logging.disable(logging.CRITICAL)  # parsers comment on each oddity
    try:
        with Path(sys.argv[1]).open("rb") as file:
            answer = parse(file, sys.argv[2]).as_json()
    except Unreadable as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": f"Reading it takes more than {MEMORY // 1024 // 1024} MB of memory"}
    sys.stdout.write(json.dumps(answer, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
