"""Prints docs/json.md: the fields of every record that epochwise saves, read from the classes that define them.

    .venv/bin/python scripts/json_reference.py > docs/json.md

Meanings are those of the ``Attributes`` in the docstring of each class; units follow from names, which carry them.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing

import msgspec

from epochwise.reporting.records import KINDS

HEAD = """\
# The JSON of epochwise

`--json FILE` writes the result of a verb as JSON; `--json -` writes it to standard output, and nothing else. Every result has a
field `schema` (`epochwise/count/1`, `epochwise/counts/1` for several models, `epochwise/machine/1`, `epochwise/explain/1`,
`epochwise/compare/1`, `epochwise/demo/1`, `epochwise/fit/1`, `epochwise/evidence/1`). The number at its end is the version:
`epochwise report FILE` and `epochwise.load("result.json")` read version 1 of each, and refuse any other.

In the tables, "or null" means that a figure may be unknown; it is then `null` and never 0. "list of" is a JSON array, and a
"table by name" is a JSON object whose keys are names. Times are seconds, sizes are bytes, and 1 MAC (multiply-accumulate) is 2
FLOPs. A JSON file never holds an infinite figure or one that is not a number.

This page is printed by `scripts/json_reference.py` from the classes themselves.
"""

MORE = {
    "Counts.backend": "`tensorflow`, `jax` or `torch` (Keras), or `pytorch` (a plain `torch.nn.Module`)",
    "Interval.median": "the median, in the unit of the field that holds the interval",
    "Interval.low": "lower end of its 95 % interval",
    "Interval.high": "upper end of its 95 % interval",
    "Parameters.trainable": "weights that the step updates",
    "Parameters.frozen": "weights that it does not: frozen layers, moving averages",
    "PerSample.forward_macs": "MACs of the forward pass",
    "PerSample.training_macs": "MACs of forward, backward and update",
    "PerSample.forward_flops": "2 for each MAC, and the other FLOPs, of the forward pass",
    "PerSample.training_flops": "the same of forward, backward and update",
    "PerSample.activation_elements": "numbers that layers write in the forward pass",
    "Cache.level": "1, 2, 3",
    "Cache.bytes": "what one instance holds",
    "Cache.cores": "cores that share an instance",
    "Peak.one_core": "one core",
    "Peak.all_cores": "all cores that this process may use",
    "Peak.spread": "interquartile range of the repeats over their median",
    "BandwidthPoint.working_set_bytes": "of all arrays of all cores together",
    "BandwidthPoint.bytes_per_second": "read and written, all cores together",
    "MeasurementSummary.data": "name and origin of the data",
    "MeasurementSummary.pairs": "how many blocks of each model count",
    "MeasurementSummary.budget_seconds": "what was asked for with `--seconds`",
    "MeasurementSummary.measuring_seconds": "what the undisturbed blocks took",
    "MeasurementSummary.other_load_cores": "processor time that other programs used meanwhile, in cores",
    "MeasurementSummary.interrupted": "whether measuring was stopped before its budget was spent",
    "QuestionAnswer.why_slower": "why the CNN is slower",
    "QuestionAnswer.benefit": "what the benefit is, as far as it was measured",
    "QuestionAnswer.parameters": "what parameter counts are good for",
}
"""Fields whose class tells their meaning in a sentence rather than in a list, or in words of Python."""

UNITS = (
    ("(^|_)bytes_per_second$", "bytes/s"),
    ("(^|_)bytes$", "bytes"),
    ("^(one_core|all_cores)$", "FLOP/s"),
    ("(^|_)seconds(_per_step)?$|^started_at$|^turn_seconds$", "s"),
    ("(^|_)macs$", "MACs"),
    ("(^|_)flops$", "FLOPs"),
    ("_elements$", "elements"),
    ("_cores$|^cores$", "cores"),
    ("^(share|spread)$", "share of 1"),
)
ALL_BYTES = ("MemoryBytes",)

NAMES = {str: "text", int: "integer", float: "number", bool: "true or false"}


def fields(kind: type[msgspec.Struct]) -> list[tuple[str, str, str, str]]:
    """Name, type, unit and meaning of each field of a class, in the order in which they are saved."""
    hints = typing.get_type_hints(kind)
    told = _attributes(kind)
    rows = []
    for field in msgspec.structs.fields(kind):
        meaning = MORE.get(f"{kind.__name__}.{field.name}") or told.get(field.name, "")
        rows.append((field.name, type_text(hints[field.name]), _unit(kind, field.name), meaning))
    return rows


def kinds() -> dict[str, list[type[msgspec.Struct]]]:
    """The classes to describe: by verb, the record and the parts that no earlier one had."""
    seen: set[type[msgspec.Struct]] = set()
    found: dict[str, list[type[msgspec.Struct]]] = {}
    for verb, kind in KINDS.items():
        found[verb] = []
        _collect(kind, seen, found[verb])
    return found


def type_text(hint: object) -> str:
    """A type as a reader of JSON knows it."""
    if hint in NAMES:
        return NAMES[typing.cast("type", hint)]
    if hint is type(None):
        return "null"
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_text(part) for part in inside)
    if origin is typing.Literal:
        return " or ".join(f'`"{choice}"`' for choice in inside)
    if origin is tuple:
        parts = list(dict.fromkeys(type_text(part) for part in inside if part is not Ellipsis))
        few = "" if Ellipsis in inside else f"{len(inside)} "
        return f"list of {few}{', '.join(f'({part})' if ' or ' in part else part for part in parts)}"
    if origin is dict:
        return f"table by name of {type_text(inside[1])}"
    if inspect.isclass(hint):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    raise TypeError(f"no text for {hint!r}")


def _collect(kind: type[msgspec.Struct], seen: set[type[msgspec.Struct]], found: list[type[msgspec.Struct]]) -> None:
    if kind in seen:
        return
    seen.add(kind)
    found.append(kind)
    for hint in typing.get_type_hints(kind).values():
        for inner in _structs_in(hint):
            _collect(inner, seen, found)


def _structs_in(hint: object) -> list[type[msgspec.Struct]]:
    if inspect.isclass(hint) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [found for part in typing.get_args(hint) for found in _structs_in(part)]


def _attributes(kind: type) -> dict[str, str]:
    """What the docstring says of each field."""
    text = inspect.getdoc(kind) or ""
    listed = text.partition("Attributes:\n")[2].partition("\n\n")[0]
    base = kind.__base__
    # A record that has another's fields explains only those that it adds.
    found: dict[str, str] = (
        _attributes(base) if base and issubclass(base, msgspec.Struct) and base is not msgspec.Struct else {}
    )
    name = ""
    for line in listed.splitlines():
        if start := re.match(r"    (\w+): (.*)", line):
            name = start[1]
            found[name] = start[2]
        elif name:
            found[name] += " " + line.strip()
    return {name: _plain(meaning) for name, meaning in found.items()}


def _plain(text: str) -> str:
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    text = text.replace("``", "`").replace("`None`", "`null`").replace("|", "\\|")
    return text.replace("True when", "true when").replace("False when", "false when").rstrip(".")


def _summary(kind: type) -> str:
    return _plain((inspect.getdoc(kind) or "").partition("\n\nAttributes:")[0].replace("\n", " ")) + "."


def _unit(kind: type, name: str) -> str:
    if kind.__name__ in ALL_BYTES:
        return "bytes"
    return next((unit for pattern, unit in UNITS if re.search(pattern, name)), "")


def main() -> None:
    """Print the page."""
    lines = [HEAD]
    for verb, described in kinds().items():
        lines.append(f"## {verb}\n")
        for kind in described:
            lines.append(f"### {kind.__name__}\n\n{_summary(kind)}\n")
            lines.append("| field | type | unit | meaning |\n|---|---|---|---|")
            lines += [f"| `{name}` | {text} | {unit} | {meaning} |" for name, text, unit, meaning in fields(kind)]
            lines.append("")
    sys.stdout.write("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
