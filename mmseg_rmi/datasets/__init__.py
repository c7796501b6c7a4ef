"""Data sets that MMSegmentation lacks."""

from mmseg_rmi.datasets.camvid import CamVid12Dataset, CamVidDataset, CamVidFoldDataset

__all__ = ['CamVid12Dataset', 'CamVidDataset', 'CamVidFoldDataset']
