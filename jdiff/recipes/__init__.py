"""What `jdiff train` trains, one recipe a file: `add_options(parser)`, `run(args)`."""

from jdiff.recipes import autoencoder as autoencoder
from jdiff.recipes import distill as distill
from jdiff.recipes import judge as judge
from jdiff.recipes import latent as latent
from jdiff.recipes import mixture as mixture
from jdiff.recipes import pen as pen
from jdiff.recipes import pen_data as pen_data
from jdiff.recipes import point_models as point_models
from jdiff.recipes import point_pictures as point_pictures
from jdiff.recipes import points as points
from jdiff.recipes import unet as unet
