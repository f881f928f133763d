"""Whether images may be flipped."""

import cv2
import numpy as np
import pytest

from mmthunder.planning.orientation import asymmetry, is_orientation_free, mirror_sensitive_classes


@pytest.mark.parametrize(
    'name',
    ['turn left', 'arrow_right', 'LeftHand', '7', 'B', 'digit', 'text-line', 'counterclockwise', 'license_letters'],
)
def test_one_sided(name):
    assert mirror_sensitive_classes(('cat', name)) == (name,)


@pytest.mark.parametrize(
    'name', ['bright', 'cleft', 'copyright', 'RBC', 'texture', 'class_2', 'wordless', 'bottle', '猫']
)
def test_not_one_sided(name):
    assert mirror_sensitive_classes((name,)) == ()


def patches(kind: str, count: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    out = rng.normal(0, 20, (count, 12, 12)) + 100
    disk = np.zeros((12, 12), np.float32)
    cv2.circle(disk, (6, 6), 4, 60, -1)
    if kind == 'cells':
        out += disk
    if kind == 'faces':  # eyes above
        out[:, 3:5, 2:4] -= 60
        out[:, 3:5, 8:10] -= 60
    return out.astype(np.float32)


def test_asymmetry():
    """Of noise it is nothing; of what all patches share, it is measured along the right axis."""
    assert abs(asymmetry(patches('noise'), 1)) < 0.01
    assert abs(asymmetry(patches('noise')[:25], 1)) < 0.02  # of few patches too
    assert asymmetry(patches('faces'), 1) > 0.1 > 0.01 > asymmetry(patches('faces'), 2)
    turned = patches('faces').transpose(0, 2, 1)
    assert asymmetry(turned, 2) > 0.1 > 0.01 > asymmetry(turned, 1)


def test_upside():
    measured = {kind: (300, asymmetry(patches(kind), 1), asymmetry(patches(kind), 2)) for kind in ('cells', 'faces')}
    assert is_orientation_free([measured['cells']])
    assert not is_orientation_free([measured['faces']])
    assert not is_orientation_free([measured['faces'], (30, 0.0, 0.0)])
    # As much in either direction: something else than up and down.
    assert is_orientation_free([(300, 0.3, 0.3)])
    # Too few to tell.
    assert not is_orientation_free([(50, 0.0, 0.0)])
