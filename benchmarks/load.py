"""A load generator on plain sockets, cheap enough to leave the machine to what is measured: kept connections, one
request in flight on each."""

import asyncio
import contextlib
import random
import select
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass
class Result:
    """What a run saw; `latencies` and `cpu`, the generator's own, in seconds. `due` is when each request of an open
    loop was, in their order, by the clock that all processes of the machine share (`time.perf_counter`)."""

    seconds: float
    statuses: Counter[int]
    latencies: list[float] = field(repr=False)
    cpu: float = 0.0
    due: list[float] = field(default_factory=list, repr=False)

    @property
    def count(self) -> int:
        return sum(self.statuses.values())

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    def percentile(self, share: float) -> float:
        """Latency in milliseconds below which this share of the answers came."""
        return percentile(self.latencies, share)


def percentile(seconds: Iterable[float], share: float) -> float:
    """What this share of them stays below, in milliseconds."""
    ordered = sorted(seconds)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _Connections:
    """Idle ones to send on, and busy ones to hear from. Latencies count from `since`, not from the sending."""

    def __init__(self, host: str, port: int, count: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.idle = [socket.create_connection((host, port), 10) for _ in range(count)]
        self._known = {each.fileno(): each for each in self.idle}
        self._since = dict.fromkeys(self._known, 0.0)
        self._parts = dict.fromkeys(self._known, b"")
        self._poll = select.epoll()
        for number, each in self._known.items():
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poll.register(number, select.EPOLLIN)

    @property
    def busy(self) -> int:
        return len(self._known) - len(self.idle)

    def send(self, request: bytes, since: float) -> None:
        connection = self.idle.pop(0)  # in turns: one that rests too long is closed by the server
        self._since[connection.fileno()] = since
        connection.sendall(request)

    def hear(self, seconds: float) -> None:
        """Take the answers that are there, after waiting up to `seconds` for the first."""
        if not select.select([self._poll], [], [], seconds)[0]:  # epoll itself would round up to milliseconds
            return
        for number, _ in self._poll.poll(0):
            data = self._parts[number] + self._known[number].recv(1 << 16)
            assert data, "the server has closed a connection"
            end = data.find(b"\r\n\r\n") + 4
            at = data.find(b"content-length: ", 0, end) + 16
            if end > 3 and len(data) == end + int(data[at : data.index(b"\r", at)]):
                self.statuses[int(data[9:12])] += 1
                self.latencies.append(time.perf_counter() - self._since[number])
                self._parts[number] = b""
                self.idle.append(self._known[number])
            else:
                self._parts[number] = data

    def close(self) -> None:
        self._poll.close()
        for each in self._known.values():
            each.close()


@contextlib.contextmanager
def _measured(host: str, port: int, connections: int) -> Iterator[tuple[_Connections, Result]]:
    wires = _Connections(host, port, connections)
    result = Result(0, wires.statuses, wires.latencies)
    try:
        started, cpu = time.perf_counter(), time.thread_time()
        yield wires, result
        result.seconds, result.cpu = time.perf_counter() - started, time.thread_time() - cpu
    finally:
        wires.close()


def closed(host: str, port: int, requests: Iterator[bytes], *, connections: int) -> Result:
    """A closed loop: each connection asks again as soon as it is answered, until there are no more requests."""
    with _measured(host, port, connections) as (wires, result):
        for request in requests:
            while not wires.idle:
                wires.hear(30)
            wires.send(request, time.perf_counter())
        while wires.busy:
            wires.hear(30)
    return result


def opened(host: str, port: int, requests: Iterable[bytes], *, rate: float, connections: int) -> Result:
    """An open loop: arrivals drawn (Poisson, `rate` a second), whatever the answers do; each latency counts from the
    moment at which its request was due. It ends with the requests."""
    dice = random.Random(1)
    with _measured(host, port, connections) as (wires, result):
        due = time.perf_counter()
        for request in requests:
            due += dice.expovariate(rate)
            while (wait := due - time.perf_counter()) > 0 or not wires.idle:
                wires.hear(max(wait, 0) if wires.idle else 30)
            wires.send(request, due)
            result.due.append(due)
        while wires.busy:
            wires.hear(30)
    return result


async def run(host: str, port: int, requests: Iterator[bytes], *, connections: int) -> Result:
    """A closed loop, for those who have an event loop to attend to."""
    return await asyncio.to_thread(closed, host, port, requests, connections=connections)


def request(method: str, path: str, *, host: str, token: str = "", body: bytes = b"") -> bytes:
    """A whole HTTP/1.1 request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n"
    if token:
        head += f"Authorization: Bearer {token}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body
