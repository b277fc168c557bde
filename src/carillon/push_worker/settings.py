"""Settings of the push worker: a worker's, and the FCM project it sends through."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from carillon.delivery.settings import WorkerSettings


class PushWorkerSettings(WorkerSettings, frozen=True, kw_only=True):
    service_account_file: Annotated[
        Path, Meta(description="Service account of the FCM project, the JSON file that the console hands out")
    ] = Path()
    fcm_url: Annotated[str, Meta(description="Root address of the FCM HTTP v1 API")] = "https://fcm.googleapis.com"
    send_slots: Annotated[int, Meta(ge=1, le=1000, description="Sends at the same time; a fifth for the high lane")] = (
        50
    )
