"""A headless Chromium for drawing what the documents contain."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

from tests.support.node import NODE
from tests.support.packages import Installation, package

_PROGRAM = "usr/lib/chromium/chromium"
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A headless browser: the one that CHROMIUM names, the system's, or a fetched one."""
    program, environment = _program()
    os.environ.setdefault("PLAYWRIGHT_NODEJS_PATH", NODE)  # its own asks for a library that a bare Debian lacks
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program, args=_ARGUMENTS, env=environment, timeout=30_000
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def blank_page() -> AsyncIterator[Page]:
    """An empty page that can fetch nothing."""
    async with chromium() as browser:
        page = await browser.new_page()
        await page.route("**/*", lambda route: route.abort())
        await page.set_content("<!doctype html><html lang=en><body></body></html>")
        yield page


def _program() -> tuple[str, dict[str, str | float | bool]]:
    if given := os.environ.get("CHROMIUM"):
        return given, dict(os.environ)
    found = package("chromium", marker=_PROGRAM)
    return str(found.path(_PROGRAM)), {**found.environment(), **_unpacked(found)}


def _unpacked(found: Installation) -> dict[str, str]:
    """What a Chromium that was unpacked and not installed must be told: libraries in a subfolder, its own fonts."""
    if found.root == Path("/"):
        return {}
    libraries = [found.environment().get("LD_LIBRARY_PATH", ""), *map(str, found.root.glob("usr/lib/*/pulseaudio"))]
    fonts = str(found.path("etc/fonts/fonts.conf"))
    return {"LD_LIBRARY_PATH": ":".join(filter(None, libraries)), "FONTCONFIG_FILE": fonts}
