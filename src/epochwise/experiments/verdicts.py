"""The verdict table: what is said of the two models, and what the findings say to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import msgspec

from epochwise.experiments.models import title
from epochwise.experiments.record import Answer, Experiment, Finding, Verdict
from epochwise.experiments.study import Study


@dataclasses.dataclass(frozen=True)
class Claim:
    """Something that is said.

    Attributes:
        text: as it is said, with ``{first}`` and ``{second}`` for the two models.
        decided_by: findings that decide, by id; with a minus before it, one whose refutation supports the claim. All that were
            measured must agree.
        beside: findings that are told beside, and do not decide.
        of_pair: whether trainings of the two models decide, and not only those of others.
    """

    text: str
    decided_by: tuple[str, ...]
    beside: tuple[str, ...] = ()
    of_pair: bool = True


CLAIMS = (
    Claim("{first} detects an object only where it saw one in training.", ("P6.first", "P6.first-centre"), ("P8",)),
    Claim("{second} detects an object anywhere, wherever it saw one in training.", ("P6", "P6.second-centre"), ("P7",)),
    Claim(
        "A CNN with global pooling detects an object anywhere, trained with it in the centre.",
        ("P6.gap-centre", "P6.gmp-centre", "P6.gmp-full-centre"),
        of_pair=False,
    ),
    Claim(
        "A CNN with global pooling detects an object anywhere, trained with it in a corner.",
        ("P6.gap", "P6.gmp", "P6.gmp-full"),
        of_pair=False,
    ),
    Claim("Only a CNN can learn to detect an object anywhere.", ("P8",), ("P8.second", "P8.pooled")),
    Claim("Fewer parameters make training faster.", ("P10",), ("P10.exchange",), of_pair=False),
    Claim("Fewer parameters make a model generalise better.", ("P3",), ("P4",)),
    Claim("{second} is worth its time on these images.", ("P1", "P2"), ("P5", "P9.centred")),
    Claim("{second} needs fewer images where the object may lie anywhere.", ("P9",)),
)
"""Besides the first line of the table, which is counted; see :func:`table`."""

_OPPOSITE: dict[Verdict, Verdict] = {"supported": "refuted", "refuted": "supported"}


def table(study: Study, experiments: Sequence[Experiment], trusted: bool) -> tuple[Answer, ...]:
    """All lines of which at least one finding was asked for.

    Args:
        study: names the two models.
        experiments: those of the record.
        trusted: whether the control passed; else nothing is answered.
    """
    findings: dict[str, Finding] = {}
    for experiment in experiments:
        findings |= {each.id: each for each in (experiment, *experiment.further)}
    first, second = (title(model) for model in study.models)
    lines = [_computation(study, first, second)]
    for claim in CLAIMS:
        text = claim.text.format(first=first, second=second)
        answer = _answer(claim, text, findings, trusted)
        if answer is not None:
            lines.append(_doubted(answer, study.faint) if claim.of_pair else answer)
    return tuple(lines)


def _doubted(answer: Answer, faint: Sequence[str]) -> Answer:
    """The answer, with a word of caution before it where a model hardly sees its images."""
    if not faint or answer.verdict == "not measured":
        return answer
    caution = f"This may only say that {' and '.join(faint)} hardly learn{'s' if len(faint) == 1 else ''}, see the notes. "
    return msgspec.structs.replace(answer, sentence=caution + answer.sentence)


def _computation(study: Study, first: str, second: str) -> Answer:
    """Counted, not measured, so it needs no control."""
    one, other = (study.facts(model) for model in study.models)
    forward = other.forward_macs / one.forward_macs
    training = other.training_macs / one.training_macs
    sentence = (
        f"{second} does {forward:.2f} times the multiply-accumulates of {first} forward and {training:.2f} times in training, "
        f"with {other.parameters:,} parameters against {one.parameters:,}. Counted; that alone does not say how much longer an "
        "epoch takes."
    )
    return Answer(f"{second} does far more computation.", "supported" if training > 1 else "refuted", sentence, ())


def _answer(claim: Claim, text: str, findings: Mapping[str, Finding], trusted: bool) -> Answer | None:
    ids = [each.removeprefix("-") for each in claim.decided_by]
    known = [each for each in ids if each in findings]
    if not known:
        return None
    beside = [each for each in claim.beside if each in findings]
    if not trusted:
        return Answer(
            text, "not measured", "The control of the harness, P0, did not pass, so nothing is concluded.", tuple(known)
        )
    verdicts = set()
    for each in claim.decided_by:
        finding = findings.get(each.removeprefix("-"))
        if finding is not None:
            verdicts.add(_OPPOSITE.get(finding.verdict, finding.verdict) if each.startswith("-") else finding.verdict)
    measured = verdicts - {"not measured"}
    verdict: Verdict = "not measured" if not measured else measured.pop() if len(measured) == 1 else "undecided"
    sentences = [findings[each].sentence for each in (*known, *beside) if findings[each].sentence]
    return Answer(text, verdict, " ".join(sentences), (*known, *beside))
