"""The pages that mails lead to, in a real browser, with the mailbox of `carillon up`: the whole way to a new password
and to a new address, and the token goes to nobody but the route that it is for."""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from playwright.async_api import Page, Route, expect

from tests.documents.browser import blank_page
from tests.support.client import PASSWORD, Client, connected
from tests.support.platform import QUICK, Platform, all_in_one
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(300)
NEW = "staple gun and honey"
SOON = 20_000


@dataclass
class Asked:
    """What a request told whoever it went to."""

    url: str
    headers: dict[str, str]
    body: str


@dataclass
class Browsing:
    """A page, and everything that it sent."""

    page: Page
    asked: list[Asked] = field(default_factory=list)

    async def note(self, route: Route) -> None:
        request = route.request
        self.asked.append(Asked(request.url.partition("#")[0], await request.all_headers(), request.post_data or ""))
        await route.continue_()

    def carriers(self, secret: str) -> list[str]:
        """The paths of requests whose body has the secret."""
        return [urlsplit(asked.url).path for asked in self.asked if secret in asked.body]


@pytest.fixture(scope="module")
def own_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with all_in_one(tmp_path_factory.mktemp("pages"), {**QUICK, "CARILLON_LOG_LEVEL": "debug"}) as platform:
        yield platform


@pytest.fixture
async def someone(own_platform: Platform) -> AsyncIterator[Client]:
    async with connected(own_platform) as client:
        yield client


@pytest.fixture
async def browsing() -> AsyncIterator[Browsing]:
    async with blank_page() as page:
        await page.unroute("**/*")
        browsing = Browsing(page)
        await page.route("**/*", browsing.note)
        yield browsing


async def link_in_mailbox(page: Page, url: str, subject: str) -> str:
    """Read the newest mail of this subject in the mailbox, as a person does."""
    await page.goto(f"{url}/mailbox")
    await page.get_by_role("link", name=subject).first.click(timeout=SOON)
    found = re.search(r"http\S+#token=\S+", await page.inner_text("#text"))
    assert found is not None
    return found[0]


async def test_a_forgotten_password_is_replaced_by_pages_and_mail_alone(someone: Client, browsing: Browsing) -> None:
    url, page = someone.platform.users, browsing.page
    email = (await someone.register())["email"]
    await page.goto(f"{url}/account/reset")
    await page.fill("#email", email)
    await page.click("text=Send me a link")
    await expect(page.locator("#said")).to_have_text("If there is such an account, a mail is coming.", timeout=SOON)
    link = await link_in_mailbox(page, url, "Your new password")
    token = link.partition("#token=")[2]

    await page.goto(link)
    await page.fill("#new_password", "password1")
    await page.click("text=Set it")
    await expect(page.locator("#said")).to_contain_text("common", timeout=SOON)
    await page.fill("#new_password", NEW)
    await page.click("text=Set it")

    await expect(page.locator("#said")).to_contain_text("Sign in with the new password", timeout=SOON)
    assert await someone.sign_in(email, NEW)
    assert page.url == f"{url}/account/reset", "the token has left the address line"
    assert browsing.carriers(token) == ["/api/v1/auth/password/reset"] * 2
    assert not any(token in asked.url or token in str(asked.headers) for asked in browsing.asked)
    ours = [asked for asked in browsing.asked if "/mailbox" not in asked.url]
    assert not any("referer" in asked.headers for asked in ours)
    assert token not in someone.platform.log.read_text()
    assert all(asked.url.startswith(url) for asked in browsing.asked)


async def test_a_new_address_is_confirmed_by_a_button_and_not_by_looking(someone: Client, browsing: Browsing) -> None:
    url, page = someone.platform.users, browsing.page
    user, wanted = await someone.register(), f"{uuid4().hex}@example.com"
    access, path = await someone.sign_in(user["email"], PASSWORD), f"{url}/api/v1/users/{user['user_id']}"
    body = {"email": wanted, "current_password": PASSWORD}
    assert (await someone.call("PATCH", path, token=access, json=body)).status == 200
    link = await link_in_mailbox(page, url, "Is this your address?")

    await page.goto(link)
    await expect(page.get_by_text("Confirm it")).to_be_visible()
    assert (await someone.call("GET", path, token=access)).data["email"] == user["email"], "a page is no consent"
    await page.click("text=Confirm it")

    await expect(page.locator("#said")).to_contain_text("Confirmed", timeout=SOON)
    assert (await someone.call("GET", path, token=access)).data["email"] == wanted
    await page.goto("about:blank")
    await page.goto(link)
    await page.click("text=Confirm it")
    await expect(page.locator("#said")).to_contain_text("is used or has expired", timeout=SOON)


async def test_nobody_frames_the_pages_and_nothing_strange_runs_on_them(someone: Client, browsing: Browsing) -> None:
    url, page = someone.platform.users, browsing.page
    hostile = "#token=<img src=x onerror=document.title='owned'>"

    for name in ("reset", "verify"):
        await page.goto(f"{url}/account/{name}?next=<script>document.title='owned'</script>{hostile}")
        await page.locator("form:not([hidden])").first.wait_for(timeout=SOON)
        assert "owned" not in await page.title() + await page.content()
        await page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {text: 'window.own = 1'}))"
        )
        assert await page.evaluate("window.own") is None

    await page.goto(f"{url}/health")
    await page.set_content(f"<iframe src='{url}/account/reset'></iframe>")
    await eventually(lambda: page.frames[-1].url.startswith("chrome-error:"), says="the frame shows an error instead")
