"""A page to flip through predictions: one HTML file that needs no other."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2  # a dependency of torch
import numpy as np
from PIL import Image

from tools.analysis.comparison_figure import FRAMES
from tools.analysis.comparison_panels import Page, Panel, crop

TEMPLATE = Path(__file__).with_suffix('.html')


def write_page(
    pages: Sequence[Page],
    legend: Mapping[str, Sequence[int]],
    scores: Mapping[str, float],
    summary: str,
    file: Path,
) -> None:
    """Write the page.

    Args:
        pages: what to show.
        legend: colour (0 to 255) of each class name.
        scores: mIoU of each model over the data set, in percent.
        summary: goes above.
        file: where the page goes.
    """
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text())
    text = template.render(
        pages=[_content(page) for page in pages],
        legend=legend,
        marks=pages[0].marks,
        scores=scores,
        summary=summary,
        frames=FRAMES,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _content(page: Page) -> dict:
    """The part of the page that shows one image."""
    height, width = page.maps[0].picture.shape[:2]
    photo, *labels = page.maps
    return dict(
        caption=page.caption,
        short=f'{page.choice.kind} {page.choice.rank}',
        size=(width, height),
        window=page.window,
        corners=page.corners,
        maps=[_panel(photo, page, 'JPEG'), *(_panel(panel, page, 'PNG') for panel in labels)],
        errors=[_panel(panel, page, 'JPEG') for panel in page.errors],
    )


def _panel(panel: Panel, page: Page, kind: str) -> dict:
    crops = [crop(panel.picture, corner, page.window) for corner in page.corners]
    return dict(
        title=panel.title,
        picture=_embed(panel.picture, kind),
        insets=[_embed(picture, 'PNG') for picture in crops],
    )


def _embed(picture: np.ndarray, kind: str) -> str:
    """A picture as a ``data:`` URL."""
    options = dict(optimize=True) if kind == 'PNG' else dict(quality=88, subsampling=0)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return f'data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}'
