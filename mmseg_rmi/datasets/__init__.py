"""Data sets that MMSegmentation lacks."""

import mmseg_rmi.registry  # noqa: F401 (or an error that says what is missing)
from mmseg_rmi.datasets.camvid import CamVid12Dataset, CamVidDataset, CamVidFoldDataset

__all__ = ['CamVid12Dataset', 'CamVidDataset', 'CamVidFoldDataset']
