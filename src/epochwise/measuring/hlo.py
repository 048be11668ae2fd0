"""Layer and phase of each instruction in the text of a compiled HLO module. Framework-free: the text comes in as a string.

Most instructions carry the name of the operation they were made from. Those that the compiler made up have none: when it
expands an operation into several, such as the gradient of max-pooling into a window reduction with indices and a scatter, only
the last carries the name. Such an instruction belongs to whatever it calls, else to those that use its result (unless that is
the optimizer: a gradient belongs to its layer), else to those whose results it uses.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from epochwise.measuring.xplane import Place

INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = (.*)$")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
OPERATION = re.compile(r'metadata=\{[^}]*op_name="([^"]*)"')
CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.-]+)")
OPERAND = re.compile(r"%([\w.-]+)")
NOWHERE: Place = (None, None)


def places_of_instructions(text: str, place_of_operation: Callable[[str], Place]) -> dict[str, Place]:
    """Layer and phase by instruction; those that belong nowhere are left out.

    Args:
        text: of a compiled module, as ``compiled.as_text()`` gives it.
        place_of_operation: layer and phase of an operation's name.
    """
    places: dict[str, Place] = {}
    members: dict[str, list[str]] = defaultdict(list)
    called: dict[str, str] = {}
    operands: dict[str, list[str]] = {}
    computation = ""
    for line in text.splitlines():
        if start := COMPUTATION.match(line):
            computation = start[1]
        elif instruction := INSTRUCTION.match(line):
            name, rest = instruction.groups()
            members[computation].append(name)
            operation = OPERATION.search(rest)
            place = place_of_operation(operation[1]) if operation else NOWHERE
            if place[0] is not None:
                places[name] = place
            if calls := CALLED.search(rest):
                called[name] = calls[1]
            operands[name] = OPERAND.findall(rest.partition("(")[2].partition("metadata=")[0])
    for name, computation in called.items():
        if name not in places:
            _settle(places, name, members[computation])
    users: dict[str, list[str]] = defaultdict(list)
    for name, used in operands.items():
        for operand in used:
            users[operand].append(name)
    updates = {name for name, place in places.items() if place[1] == "update"}
    _spread(places, {name: [user for user in using if user not in updates] for name, using in users.items()})
    _spread(places, operands)
    _spread(places, users)
    return places


def _spread(places: dict[str, Place], neighbours: dict[str, list[str]]) -> None:
    """Give places to instructions without one from their neighbours, as far as that goes."""
    missing = [name for name in neighbours if name not in places]
    settled = True
    while settled:
        settled = False
        for name in missing:
            if name not in places:
                settled |= _settle(places, name, neighbours[name])


def _settle(places: dict[str, Place], name: str, others: Iterable[str]) -> bool:
    """Give an instruction the place that most of the others have; whether any has one."""
    votes = Counter(places[other] for other in others if other in places)
    if not votes:
        return False
    places[name] = votes.most_common(1)[0][0]
    return True
