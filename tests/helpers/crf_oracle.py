"""A dense CRF with energies prepared from logits by NumPy alone, and images read by Pillow."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits.astype(np.float64) - logits.max(0))
    return exponentials / exponentials.sum(0)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def posterior(probabilities: np.ndarray, image: Path | np.ndarray, iterations: int) -> np.ndarray:
    """Let pydensecrf work with the paper's settings on probabilities, which need not sum to 1."""
    densecrf = pytest.importorskip('pydensecrf.densecrf', reason='needs pydensecrf2')
    if isinstance(image, Path):
        image = np.asarray(Image.open(image).convert('RGB'))
    classes, height, width = probabilities.shape
    probabilities = probabilities / probabilities.sum(0)
    energy = -np.log(np.maximum(probabilities, 1e-5))
    crf = densecrf.DenseCRF2D(width, height, classes)
    crf.setUnaryEnergy(energy.reshape(classes, -1).astype(np.float32))
    crf.addPairwiseGaussian(3, 3)
    crf.addPairwiseBilateral(30, 13, np.array(image), 10)
    return np.array(crf.inference(iterations)).reshape(classes, height, width)
