"""What `jdiff train` trains, one recipe a file: `add_options(parser)`, `run(args)`."""

from jdiff.recipes import unet as unet
