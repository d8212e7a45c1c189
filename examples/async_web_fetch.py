"""A hundred pages fetched by coroutines: one child, an event loop in it, and up to fifty requests under way at a time.

    python examples/async_web_fetch.py

The pages come from a server in this program, so that nobody is bothered; each takes it a tenth of a second.
"""

from __future__ import annotations

import asyncio
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import otpq

app = otpq.App("web")
PAGES = 100


@app.task(queue="io")
async def fetch(url: str) -> int:
    """The length of a page. With a library such as aiohttp this is a line, and its session outlives the task."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(f"GET {place.path} HTTP/1.0\r\nHost: {place.hostname}\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    if b" 200 " not in head.splitlines()[0]:
        raise ConnectionError(head.splitlines()[0].decode())
    return len(body)


class Page(BaseHTTPRequestHandler):
    """A page as long as its number says; and how many are asked for at a time."""

    lock = threading.Lock()
    now = most = 0

    def do_GET(self) -> None:
        """Answer, after a moment."""
        with Page.lock:
            Page.now += 1
            Page.most = max(Page.most, Page.now)
        time.sleep(0.1)
        with Page.lock:
            Page.now -= 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * int(self.path.rpartition("/")[2]))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """A server that many may knock at, at the same moment."""

    request_queue_size = PAGES
    daemon_threads = True


def main() -> None:
    """Serve the pages, and fetch them all."""
    with Server(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        io = "queues=io,executor=async,parallel=50"
        with otpq.start(app, workers=1, store="memory:", pools={"io": io}) as node:
            begun = time.monotonic()
            handles = node.client.submit_many(fetch.s(f"{address}/{n}") for n in range(PAGES))
            sizes = [handle.get(timeout=60) for handle in handles]
            elapsed = time.monotonic() - begun
        server.shutdown()
    print(f"{len(sizes)} pages in {elapsed:.1f} s, {sum(sizes)} bytes")
    print("at a time:", Page.most)


if __name__ == "__main__":
    main()
