"""Templates of the mails about accounts, which the users service asks for; whoever wants other words publishes them."""

from typing import Final

from carillon.contracts.templates import TemplateToMake, Variable

_VARIABLES = {"name": Variable(), "link": Variable()}


def _template(code: str, subject: str, before: str, link: str, after: str) -> TemplateToMake:
    return TemplateToMake(
        code=code,
        channel="email",
        language="en",
        variables=_VARIABLES,
        subject=subject,
        body_text=f"Hello {{{{ name }}}},\n\n{before}\n{{{{ link }}}}\n\n{after}\n",
        body_html=(
            "<!doctype html><html lang=en><body style='font:16px/1.5 sans-serif;color:#1d2733'>"
            f"<p>Hello {{{{ name }}}},</p><p>{before}</p>"
            f'<p><a href="{{{{ link }}}}">{link}</a></p><p>{after}</p></body></html>\n'
        ),
    )


ACCOUNT: Final = (
    _template(
        "password_reset",
        "Your new password",
        "somebody asked for a new password for your account. If it was you, choose one here:",
        "Choose a new password",
        "If it was not you, there is nothing to do: the password stays as it is, and the link soon ends.",
    ),
    _template(
        "email_verification",
        "Is this your address?",
        "please confirm that this e-mail address is yours:",
        "Confirm the address",
        "If you know nothing of this, there is nothing to do: the address is not used.",
    ),
    _template(
        "password_changed",
        "Your password was changed",
        "the password of your account was changed just now, and every other login has ended. "
        "If it was not you, take the account back here:",
        "Choose a new password",
        "If it was you, there is nothing to do.",
    ),
    _template(
        "email_change_asked",
        "Your account is to get another address",
        "somebody asked for another e-mail address for your account, which takes the place of this one once it is "
        "confirmed. If it was not you, choose a new password here at once, which takes the wish back:",
        "Choose a new password",
        "If it was you, there is nothing to do.",
    ),
    _template(
        "second_factor_removed",
        "Your second factor was taken off",
        "the second factor of your account was taken off just now: the password alone opens it. If that was not your "
        "wish, choose a new password here, and put a second factor on again:",
        "Choose a new password",
        "If it was you, there is nothing to do.",
    ),
    _template(
        "passkey_added",
        "A passkey was added to your account",
        "a passkey was added to your account just now: it opens the account without the password. If it was not you, "
        "choose a new password here at once, which removes it and ends every login:",
        "Choose a new password",
        "If it was you, there is nothing to do.",
    ),
)
CODES: Final = frozenset(template.code for template in ACCOUNT)
