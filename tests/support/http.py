"""Serving an app on a free loopback port for the length of a test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from carillon.kit.http.door import Admitting
from carillon.kit.http.edge import App
from carillon.kit.http.shortcut import Answering
from carillon.kit.service import bind, http_server


@contextlib.asynccontextmanager
async def serving(
    app: App, *, shortcuts: Sequence[Answering] = (), doors: Sequence[Admitting] = ()
) -> AsyncIterator[str]:
    """The app over real HTTP; yields its base URL."""
    listening = bind("127.0.0.1", 0)
    async with asyncio.timeout(60), http_server(app, listening, shortcuts=shortcuts, doors=doors):
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
