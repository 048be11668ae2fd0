"""Layers and phases of each instruction in the text of a compiled HLO module. Framework-free: the text comes in as a string.

Most instructions carry the name of the operation they were made from. Those that the compiler made up have none: when it
expands an operation into several, such as the gradient of max-pooling into a window reduction with indices and a scatter, only
the last carries the name. Such an instruction belongs to whatever it calls, else to those that use its result (unless that is
the optimizer: a gradient belongs to its layer), else to those whose results it uses.

A fused instruction may hold the work of several layers. It is shared out among them by the elements that each computes.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from epochwise.measuring.xplane import NOWHERE, Place, Shares

INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = (.*)$")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
OPERATION = re.compile(r'metadata=\{[^}]*op_name="([^"]*)"')
CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.-]+)")
OPERAND = re.compile(r"%([\w.-]+)")
SHAPE = re.compile(r"\w+\[([\d,]*)\]")
KIND = re.compile(r"\}?\)? ([\w-]+)\(")
CONTRACTED = re.compile(r"lhs_contracting_dims=\{([\d,]*)\}")
FUSION = " fusion("
FREE = frozenset(["parameter", "constant", "bitcast", "tuple", "get-tuple-element", "broadcast", "reshape", "iota"])
"""Instructions that cost nothing inside a fused kernel."""
LEAST_SHARE = 0.01
"""Of a fused kernel; what is smaller is not told apart."""


class _Instruction(NamedTuple):
    """What the text says of one instruction."""

    computation: str
    rest: str
    operands: list[str]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of its result (of the first, where there are several)."""
        found = SHAPE.search(self.rest)
        return tuple(int(size) for size in found[1].split(",") if size) if found else ()

    @property
    def elements(self) -> int:
        return math.prod(self.sizes)


def places_of_instructions(text: str, place_of_operation: Callable[[str], Place]) -> dict[str, Shares]:
    """Layers and phases by instruction, with their shares of its time; those that belong nowhere are left out.

    Args:
        text: of a compiled module, as ``compiled.as_text()`` gives it.
        place_of_operation: layer and phase of an operation's name.
    """
    places: dict[str, Place] = {}
    members: dict[str, list[str]] = defaultdict(list)
    called: dict[str, str] = {}
    read: dict[str, _Instruction] = {}
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
            operands = OPERAND.findall(rest.partition("(")[2].partition("metadata=")[0])
            read[name] = _Instruction(computation, rest, operands)
    own = dict(places)
    for name, computation in called.items():
        if name not in places:
            _settle(places, name, members[computation])
    users: dict[str, list[str]] = defaultdict(list)
    for name, instruction_ in read.items():
        for operand in instruction_.operands:
            users[operand].append(name)
    updates = {name for name, place in places.items() if place[1] == "update"}
    _spread(places, {name: [user for user in using if user not in updates] for name, using in users.items()})
    _spread(places, {name: instruction_.operands for name, instruction_ in read.items()})
    _spread(places, users)
    found: dict[str, Shares] = {name: ((place, 1.0),) for name, place in places.items()}
    for name, computation in called.items():
        if FUSION in read[name].rest and (shares := _shares(members[computation], read, own)):
            found[name] = shares
    return found


def _shares(names: Iterable[str], read: dict[str, _Instruction], places: dict[str, Place]) -> Shares:
    """For whom a fused kernel works; empty unless that is more than one layer or phase."""
    work: dict[Place, float] = defaultdict(float)
    for name in names:
        if name in places:
            work[places[name]] += _work(read[name], read)
    total = math.fsum(work.values())
    kept = {place: amount for place, amount in work.items() if total and amount >= LEAST_SHARE * total}
    if len(kept) <= 1:
        return ()
    whole = math.fsum(kept.values())
    return tuple((place, amount / whole) for place, amount in kept.items())


def _work(instruction: _Instruction, read: dict[str, _Instruction]) -> float:
    """Elements that an instruction inside a fused kernel computes, or reads if that is more; products times their length."""
    kind = KIND.search(instruction.rest)
    if kind is None or kind[1] in FREE:
        return 0.0
    inputs = [read[name] for name in instruction.operands if name in read]
    if kind[1] == "dot" and inputs and (contracted := CONTRACTED.search(instruction.rest)):
        sizes = inputs[0].sizes
        length = math.prod(sizes[int(axis)] for axis in contracted[1].split(",") if axis and int(axis) < len(sizes))
        return float(instruction.elements * length)
    return float(
        max(
            [instruction.elements, *(each.elements for each in inputs)]
            if kind[1].startswith("reduce")
            else [instruction.elements]
        )
    )


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
