"""One simulator as a process: its server, its control API and its bounces, until SIGTERM or Ctrl-C."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carillon.kit.auth import Caller
from carillon.kit.errors import Unauthenticated
from carillon.kit.http.app import build_app
from carillon.kit.http.client import ServiceClient, open_session
from carillon.kit.service import Running, Service, bind, serve
from carillon.kit.settings import SettingsError
from carillon.simulators.actions import AccessTokens
from carillon.simulators.domain.rules import Choices, Kind, Rule
from carillon.simulators.service_account import ensure_service_account, load_public_key, read_service_account
from carillon.simulators.tool.book import Book
from carillon.simulators.tool.bounces import Bounces
from carillon.simulators.tool.control import ROUTES, Desk
from carillon.simulators.tool.fcm import fcm_server
from carillon.simulators.tool.smtp import smtp_server

LOOPBACK = "127.0.0.1"
_TOKEN_SECONDS = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What is simulated. `gateway` and `token` are where and as whom bounces are told; both may be empty."""

    kind: Kind
    rules: tuple[Rule, ...] = ()
    seed: int = 0
    host: str = LOOPBACK
    port: int = 0
    control_port: int = 0
    keep: int = 10_000
    keep_bytes: int = 0
    max_bytes: int = 10 << 20
    gateway: str = ""
    token: str = ""
    account_file: Path = Path("fcm-simulator.json")


async def simulate(simulation: Simulation, ready: Callable[[dict[str, Any]], None]) -> None:
    """Serve until told to stop; `ready` hears where once everything listens. Raises SettingsError."""
    with (
        contextlib.closing(_bound(LOOPBACK, simulation.control_port)) as control,
        contextlib.closing(_bound(simulation.host, simulation.port)) as listening,
    ):
        service = build(simulation, listening)
        told = _addresses(simulation, listening, control)
        await serve([service], control, on_ready=lambda: ready(told))


def _bound(host: str, port: int) -> socket.socket:
    try:
        return bind(host, port)
    except OSError as error:
        raise SettingsError(f"simulate: cannot listen on {host}, port {port}: {error.strerror}.") from None


def build(simulation: Simulation, listening: socket.socket) -> Service:
    """The server on `listening`, with its control API as the service's app."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Running]:
        book = Book(Choices(simulation.rules, simulation.seed), keep=simulation.keep, keep_bytes=simulation.keep_bytes)
        async with contextlib.AsyncExitStack() as stack:
            gateway = None
            if simulation.gateway:
                session = await stack.enter_async_context(open_session())
                gateway = ServiceClient(session, simulation.gateway, token=simulation.token)
            bounces = Bounces(book, gateway)
            await stack.enter_async_context(_server(simulation, book, bounces, listening))
            app = build_app(
                "simulator",
                ROUTES,
                authenticate=_nobody,
                state={"desk": Desk(simulation.kind, book, bounces)},
                checks={},
                title=f"Carillon's {simulation.kind} simulator",
            )
            yield Running(app, loops={"bounces": bounces.run})

    return Service("simulator", opened)


def _server(
    simulation: Simulation, book: Book, bounces: Bounces, listening: socket.socket
) -> contextlib.AbstractAsyncContextManager[None]:
    if simulation.kind == "smtp":
        return smtp_server(book, listening, max_bytes=simulation.max_bytes, bounce=bounces.put)
    ensure_service_account(simulation.account_file, _url(simulation, listening))
    account = read_service_account(simulation.account_file)
    tokens = AccessTokens(
        load_public_key(account), email=account["client_email"], audience=account["token_uri"], seconds=_TOKEN_SECONDS
    )
    return fcm_server(book, listening, project=account["project_id"], tokens=tokens)


def _addresses(simulation: Simulation, listening: socket.socket, control: socket.socket) -> dict[str, Any]:
    told = {
        "simulator": simulation.kind,
        "host": simulation.host,
        "port": listening.getsockname()[1],
        "control_url": f"http://{LOOPBACK}:{control.getsockname()[1]}",
    }
    if simulation.kind == "fcm":
        told |= {"url": _url(simulation, listening), "account_file": str(simulation.account_file.absolute())}
    return told


def _url(simulation: Simulation, listening: socket.socket) -> str:
    """Where this machine reaches it."""
    host = LOOPBACK if simulation.host in {"0.0.0.0", "::", ""} else simulation.host  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"


async def _nobody(token: str) -> Caller:
    """Every route here is open: no token is ever asked for."""
    del token
    raise Unauthenticated
