"""`/account/reset` and `/account/verify`: where the links of mails lead. The token stays in the fragment."""

import base64
import hashlib
from html import escape
from typing import Final

from litestar import MediaType, Response, get

from carillon.kit.http.access import ANYONE

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:4rem auto;padding:0 1rem;color:#1d2733}
h1{font-size:1.4rem}label{display:block;margin:1rem 0 .3rem}
input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem;border:1px solid #b6c0cb;border-radius:6px}
button{font:inherit;margin-top:1rem;padding:.5rem 1.2rem;border:0;border-radius:6px;background:#0b6e4f;color:#fff}
[hidden]{display:none}
"""

# The address is relative, so that it is right below a path as well; the token leaves the address line at once.
_SCRIPT: Final = """
const token = new URLSearchParams(location.hash.slice(1)).get("token");
history.replaceState(null, "", location.pathname);
const said = document.getElementById("said");
for (const form of document.forms) {
  form.hidden = (form.dataset.needs === "token") !== Boolean(token);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = Object.fromEntries(new FormData(form));
    if (form.dataset.needs === "token") body.token = token;
    form.querySelector("button").disabled = true;
    try {
      const answer = await fetch("../api/v1" + form.dataset.path, {
        method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body), credentials: "omit",
      });
      const told = await answer.json();
      form.hidden = answer.ok;
      said.textContent = answer.ok ? form.dataset.done : told.details?.[0]?.reason ?? told.message;
    } catch {
      said.textContent = "There was no answer. Try again.";
    }
    form.querySelector("button").disabled = false;
  });
}
"""


def _allowed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_allowed(_SCRIPT)}; style-src {_allowed(_STYLE)}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_NEW: Final = (
    "<label for=new_password>New password, at least 8 characters</label>"
    "<input id=new_password name=new_password type=password minlength=8 maxlength=256 "
    "autocomplete=new-password required>"
)
_RESET: Final = "Done. Sign in with the new password: every login and personal access token of before has ended."
_EMAIL: Final = (
    "<label for=email>Your e-mail address</label>"
    "<input id=email name=email type=email maxlength=320 autocomplete=username required>"
)


@get("/account/reset", opt={"needs": ANYONE}, include_in_schema=False, sync_to_thread=False)
def reset_page() -> Response[str]:
    """Without a token: a form that asks for the mail."""
    return _page(
        "A new password",
        _form("token", "/auth/password/reset", _NEW, "Set it", _RESET),
        _form("", "/auth/password/forgot", _EMAIL, "Send me a link", "If there is such an account, a mail is coming."),
    )


@get("/account/verify", opt={"needs": ANYONE}, include_in_schema=False, sync_to_thread=False)
def verify_page() -> Response[str]:
    """A button, because programs that look at the links of mails follow them."""
    return _page(
        "Your e-mail address",
        _form("token", "/auth/email/verify", "", "Confirm it", "Confirmed. You can close this page."),
        "<form data-needs=''><p>This page needs the whole link of the mail.</p></form>",
    )


def _form(needs: str, path: str, fields: str, button: str, done: str) -> str:
    return (
        f'<form hidden data-needs="{needs}" data-path="{path}" data-done="{escape(done)}">'
        f"{fields}<button>{escape(button)}</button></form>"
    )


def _page(title: str, *forms: str) -> Response[str]:
    text = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>{''.join(forms)}"
        f"<p id=said role=status></p><noscript>This page needs JavaScript.</noscript><script>{_SCRIPT}</script></html>"
    )
    return Response(text, headers=HEADERS, media_type=MediaType.HTML)


HANDLERS = [reset_page, verify_page]
