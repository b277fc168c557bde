"""The relying party of WebAuthn: makes options for browsers, verifies what authenticators answer."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import options_to_json_dict
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from carillon.users.domain.passkeys import CEREMONY_SECONDS, Credential

_log = structlog.get_logger()
_NAME = "Carillon"
_MILLISECONDS = int(CEREMONY_SECONDS * 1000)
_PORTS = {"http": 80, "https": 443}


class RelyingParty:
    """Known by `public_url` alone: what a request says of its host is nothing to it. The user is verified each time."""

    def __init__(self, public_url: str) -> None:
        parts = urlsplit(public_url)
        self.rp_id = (parts.hostname or "").encode("idna").decode()
        port = f":{parts.port}" if parts.port and parts.port != _PORTS.get(parts.scheme) else ""
        self.origin = f"{parts.scheme}://{self.rp_id}{port}"

    def to_register(
        self, challenge: bytes, user_id: UUID, *, address: str, name: str, known: Sequence[bytes]
    ) -> dict[str, Any]:
        """For a passkey that finds its account by itself; not for an authenticator that has one of `known`."""
        options = generate_registration_options(
            rp_id=self.rp_id,
            rp_name=_NAME,
            user_id=user_id.bytes,
            user_name=address,
            user_display_name=name,
            challenge=challenge,
            timeout=_MILLISECONDS,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=one) for one in known],
        )
        return options_to_json_dict(options)

    def to_sign_in(self, challenge: bytes) -> dict[str, Any]:
        """For whoever has a passkey here: no account is named."""
        options = generate_authentication_options(
            rp_id=self.rp_id,
            challenge=challenge,
            timeout=_MILLISECONDS,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return options_to_json_dict(options)

    def registered(self, answer: Mapping[str, Any], challenge: bytes) -> Credential | None:
        """None for an answer that is not all that it should be."""
        try:
            made = verify_registration_response(
                credential=dict(answer),
                expected_challenge=challenge,
                expected_rp_id=self.rp_id,
                expected_origin=self.origin,
                require_user_verification=True,
            )
        except Exception as error:  # noqa: BLE001 - the library trips over hostile bytes in many ways
            _log.info("passkey_not_registered", reason=type(error).__name__)
            return None
        return Credential(made.credential_id, made.credential_public_key, made.sign_count)

    def shown(self, answer: Mapping[str, Any], challenge: bytes, public_key: bytes) -> int | None:
        """The count of signatures that the answer is signed with, to be held against the last one; None for an answer
        that is not all that it should be."""
        try:
            verified = verify_authentication_response(
                credential=dict(answer),
                expected_challenge=challenge,
                expected_rp_id=self.rp_id,
                expected_origin=self.origin,
                credential_public_key=public_key,
                credential_current_sign_count=0,  # judged once the signature is known to be good
                require_user_verification=True,
            )
        except Exception as error:  # noqa: BLE001 - as above
            _log.info("passkey_not_verified", reason=type(error).__name__)
            return None
        return verified.new_sign_count
