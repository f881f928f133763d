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
        fingerprint (Fingerprint): The numbers of the data, once they are known.
        decisions (dict[str, Decision]): By name, in the order of the config.
        notes (list[str]): What was noticed about the data, one line each.
    """

    layout: Layout
    classes: Tuple[str, ...]
    minutes: float
    output: Path
    seed: int = 0
    fingerprint: Optional[Fingerprint] = None
    decisions: Dict[str, Decision] = field(default_factory=dict)
    notes: List[str] = field(default_factory=list)

    def decide(self, *decisions: Decision) -> None:
        """Add decisions; those of the same name are replaced."""
        self.decisions.update({decision.name: decision for decision in decisions})

    def value(self, name: str, default: Optional[Any] = None) -> Any:
        """Return the value of a decision, or the default where there is none."""
        return self.decisions[name].value if name in self.decisions else default

    @property
    def directory(self) -> Path:
        """The directory beside the config for its pictures and for annotations that were made for it."""
        return self.output.with_suffix('')
