"""The tables of the preference decision, made from the decision itself."""

import itertools
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from carillon.contracts.preferences import ByChannel, CategoryRule, Choices, decide

_ANY = "any"
# One column for each thing that can be so or so, in the order of the layers: its heading, and what it may be.
_COLUMNS: dict[str, tuple[str, ...]] = {
    "address or user": ("reachable", "suppressed", "unreachable", "suspended"),
    "the category requires the channel": ("no", "yes"),
    "the channel": ("on", "off"),
    "category on this channel": ("undecided", "yes", "no"),
    "category": ("undecided", "yes", "no"),
    "default of the category": ("none", "yes", "no"),
}
_ORDER = {column: options for column, options in _COLUMNS.items() if column != "address or user"}


def table() -> str:
    """A first table for whoever can be reached, a second for whom the address or the account is against it."""
    reachable = _rows(list(_ORDER.values()), {"address or user": "reachable"}, list(_ORDER))
    lines = [*_heading([*_ORDER, "sent?", "because of"]), *map(_line, reachable)]
    lines += ["", *_heading(["address or user", "would otherwise be sent?", "sent?", "because of"])]
    for reach in _COLUMNS["address or user"][1:]:
        answers = [(before, _answer({**case, "address or user": reach})) for case, before in _cases()]
        for sent in ("yes", "no"):
            because = {answer for before, answer in answers if before == sent}
            told = {layer for _, layer in because}
            layer = told.pop() if len(told) == 1 else "the refusal, as above"
            lines.append(_line([reach, sent, "/".join(sorted({sent for sent, _ in because})), layer]))
    return "\n".join(lines)


def _rows(options: list[tuple[str, ...]], known: dict[str, str], columns: Sequence[str]) -> list[list[str]]:
    """One row for each way to come to an answer: a column that changes nothing any more is left open."""
    answers = {_answer({**known, **dict(zip(columns, rest, strict=True))}) for rest in itertools.product(*options)}
    if len(answers) == 1:
        return [[_ANY] * len(columns) + [*answers.pop()]]
    below = [(option, _rows(options[1:], {**known, columns[0]: option}, columns[1:])) for option in options[0]]
    if all(rows == below[0][1] for _, rows in below):
        return [[_ANY, *row] for row in below[0][1]]
    return [[option, *row] for option, rows in below for row in rows]


def _cases() -> list[tuple[dict[str, str], str]]:
    cases = [dict(zip(_ORDER, values, strict=True)) for values in itertools.product(*_ORDER.values())]
    return [(case, _answer({**case, "address or user": "reachable"})[0]) for case in cases]


def _answer(case: dict[str, str]) -> tuple[str, str]:
    said = {"yes": True, "no": False}
    on_channel, whole = said.get(case["category on this channel"]), said.get(case["category"])
    default, required = said.get(case["default of the category"]), case["the category requires the channel"] == "yes"
    rule = CategoryRule(allowed=default is not False, required_channels=("email",) if required else ())
    reach: Any = case["address or user"]
    decision = decide(
        Choices(email=case["the channel"] == "on", categories=_chosen(on_channel, whole)),
        channel="email",
        category="news",
        rule=rule if required or default is not None else None,
        reach=reach,
    )
    return "yes" if decision.allowed else "no", f"`{decision.layer}`"


def _chosen(on_channel: bool | None, whole: bool | None) -> dict[str, bool | ByChannel]:  # noqa: FBT001 - choices
    if on_channel is not None:
        return {"news": ByChannel(email=on_channel, push=UNSET if whole is None else whole)}
    return {} if whole is None else {"news": whole}


def _heading(titles: Sequence[str]) -> list[str]:
    return [_line(titles), _line(["---"] * len(titles))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
