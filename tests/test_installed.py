"""The package as users install it: a wheel in an environment of its own, without the checkout."""

import itertools
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.metadata import PathDistribution, distribution
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Callable

import pytest
from mmengine.config import Config
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def make_venv(venv: Path, *others: str) -> Path:
    """Make an environment that also has the packages in other directories, and return its Python."""
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(venv)], check=True)
    (site,) = venv.glob('lib/python*/site-packages')
    # Lines of .pth files in those directories are not followed, so the checkout, installed by one, is not importable.
    (site / 'other_packages.pth').write_text('\n'.join(others))
    return venv / 'bin/python'


def run_pip(python: Path, *args) -> subprocess.CompletedProcess:
    """Run pip for an environment."""
    call = [sys.executable, '-m', 'pip', '--python', python, *args]
    return subprocess.run(list(map(str, call)), capture_output=True, text=True)


@pytest.fixture(scope='module')
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that installs the package and returns the environment's Python; other packages are this one's."""

    def install(*args: str) -> Path:
        # For the build of an editable install, too.
        others = {sysconfig.get_path('purelib'), sysconfig.get_path('platlib')}
        python = make_venv(tmp_path_factory.mktemp('venv'), *others)
        result = run_pip(python, 'install', '--no-deps', '--no-index', '--ignore-installed', *args)
        assert result.returncode == 0, result.stderr
        return python

    return install


@pytest.fixture(scope='module')
def training_packages(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the extra ``mmdet`` needs and nothing else, in a directory.

    Links to the packages of this environment stand for an installation, which would take minutes for torch and mmcv.
    """
    site, names = tmp_path_factory.mktemp('packages'), set()
    metadata = zipfile.Path(wheel, f'{"-".join(wheel.name.split("-")[:2])}.dist-info/')
    pending = [(PathDistribution(metadata), {'mmdet'})]
    while pending:
        package, extras = pending.pop()
        for requirement in map(Requirement, package.requires or ()):
            asked = not requirement.marker or any(requirement.marker.evaluate({'extra': e}) for e in extras or {''})
            if asked and canonicalize_name(requirement.name) not in names:
                names.add(canonicalize_name(requirement.name))
                pending.append((distribution(requirement.name), requirement.extras))
    for name in names:
        package = distribution(name)
        for top in {path.parts[0] for path in package.files} - {'..', '__pycache__'}:
            if not (site / top).exists():  # several packages may share a namespace
                (site / top).symlink_to(package.locate_file(top))
    return site


@pytest.fixture(scope='module')
def install_extra(wheel: Path, repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that installs the wheel with an extra from the package index and returns the environment's Python."""

    def install_extra(extra: str, *others: Path) -> Path:
        python = make_venv(tmp_path_factory.mktemp('venv'), *map(str, others))
        constraints = repo / 'requirements/constraints.txt'
        installed = run_pip(python, 'install', '-c', constraints, f'{wheel}[{extra}]')
        if 'Could not find a version' in installed.stderr and 'connection broken' in installed.stderr:
            pytest.skip('needs a package index')
        assert installed.returncode == 0, installed.stderr
        checked = run_pip(python, 'check')
        assert checked.returncode == 0, checked.stdout
        return python

    return install_extra


def make_run(python: Path, directory: Path) -> Callable[..., str]:
    """Make a function that runs Python with arguments in a directory and returns its output."""
    env = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    env['MMTHUNDER_CACHE'] = str(directory / 'cache')

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
def test_extra_runs_detectors_without_torch(install_extra, tiny_cfg, shapes, tmp_path, extra):
    """Each alone in an environment that has nothing else."""
    run = make_run(install_extra(extra), tmp_path)
    config, model = tmp_path / 'tiny.json', tmp_path / 'tiny.onnx'
    tiny_cfg.dump(config)
    if extra == 'ncnn':
        model = tmp_path / 'tiny_ncnn'
        assert export_ncnn.main([str(config), '--output', str(model), '--count', '1']) == 0
        model /= 'detector.json'
    else:
        assert export_onnx.main([str(config), '--output', str(model), '--count', '1']) == 0
    run('-m', 'mmthunder.runtime', model, shapes / 'val', '--output', 'results', '--backend', extra)
    assert (tmp_path / 'results/detections.json').is_file()
    assert run('-c', 'import importlib.util as u; print(u.find_spec("torch"))').strip() == 'None'


class TestExtrasForTraining:
    """Each alone on top of the packages that the extra ``mmdet`` needs."""

    pytestmark = pytest.mark.slow

    def test_mmdet(self, install_extra, training_packages, tiny_cfg, tmp_path):
        run = make_run(install_extra('mmdet', training_packages), tmp_path)
        tiny_cfg.train_cfg.max_epochs = 1
        tiny_cfg.dump(tmp_path / 'tiny.py')
        run(training_packages / 'mmdet/.mim/tools/train.py', 'tiny.py')
        assert (tmp_path / 'work/epoch_1.pth').is_file()

    def test_export(self, install_extra, training_packages, tiny_cfg, tmp_path):
        run = make_run(install_extra('export', training_packages), tmp_path)
        tiny_cfg.dump(tmp_path / 'tiny.py')
        tools = 'mmthunder.tools.deployment'
        assert 'agree' in run('-m', f'{tools}.export_onnx', 'tiny.py', '--output', 'tiny.onnx', '--count', 1)
        assert 'agree' in run('-m', f'{tools}.export_ncnn', 'tiny.py', '--output', 'tiny_ncnn', '--count', 1)
        for output in ('int8.onnx', 'int8.xml'):
            assert 'MB' in run('-m', f'{tools}.quantize', 'tiny.py', 'tiny.onnx', '--output', output, '--count', 2)

    def test_planning(self, install_extra, training_packages, make_shapes, tmp_path):
        run = make_run(install_extra('planning', training_packages), tmp_path)
        make_shapes.main(['--out', str(tmp_path / 'data'), '--train', '24', '--val', '1', '--size', '96'])
        # The layout that supervision reads: each image with its boxes beside it.
        coco = json.loads((tmp_path / 'data/annotations/train.json').read_text())
        (tmp_path / 'data/train/classes.txt').write_text('\n'.join(category['name'] for category in coco['categories']))
        for image in coco['images']:
            boxes = [entry for entry in coco['annotations'] if entry['image_id'] == image['id']]
            lines = [
                f'{entry["category_id"] - 1} {(x + w / 2) / 96} {(y + h / 2) / 96} {w / 96} {h / 96}\n'
                for entry in boxes
                for x, y, w, h in [entry['bbox']]
            ]
            (tmp_path / 'data/train' / image['file_name']).with_suffix('.txt').write_text(''.join(lines))
        out = run('-m', 'mmthunder.tools.make_config', 'data/train', '--minutes', 2, '--output', 'mine.py')
        assert 'mim train mmdet' in out and (tmp_path / 'mine.py').is_file()

    def test_pretrain(self, install_extra, training_packages, shapes, tmp_path):
        python = install_extra('pretrain', training_packages)
        run = make_run(python, tmp_path)
        for split, label in itertools.product(('train', 'val'), 'abcd'):
            copytree(shapes / split, tmp_path / 'crops' / split / label)
        (train,) = python.parents[1].glob('lib/python*/site-packages/mmpretrain/.mim/tools/train.py')
        config = run('-c', 'import mmthunder; print(mmthunder.config_path("snet49_1xb64-600iter_bccd-crops"))').strip()
        data = ('train_dataloader.dataset.dataset.data_root=crops', 'val_dataloader.dataset.data_root=crops')
        short = ('train_cfg.max_iters=1', 'train_cfg.val_interval=1', 'train_dataloader.batch_size=8')
        out = run(train, config, '--work-dir', 'work', '--cfg-options', *data, *short)
        assert 'accuracy/top1' in out


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
