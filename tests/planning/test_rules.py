"""Each rule on fingerprints made for it."""

import numpy as np
import pytest

from mmthunder.planning import PlanningError, rules
from mmthunder.planning.fingerprint import Fingerprint
from mmthunder.planning.timing import Timing


def fingerprint(
    sides=((100, 300),), image=(640, 480), counts=None, per_image=2, num_train=200, classes=None, **kwargs
) -> Fingerprint:
    """Make a fingerprint.

    Args:
        sides (tuple): Range of the square root of the boxes' areas for each class, in px.
        image (tuple): Width and height of the images, or a list of some.
        counts (tuple, optional): Boxes of each class.
    """
    rng = np.random.default_rng(0)
    counts = counts or (100,) * len(sides)
    sizes = np.resize(np.atleast_2d(np.array(image, float)), (num_train, 2))
    labels = np.repeat(np.arange(len(sides)), counts)
    index = rng.integers(0, num_train, len(labels))
    side = np.concatenate([np.exp(rng.uniform(*np.log(limits), n)) for limits, n in zip(sides, counts)])
    box = np.stack((side, side), 1) * np.exp(rng.normal(0, 0.1, (len(side), 1)) * [[1, -1]])
    box = np.minimum(box, sizes[index])
    corner = rng.uniform(0, 1, box.shape) * (sizes[index] - box)
    return Fingerprint(
        classes=classes or tuple('abcdefghij'[: len(sides)]),
        num_train=num_train,
        num_val=50,
        class_counts=tuple(counts),
        val_class_counts=tuple(counts),
        image_sizes=sizes,
        box_image=index,
        box_labels=labels,
        boxes=np.concatenate((corner, corner + box), 1),
        boxes_per_image=np.full(num_train, per_image),
        **kwargs,
    )


@pytest.mark.parametrize(
    ('image', 'size'),
    [
        ((640, 640), (320, 320)),
        ((640, 480), (384, 288)),
        ((480, 640), (288, 384)),
        ([(640, 480), (480, 640)], (320, 320)),
        ([(640, 480), (640, 490)], (352, 288)),
        ((5000, 200), (640, 160)),
        ((20, 3000), (160, 640)),
    ],
)
def test_input_size(image, size):
    assert rules.input_size(np.atleast_2d(np.array(image, float)), 320) == size


def chosen(numbers: Fingerprint, **kwargs) -> tuple:
    size, stride = rules.choose_input(numbers, **kwargs)
    return size.value, stride.value


def test_large_objects_get_the_cheapest_input():
    assert chosen(fingerprint([(150, 450)])) == ((384, 288), 16)
    assert chosen(fingerprint([(400, 479)])) == ((384, 288), 16)


def test_small_objects_get_a_finer_stride_and_tiny_ones_a_larger_input_too():
    assert chosen(fingerprint([(30, 50)])) == ((384, 288), 8)
    size, stride = chosen(fingerprint([(12, 16)]))
    assert size[0] * size[1] > 384 * 288 and stride == 8
    # What no input resolves does not get the costliest one for nothing.
    size, _ = chosen(fingerprint([(1, 2)]))
    assert size == (384, 288)


def test_a_small_class_counts_as_much_as_a_large_one():
    assert chosen(fingerprint([(30, 40), (150, 400)], counts=(20, 980))) == ((384, 288), 8)


def test_given_input():
    assert chosen(fingerprint([(30, 50)]), stride=16)[1] == 16
    assert chosen(fingerprint([(30, 50)]), size=(224, 224))[0] == (224, 224)


@pytest.mark.parametrize(
    ('kwargs', 'flips'),
    [
        (dict(), ['horizontal']),
        (dict(orientation_free=True), ['horizontal', 'vertical', 'diagonal']),
        (dict(orientation_free=True, mirror_sensitive=('left',)), []),
    ],
)
def test_flips(kwargs, flips):
    decision = rules.choose_flips(fingerprint(**kwargs))
    assert decision.value == flips and decision.reason


def test_few_images_are_scaled():
    assert rules.choose_scaling(fingerprint(num_train=120)).value == (0.7, 1.4)
    assert rules.choose_scaling(fingerprint(num_train=1000)).value is None


def test_distortion_of_grey_images():
    grey = rules.choose_distortion(fingerprint(grey=1.0)).value
    assert grey['hue_delta'] == 0 and grey['saturation_range'] == (1, 1) and grey['brightness_delta'] > 0
    assert rules.choose_distortion(fingerprint(grey=0.3)).value is None


def test_crowds():
    assert rules.choose_nms_pre(fingerprint(per_image=3)).value < rules.choose_nms_pre(fingerprint(per_image=80)).value
    assert rules.choose_max_per_img(fingerprint(per_image=3)).value == 100
    assert rules.choose_max_per_img(fingerprint(per_image=80)).value == 300
    assert rules.choose_max_per_img(fingerprint(per_image=700)).value == 1000
    assert rules.choose_proposals(fingerprint(per_image=80)).value == 500
    assert rules.choose_proposals(fingerprint(per_image=700)).value == 1000


def test_class_weight():
    assert rules.choose_class_weight(fingerprint([(50, 60)] * 2, counts=(100, 90))).value is None
    decision = rules.choose_class_weight(fingerprint([(50, 60)] * 3, counts=(900, 90, 1)))
    assert decision.value[0] == 1 and 1 < decision.value[1] < decision.value[2] == 3 and decision.value[3] == 1
    assert "'c'" in decision.reason and '0.1%' in decision.reason


def test_num_workers():
    assert rules.choose_num_workers(0.01, 1.0, 4, 8).value == 1
    assert rules.choose_num_workers(0.03, 0.03, 4, 16).value == 5
    assert rules.choose_num_workers(0.03, 0.01, 8, 4).value == 4


def values(decisions: list) -> dict:
    return {decision.name: decision.value for decision in decisions}


def test_iterations_fill_the_time():
    timing = Timing(start=20, step=0.5, val=10)
    made = values(rules.choose_iterations(400, 20, timing, 4))
    validations = -(-made['max_iters'] // made['val_interval'])
    spent = timing.start + made['max_iters'] * timing.step + validations * timing.val
    assert 0.93 * 1200 < spent <= 1200 and validations == rules.MAX_VALIDATIONS
    # Long validations are few.
    timing = Timing(start=20, step=0.5, val=100)
    made = values(rules.choose_iterations(400, 20, timing, 4))
    assert made['max_iters'] == made['val_interval']


def test_too_little_time():
    timing = Timing(start=20, step=0.5, val=100)
    with pytest.raises(PlanningError, match='one epoch') as error:
        rules.choose_iterations(400, 1, timing, 4)
    # What the message asks for is enough, and no more than that.
    minutes = int(str(error.value).rsplit(' ', 1)[1])
    assert values(rules.choose_iterations(400, minutes, timing, 4))['max_iters'] >= 100
    with pytest.raises(PlanningError):
        rules.choose_iterations(400, minutes - 1, timing, 4)


def test_every_decision_has_a_reason():
    made = rules.apply_rules(fingerprint([(50, 100)] * 3))
    assert len({decision.name for decision in made}) == len(made) > 6
    assert all(decision.reason and '\n' not in decision.reason for decision in made)
