"""The mailbox page in a real browser: it shows what was sent, follows new mail, and nothing in a mail can act."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from playwright.async_api import Page

from tests.documents.browser import blank_page
from tests.integration.simulators.conftest import Simulators, mail

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """A page that may go anywhere: what a mail tries to reach must be stopped by the mailbox itself."""
    async with blank_page() as page:
        await page.unroute("**/*")
        yield page


class Outsider:
    """A server that a hostile mail would like to reach."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(request.path)
        return web.Response(text="seen")


@pytest.fixture
async def outsider() -> AsyncIterator[Outsider]:
    told = Outsider()
    runner = web.ServerRunner(web.Server(told))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    told.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield told
    await runner.cleanup()


async def test_the_page_follows_new_mail_and_shows_it(running: Simulators, page: Page) -> None:
    await page.goto(f"{running.url}/mailbox")
    assert "No mail yet" in await page.inner_text("body")

    await running.send(
        mail("Welcome, Ada", "See https://example.com/x, Ada.", "<p>Hello <b>Ada</b></p>"), "ada@example.com"
    )
    await page.get_by_role("link", name="Welcome, Ada").click(timeout=20_000)

    assert await page.inner_text("#subject") == "Welcome, Ada"
    assert "See https://example.com/x, Ada." in await page.inner_text("#text")
    assert await page.frame_locator("#html").locator("b").inner_text() == "Ada"
    assert "ada@example.com" in await page.inner_text("dl")


async def test_a_hostile_mail_runs_nothing_and_reaches_nobody(
    running: Simulators, page: Page, outsider: Outsider
) -> None:
    attack = "<script>document.title = 'owned'; fetch('OUT/script')</script>"
    html = (
        "<title>x</title><style>@import url(OUT/style); p { background: url(OUT/background); color: red }</style>"
        "<link rel=stylesheet href=OUT/link><link rel=preload as=image href=OUT/preload>"
        "<meta http-equiv=refresh content='0;url=OUT/refresh'><base href=OUT/base/>"
        "<p onclick=\"fetch('OUT/click')\">Harmless</p><img src=OUT/image onerror=\"parent.document.title='owned'\">"
        "<iframe src=OUT/frame></iframe><object data=OUT/object></object><video src=OUT/video autoplay></video>"
        "<form action=OUT/form><button>Send</button></form><a href=OUT/anchor>Follow</a>"
        "<a href=OUT/top target=_top>Top</a>"
    ) + attack
    html = html.replace("OUT", outsider.url)
    console: list[str] = []
    page.on("console", lambda message: console.append(message.text))
    hostile = attack.replace("OUT", outsider.url)
    await running.send(mail(f"Hostile {hostile}", f"text {hostile}", html), "ada@example.com")

    await page.goto(f"{running.url}/mailbox")
    await page.locator("table a").click()
    frame = page.frame_locator("#html")
    assert await frame.locator("p").inner_text() == "Harmless"
    assert await frame.locator("p").evaluate("p => getComputedStyle(p).color") == "rgb(255, 0, 0)"
    address = page.url
    await frame.locator("p").click()
    for link in ("Top", "Follow"):
        await frame.get_by_text(link).click(no_wait_after=True)
    await page.locator("#html").evaluate("frame => new Promise(done => setTimeout(done, 500))")

    assert outsider.asked == []
    assert page.url == address
    assert "owned" not in (await page.title()).replace(hostile, "")
    assert await page.evaluate("document.querySelectorAll('script').length") == 0
    assert hostile in await page.inner_text("#text")
    assert any("Blocked script execution" in line or "Content Security Policy" in line for line in console)


async def test_every_page_says_what_it_forbids(running: Simulators) -> None:
    await running.send(mail(), "ada@example.com")
    (kept,) = await running.mails()

    for path in ("/mailbox", "/mailbox/", f"/mailbox/mails/{kept['id']}"):
        async with asyncio.timeout(10), running.session.get(running.url + path, allow_redirects=False) as answer:
            assert answer.status == 200
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'none'" in policy
            assert "unsafe-inline" not in policy.replace("style-src 'unsafe-inline'", "")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
