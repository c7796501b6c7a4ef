"""Data sets that MMSegmentation lacks."""

import mmseg_rmi.registry  # noqa: F401 (or an error that says what is missing)
from mmseg_rmi.datasets.camvid import CamVid12Dataset, CamVidDataset, CamVidFoldDataset
from mmseg_rmi.datasets.empty_sets import refuse_empty_sets
from mmseg_rmi.datasets.kept_images import (
    LoadKeptAnnotations,
    LoadKeptImageFromFile,
)
from mmseg_rmi.datasets.sample_errors import name_files_in_errors
from mmseg_rmi.datasets.thin_structures import (
    CrackForestDataset,
    DRIVEFoldDataset,
    ISBI2012Dataset,
)

name_files_in_errors()
refuse_empty_sets()

__all__ = [
    'CamVid12Dataset',
    'CamVidDataset',
    'CamVidFoldDataset',
    'CrackForestDataset',
    'DRIVEFoldDataset',
    'ISBI2012Dataset',
    'LoadKeptAnnotations',
    'LoadKeptImageFromFile',
]
