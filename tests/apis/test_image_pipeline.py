"""What the runtime does to images is what the config's test pipeline does, or the step is named."""

import json

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmthunder.apis import ImagePipeline, find_datasets
from mmthunder.runtime.preprocessing import COLOR_TYPES, Preprocessing, read_preprocessing

LOAD = dict(type='LoadImageFromFile')
PACK = dict(type='PackDetInputs', meta_keys=('img_shape', 'ori_shape', 'scale_factor'))
RESIZE = dict(type='Resize', scale=(64, 48), keep_ratio=True)


def config(*steps: dict, loader: dict = LOAD, **loaders) -> Config:
    dataset = dict(pipeline=[loader, *steps, dict(type='LoadAnnotations', with_bbox=True), PACK])
    return Config(dict(test_dataloader=dict(dataset=dataset), **loaders))


def through_json(preprocessing: Preprocessing) -> Preprocessing:
    """What an exported file gives back."""
    return read_preprocessing(json.loads(json.dumps(preprocessing.to_list())))


PIPELINES = {
    'stretch': [dict(type='Resize', scale=(64, 48))],
    'one number': [dict(type='Resize', scale=40)],
    'keep ratio': [RESIZE],
    'scope': [dict(type='mmdet.Resize', scale=(64, 48), keep_ratio=True)],
    "mmcv's": [dict(type='mmcv.Resize', scale=(48, 64), keep_ratio=True)],
    'factor': [dict(type='Resize', scale_factor=0.7)],
    'factors': [dict(type='Resize', scale_factor=(0.5, 1.3), keep_ratio=True)],
    **{
        kind: [dict(type='Resize', scale=(64, 48), interpolation=kind)]
        for kind in ('nearest', 'bicubic', 'area', 'lanczos')
    },
    'letterbox': [
        dict(type='Resize', scale=(64, 64), keep_ratio=True),
        dict(type='Pad', size=(64, 64), pad_val=dict(img=(114, 113, 112))),
    ],
    'larger': [RESIZE, dict(type='Pad', size=(128, 96), pad_val=114)],
    'smaller': [RESIZE, dict(type='Pad', size=(30, 30), pad_val=dict(img=7))],
    'divisor': [RESIZE, dict(type='Pad', size_divisor=32)],
    'square': [RESIZE, dict(type='Pad', pad_to_square=True, pad_val=dict(img=(114.0, 1.0, 2.0)))],
    'square of a divisor': [RESIZE, dict(type='Pad', pad_to_square=True, size_divisor=50)],
    "a float, mmcv's first channel only": [RESIZE, dict(type='Pad', size=(80, 80), pad_val=dict(img=114.0))],
    'before': [dict(type='Pad', pad_to_square=True, pad_val=9), dict(type='Resize', scale=(64, 64))],
    **{kind: [RESIZE, dict(type='Pad', size=(70, 70), padding_mode=kind)] for kind in ('edge', 'reflect', 'symmetric')},
    'fixed shape': [dict(type='FixShapeResize', width=64, height=48, keep_ratio=True, pad_val=dict(img=(1, 2, 3)))],
    'fixed shape, stretched': [dict(type='FixShapeResize', width=64, height=48)],
}


@pytest.mark.parametrize('grey', [False, True], ids=['colour', 'grey'])
@pytest.mark.parametrize('to_float32', [False, True], ids=['uint8', 'float32'])
@pytest.mark.parametrize('steps', PIPELINES.values(), ids=PIPELINES)
def test_same_pixels(steps, to_float32, grey):
    """Bit for bit, and the same factors of the boxes."""
    values = steps[-1].get('pad_val')
    if grey and isinstance(values, dict) and isinstance(values['img'], tuple):
        pytest.skip('three values for one channel, which mmcv does not take')
    loader = dict(LOAD, to_float32=to_float32, color_type='grayscale' if grey else 'color')
    pipeline = ImagePipeline(config(*steps, loader=loader))
    preprocessing = through_json(pipeline.describe())
    rng = np.random.default_rng(0)
    for size in ((60, 90), (90, 60), (64, 64), (47, 31), (33, 100)):
        image = rng.integers(0, 256, size if grey else (*size, 3), dtype=np.uint8)
        (inputs,), (sample,) = pipeline(image.astype(np.float32) if to_float32 else image).values()
        ours = preprocessing(image)
        np.testing.assert_array_equal(ours, inputs.permute(1, 2, 0).numpy())
        assert ours.dtype == (np.float32 if to_float32 else np.uint8)
        assert preprocessing.output_size(size[::-1]) == ours.shape[1::-1] == sample.img_shape[::-1]
        np.testing.assert_allclose(preprocessing.scale_factors(size[::-1]), sample.scale_factor, rtol=1e-12)


@pytest.mark.parametrize(
    ('name', 'size'),
    [
        ('stretch', (64, 48)),
        ('one number', (40, 40)),
        ('letterbox', (64, 64)),
        ('larger', (128, 96)),
        ('before', (64, 64)),
        ('fixed shape', (64, 48)),
        ('keep ratio', None),
        ('factor', None),
        ('smaller', None),
        ('divisor', None),
        ('square', None),
    ],
)
def test_fixed_size(name, size):
    """Where all images get one size."""
    assert ImagePipeline(config(*PIPELINES[name])).describe().fixed_size() == size


def test_input_size():
    """Of an image that fills the scale, where sizes vary."""
    assert ImagePipeline(config(*PIPELINES['keep ratio'])).input_size() == (48, 64)
    assert ImagePipeline(config(*PIPELINES['divisor'])).input_size() == (64, 64)
    assert ImagePipeline(config(dict(type='ResizeShortestEdge', scale=48, max_size=1000))).input_size() == (48, 64)
    with pytest.raises(ValueError, match='the test pipeline has no Resize.*give the size'):
        ImagePipeline(config()).input_size()


@pytest.fixture
def files(tmp_path) -> dict:
    """Images of every kind, all of 30x20 px as they are stored."""
    rng = np.random.default_rng(0)
    color = Image.fromarray(cv2.resize(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8), (30, 20)))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    alpha = Image.fromarray(rng.integers(0, 256, (20, 30), dtype=np.uint8))
    images = {
        'color.jpg': color,
        'turned.jpg': color,
        'grey.jpg': color.convert('L'),
        'cmyk.jpg': color.convert('CMYK'),
        'palette.png': color.quantize(8),
        'bits.png': color.convert('1'),
        'alpha.png': Image.merge('RGBA', (*color.split(), alpha)),
        'grey_alpha.png': Image.merge('LA', (color.convert('L'), alpha)),
        '16bit.png': Image.fromarray(rng.integers(0, 2**16, (20, 30), dtype=np.uint16)),
        'color.bmp': color,
        'color.webp': color,
        'color.tif': color,
    }
    for name, image in images.items():
        options = dict(exif=exif.tobytes()) if name == 'turned.jpg' else {}
        image.save(tmp_path / name, **options)
    return {name: tmp_path / name for name in images}


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('color_type', COLOR_TYPES)
def test_same_reading(files, backend, color_type):
    """Bit for bit with mmcv, for images of every kind."""
    loader = dict(LOAD, color_type=color_type, imdecode_backend=backend)
    pipeline = ImagePipeline(config(RESIZE, loader=loader))
    own = through_json(pipeline.describe()).loader
    for name, path in files.items():
        image = pipeline.read(path)
        np.testing.assert_array_equal(own.read(path), image, err_msg=name)
        turned = name == 'turned.jpg' and 'ignore' not in color_type
        assert image.shape[:2] == ((30, 20) if turned else (20, 30)), name
        assert image.ndim == (2 if color_type.startswith('gray') else 3)


def test_unreadable(tmp_path):
    """None in the runtime, as cv2.imread, and an error that names the file for a config."""
    (tmp_path / 'text.jpg').write_text('no image')
    (tmp_path / 'empty.jpg').touch()
    for backend in ('cv2', 'pillow'):
        pipeline = ImagePipeline(config(RESIZE, loader=dict(LOAD, imdecode_backend=backend)))
        for name in ('text.jpg', 'empty.jpg'):
            assert pipeline.describe().loader.read(tmp_path / name) is None
            with pytest.raises(ValueError, match=f'{name}: not a readable image'):
                pipeline.read(tmp_path / name)
        assert pipeline.describe().loader.read(tmp_path / 'missing.jpg') is None
        with pytest.raises(FileNotFoundError, match='missing.jpg'):
            pipeline.read(tmp_path / 'missing.jpg')


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_cut_off(files, tmp_path, backend):
    """What is there of a JPEG file is read, as in tests; other formats are not."""
    pipeline = ImagePipeline(config(RESIZE, loader=dict(LOAD, imdecode_backend=backend)))
    for name in ('color.jpg', 'color.png'):
        path = tmp_path / f'cut_{name}'
        content = cv2.imencode(path.suffix, cv2.imread(str(files['color.bmp'])))[1].tobytes()
        path.write_bytes(content[: len(content) * 2 // 3])
        image = pipeline.describe().loader.read(path)
        if name == 'color.png':
            # OpenCV 4 reads a part.
            assert image is None or (backend == 'cv2' and cv2.__version__ < '5')
        else:
            np.testing.assert_array_equal(image, pipeline.read(path))
            assert image[:8].std() > 10


@pytest.mark.parametrize(
    ('steps', 'loader', 'name'),
    [
        ([RESIZE], dict(LOAD, color_type='unchanged'), r"LoadImageFromFile\(color_type='unchanged'\)"),
        ([RESIZE], dict(LOAD, imdecode_backend='tifffile'), r"LoadImageFromFile\(imdecode_backend='tifffile'\)"),
        ([RESIZE], dict(type='LoadImageFromNDArray'), 'LoadImageFromNDArray, which'),
        ([dict(RESIZE, backend='pillow')], LOAD, r"Resize\(backend='pillow'\)"),
        ([dict(RESIZE, type='FixScaleResize')], LOAD, 'FixScaleResize, which'),
        ([dict(type='ResizeShortestEdge', scale=64)], LOAD, 'ResizeShortestEdge, which'),
        ([RESIZE, dict(type='RandomFlip', prob=0.5)], LOAD, 'RandomFlip, which'),
        ([RESIZE, dict(type='Normalize', mean=[1.0], std=[1.0])], LOAD, 'Normalize, which'),
        ([RESIZE, RESIZE], LOAD, 'has 2 Resize steps'),
        ([], LOAD, 'has 0 Resize steps'),
    ],
)
def test_refused(steps, loader, name):
    """The step and the option that the runtime does not have are named."""
    with pytest.raises(ValueError, match=f'config: the test pipeline.*{name}'):
        ImagePipeline(config(*steps, loader=loader)).describe()


def test_shape():
    """Images are padded where the config pads, otherwise stretched."""
    steps = ImagePipeline(config(RESIZE), shape=(100, 200)).describe().steps
    assert [(type(step).__name__, step.scale, step.keep_ratio) for step in steps] == [('Resize', (200, 100), False)]
    for name in ('letterbox', 'fixed shape', 'divisor'):
        preprocessing = ImagePipeline(config(*PIPELINES[name]), shape=(100, 200)).describe()
        assert preprocessing.fixed_size() == (200, 100), name
        image = preprocessing(np.full((50, 50, 3), 255, np.uint8))
        assert (image[:, :100] == 255).all() and (image[:, 100:] < 255).all(), name
    (step,) = ImagePipeline(config(*PIPELINES['letterbox']), shape=(100, 200)).describe().steps
    assert step.pad_val == (114, 113, 112)
    (step,) = ImagePipeline(config(*PIPELINES['area']), shape=(100, 200)).describe().steps
    assert step.interpolation == 'area'
    # A letterbox of the config's own size is what the config does.
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    own, given = (ImagePipeline(config(*PIPELINES['letterbox']), shape) for shape in (None, (64, 64)))
    np.testing.assert_array_equal(own.describe()(image), given.describe()(image))
    with pytest.raises(ValueError, match=r"Pad of the test pipeline has padding_mode='reflect'"):
        ImagePipeline(config(*PIPELINES['reflect']), shape=(100, 200))
    with pytest.raises(ValueError, match='RandomFlip, which'):
        ImagePipeline(config(RESIZE, dict(type='RandomFlip', prob=0.5)), shape=(64, 64)).describe()


def test_no_tests():
    """None, as mmengine wants it, and absence are one; the training's loader says how images are read."""
    loader = dict(LOAD, color_type='color_ignore_orientation')
    dataset = dict(type='RepeatDataset', times=2, dataset=dict(pipeline=[loader, dict(type='RandomFlip', prob=0.5)]))
    for more in (dict(test_dataloader=None, val_dataloader=None), {}):
        cfg = Config(dict(train_dataloader=dict(dataset=dataset), **more))
        with pytest.raises(ValueError, match='has neither test_dataloader nor val_dataloader.*--shape'):
            ImagePipeline(cfg)
        preprocessing = ImagePipeline(cfg, shape=(48, 64)).describe()
        assert preprocessing.loader.color_type == 'color_ignore_orientation'
        assert preprocessing.fixed_size() == (64, 48)
    assert ImagePipeline(Config({}), shape=(48, 64)).describe().loader.color_type == 'color'
    cfg = config(RESIZE)
    cfg.val_dataloader, cfg.test_dataloader = cfg.test_dataloader, None
    assert ImagePipeline(cfg).describe().steps[0].scale == (64, 48)


def test_find_datasets():
    first, second = dict(type='A'), dict(type='B')
    wrapped = dict(type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=[first, second]))
    cfg = Config(
        dict(train_dataloader=dict(dataset=wrapped), val_dataloader=None, test_dataloader=dict(dataset=second))
    )
    assert find_datasets(cfg, 'test', 'val', 'train') == [second, first]
    assert find_datasets(Config({}), 'test', 'val') == []


def test_pure_python_config(tmp_path):
    """mmengine's new style, whose types are classes."""
    path = tmp_path / 'pure.py'
    path.write_text(
        'from mmcv.transforms import LoadImageFromFile\n'
        'from mmdet.datasets import CocoDataset\n'
        'from mmdet.datasets.transforms import PackDetInputs, Pad, Resize\n'
        'pipeline = [dict(type=LoadImageFromFile), dict(type=Resize, scale=(64, 64), keep_ratio=True),\n'
        '            dict(type=Pad, size=(64, 64), pad_val=dict(img=114)), dict(type=PackDetInputs, meta_keys=())]\n'
        'test_dataloader = dict(dataset=dict(type=CocoDataset, pipeline=pipeline))\n'
    )
    preprocessing = ImagePipeline(Config.fromfile(path)).describe()
    assert [type(step).__name__ for step in preprocessing.steps] == ['Resize', 'Pad']
    assert preprocessing.fixed_size() == (64, 64)
