"""Counts the images that a training does without."""

from typing import List, Optional

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from mmthunder.datasets.transforms import LoadTruncatedImageFromFile


class LeftOutImagesHook(Hook):
    """Logs at the end of each epoch how many images were left out, if any.

    Where training is counted in iterations, it does so after each validation.

    Args:
        num_left_out (int): Number of files that the check at the start has left out.
        loaders (list[LoadTruncatedImageFromFile]): The loaders of the images, which leave out others.
    """

    priority = 'LOW'

    def __init__(self, num_left_out: int, loaders: List[LoadTruncatedImageFromFile]) -> None:
        self.num_left_out = num_left_out
        self.loaders = loaders

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the counts."""
        num_skipped = sum(int(loader.num_skipped) for loader in self.loaders)
        if self.num_left_out or num_skipped:
            runner.logger.warning(
                f'Images left out of training: {self.num_left_out} files that the check at the start has named, and '
                f'{num_skipped} times since then one that could not be loaded, as named above'
            )

    def after_val_epoch(self, runner: Runner, metrics: Optional[dict] = None) -> None:
        """Log the counts where there are no epochs."""
        if isinstance(runner._train_loop, IterBasedTrainLoop):
            self.after_train_epoch(runner)
