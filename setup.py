"""Metadata and packages are in setup.cfg; this makes mim find an editable install."""

from pathlib import Path

from setuptools import setup
from setuptools.command.editable_wheel import editable_wheel


class EditableWheel(editable_wheel):
    """Editable wheel that names the directory of the package in ``top_level.txt``.

    mim 0.3.9 looks for ``.mim`` in site-packages, where an editable install of today's setuptools has no package, and
    else in the directory that ``top_level.txt`` names. This name is joined to site-packages; an absolute path stays.
    """

    def _ensure_dist_info(self) -> None:
        super()._ensure_dist_info()
        package = Path(__file__).resolve().parent / 'mmthunder'
        Path(self.dist_info_dir, 'top_level.txt').write_text(f'{package}\n')


setup(cmdclass=dict(editable_wheel=EditableWheel))
