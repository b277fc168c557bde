"""A process of its own that runs the embedded PostgreSQL until its input ends: the parent that tests may kill.

`python program.py DATA_DIR [UID]`; as root it becomes UID first. Prints one line of JSON, or the error's one line.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from carillon.kit.embedded_postgres import EmbeddedPostgresError, embedded_postgres
from carillon.kit.embedded_postgres.binaries import find_binaries, reachable_binaries
from carillon.kit.embedded_postgres.identity import ServerUser


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def serve(data_dir: Path) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    async with embedded_postgres(data_dir, settings={"fsync": "off"}) as postgres:
        say(json.dumps({"pid": postgres.pid, "dsn": postgres.superuser_dsn()}))
        await over.wait()


def become(uid: int, shelter: Path) -> None:
    """Give up root for good; the programs are copied where that user can read them, should that be needed."""
    shelter.mkdir(exist_ok=True)
    shelter.chmod(0o755)
    user = ServerUser(str(uid), uid, uid, borrowed=True)
    installed = find_binaries()
    readable = reachable_binaries(installed, user=user, shelter=shelter)
    if readable != installed:
        (readable.site / "embedded_postgres" / "__init__.py").touch()
        sys.path.insert(0, str(readable.site))
    asyncio.run(asyncio.to_thread(os.getuid))  # imports what the standard library imports late
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


def main() -> None:
    # As under a terminal: a test run in the background of a script has Ctrl-C ignored, and its children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    data_dir, *uid = sys.argv[1:]
    if uid:
        become(int(uid[0]), Path(data_dir).with_name("programs"))
    try:
        asyncio.run(serve(Path(data_dir)))
    except EmbeddedPostgresError as error:
        say(f"refused: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)


if __name__ == "__main__":
    main()
