"""Settings of the e-mail worker: a worker's, and where and as whom it sends."""

from typing import Annotated

from msgspec import Meta

from carillon.delivery.settings import WorkerSettings


class EmailWorkerSettings(WorkerSettings, frozen=True, kw_only=True):
    smtp_url: Annotated[
        str,
        Meta(
            description="smtp://user:password@host:587?tls=starttls, tls=implicit (port 465) or tls=none (port 25); "
            "several, comma-separated, share the mail; each takes &name=, &weight= (0: a reserve), &rate= (mails a "
            "second) and &connections="
        ),
    ] = "smtp://127.0.0.1:25?tls=none"
    mail_from: Annotated[str, Meta(description="Sender, as in: Carillon <carillon@example.com>")] = (
        "Carillon <carillon@localhost.localdomain>"
    )
    mail_domain: Annotated[str, Meta(description="Right side of Message-ID; the sender's domain if empty")] = ""
    smtp_ca_file: Annotated[str, Meta(description="Certificates to trust beside the system's, a PEM file")] = ""
    smtp_helo: Annotated[str, Meta(description="Name said in EHLO; this machine's own if empty")] = ""
