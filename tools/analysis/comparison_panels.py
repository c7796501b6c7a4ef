"""The pictures of which a comparison of predictions is made."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tools.analysis.prediction_views import VOID, Choice, View, densest_windows, disagreement

VOID_COLOUR = (224, 224, 192)  # as in PASCAL VOC's label maps
WRONG = (213, 94, 0)
LAST_RIGHT = (0, 114, 178)
FIRST_RIGHT = (230, 159, 0)
WINDOW = 5  # the sides of an image over those of an inset
WINDOWS = 2


@dataclass(frozen=True)
class Panel:
    """A picture, ``H x W x 3``, uint8."""

    title: str
    picture: np.ndarray


@dataclass(frozen=True)
class Page:
    """All that is shown of an image: maps over their errors, and the windows to look into."""

    choice: Choice
    name: str
    images: int  # among which it was chosen
    scores: dict[str, float]
    maps: list[Panel]  # image, truth, one per model
    errors: list[Panel]  # the last model against the first, if there are two; one per model
    window: tuple[int, int]  # height, width
    corners: list[tuple[int, int]]  # upper left

    @property
    def caption(self) -> str:
        """Why the image is shown, with the numbers."""
        scores = ', '.join(f'{model} {score:.1f}' for model, score in self.scores.items())
        rank = f' no. {self.choice.rank}' if self.choice.rank > 1 else ''
        text = f'{self.choice.kind}{rank} of {self.images} images ({self.name}): mIoU {scores}'
        first, *others = self.scores.values()
        return f'{text} ({others[-1] - first:+.1f})' if others else text

    @property
    def marks(self) -> dict[str, tuple[int, int, int]]:
        """Explain the colours of the error maps."""
        first, *others = self.scores
        if not others:
            return {'wrong': WRONG}
        last = others[-1]
        sides = {f'only {last} right': LAST_RIGHT, f'only {first} right': FIRST_RIGHT}
        return sides | {'wrong': WRONG}


def make_page(
    view: View, choice: Choice, images: int, scores: dict[str, float], palette: Sequence
) -> Page:
    """Paint everything of an image."""
    maps = [Panel('image', view.image), Panel('truth', paint(view.truth, palette))]
    maps += [Panel(model, paint(labels, palette)) for model, labels in view.predictions.items()]
    errors = []
    first, *others = view.predictions
    if others:
        errors.append(Panel(f'{others[-1]} against {first}', paint_difference(view)))
    errors += [Panel(f'errors of {model}', paint_errors(view, model)) for model in view.predictions]
    height, width = view.truth.shape
    window = max(height // WINDOW, 1), max(width // WINDOW, 1)
    corners = densest_windows(disagreement(view), window, WINDOWS)
    return Page(choice, view.name, images, scores, maps, errors, window, corners)


def paint(labels: np.ndarray, palette: Sequence) -> np.ndarray:
    """Give a label map its colours: ``H x W x 3``, uint8."""
    colours = np.full((VOID + 1, 3), VOID_COLOUR, np.uint8)
    colours[: len(palette)] = palette
    return colours[labels]


def paint_errors(view: View, model: str) -> np.ndarray:
    """Mark what a model has wrong, on the image in pale grey."""
    canvas = _pale(view)
    canvas[view.valid & (view.predictions[model] != view.truth)] = WRONG
    return canvas


def paint_difference(view: View) -> np.ndarray:
    """Mark what the last model has right and the first wrong, and the reverse."""
    first, *_, last = (labels == view.truth for labels in view.predictions.values())
    canvas = _pale(view)
    canvas[view.valid & last & ~first] = LAST_RIGHT
    canvas[view.valid & first & ~last] = FIRST_RIGHT
    return canvas


def _pale(view: View) -> np.ndarray:
    grey = view.image @ np.array([0.299, 0.587, 0.114])
    canvas = np.repeat((160 + 0.37 * grey)[..., None], 3, axis=2).astype(np.uint8)
    canvas[~view.valid] = VOID_COLOUR
    return canvas


def crop(picture: np.ndarray, corner: tuple[int, int], window: tuple[int, int]) -> np.ndarray:
    """Cut a window out of a picture."""
    (top, left), (height, width) = corner, window
    return picture[top : top + height, left : left + width]


def classes_in(views: Iterable[View]) -> list[int]:
    """Labels that occur in truths or predictions, ascending, ``VOID`` last if it does."""
    maps = [labels for view in views for labels in (view.truth, *view.predictions.values())]
    return sorted(set().union(*(np.unique(labels).tolist() for labels in maps)))
