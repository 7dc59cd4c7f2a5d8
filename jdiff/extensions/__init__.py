"""Beyond the core: consistency, editing, learned variance, schedule and steps."""

from jdiff.extensions.consistency import consistency as consistency
from jdiff.extensions.consistency import make_consistency_loss as make_consistency_loss
from jdiff.extensions.editing import invert as invert
from jdiff.extensions.editing import repaint as repaint
from jdiff.extensions.editing import sdedit as sdedit
from jdiff.extensions.editing import slerp as slerp
from jdiff.extensions.learned_schedule import MonotoneLogSnr as MonotoneLogSnr
from jdiff.extensions.learned_schedule import as_schedule as as_schedule
from jdiff.extensions.learned_schedule import init_log_snr as init_log_snr
from jdiff.extensions.learned_schedule import learned_log_snr as learned_log_snr
from jdiff.extensions.learned_schedule import (
    make_continuous_loss as make_continuous_loss,
)
from jdiff.extensions.learned_variance import learned_bound as learned_bound
from jdiff.extensions.learned_variance import learned_ddpm as learned_ddpm
from jdiff.extensions.learned_variance import learned_posterior as learned_posterior
from jdiff.extensions.learned_variance import make_hybrid_loss as make_hybrid_loss
from jdiff.extensions.learned_variance import (
    make_learned_denoiser as make_learned_denoiser,
)
from jdiff.extensions.learned_variance import split_output as split_output
from jdiff.extensions.loss_aware import LossHistory as LossHistory
from jdiff.extensions.loss_aware import init_history as init_history
from jdiff.extensions.loss_aware import make_loss_aware_loss as make_loss_aware_loss
from jdiff.extensions.loss_aware import record_losses as record_losses
from jdiff.extensions.loss_aware import step_probabilities as step_probabilities
