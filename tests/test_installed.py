"""The package as users install it: a wheel in an environment of its own, without the checkout."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Callable

import pytest
from mmengine.config import Config

import mmthunder
from mmthunder.tools.deployment import export_ncnn, export_onnx

PACKED = 'mmthunder configs tools demo weights model-index.yml setup.cfg setup.py pyproject.toml README.md LICENSE'


@pytest.fixture(scope='module')
def source(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packed, since building writes into it."""
    source = tmp_path_factory.mktemp('source')
    for path in (repo / name for name in PACKED.split()):
        if path.is_dir():
            copytree(path, source / path.name, symlinks=True, ignore=ignore_patterns('__pycache__'))
        elif path.exists():
            (source / path.name).write_bytes(path.read_bytes())
    return source


@pytest.fixture(scope='module')
def wheel(source: Path) -> Path:
    call = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '-w', source / 'dist', source]
    subprocess.run(list(map(str, call)), check=True, capture_output=True)
    (wheel,) = (source / 'dist').glob('*.whl')
    return wheel


@pytest.fixture(scope='module')
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that installs the package and returns the environment's Python; other packages are this one's."""

    def install(*args: str) -> Path:
        venv = tmp_path_factory.mktemp('venv')
        subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(venv)], check=True)
        python = venv / 'bin/python'
        pip = [sys.executable, '-m', 'pip', '--python', str(python), 'install', '--no-deps', '--no-index']
        (site,) = venv.glob('lib/python*/site-packages')
        # For the build of an editable install, too. Lines of a .pth file in this directory are not followed, so the
        # checkout, which is installed there, is not importable.
        paths = {sysconfig.get_path('purelib'), sysconfig.get_path('platlib')}
        (site / 'other_packages.pth').write_text('\n'.join(paths))
        result = subprocess.run([*pip, '--ignore-installed', *args], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return python

    return install


def make_run(python: Path, directory: Path) -> Callable[..., str]:
    """Make a function that runs Python with arguments in a directory and returns its output."""
    env = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    env.update(MMTHUNDER_CACHE=str(directory / 'cache'), OMP_NUM_THREADS='1')

    def run(*args) -> str:
        result = subprocess.run(
            [str(python), '-W', 'ignore', *map(str, args)], cwd=directory, env=env, capture_output=True, text=True
        )
        assert result.returncode == 0, f'{args}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}'
        return result.stdout + result.stderr

    return run


def files_of_mim(root: Path) -> set:
    paths = [root / 'model-index.yml', *(root / 'demo').glob('*'), *(root / 'weights').glob('*')]
    for pattern in ('configs/**/*.py', 'configs/**/*.yml', 'configs/**/*.md', 'tools/**/*.py'):
        paths += root.glob(pattern)
    return {f'mmthunder/.mim/{path.relative_to(root)}' for path in paths if path.exists()}


def test_wheel_has_mim_directory(wheel, source):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if '/.mim/' in name}
    assert names == files_of_mim(source) and 'mmthunder/.mim/tools/deployment/export_onnx.py' in names


@pytest.mark.slow
def test_sdist_has_mim_directory(source):
    code = "import setuptools.build_meta as b; print(b.build_sdist('dist'))"
    result = subprocess.run([sys.executable, '-c', code], cwd=source, capture_output=True, text=True, check=True)
    with tarfile.open(source / 'dist' / result.stdout.split()[-1]) as sdist:
        names = {name.partition('/')[2] for name in sdist.getnames() if '/.mim/' in name and not name.endswith('/')}
        assert files_of_mim(source) <= names
        assert all(sdist.extractfile(member) for member in sdist if member.name.endswith('/.mim/tools/sweep.py'))


@pytest.mark.slow
def test_editable_install(install, source, tmp_path):
    """Configs and tools are those of the checkout, not copies."""
    run = make_run(install('--no-build-isolation', '-e', str(source)), tmp_path)
    assert 'snet49_shapes' in run('-m', 'mim', 'search', 'mmthunder', '--valid-config')
    make_shapes = ('make_shapes', '--out', 'shapes', '--train', 1, '--val', 1)
    assert f'Use the script {source}' in run('-m', 'mim', 'run', 'mmthunder', *make_shapes)
    path = run('-c', 'import mmthunder; print(mmthunder.config_path("snet49_shapes"))').strip()
    assert path == str(source / 'configs/thundernet/snet49_shapes.py')


@pytest.mark.slow
def test_installed_wheel(install, wheel, repo, tmp_path):
    """From an empty directory: find, download, train, test, export, plan and compare."""
    python = install(str(wheel))
    run = make_run(python, tmp_path)
    mim = ('-m', 'mim')
    where = run('-c', 'import mmthunder; print(mmthunder.__file__)').strip()
    assert where.startswith(str(python.parents[1])) and str(repo) not in where

    assert 'snet49_shapes' in run(*mim, 'search', 'mmthunder', '--config', 'snet49_shapes')
    out = run(*mim, 'download', 'mmthunder', '--config', 'snet49_shapes', '--dest', '.')
    assert 'mim train mmthunder' in out and (tmp_path / 'snet49_shapes.py').is_file()
    run(*mim, 'run', 'mmthunder', 'make_shapes', '--out', 'data/shapes', '--train', 24, '--val', 8, '--size', 96)

    short = ('train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'train_dataloader.num_workers=0')
    run(*mim, 'train', 'mmdet', 'snet49_shapes.py', '--work-dir', 'work', '--cfg-options', *short)
    checkpoint = 'work/epoch_1.pth'
    test = run(*mim, 'test', 'mmdet', 'snet49_shapes.py', '--checkpoint', checkpoint, '--work-dir', 'work/test')
    assert 'bbox_mAP' in test
    export = ('export_onnx', 'snet49_shapes.py', checkpoint, '--output', 'shapes.onnx', '--count', 1)
    assert 'agree' in run(*mim, 'run', 'mmthunder', *export)
    run('-m', 'mmthunder.runtime', 'shapes.onnx', 'data/shapes/val', '--output', 'results')
    assert any((tmp_path / 'results').iterdir())

    # By its name, a config of the package is found.
    search = ('--search-args', '--optim_wrapper.optimizer.lr 0.01 0.02', '--cfg-options', *short)
    run(*mim, 'gridsearch', 'mmthunder', 'thundernet_snet49_1xb8-5e_shapes.py', '--work-dir', 'grid', *search)
    assert len(list(tmp_path.glob('grid_search_*/epoch_1.pth'))) == 2
    sweep = ('sweep', 'snet49_shapes.py', '--work-dir', 'sweep', '--cfg-options', *short)
    assert '| snet49_shapes' in run(*mim, 'run', 'mmthunder', *sweep)

    (tmp_path / 'own').mkdir()
    run(*mim, 'run', 'mmthunder', 'make_config', 'data/shapes', '--minutes', 2, '--output', 'own/planned.py')
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'own/planned.py').rename(tmp_path / 'elsewhere/planned.py')
    load = 'from mmengine.config import Config; print(Config.fromfile("elsewhere/planned.py").model.type)'
    assert run('-c', load).split()[-1] == 'ThunderNet'


@pytest.mark.slow
@pytest.mark.parametrize('extra', ['onnxruntime', 'openvino', 'ncnn'])
def test_extra_runs_detectors_without_torch(wheel, repo, tiny_cfg, shapes, tmp_path, extra):
    """Each alone in an environment that has nothing else."""
    venv, config, model = tmp_path / 'venv', tmp_path / 'tiny.json', tmp_path / 'tiny.onnx'
    subprocess.run([sys.executable, '-m', 'venv', str(venv)], check=True)
    python = venv / 'bin/python'
    pip = [python, '-m', 'pip', 'install', '-q', '-c', repo / 'requirements/constraints.txt', f'{wheel}[{extra}]']
    installed = subprocess.run(list(map(str, pip)), capture_output=True, text=True)
    if 'Could not find a version' in installed.stderr and 'connection broken' in installed.stderr:
        pytest.skip('needs a package index')
    assert installed.returncode == 0, installed.stderr
    tiny_cfg.dump(config)
    if extra == 'ncnn':
        model = tmp_path / 'tiny_ncnn'
        assert export_ncnn.main([str(config), '--output', str(model), '--count', '1']) == 0
        model /= 'detector.json'
    else:
        assert export_onnx.main([str(config), '--output', str(model), '--count', '1']) == 0
    run = make_run(python, tmp_path)
    run('-m', 'mmthunder.runtime', model, shapes / 'val', '--output', 'results', '--backend', extra)
    assert (tmp_path / 'results/detections.json').is_file()
    assert run('-c', 'import importlib.util as u; print(u.find_spec("torch"))').strip() == 'None'
    assert 'No broken requirements' in run('-m', 'pip', 'check')


class TestConfigPath:
    """mmthunder.config_path, with which a config anywhere inherits one of the package's."""

    @pytest.mark.parametrize('name', ['snet49_shapes', 'snet49_shapes.py', 'thundernet/snet49_shapes'])
    def test_inherited_from_anywhere(self, repo, tmp_path, name):
        assert mmthunder.config_path(name) == str(repo / 'configs/thundernet/snet49_shapes.py')
        config = tmp_path / 'mine.py'
        config.write_text(f"_base_ = __import__('mmthunder').config_path({name!r})\nmax_epochs = 7\n")
        cfg = Config.fromfile(config)
        assert (cfg.max_epochs, cfg.model.type, cfg.default_scope) == (7, 'ThunderNet', 'mmdet')
        # mmengine writes the config of a training in full.
        cfg.dump(tmp_path / 'dumped.py')
        assert 'config_path' not in (tmp_path / 'dumped.py').read_text()

    @pytest.mark.parametrize('name', ['snet50_shapes', 'detnet/snet49_shapes', 'thundernet'])
    def test_unknown(self, name):
        with pytest.raises(FileNotFoundError, match=name):
            mmthunder.config_path(name)
