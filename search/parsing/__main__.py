"""Read one file in a process of its own.

`python -m search.parsing PATH NAME [--ocr]` prints JSON: `Parsed.as_json`, or {"error", "scanned", "unsupported"}.

It knows neither Django nor secrets, and limits itself before it looks at the file.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from search.parsing.document import Unreadable
from search.parsing.limits import limit
from search.parsing.reader import parse

CPU_SECONDS = 30
MEMORY = 512 * 1024 * 1024
OCR_CPU_SECONDS = 600
OCR_MEMORY = 1536 * 1024 * 1024
"""Text recognition draws each page, and tesseract inherits these limits: one process of it reads one page."""


def main() -> int:
    """Read the file that the command line names, and print the answer."""
    recognize = "--ocr" in sys.argv[3:]
    memory = OCR_MEMORY if recognize else MEMORY
    limit(OCR_CPU_SECONDS if recognize else CPU_SECONDS, memory)
    logging.disable(logging.CRITICAL)  # parsers comment on each oddity
    try:
        with Path(sys.argv[1]).open("rb") as file:
            answer = parse(file, sys.argv[2], recognize=recognize).as_json()
    except Unreadable as error:
        answer = {"error": str(error), "scanned": error.scanned, "unsupported": error.unsupported}
    except MemoryError:
        answer = {"error": f"Reading it takes more than {memory // 1024 // 1024} MB of memory"}
    sys.stdout.write(json.dumps(answer, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
