"""`carillon up | run | migrate | keys | settings | send | demo | smoke | users import | simulate`.

A failure is one line. A command imports what it needs: all of Carillon takes two seconds.
"""
# ruff: noqa: PLC0415

import asyncio
import os
import sys
import traceback
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import asyncpg
import uvloop
from cyclopts import App, Parameter

from carillon.kit.broker.port import BrokerError
from carillon.kit.embedded_postgres import EmbeddedPostgresError
from carillon.kit.errors import Unavailable
from carillon.kit.settings import SettingsError, load
from carillon.kit.telemetry.logs import configure_logs
from carillon.kit.telemetry.tracing import traces_sent
from carillon.process_settings import PlatformSettings

if TYPE_CHECKING:
    from carillon.all_in_one import Address
    from carillon.users.settings import UsersSettings

app = App(name="carillon", help="A notification system: committed when accepted, delivered or explained.")

keys = App(name="keys", help="The keys that access tokens are signed with.")
app.command(keys)

users = App(name="users", help="What is done with many users at once.")
app.command(users)

app.command("carillon.simulators.tool.command:app", name="simulate")

ServiceName = Literal["gateway", "users", "templates", "email_worker", "push_worker"]
Url = Annotated[str, Parameter(help="Where Carillon answers.")]
DataDir = Annotated[Path | None, Parameter(help="Where state lives (CARILLON_DATA_DIR, .carillon).")]


@app.command
def up(
    *,
    host: Annotated[str | None, Parameter(help="Address to listen on (CARILLON_HOST, 127.0.0.1).")] = None,
    port: Annotated[int | None, Parameter(help="Port to listen on (CARILLON_PORT, 8000).")] = None,
    data_dir: DataDir = None,
) -> None:
    """Run every service in this process, on an embedded PostgreSQL. Needs no other server."""
    from carillon import all_in_one

    settings = load(PlatformSettings, "", _with_flags(host=host, port=port, data_dir=data_dir))
    configure_logs(settings.log_level, settings.log_format)
    for name in all_in_one.unknown_variables():
        _say(f"carillon: {name} is not a setting of ours; `carillon settings` lists them.")
    with traces_sent(settings.otlp_endpoint, "carillon", os.environ):
        _run(all_in_one.up(settings, _welcome))


@app.command
def run(service: ServiceName) -> None:
    """Run one service, with its own database and the broker of CARILLON_BROKER_URL."""
    from carillon import running_apart

    _run(running_apart.run(service))


@app.command
def migrate(
    *,
    data_dir: DataDir = None,
    check: Annotated[bool, Parameter(help="Only look: one line for each schema that differs, exit code 1.")] = False,
) -> None:
    """Bring every schema up to date; make the administrator, the application token and the services' tokens."""
    from carillon import running_apart

    settings = load(PlatformSettings, "", _with_flags(data_dir=data_dir))
    configure_logs(settings.log_level, settings.log_format)
    if check:
        found = _run(running_apart.troubles())
        print("\n".join(found) or "Every schema is as this release needs it.")
        sys.exit(1 if found else 0)
    _run(running_apart.migrate(settings.data_dir))


@app.command
def settings() -> None:
    """List every setting: its variable, its default and what it does."""
    from carillon.settings_table import print_settings

    print_settings()


@keys.command
def rotate(*, data_dir: DataDir = None) -> None:
    """Add a key that signs in a minute; drop those of which no token lives. Running processes take it up themselves."""
    from carillon.users.app import rotate_keys

    print("\n".join(rotate_keys(_users(data_dir))))


@keys.command(name="list")
def list_keys(*, data_dir: DataDir = None) -> None:
    """List the keys: which one signs, which will, which only verify."""
    from carillon.users.app import list_keys as listed

    print("\n".join(listed(_users(data_dir))))


@app.command
def send(
    *,
    template: Annotated[str, Parameter(help="Code of a published template.")],
    recipients: Annotated[Path, Parameter(help="CSV with a column `email`; the other columns become variables.")],
    channel: Annotated[Literal["email", "push"], Parameter(help="How to notify.")] = "email",
    link: Annotated[
        str | None, Parameter(help="`link` for rows without such a column; the address of Carillon if absent.")
    ] = None,
    url: Url = "http://127.0.0.1:8000",
    data_dir: DataDir = None,
) -> None:
    """Notify everybody in a CSV, and tell what became of each. Sending the same file again sends nothing twice."""
    from carillon.sending import job as sending

    work = sending.Job(
        template=template,
        recipients=recipients,
        channel=channel,
        link=link,
        url=url,
        credentials=_credentials(data_dir),
    )
    sys.exit(_run(sending.send(work)))


@app.command
def demo(*, url: Url = "http://127.0.0.1:8000", data_dir: DataDir = None) -> None:
    """Send the small CSV that ships with Carillon through a running platform, and point at the mailbox."""
    from carillon.sending import job as sending

    sys.exit(_run(sending.demo(url, _credentials(data_dir))))


@app.command
def smoke(
    url: Annotated[str, Parameter(help="The front door.")],
    *,
    really_send: Annotated[bool, Parameter(name="--send", help="Send one mail, and follow it to its end.")] = False,
    template: Annotated[str, Parameter(help="Code of a published e-mail template.")] = "email_verification",
    token_file: Annotated[Path | None, Parameter(help="A token that may send, instead of credentials.json.")] = None,
    user: Annotated[UUID | None, Parameter(help="Id of the recipient; the administrator if absent.")] = None,
    seconds: Annotated[float, Parameter(help="How long to try, all in all.")] = 60,
    data_dir: DataDir = None,
) -> None:
    """Ask at the front door whether the platform serves. Without --send nothing is notified or kept but a login."""
    from carillon.smoke.job import Job
    from carillon.smoke.job import smoke as walk

    credentials = _credentials(data_dir)
    work = Job(
        url=url,
        credentials=credentials,
        token_file=token_file,
        user=user,
        template=template,
        send=really_send,
        seconds=seconds,
    )
    sys.exit(_run(walk(work)))


@users.command(name="import")
def import_users(
    file: Annotated[Path, Parameter(help="CSV (.csv) with a heading, or one JSON object a line.")],
    *,
    url: Url = "http://127.0.0.1:8000",
    data_dir: DataDir = None,
) -> None:
    """Take in users with the hashes of their passwords; run again, it goes on and doubles nobody."""
    from carillon.importing.job import import_file

    sys.exit(_run(import_file(file, url=url, credentials=_credentials(data_dir))))


def main() -> None:
    """Run the console script; expected failures end it with one line and exit code 1."""
    try:
        app()
    except (SettingsError, EmbeddedPostgresError, BrokerError, Unavailable) as error:
        _fail(str(error))
    except asyncpg.PostgresError as error:
        _fail(f"PostgreSQL refuses: {error}")
    except OSError as error:
        _fail(_of_system(error))
    except (ValueError, asyncpg.InterfaceError) as error:
        _fail(_of_value(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _with_flags(**flags: object) -> dict[str, str]:
    return {
        **os.environ,
        **{f"CARILLON_{name}".upper(): str(value) for name, value in flags.items() if value is not None},
    }


def _credentials(data_dir: Path | None) -> Path:
    return load(PlatformSettings, "", _with_flags(data_dir=data_dir)).data_dir / "credentials.json"


def _welcome(address: "Address", administrator: UUID) -> None:
    from carillon.all_in_one import first_curl

    print(
        f"Carillon is up   {address.url}\n"
        f"  documents      {address.url}/docs\n"
        f"  mailbox        {address.url}/mailbox\n"
        f"  tokens         {address.credentials}\n"
        f"Send a notification:\n  {first_curl(address, administrator)}",
        flush=True,
    )


def _of_system(error: OSError) -> str:
    if error.errno == 98:  # noqa: PLR2004 - EADDRINUSE
        return "The port is taken by another program. Choose another: carillon up --port 8001, or make up PORT=8001."
    if error.errno == 28:  # noqa: PLR2004 - ENOSPC
        return "The disk is full. Free some space and start again; nothing accepted is lost."
    return f"{error.strerror or type(error).__name__}{f': {error.filename}' if error.filename else ''}"


def _of_value(error: Exception) -> str:
    """Where, and not what: the sentence of an unknown error may quote an address with its password."""
    *_, frame = traceback.extract_tb(error.__traceback__)
    where = f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"
    return f"A value cannot be used ({where}). `carillon settings` lists what each setting takes."


def _users(data_dir: Path | None) -> "UsersSettings":
    """The users service's settings, where nothing but its files is needed."""
    from carillon.users.settings import UsersSettings

    environ = _with_flags(data_dir=data_dir)
    folder = load(PlatformSettings, "", environ).data_dir
    unused = "postgresql://unused.invalid/"
    return load(
        UsersSettings,
        "users",
        environ,
        database_url=unused,
        broker_url=unused,
        signing_key_file=str(folder / "signing_key.pem"),
        encryption_key_file=str(folder / "encryption.key"),
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _fail(line: str) -> None:
    _say(f"carillon: {line}")
    sys.exit(1)
