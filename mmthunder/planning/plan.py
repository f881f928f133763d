"""A plan: the data's files and every decision."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from .fingerprint import Fingerprint
from .layouts import Layout
from .rules import Decision


@dataclass
class Plan:
    """What a config is written from.

    Attributes:
        layout (Layout): The splits, of the format ``'coco'`` or ``'voc'``; both are there.
        classes (tuple[str]): The class list.
        minutes (float): The time that training may take.
        output (Path): The config's file.
        seed (int): Of the training.
        fingerprint (Fingerprint): The numbers of the data.
        decisions (dict[str, Decision]): By name, in the order of the config.
        notes (list[str]): What was noticed about the data, one line each.
        given (dict): Decisions that the user made, by name.
    """

    layout: Layout
    classes: Tuple[str, ...]
    fingerprint: Fingerprint
    minutes: float
    output: Path
    seed: int = 0
    notes: List[str] = field(default_factory=list)
    given: Dict[str, Any] = field(default_factory=dict)
    decisions: Dict[str, Decision] = field(default_factory=dict)

    def decide(self, *decisions: Decision) -> None:
        """Add decisions; the user's own values go before."""
        for decision in decisions:
            name = decision.name
            if name in self.given:
                given = self.given[name]
                # Rules that take what is given repeat it.
                reason = 'as given' if decision.value == given else f'as given; the rule says {decision.value!r:.60}'
                decision = Decision(name, given, reason)
            self.decisions[name] = decision

    def value(self, name: str, default: Optional[Any] = None) -> Any:
        """Return the value of a decision, or the default where there is none."""
        return self.decisions[name].value if name in self.decisions else default

    @property
    def directory(self) -> Path:
        """The directory beside the config for its pictures and for annotations that were made for it."""
        return self.output.with_suffix('')
