"""Run an upstream in a separate process that streams tokens at a fixed pace for little CPU: `python -m bench.tokens COUNT SECONDS`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def event(text: str = "", finish: str | None = None) -> bytes:
    """Return a chunk in OpenAI's format."""
    delta = {"content": text} if text else {}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    about = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m", "system_fingerprint": "fp_1"}
    return b"data: %b\n\n" % json.dumps({**about, "choices": [choice], "usage": None}, separators=(",", ":")).encode()


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


TOKEN = framed(event(" token"))
END = framed(event(finish="stop")) + framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int, pace: float) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            _, _, rest = head.lower().partition(b"content-length:")
            await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
            writer.write(_HEAD)
            began = asyncio.get_running_loop().time()
            for number in range(count):
                if pace:
                    await asyncio.sleep(began + number * pace - asyncio.get_running_loop().time())
                writer.write(TOKEN)
                await writer.drain()
            writer.write(END)
    writer.close()


async def _serve(count: int, pace: float) -> None:
    server = await asyncio.start_server(lambda reader, writer: _answer(reader, writer, count, pace), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def token_upstream(count: int, pace: float) -> Iterator[str]:
    """Run such a server and yield its base address."""
    command = [sys.executable, "-m", "bench.tokens", str(count), str(pace)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
