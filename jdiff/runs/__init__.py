"""Training runs: the loop, where data and arrays lie, several processes, the log."""

from jdiff.runs import devices as devices
from jdiff.runs import log as log
from jdiff.runs import processes as processes
from jdiff.runs.feed import Feed as Feed
from jdiff.runs.feed import draw_images as draw_images
from jdiff.runs.feed import estimate_speed as estimate_speed
from jdiff.runs.feed import make_feed as make_feed
from jdiff.runs.loop import OPTIMIZERS as OPTIMIZERS
from jdiff.runs.loop import Budget as Budget
from jdiff.runs.loop import Look as Look
from jdiff.runs.loop import Progress as Progress
from jdiff.runs.loop import Result as Result
from jdiff.runs.loop import Step as Step
from jdiff.runs.loop import compile_step as compile_step
from jdiff.runs.loop import make_optimizer as make_optimizer
from jdiff.runs.loop import restore as restore
from jdiff.runs.loop import run as run
from jdiff.runs.loop import set_learning_rate as set_learning_rate
from jdiff.runs.loop import train as train
