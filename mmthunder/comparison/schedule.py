"""Scales schedules of mmdet's configs to other numbers of iterations."""

from typing import List, Optional, Sequence

WARM_UPS = ('ConstantLR', 'LinearLR', 'QuadraticWarmupLR')


def is_warm_up(scheduler: dict) -> bool:
    """Whether a scheduler raises the learning rate at the start."""
    return scheduler.get('begin', 0) == 0 and scheduler['type'].rpartition('.')[2] in WARM_UPS


def scale_schedule(
    schedulers: Sequence[dict], length: int, iters: int, lr_factor: float = 1, warmup: Optional[int] = None
) -> List[dict]:
    """Scale the schedulers of a config to a training of another length.

    Args:
        schedulers (Sequence[dict]): The config's ``param_scheduler``.
        length (int): Epochs or iterations of the config.
        iters (int): Iterations of the training.
        lr_factor (float): By which the learning rate is multiplied, and thus the lowest one. Defaults to 1.
        warmup (int, optional): Iterations of the warm-up; None scales it as the others. Defaults to None.

    Returns:
        list[dict]: Schedulers that count iterations, with the same shape over the training.
    """

    def scale(time: int) -> int:
        return round(time * iters / length)

    scaled, warm_up_end = [], 0
    for scheduler in schedulers:
        scheduler = {key: value for key, value in scheduler.items() if key not in ('convert_to_iter_based', 'T_max')}
        begin, end = scheduler.get('begin', 0), scheduler.get('end', length)
        if is_warm_up(scheduler):
            # At least one iteration, which its start factor is for. Warm-ups of configs may count iterations where
            # the config counts epochs.
            warm_up_end = max(scale(end), 1) if warmup is None else warmup
            scheduler.update(begin=0, end=warm_up_end)
        else:
            scheduler.update(begin=max(scale(begin), warm_up_end) if begin else 0, end=scale(end))
        if 'eta_min' in scheduler:
            scheduler['eta_min'] *= lr_factor
        scaled.append(dict(scheduler, by_epoch=False))
    # In a few iterations, a stage may be left without any.
    return [scheduler for scheduler in scaled if scheduler['end'] > scheduler['begin']]
