"""Light and dark figures in the colours of the pages they go onto."""

from pathlib import Path

import matplotlib
from cycler import cycler
from matplotlib import pyplot as plt

matplotlib.use('Agg')

# Okabe and Ito's colours, which the colour-blind tell apart, in an order that suits both themes.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#7f7f7f')
BRIGHT = ('#56b4e9', '#ff8c42', '#2fc99a', '#e59ac4', '#f5c242', '#8fb8ff', '#b0b0b0')
THEMES = {
    'light': dict(page='#ffffff', text='#1f2328', line='#d1d9e0', colours=COLOURS),
    'dark': dict(page='#0d1117', text='#e6edf3', line='#3d444d', colours=BRIGHT),
}


def apply_theme(name: str) -> None:
    """Draw all figures that follow in a theme of `THEMES`."""
    theme = THEMES[name]
    plt.rcParams.update(
        {
            'axes.edgecolor': theme['line'],
            'axes.facecolor': theme['page'],
            'axes.grid': True,
            'axes.labelcolor': theme['text'],
            'axes.prop_cycle': cycler(linestyle=['-', '--', ':']) * cycler(color=theme['colours']),
            'axes.spines.right': False,
            'axes.spines.top': False,
            'axes.titlecolor': theme['text'],
            'figure.facecolor': theme['page'],
            'grid.color': theme['line'],
            'grid.linewidth': 0.5,
            'legend.frameon': False,
            'savefig.facecolor': theme['page'],
            'svg.fonttype': 'none',  # text stays text
            'svg.hashsalt': 'mmseg_rmi',  # the same figure is the same file
            'text.color': theme['text'],
            'xtick.color': theme['text'],
            'ytick.color': theme['text'],
        }
    )


def save(figure: plt.Figure, file: Path, dpi: int = 120) -> None:
    """Write a figure and forget it, without the date, so that it changes only when it does."""
    file.parent.mkdir(parents=True, exist_ok=True)
    metadata = {'Date': None} if file.suffix == '.svg' else None
    figure.savefig(file, dpi=dpi, metadata=metadata)
    plt.close(figure)
