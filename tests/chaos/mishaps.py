"""What befalls a world without a kill: wrong clocks, full disks, an alarm of the broker, emptied queues and rubbish."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg

from carillon.contracts.channels import LANES, STATUS_QUEUE, queue_of, topology
from carillon.kit.broker.open import open_broker
from carillon.kit.broker.port import BrokerError, Message
from tests.chaos.schedule import Fault
from tests.chaos.world import SETTINGS, World, now, tree_of
from tests.support.clock import at_another_time
from tests.support.disk import empty, fill
from tests.support.processes import end

EMAIL_QUEUES = tuple(queue_of("email", lane) for lane in LANES)
RUBBISH = (b"", b"null", b"\x00\xff\xfe", b'{"notification_id": "1"}', b"[" * 100_000, b'{"variables":' * 5_000)
_ERRORS = {"ahead": 3_600, "behind": -3_600, "fast": 20, "slow": -20}
_CLOCKS = {"gateway_clock": "gateway_2", "gateway_seconds": "gateway_2", "worker_clock": "email_worker_2"}
_NO_ROOM = "8192"
_PATIENCE = 90.0
_LETTERS = "SELECT count(*) FROM gateway.dead_letters WHERE message_id IN ({})"


async def wrong_clock(world: World, fault: Fault) -> None:
    """Of one of two, from its start to its end."""
    name = _CLOCKS[fault.target]
    clock = at_another_time(_ERRORS[fault.deed])
    for environment in (clock, {}):
        await asyncio.to_thread(end, world.platform.processes[name], within=40)
        world.spawn(name, **environment)
        await world.until_ready(name, within=90)
        if environment:
            await asyncio.sleep(fault.seconds)


async def memory_alarm(world: World, fault: Fault) -> None:
    """RabbitMQ takes nothing from those who publish; also over its own restart, which ends the alarm."""
    rabbitmq = world.servers.rabbitmq
    assert rabbitmq is not None
    await asyncio.to_thread(rabbitmq.control, "set_vm_memory_high_watermark", "0.00001")
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        if not await asyncio.to_thread(rabbitmq.control, "set_vm_memory_high_watermark", "absolute", "1GB"):
            world.odd.append(f"{fault.name}: the alarm could not be taken back")


async def full_disk(world: World, fault: Fault) -> None:
    """Where PostgreSQL has a disk of its own that is filled. Elsewhere no file of PostgreSQL's may be written any
    further, which is how a full disk ends: that of the write-ahead log takes the server down, and it cannot come back
    before there is room."""
    server = world.servers.postgres
    if server.disk:
        await asyncio.to_thread(fill, server.disk)
    else:
        await asyncio.to_thread(_let_grow, server.pid, _NO_ROOM)
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        if server.disk:
            empty(server.disk)
        else:
            await asyncio.to_thread(_let_grow, server.pid, "unlimited")
        await asyncio.to_thread(server.start_if_ended)


def _let_grow(postmaster: int | None, most: str) -> None:
    """Whoever is born from now on is bound as the postmaster is. Only its own user may bind it."""
    if postmaster is None:
        return
    owner = Path(f"/proc/{postmaster}").stat()
    own: dict[str, Any] = (
        {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": ()} if owner.st_uid != os.getuid() else {}
    )
    for pid in tree_of(postmaster):
        command = ["prlimit", "--pid", str(pid), f"--fsize={most}:unlimited"]
        subprocess.run(command, **own, cwd="/", timeout=20, check=False, stderr=subprocess.DEVNULL)


async def purge(world: World, fault: Fault, workers: Sequence[str]) -> None:
    """While no e-mail worker runs, what has come in is thrown away; whoever cannot is back before it can."""
    processes = [world.platform.processes[name] for name in workers]
    await asyncio.gather(*(asyncio.to_thread(end, process, sign=signal.SIGTERM, within=40) for process in processes))
    await asyncio.sleep(fault.seconds)
    if world.servers.rabbitmq is not None:
        for queue in EMAIL_QUEUES:
            await asyncio.to_thread(world.servers.rabbitmq.control, "purge_queue", queue)
    else:
        queues = ", ".join(f"'{queue}'" for queue in EMAIL_QUEUES)
        await world.ask(
            "broker",
            f"WITH gone AS (DELETE FROM broker.messages WHERE queue IN ({queues}) RETURNING 1) SELECT 1 FROM gone",
        )
    for name in workers:
        world.spawn(name)
    await asyncio.gather(*(world.until_ready(name, within=90) for name in workers))


async def poison(world: World, fault: Fault) -> None:
    """Published by hand, and over when all of it lies among the dead letters that the gateway keeps."""
    rubbish = [Message(queue, body, message_id=uuid4()) for queue in (*EMAIL_QUEUES, STATUS_QUEUE) for body in RUBBISH]
    until = now() + _PATIENCE
    while not await _published(world, rubbish):
        if now() > until:
            world.odd.append(f"{fault.name}: could not be published")
            return
        await asyncio.sleep(0.5)
    statement = _LETTERS.format(", ".join(f"'{message.message_id}'" for message in rubbish))
    while (buried := await world.ask("gateway", statement)) != len(rubbish):
        if now() > until:
            world.odd.append(f"{fault.name}: of {len(rubbish)} messages {buried} are kept as dead letters")
            return
        await asyncio.sleep(0.5)


async def _published(world: World, messages: Sequence[Message]) -> bool:
    ladder = tuple(float(rung) for rung in SETTINGS["CARILLON_RETRY_DELAYS"].split(","))
    try:
        async with open_broker(world.broker_url, topology(ladder), name="by hand") as broker:
            await broker.publish(messages)
    except (BrokerError, OSError, asyncpg.PostgresError):
        return False
    return True
