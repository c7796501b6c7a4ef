"""The method in pure torch: regions, their statistics, the loss.

Read it in the order of the paper: :mod:`.downsampling` and :mod:`.regions` (figure 1, section 4),
:mod:`.mutual_information` (Eq. 9 to 15), :mod:`.reference` (Eq. 16); :mod:`.settings` holds what
these leave to choose. :mod:`.rmi_loss` is the entry and chooses among the implementations of
:mod:`.contract`: the reference, :mod:`.blocked` and :mod:`.triton`. :mod:`.affinity_field` is a
loss that the paper compares with. Nothing here knows MMSegmentation.
"""

from mmseg_rmi.functional.affinity_field import affinity_field_loss
from mmseg_rmi.functional.contract import Normalizers, RMITerms
from mmseg_rmi.functional.mutual_information import region_score
from mmseg_rmi.functional.rmi_loss import rmi_loss, streamed_rmi_loss
from mmseg_rmi.functional.settings import RMISettings

__all__ = [
    'Normalizers',
    'RMISettings',
    'RMITerms',
    'affinity_field_loss',
    'region_score',
    'rmi_loss',
    'streamed_rmi_loss',
]
