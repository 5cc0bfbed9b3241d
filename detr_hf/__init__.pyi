"""What type checkers and editors see of the names that `__init__.py` imports when they are asked for."""

from detr_hf.api import evaluate as evaluate
from detr_hf.api import predict as predict
from detr_hf.api import prepare as prepare
from detr_hf.api import train as train
from detr_hf.finished_run import Run as Run
from detr_hf.inference import Predictor as Predictor
from detr_hf.inference import Result as Result
from detr_hf.recipe import load_recipe as load_recipe

__version__: str
