"""`make pictures`: the pictures of the README, taken of a platform that `carillon demo` has just been run on."""

import asyncio
import subprocess
import tempfile
from pathlib import Path

from playwright.async_api import Browser

from tests.documents.browser import chromium
from tests.documents.reading import ROOT
from tests.support.platform import CARILLON, all_in_one

FOLDER = ROOT / "docs/images"


def main() -> None:
    """Write `mailbox.png`, the list, and `mail.png`, one of the mails."""
    with tempfile.TemporaryDirectory() as folder, all_in_one(Path(folder), {}) as platform:
        demo = [*CARILLON, "demo", "--url", platform.gateway, "--data-dir", str(platform.data_dir)]
        subprocess.run(demo, check=True, timeout=60)
        asyncio.run(_take(f"{platform.gateway}/mailbox"))


async def _take(mailbox: str) -> None:
    async with asyncio.timeout(120), chromium() as browser:
        await _picture(browser, mailbox, None, "mailbox.png")
        await _picture(browser, mailbox, "text=Welcome, Grace", "mail.png")


async def _picture(browser: Browser, address: str, followed: str | None, name: str) -> None:
    page = await browser.new_page(viewport={"width": 860, "height": 400})
    await page.goto(address)
    if followed:
        await page.click(followed)
        await page.wait_for_load_state("load")
    await page.screenshot(path=FOLDER / name, timeout=60_000)
    await page.close()


if __name__ == "__main__":
    main()
