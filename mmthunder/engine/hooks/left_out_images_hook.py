"""Counts the images that a training does without."""

from typing import List, Optional

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from mmthunder.datasets.image_files import tolerate_damage
from mmthunder.datasets.transforms import LoadTruncatedImageFromFile


class LeftOutImagesHook(Hook):
    """Logs at the end of each epoch how many images were left out, if any; the runner adds it.

    Where training is counted in iterations, it does so after each validation.

    Args:
        num_left_out (int): Number of files that the check at the start has left out.
        loaders (list[LoadTruncatedImageFromFile]): The loaders of the images, which leave out others.
        skip_unreadable (bool): Whether they do.
    """

    priority = 'LOW'

    def __init__(self, num_left_out: int, loaders: List[LoadTruncatedImageFromFile], skip_unreadable: bool) -> None:
        self.num_left_out = num_left_out
        self.loaders = loaders
        self.skip_unreadable = skip_unreadable

    def before_train_epoch(self, runner: Runner) -> None:
        """Replace the loaders of pipelines that another hook has put in, such as mmdet's PipelineSwitchHook."""
        self.loaders += tolerate_damage(runner.train_dataloader.dataset, self.skip_unreadable)

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the counts."""
        num_skipped = sum(int(loader.num_skipped) for loader in self.loaders)
        if self.num_left_out or num_skipped:
            runner.logger.warning(
                f'Images left out of training: {self.num_left_out} files named at the start; {num_skipped} loads of '
                'other files skipped since then, as named above'
            )

    def after_val_epoch(self, runner: Runner, metrics: Optional[dict] = None) -> None:
        """Log the counts where there are no epochs."""
        if isinstance(runner._train_loop, IterBasedTrainLoop):
            self.after_train_epoch(runner)
