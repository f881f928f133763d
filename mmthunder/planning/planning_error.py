"""The error of data from which no config can be planned."""


class PlanningError(ValueError):
    """The data, the options or the time do not allow a plan; the message says in one line what to change."""
