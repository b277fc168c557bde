"""The mailbox as pages without scripts: whatever a mail contains, it runs nothing and loads nothing."""

from collections.abc import Sequence
from html import escape
from typing import Final
from uuid import UUID

from carillon.simulators.actions import KeptMail
from carillon.simulators.domain.mail import MailContent, read_mail

PER_PAGE: Final = 50

# The frame with a mail's HTML inherits this policy, so that its own styles work and nothing else does. `frame-src` is
# for its links: a click would load the address inside the frame.
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "X-Frame-Options": "DENY",
}
_REFRESH: Final = "<meta http-equiv=refresh content=3>"
_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1d2733}
h1{font-size:1.5rem}h2{font-size:1.2rem}table{border-collapse:collapse;width:100%;table-layout:fixed}
td,th{text-align:left;padding:.35rem .8rem .35rem 0;border-bottom:1px solid #e3e8ed;overflow:hidden}
td{white-space:nowrap;text-overflow:ellipsis}
th:first-child{width:14rem}a{color:#0b6e4f}dl{display:grid;grid-template-columns:6rem 1fr;margin:0}dt{color:#5b6875}
dd{margin:0;overflow-wrap:anywhere}
pre{font:14px/1.45 ui-monospace,monospace;background:#f5f7f9;padding:.8rem;white-space:pre-wrap}
pre{overflow-wrap:anywhere}
iframe{width:100%;height:32rem;border:1px solid #d5dce4;border-radius:6px;background:#fff}p.quiet{color:#5b6875}
"""


def list_page(mails: Sequence[KeptMail], *, total: int, page: int) -> str:
    """Newest first; it refreshes itself every 3 s."""
    rows = "".join(_row(kept, read_mail(kept.mail.raw)) for kept in mails)
    table = f"<table><tr><th>Received<th>To<th>Subject{rows}</table>" if rows else ""
    hint = "" if total else "<p class=quiet>No mail yet. It appears here as soon as it is sent.</p>"
    return _page(
        "Mailbox", f"<h1>Mailbox</h1><p class=quiet>{total} kept</p>{table}{hint}{_turning(total, page)}", _REFRESH
    )


def mail_page(kept: KeptMail) -> str:
    """One mail: its envelope, text, and HTML inside a frame that may do nothing."""
    content = read_mail(kept.mail.raw)
    facts = (("From", kept.mail.sender), ("To", ", ".join(kept.mail.recipients)), ("Received", _time(kept)))
    named = "".join(f"<dt>{name}<dd>{escape(value)}" for name, value in facts)
    text = "" if content.text is None else f"<h2>Text</h2><pre id=text>{escape(content.text)}</pre>"
    headers = escape("\n".join(f"{name}: {value}" for name, value in content.headers.items()))
    return _page(
        content.subject or "(no subject)",
        f"<p><a href='/mailbox'>All mail</a></p><h1 id=subject>{escape(content.subject or '(no subject)')}</h1>"
        f"<dl>{named}</dl>{text}{_frame(content)}<h2>Headers</h2><pre id=headers>{headers}</pre>",
    )


def _frame(content: MailContent) -> str:
    if content.html is None:
        return ""
    return f'<h2>HTML</h2><iframe id=html title="HTML of the mail" sandbox srcdoc="{escape(content.html)}"></iframe>'


def _row(kept: KeptMail, content: MailContent) -> str:
    recipients, subject = escape(", ".join(kept.mail.recipients)), escape(content.subject or "(no subject)")
    return f"<tr><td>{_time(kept)}<td>{recipients}<td><a href='{_address(kept.mail_id)}'>{subject}</a>"


def _address(mail_id: UUID) -> str:
    return f"/mailbox/mails/{mail_id}"


def _time(kept: KeptMail) -> str:
    return f"{kept.received_at:%Y-%m-%d %H:%M:%S} UTC"


def _turning(total: int, page: int) -> str:
    newer = f"<a href='/mailbox?page={page - 1}'>newer</a> " if page > 1 else ""
    older = f"<a href='/mailbox?page={page + 1}'>older</a>" if page * PER_PAGE < total else ""
    return f"<p>{newer}{older}</p>"


def _page(title: str, body: str, head: str = "") -> str:
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"{head}<title>{escape(title)}</title><style>{_STYLE}</style><body>{body}</body></html>"
    )
