"""`carillon simulate smtp | fcm`: flags become rules and a simulation; what is wrong with them is one line."""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import uvloop
from cyclopts import App, Parameter
from cyclopts.validators import Number

from carillon.kit.settings import SettingsError
from carillon.kit.telemetry.logs import configure_logs
from carillon.simulators.domain.rules import Kind, Rule
from carillon.simulators.domain.scripts import LARGEST_SCRIPT, BadScript, read_script, rules_of
from carillon.simulators.tool.running import LOOPBACK, Simulation, simulate

app = App(name="simulate", help="A mail server or push provider that misbehaves as told, for your tests.")

_PORT = Number(gte=0, lte=65_535)
_SOME = Number(gte=1, lte=10_000_000)
Port = Annotated[int, Parameter(help="Port of the server; 0 takes a free one.", validator=_PORT)]
Control = Annotated[int, Parameter(help="Port of the control API, on loopback; 0: a free one.", validator=_PORT)]
Host = Annotated[str, Parameter(help="Address that the server listens on.")]
Seed = Annotated[int, Parameter(help="The same seed and order of messages: the same choices.", validator=Number(gte=0))]
Script = Annotated[Path | None, Parameter(help="Rules, one JSON object a line; they come before those of flags.")]
Keep = Annotated[int, Parameter(help="Received messages to remember; the oldest leave first.", validator=_SOME)]
Bodies = Annotated[bool, Parameter(help="Keep contents too, 64 MiB of them at most.", negative="")]
Refuse = Annotated[list[str], Parameter(help="CODE:SHARE, or 'CODE TEXT:SHARE', as in 550:0.05.", negative="")]
Dead = Annotated[list[str], Parameter(help="SHARE of recipients or tokens that nobody knows any more.", negative="")]
Hang = Annotated[list[str], Parameter(help="before:SHARE or after:SHARE of accepting: silence.", negative="")]
Drop = Annotated[
    list[str], Parameter(help="before:SHARE, during:SHARE or after:SHARE: the connection ends.", negative="")
]
Delay = Annotated[list[str], Parameter(help="SECONDS:SHARE: the answer is late.", negative="")]
Drip = Annotated[list[str], Parameter(help="SECONDS:SHARE: the answer comes letter by letter.", negative="")]
Bounce = Annotated[list[str], Parameter(help="SHARE of the mails taken that bounce later.", negative="")]


@app.command
def smtp(
    *,
    port: Port = 0,
    control_port: Control = 0,
    host: Host = LOOPBACK,
    seed: Seed = 0,
    rules: Script = None,
    refuse: Refuse = [],  # noqa: B006 - read, never written
    dead: Dead = [],  # noqa: B006
    hang: Hang = [],  # noqa: B006
    drop: Drop = [],  # noqa: B006
    delay: Delay = [],  # noqa: B006
    drip: Drip = [],  # noqa: B006
    bounce: Bounce = [],  # noqa: B006
    bounce_after: Annotated[float, Parameter(help="Seconds until a bounce is told.")] = 3.0,
    gateway: Annotated[str, Parameter(help="Carillon's address, where bounces are told.")] = "",
    token_file: Annotated[Path | None, Parameter(help="Holds a service token with notifications:report.")] = None,
    keep: Keep = 10_000,
    bodies: Bodies = False,
) -> None:
    """A mail server. Prints one line of JSON with its ports once it listens."""
    options = {"dead": dead, "refuse": refuse, "hang": hang, "drop": drop, "delay": delay, "drip": drip}
    found = _rules("smtp", rules, {**options, "bounce": bounce}, bounce_after=bounce_after)
    _run(
        Simulation(
            kind="smtp",
            rules=found,
            seed=seed,
            host=host,
            port=port,
            control_port=control_port,
            keep=keep,
            keep_bytes=_BODIES if bodies else 0,
            gateway=_gateway(gateway, token_file),
            token=_token(token_file),
        )
    )


@app.command
def fcm(
    *,
    port: Port = 0,
    control_port: Control = 0,
    host: Host = LOOPBACK,
    seed: Seed = 0,
    rules: Script = None,
    refuse: Refuse = [],  # noqa: B006
    dead: Dead = [],  # noqa: B006
    hang: Hang = [],  # noqa: B006
    drop: Drop = [],  # noqa: B006
    delay: Delay = [],  # noqa: B006
    drip: Drip = [],  # noqa: B006
    retry_after: Annotated[int | None, Parameter(help="Seconds in Retry-After of refusals with 429 and 503.")] = None,
    account_file: Annotated[
        Path, Parameter(help="Service account to give to the sender; made where there is none.")
    ] = Path("fcm-simulator.json"),
    keep: Keep = 10_000,
    bodies: Bodies = False,
) -> None:
    """A push provider (FCM HTTP v1). Prints one line of JSON with its ports once it listens."""
    options = {"dead": dead, "refuse": refuse, "hang": hang, "drop": drop, "delay": delay, "drip": drip}
    _run(
        Simulation(
            kind="fcm",
            rules=_rules("fcm", rules, options, retry_after=retry_after),
            seed=seed,
            host=host,
            port=port,
            control_port=control_port,
            keep=keep,
            keep_bytes=_BODIES if bodies else 0,
            account_file=account_file,
        )
    )


_BODIES = 64 << 20


def _rules(
    kind: Kind,
    script: Path | None,
    options: Mapping[str, list[str]],
    *,
    bounce_after: float = 0,
    retry_after: int | None = None,
) -> tuple[Rule, ...]:
    try:
        scripted = read_script(_text(script), kind) if script is not None else []
        return (*scripted, *rules_of(options, kind, bounce_after=bounce_after, retry_after=retry_after))
    except BadScript as error:
        raise SettingsError(f"simulate {kind}: {error}.") from None


def _text(script: Path) -> str:
    try:
        with script.open("rb") as file:
            return file.read(LARGEST_SCRIPT * 4 + 1).decode()
    except UnicodeDecodeError:
        raise BadScript(f"{script} is no UTF-8 text") from None


def _gateway(url: str, token_file: Path | None) -> str:
    if bool(url) != (token_file is not None):
        raise SettingsError("simulate smtp: --gateway and --token-file belong together.")
    try:
        parts = urlsplit(url)
        usable = not url or (parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0)
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError("simulate smtp: --gateway is an address as in http://127.0.0.1:8000.")
    return url


def _token(token_file: Path | None) -> str:
    if token_file is None:
        return ""
    try:
        token = token_file.read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isprintable() or " " in token:
        raise SettingsError(f"simulate smtp: {token_file} holds no token.")
    return token


def _run(simulation: Simulation) -> None:
    configure_logs("warning")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(simulate(simulation, _say))


def _say(ready: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
