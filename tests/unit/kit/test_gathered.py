"""Answers leave in one packet: what is written in one turn of the loop is sent together, and before closing."""

import asyncio
from typing import Any

from carillon.kit.http.gathered import Gathered


class Wire(asyncio.Transport):
    """Keeps what was sent, a packet at a time."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 7)})
        self.packets: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.packets.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


async def test_what_is_written_in_one_turn_is_one_packet() -> None:
    wire = Wire()
    gathered = Gathered(wire, asyncio.get_running_loop())
    gathered.write(b"head ")
    gathered.write(b"body")
    assert wire.packets == []

    await asyncio.sleep(0)
    gathered.write(b"the next")
    await asyncio.sleep(0)

    assert wire.packets == [b"head body", b"the next"]


async def test_closing_sends_what_is_left_and_nothing_afterwards() -> None:
    wire = Wire()
    gathered = Gathered(wire, asyncio.get_running_loop())
    gathered.write(b"farewell")
    gathered.close()
    gathered.write(b"too late")
    await asyncio.sleep(0)

    assert (wire.packets, gathered.is_closing()) == ([b"farewell"], True)


async def test_everything_else_is_the_transports_own() -> None:
    assert Gathered(Wire(), asyncio.get_running_loop()).get_extra_info("peername") == ("127.0.0.1", 7)
