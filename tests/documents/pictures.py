"""`make pictures`: the picture of the README, taken of a platform that `carillon demo` has just been run on."""

import asyncio
import subprocess
import tempfile
from pathlib import Path

from tests.documents.browser import chromium
from tests.documents.reading import ROOT
from tests.support.platform import CARILLON, all_in_one

FOLDER = ROOT / "docs/images"


def main() -> None:
    """Write `mailbox.png`."""
    with tempfile.TemporaryDirectory() as folder, all_in_one(Path(folder), {}) as platform:
        demo = [*CARILLON, "demo", "--url", platform.gateway, "--data-dir", str(platform.data_dir)]
        subprocess.run(demo, check=True, timeout=60)
        asyncio.run(_take(f"{platform.gateway}/mailbox"))


async def _take(mailbox: str) -> None:
    async with asyncio.timeout(120), chromium() as browser:
        page = await browser.new_page(viewport={"width": 860, "height": 380})
        await page.goto(mailbox)
        await page.screenshot(path=FOLDER / "mailbox.png", timeout=60_000)


if __name__ == "__main__":
    main()
