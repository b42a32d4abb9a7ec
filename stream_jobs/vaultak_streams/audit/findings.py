"""What a verification of the audit trail finds."""

from __future__ import annotations

import enum

import msgspec


class What(enum.StrEnum):
    """The kinds of finding."""

    ALTERED = "altered"
    MISFILED = "misfiled"
    GAP = "gap"
    DOUBLE = "double"
    BROKEN_LINK = "broken_link"
    BEGINNING_MISSING = "beginning_missing"
    TAIL_CUT = "tail_cut"
    REWRITTEN = "rewritten"
    ACTION_CHANGED = "action_changed"
    ACTION_MISSING = "action_missing"
    ACTION_INVENTED = "action_invented"
    VERDICT_CHANGED = "verdict_changed"
    ANCHOR_BROKEN = "anchor_broken"
    NO_OUTCOME = "no_outcome"
    NO_VERDICT = "no_verdict"
    OUTCOME_ALONE = "outcome_alone"


MEANING: dict[What, str] = {
    What.ALTERED: "the message does not have the hash that it carries: it was changed after the agent sent it",
    What.MISFILED: "the columns of the row say something else than its message: the row was edited by hand",
    What.GAP: "events between these numbers are not stored: rows were deleted, or records were lost on the way",
    What.DOUBLE: "two different events have this number: one of them is forged, or the instance was copied",
    What.BROKEN_LINK: "the event does not follow the one before it: either was replaced by another of the right form",
    What.BEGINNING_MISSING: "the first events of this instance are not stored, and retention does not explain it",
    What.TAIL_CUT: "an anchor outside the store has seen later events: the end of the chain was deleted",
    What.REWRITTEN: "an anchor outside the store has another hash for this event: the chain was made anew",
    What.ACTION_CHANGED: "the row of the action differs from the events it was made of: it was edited by hand",
    What.ACTION_MISSING: "the event is stored, the row of its action is not: it was deleted",
    What.ACTION_INVENTED: "the row of the action has no event behind it: it was added by hand, or its event deleted",
    What.VERDICT_CHANGED: "the verdict is not the one that the sink wrote: it was edited or added by hand",
    What.ANCHOR_BROKEN: "the file of anchors was changed, or cut in its middle: what it says cannot be relied upon",
    What.NO_OUTCOME: "it was allowed, its agent went on, and nobody said what came of it: look at what it did",
    What.NO_VERDICT: "the pipeline never judged it: it failed on this action, or was gone around",
    What.OUTCOME_ALONE: "something ran whose action was never announced: the guard was gone around, or the event lost",
}


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is not as it should be."""

    what: What
    agent_id: str = ""
    session_id: str = ""
    instance: str = ""
    seq: int | None = None
    action_id: str = ""
    detail: str = ""

    @property
    def meaning(self) -> str:
        return MEANING[self.what]


class Report(msgspec.Struct):
    """What was looked at, and what was found. `clean` when nothing was."""

    events: int = 0
    chains: int = 0
    actions: int = 0
    unchained: int = 0
    """Events of producers that send no sequence number: held to their rows, not to each other."""
    undecodable: int = 0
    anchored_chains: int = 0
    verdicts: int | None = None
    """Verdicts whose seal was checked; `None`: the key is not here."""
    seconds: float = 0.0
    findings: list[Finding] = []
    left_off: int = 0
    """Further findings of chains that have more than are listed."""

    @property
    def clean(self) -> bool:
        return not self.findings and not self.left_off
