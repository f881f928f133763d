"""Plans the training of a detector for a data set of one's own."""

from .layouts import Parts
from .plan import Plan
from .planner import plan_config
from .planning_error import PlanningError
from .rules import Decision

__all__ = ['Decision', 'Parts', 'Plan', 'PlanningError', 'plan_config']
