"""Register the losses with MMSegmentation.

Subpackages that need MMSegmentation import this module first: it prepares the installed line, or
raises an ImportError that says what is missing or installed twice. The losses themselves are plain
``torch.nn`` modules and do not depend on it.
"""

from mmseg_rmi import checkpoints, compat

compat.prepare_framework()
checkpoints.allow_training_state()

from mmseg.registry import MODELS  # noqa: E402

from mmseg_rmi.losses import AffinityFieldLoss, RMILoss, SigmoidCrossEntropyLoss  # noqa: E402

for _loss in (AffinityFieldLoss, RMILoss, SigmoidCrossEntropyLoss):
    if (
        MODELS.module_dict.get(_loss.__name__) is not _loss
    ):  # an earlier import failed after this point
        MODELS.register_module(module=_loss)
