"""What the client costs: submissions and results against a server that stores nothing, in a process of its own.

    python benchmarks/client.py                 all, in about half a minute
    python benchmarks/client.py --seconds 0.5   shorter runs

Each figure is the median of five runs, with the lowest and the highest in brackets. `CPU` is that of the client's process,
its I/O thread and ZeroMQ's included, for a task that was submitted, acknowledged and whose result has been read. The server
answers from memory, so its rate is a bound of the client's, not of otpq's.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import time
from collections import deque
from typing import TYPE_CHECKING

from otpq.client.aio import AsyncClient
from otpq.client.calls import Call
from otpq.client.client import Client
from otpq.client.io import Target
from otpq.wire import messages as m
from otpq.wire.codec import encode
from otpq.wire.cookie import Cookie
from otpq.wire.listener import Listener
from otpq.wire.peer_codec import decode_at_leader

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

RUNS = 5
RESULT = b"\xc0"
CALL = Call("noop", (1, "hello"))


def serve(cookie: Cookie, address: Connection) -> None:
    """Accept everything, and end it at once."""
    listener = Listener("tcp://127.0.0.1:0", cookie)
    address.send(listener.address)
    while True:
        listener.wait()
        while (got := listener.receive()) is not None:
            peer, data = got
            message = decode_at_leader(data)
            if isinstance(message, m.Hello):
                listener.send(
                    peer, encode(m.Welcome(1, message.session, message.connection, "bench@127.0.0.1", "i", 1))
                )
            elif isinstance(message, m.Submit):
                listener.send(peer, encode(m.Accepted(message.number)))
                outcomes = [m.Outcome(task.id, "succeeded", RESULT) for task in message.tasks]
                listener.send(peer, encode(m.Outcomes(outcomes)))


def batches(client: Client, seconds: float) -> int:
    """`submit_many` of 100, results read a batch later."""
    done, end = 0, time.perf_counter() + seconds
    calls = [CALL] * 100
    before = client.submit_many(calls)
    while time.perf_counter() < end:
        handles = client.submit_many(calls)
        for handle in before:
            handle.get(10)
        done += len(before)
        before = handles
    for handle in before:
        handle.get(10)
    return done + len(before)


def pipelined(client: Client, seconds: float) -> int:
    """`submit_soon`, one call a task, 2,000 under way."""
    done, end = 0, time.perf_counter() + seconds
    under_way = deque(client.submit_soon(CALL) for _ in range(2_000))
    while time.perf_counter() < end:
        under_way.popleft().handle(10).get(10)
        under_way.append(client.submit_soon(CALL))
        done += 1
    while under_way:
        under_way.popleft().handle(10).get(10)
        done += 1
    return done


def one_at_a_time(client: Client, seconds: float) -> int:
    """`submit`, `get`, `submit`, ..."""
    done, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        client.submit(CALL).get(10)
        done += 1
    return done


def in_asyncio(to: Target, seconds: float) -> tuple[int, float, float]:
    """200 tasks of one event loop, each submitting and awaiting."""

    async def main() -> tuple[int, float, float]:
        async with AsyncClient(to) as client:
            begin, cpu = time.perf_counter(), time.process_time()
            end = begin + seconds

            async def work() -> int:
                done = 0
                while time.perf_counter() < end:
                    await (await client.submit(CALL)).get(10)
                    done += 1
                return done

            done = sum(await asyncio.gather(*(work() for _ in range(200))))
            return done, time.perf_counter() - begin, time.process_time() - cpu

    return asyncio.run(main())


def in_threads(to: Target, seconds: float, work: Callable[[Client, float], int]) -> tuple[int, float, float]:
    """One run of `work`: tasks, seconds, seconds of CPU."""
    with Client(to) as client:
        client.wait_connected(10)
        work(client, 0.1)
        begin, cpu = time.perf_counter(), time.process_time()
        done = work(client, seconds)
        return done, time.perf_counter() - begin, time.process_time() - cpu


def show(name: str, runs: list[tuple[int, float, float]]) -> None:
    """One line of figures."""
    rates = sorted(done / wall for done, wall, _ in runs)
    costs = [cpu / done * 1e6 for done, _, cpu in runs]
    rate, cost = statistics.median(rates), statistics.median(costs)
    print(
        f"{name:38} {rate:9,.0f} tasks/s [{rates[0]:,.0f}..{rates[-1]:,.0f}]  CPU {cost:6.1f} us  {1e6 / rate:7.1f} us a task"
    )


def main() -> None:
    """Measure all."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=1.0, help="of each run")
    seconds: float = options.parse_args().seconds
    cookie = Cookie.new()
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe()
    server = spawning.Process(target=serve, args=(cookie, there), daemon=True)
    server.start()
    to = Target(here.recv(), "", cookie, "")
    show("submit_many of 100", [in_threads(to, seconds, batches) for _ in range(RUNS)])
    show("submit_soon, 2,000 under way", [in_threads(to, seconds, pipelined) for _ in range(RUNS)])
    show("submit and get, one at a time", [in_threads(to, seconds, one_at_a_time) for _ in range(RUNS)])
    show("asyncio, 200 at a time", [in_asyncio(to, seconds) for _ in range(RUNS)])
    server.kill()
    server.join()


if __name__ == "__main__":
    main()
