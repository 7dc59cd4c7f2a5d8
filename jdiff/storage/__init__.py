"""What is on disk: files, weights, checkpoints, fingerprints, compiled programs."""

from jdiff.storage.arrays import DataError as DataError
from jdiff.storage.arrays import check_size as check_size
from jdiff.storage.arrays import describe as describe
from jdiff.storage.arrays import first_line as first_line
from jdiff.storage.arrays import open_gzip as open_gzip
from jdiff.storage.arrays import read_arrays as read_arrays
from jdiff.storage.arrays import reading as reading
from jdiff.storage.checkpoints import load_ema_weights as load_ema_weights
from jdiff.storage.checkpoints import open_checkpoints as open_checkpoints
from jdiff.storage.checkpoints import restore_checkpoint as restore_checkpoint
from jdiff.storage.checkpoints import save_checkpoint as save_checkpoint
from jdiff.storage.compile_cache import enable_compile_cache as enable_compile_cache
from jdiff.storage.files import atomic_write as atomic_write
from jdiff.storage.files import check_output as check_output
from jdiff.storage.files import discard_drafts as discard_drafts
from jdiff.storage.files import expand as expand
from jdiff.storage.files import user_cache as user_cache
from jdiff.storage.weights import WEIGHTS_NAME as WEIGHTS_NAME
from jdiff.storage.weights import WeightsError as WeightsError
from jdiff.storage.weights import check_params as check_params
from jdiff.storage.weights import find_weights as find_weights
from jdiff.storage.weights import load_weights as load_weights
from jdiff.storage.weights import save_weights as save_weights
