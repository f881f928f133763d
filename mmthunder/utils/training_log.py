"""What mmengine's logs of a training say."""

from pathlib import Path
from typing import List

LOG_TIME = r'^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - '  # at the start of a line of a text log


def scalar_lines(work_dir: Path) -> List[str]:
    """Read the complete lines of the ``scalars.json`` of all starts of a training, in their order.

    Args:
        work_dir (Path): Directory of the training.

    Returns:
        list[str]: A JSON object each. A line that was cut off by a kill has no brace at its end and is left out.
    """
    paths = sorted(work_dir.glob('[0-9]*/vis_data/scalars.json'))
    return [line for path in paths for line in path.read_text().splitlines() if line.endswith('}')]
