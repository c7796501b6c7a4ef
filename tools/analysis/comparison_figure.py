"""Figure 2 of the paper: predictions side by side, with insets where they differ most."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.patches import Patch, Rectangle

from tools.analysis.comparison_panels import Page, Panel, crop
from tools.analysis.figure_theme import save

FRAMES = ('#ff2d95', '#00e5ff')  # of the windows, seldom found in palettes or photographs
COLUMN = 3.0  # inches
LEGEND_ROW = 0.22


def draw_figure(
    pages: Sequence[Page], legend: Mapping[str, Sequence[int]], summary: str, file: Path
) -> None:
    """Draw pages below each other, three rows each: maps, insets, errors.

    Args:
        pages: what to show.
        legend: colour (0 to 255) of each class name.
        summary: goes above.
        file: where the picture goes.
    """
    columns = len(pages[0].maps)
    ratios = [page.maps[0].picture.shape[0] / page.maps[0].picture.shape[1] for page in pages]
    heights = [COLUMN * 2.5 * ratio + 0.95 for ratio in ratios]
    entries = [_patch(name, colour) for name, colour in {**pages[0].marks, **legend}.items()]
    across = min(len(entries), int(COLUMN * columns / 1.3))
    foot = LEGEND_ROW * -(-len(entries) // across) + 0.2
    figure = plt.figure(figsize=(COLUMN * columns, sum(heights) + foot + 0.4), layout='constrained')
    figure.suptitle(summary, fontsize=11)
    rows = len(pages) + 1
    blocks = figure.subfigures(rows, 1, squeeze=False, height_ratios=[*heights, foot])[:, 0]
    for block, page in zip(blocks, pages, strict=False):
        _draw_page(block, page)
    blocks[-1].legend(handles=entries, loc='center', ncols=across, fontsize=8)
    save(figure, file)


def _draw_page(block: SubFigure, page: Page) -> None:
    block.suptitle(page.caption, fontsize=10, fontweight='bold')
    columns = len(page.maps)
    grid = block.add_gridspec(3, 2 * columns, height_ratios=[2, 1, 2])
    for column, panel in enumerate(page.maps):
        axes = block.add_subplot(grid[0, 2 * column : 2 * column + 2])
        _show(axes, panel)
        for place, (corner, frame) in enumerate(zip(page.corners, FRAMES, strict=False)):
            axes.add_patch(_frame(corner, page.window, frame))
            inset = block.add_subplot(grid[1, 2 * column + place])
            _show(inset, Panel('', crop(panel.picture, corner, page.window)))
            inset.add_patch(_frame((0, 0), page.window, frame, linewidth=4))
    for column, panel in enumerate(page.errors, start=columns - len(page.errors)):
        _show(block.add_subplot(grid[2, 2 * column : 2 * column + 2]), panel)


def _show(axes: Axes, panel: Panel) -> None:
    axes.imshow(panel.picture, interpolation='nearest')
    axes.set_axis_off()
    axes.set_title(panel.title, fontsize=9)


def _frame(
    corner: tuple[int, int], window: tuple[int, int], colour: str, linewidth: float = 1.5
) -> Rectangle:
    (top, left), (height, width) = corner, window
    return Rectangle(
        (left - 0.5, top - 0.5), width, height, fill=False, edgecolor=colour, linewidth=linewidth
    )


def _patch(label: str, colour: Sequence[int]) -> Patch:
    red, green, blue = (value / 255 for value in colour)
    return Patch(facecolor=(red, green, blue), edgecolor='grey', linewidth=0.5, label=label)
