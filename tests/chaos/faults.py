"""Does to a world what the schedule says, and undoes it; with when it was so and what it may have harmed."""

import asyncio
import signal
import subprocess
from collections import defaultdict
from collections.abc import Sequence

from carillon.contracts.channels import CHANNELS, Channel
from tests.chaos import mishaps
from tests.chaos.judge import Harm
from tests.chaos.schedule import Fault, victim_of
from tests.chaos.world import PROCESSES, SEND_SLOTS, World, now, signal_tree
from tests.support.processes import end

WORKERS = ("email_worker_1", "email_worker_2")
PUSH_WORKERS = ("push_worker_1", "push_worker_2")
GATEWAYS = ("gateway_1", "gateway_2")
WRONG_CLOCKS = {"ahead", "behind", "fast", "slow"}
STALLED = "the machine stood still"
_LOOKING_SECONDS = 2.0
_STALL_SECONDS = 1.0
_AFTERMATH_SECONDS = 1.0

_HOLDER = """SELECT split_part(owner, ':', 2)::int FROM email_worker.deliveries
WHERE state = 'claimed' AND lease_until > clock_timestamp() LIMIT 1"""
_IN_HAND = "SELECT count(*) FROM {schema}.deliveries WHERE state = 'claimed' AND split_part(owner, ':', 2)::int = {pid}"
_LEASED = "SELECT 1 FROM gateway.outbox WHERE lease_until > now() LIMIT 1"


async def strike_all(world: World, faults: Sequence[Fault], harms: list[Harm], *, began: float) -> None:
    """Each at its time, or when its victim is well again; returns when all are over and everything has been started."""
    victims: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def one(fault: Fault) -> None:
        await asyncio.sleep(max(0.0, began + fault.at - now()))
        async with victims[victim_of(fault.target)]:
            since = now()
            try:
                await strike(world, fault)
            finally:
                harms.append(harm_of(fault, since, now() + _AFTERMATH_SECONDS, world.in_hand.get(fault.name, 0)))

    async with asyncio.TaskGroup() as group:
        for fault in faults:
            group.create_task(one(fault))


def harm_of(fault: Fault, since: float, until: float, in_hand: int = 0) -> Harm:
    """With how many messages may have been between the provider's yes and the note of it when this happened: those
    being sent, and those whose outcome was on its way into the table, so that they were claimed (`in_hand`)."""
    clock = fault.deed in WRONG_CLOCKS
    channels = channels_of(fault.target)
    if fault.target in {*WORKERS, *PUSH_WORKERS, "claim_holder"}:
        return Harm(fault.name, since, until, max(SEND_SLOTS, in_hand), channels)
    everybody = fault.target in {"postgres", "disk", "provider", "push_provider"}
    bound = max(len(channels) * 2 * SEND_SLOTS, in_hand) if everybody else 0
    return Harm(fault.name, since, until, bound, channels, clock=clock)


def channels_of(target: str) -> tuple[Channel, ...]:
    if target in {*PUSH_WORKERS, "push_provider"}:
        return ("push",)
    return ("email",) if target in {*WORKERS, "claim_holder", "provider", "worker_clock", "queues"} else CHANNELS


async def strike(world: World, fault: Fault) -> None:
    if fault.deed in WRONG_CLOCKS:
        await mishaps.wrong_clock(world, fault)
    elif fault.deed == "alarm":
        await mishaps.memory_alarm(world, fault)
    elif fault.deed == "full":
        await _count_in_hand(world, fault, (*WORKERS, *PUSH_WORKERS))
        await mishaps.full_disk(world, fault)
    elif fault.deed == "purge":
        await mishaps.purge(world, fault, WORKERS)
    elif fault.deed == "poison":
        await mishaps.poison(world, fault)
    else:
        await _break(world, fault)


async def _break(world: World, fault: Fault) -> None:
    if fault.deed in {"cut", "half_open", "latency"}:
        await _on_the_line(world, fault)
    elif fault.target in {"provider", "push_provider"}:
        await _kill_provider(world, fault)
    elif fault.target in {"postgres", "rabbitmq", "redis"}:
        await _on_server(world, fault)
    else:
        await _on_processes(world, await _who(world, fault), fault)


async def _on_the_line(world: World, fault: Fault) -> None:
    link = world.links[fault.target]
    if fault.deed == "cut":
        link.cut()
    elif fault.deed == "half_open":
        link.silence()
    else:
        link.delay(0.2)
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        link.restore()


async def _kill_provider(world: World, fault: Fault) -> None:
    """In the middle of transactions. What it had taken is read between their end and its own: it keeps no record."""
    link, provider = world.links[fault.target], world.providers[fault.target]
    link.cut()
    try:
        await asyncio.sleep(0.2)
        await world.collect(fault.target)
        await asyncio.to_thread(end, provider.process, sign=signal.SIGKILL)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(provider.start)
    finally:
        link.restore()


async def _on_server(world: World, fault: Fault) -> None:
    server = getattr(world.servers, fault.target)
    if fault.target == "postgres":
        await _count_in_hand(world, fault, (*WORKERS, *PUSH_WORKERS))
    if fault.deed == "stop":
        await _stopped([server._process], fault.seconds)
        return
    await asyncio.to_thread(server.kill if fault.deed == "kill" else server.stop)
    await asyncio.sleep(fault.seconds)
    await asyncio.to_thread(server.start)


async def _on_processes(world: World, names: Sequence[str], fault: Fault) -> None:
    processes = [world.platform.processes[name] for name in names]
    if fault.deed == "stop":
        counting = asyncio.create_task(_count_in_hand(world, fault, names))
        await _stopped(processes, fault.seconds)
        await counting
        return
    sign = signal.SIGKILL if fault.deed == "kill" else signal.SIGTERM
    await asyncio.gather(*(asyncio.to_thread(end, process, sign=sign, within=40) for process in processes))
    await _count_in_hand(world, fault, names)
    await asyncio.sleep(fault.seconds)
    for name in names:
        world.spawn(name)
    await asyncio.gather(*(world.until_ready(name, within=90) for name in names))


async def _count_in_hand(world: World, fault: Fault, names: Sequence[str]) -> None:
    """Before it strikes everybody, or once it has struck one."""
    found = 0
    for name in {*names} & {*WORKERS, *PUSH_WORKERS}:
        schema = PROCESSES[name]
        pid = world.platform.processes[name].pid
        found += await world.ask(schema, _IN_HAND.format(schema=schema, pid=pid)) or 0
    world.in_hand[fault.name] = found


async def _stopped(processes: Sequence["subprocess.Popen[bytes] | None"], seconds: float) -> None:
    for process in processes:
        signal_tree(process, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        for process in processes:
            signal_tree(process, signal.SIGCONT)


async def _who(world: World, fault: Fault) -> Sequence[str]:
    """The process by name; whoever holds claims now, or both gateways while one of them holds rows of the outbox."""
    if fault.target not in {"claim_holder", "relay_owner"}:
        return (fault.target,)
    deadline = now() + _LOOKING_SECONDS
    service, statement = ("email_worker", _HOLDER) if fault.target == "claim_holder" else ("gateway", _LEASED)
    while now() < deadline:
        found = await world.ask(service, statement)
        if found is not None:
            holders = [name for name in WORKERS if world.platform.processes[name].pid == found]
            return GATEWAYS if service == "gateway" else tuple(holders) or WORKERS[:1]
        await asyncio.sleep(0.01)
    return GATEWAYS if service == "gateway" else WORKERS[:1]


async def watch_machine(harms: list[Harm]) -> None:
    """A machine that stood still for a second did to everybody what SIGSTOP does."""
    while True:
        before = now()
        await asyncio.sleep(0.1)
        if now() - before > _STALL_SECONDS:
            harms.append(Harm(f"{STALLED} at {before:.0f}", before, now(), len(CHANNELS) * 2 * SEND_SLOTS))
