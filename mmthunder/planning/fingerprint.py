"""What decides a plan: the numbers of a data set, without its images."""

from dataclasses import dataclass
from typing import List, Sequence, Tuple

import numpy as np

from .annotated_images import AnnotatedImage
from .image_pass import ImageFacts
from .orientation import asymmetry, is_orientation_free, mirror_sensitive_classes


@dataclass(frozen=True)
class Fingerprint:
    """Numbers of a data set. Those of boxes leave out ignored ones; they are of the training split.

    Attributes:
        classes (tuple[str]): The class list.
        num_train (int): Training images.
        num_val (int): Validation images.
        class_counts (tuple[int]): Training boxes of each class.
        val_class_counts (tuple[int]): Validation boxes of each class.
        image_sizes (np.ndarray): Width and height of each image in pixels, (M, 2).
        box_image (np.ndarray): Index of each box's image, (N,).
        box_labels (np.ndarray): Class of each box, (N,).
        boxes (np.ndarray): (x1, y1, x2, y2) in pixels, (N, 4).
        boxes_per_image (np.ndarray): Including images without boxes, (M,).
        grey (float): Share of images without colour.
        orientation_free (bool): Whether the objects have no upright orientation.
        mirror_sensitive (tuple[str]): Classes whose mirror images may be of another class.
    """

    classes: Tuple[str, ...]
    num_train: int
    num_val: int
    class_counts: Tuple[int, ...]
    val_class_counts: Tuple[int, ...]
    image_sizes: np.ndarray
    box_image: np.ndarray
    box_labels: np.ndarray
    boxes: np.ndarray
    boxes_per_image: np.ndarray
    grey: float = 0.0
    orientation_free: bool = False
    mirror_sensitive: Tuple[str, ...] = ()

    @property
    def relative_boxes(self) -> np.ndarray:
        """Boxes divided by the sides of their image, (N, 4)."""
        return self.boxes / np.tile(self.image_sizes[self.box_image], 2)


def take_fingerprint(
    train: Sequence[AnnotatedImage],
    val: Sequence[AnnotatedImage],
    facts: Sequence[ImageFacts],
    classes: Tuple[str, ...],
) -> Fingerprint:
    """Take the fingerprint of a data set.

    Args:
        train (Sequence[AnnotatedImage]): The training images.
        val (Sequence[AnnotatedImage]): The validation images.
        facts (Sequence[ImageFacts]): What was seen of each training image.
        classes (tuple[str]): The class list.

    Returns:
        Fingerprint: The numbers.
    """

    def counts(images: Sequence[AnnotatedImage]) -> Tuple[int, ...]:
        labels = [image.labels[~image.ignored] for image in images]
        return tuple(np.bincount(np.concatenate([np.zeros(0, int), *labels]), minlength=len(classes)).tolist())

    per_image = np.array([int((~image.ignored).sum()) for image in train], int)
    patches: List[List[np.ndarray]] = [[] for _ in classes]
    for fact in facts:
        for label, patch in zip(fact.patch_labels, fact.patches):
            patches[label].append(patch)
    asymmetries = [
        (len(stack), asymmetry(np.stack(stack), 1), asymmetry(np.stack(stack), 2))
        for stack in patches
        if len(stack) > 20
    ]
    return Fingerprint(
        classes=tuple(classes),
        num_train=len(train),
        num_val=len(val),
        class_counts=counts(train),
        val_class_counts=counts(val),
        image_sizes=np.array([(image.width, image.height) for image in train], float).reshape(-1, 2),
        box_image=np.repeat(np.arange(len(train)), per_image),
        box_labels=np.concatenate([np.zeros(0, int), *(image.labels[~image.ignored] for image in train)]),
        boxes=np.concatenate([np.zeros((0, 4), np.float32), *(image.boxes[~image.ignored] for image in train)]),
        boxes_per_image=per_image,
        grey=float(np.mean([fact.grey for fact in facts])) if facts else 0.0,
        orientation_free=is_orientation_free(asymmetries) if asymmetries else False,
        mirror_sensitive=mirror_sensitive_classes(classes),
    )
