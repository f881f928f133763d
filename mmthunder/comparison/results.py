"""Reads the results of the compared trainings, and tabulates them."""

import json
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pandas as pd
from mmengine.config import Config

from mmthunder.utils.training_log import LOG_TIME, scalar_lines

AP = 'coco/bbox_mAP'
# Titles and decimals of the table's columns.
COLUMNS = dict(
    detector=('detector', None),
    AP=('AP', 3),
    AP50=('AP50', 3),
    best_AP=('best AP', 3),
    images_seen=('images seen', 0),
    minutes=('minutes', 1),
    mparams=('params (M)', 2),
    mmacs=('MMACs', 0),
    openvino_ms=('OpenVINO (ms)', 1),
    onnxruntime_ms=('ONNX Runtime (ms)', 1),
)


def read_validations(work_dir: Path) -> List[Dict[str, float]]:
    """Read the metrics of all validations of a training, in their order.

    Args:
        work_dir (Path): Directory of the training.

    Returns:
        list[dict[str, float]]: COCO's metrics, with the class names for classwise ones.
    """
    return [entry for entry in map(json.loads, scalar_lines(work_dir)) if AP in entry]


def read_curve(work_dir: Path) -> List[Tuple[float, float]]:
    """Read the AP of each validation and the minutes before it.

    Args:
        work_dir (Path): Directory of the training.

    Returns:
        list[tuple[float, float]]: Minutes from the first line of the log, without interruptions, and AP.
    """
    curve, before = [], 0.0
    for path in sorted(work_dir.glob('[0-9]*/*.log')):
        text = path.read_text(errors='replace')
        stamps = [pd.Timestamp(stamp) for stamp in re.findall(LOG_TIME, text, re.M)]
        for stamp, value in re.findall(rf'{LOG_TIME}.*\(val\).* {AP}: (-?[\d.]+)', text, re.M):
            curve.append((before + (pd.Timestamp(stamp) - stamps[0]).total_seconds() / 60, float(value)))
        before += (stamps[-1] - stamps[0]).total_seconds() / 60 if stamps else 0
    return curve


def read_result(name: str, config: Path, work_dir: Path, minutes: Optional[float]) -> Dict[str, Any]:
    """Read the result of a finished training.

    Args:
        name (str): The detector.
        config (Path): Its config.
        work_dir (Path): Directory of the training.
        minutes (float, optional): What it took.

    Returns:
        dict: Columns of the table; the AP of a class is in a column of its name, after ``AP``.
    """
    cfg = Config.fromfile(config, import_custom_modules=False)
    validations = read_validations(work_dir)
    last = validations[-1] if validations else {}
    return dict(
        detector=name,
        AP=last.get(AP),
        AP50=last.get('coco/bbox_mAP_50'),
        best_AP=max((each[AP] for each in validations), default=None),
        images_seen=cfg.train_cfg.max_iters * cfg.train_dataloader.batch_size,
        minutes=minutes,
        lr=cfg.optim_wrapper.optimizer.lr,
        iterations=cfg.train_cfg.max_iters,
        **{f'AP {name}': last.get(f'coco/{name}_precision') for name in cfg.train_dataloader.dataset.metainfo.classes},
    )


def to_markdown(rows: pd.DataFrame) -> str:
    """Format results as a table in Markdown, with AP of each class at the end."""
    columns = {**COLUMNS, **{key: (key, 3) for key in rows.columns if key.startswith('AP ')}}
    table = {}
    for key, (title, decimals) in columns.items():
        if key in rows and rows[key].notna().any():
            values = rows[key]
            table[title] = (
                values if decimals is None else ['-' if pd.isna(value) else f'{value:.{decimals}f}' for value in values]
            )
    return pd.DataFrame(table).to_markdown(index=False, disable_numparse=True)
