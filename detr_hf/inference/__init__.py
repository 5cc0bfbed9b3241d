"""A trained model and images in, typed predictions in original pixels out."""

from detr_hf.inference.device import usable_device
from detr_hf.inference.folder import Output, predict_to_folder
from detr_hf.inference.image_result import Result
from detr_hf.inference.predictor import MASK_CHUNK, Predictor
from detr_hf.inference.preprocess import ImageInput, as_rgb, resize_as, sample_of
from detr_hf.inference.results import as_record
from detr_hf.inference.tiling import TiledPredictor, load_predictor
from detr_hf.inputs import Sources, find_images, find_sources
from detr_hf.modeling.predictions import Explanation, Prediction, QueryView

__all__ = [
    "MASK_CHUNK",
    "Explanation",
    "ImageInput",
    "Output",
    "Prediction",
    "Predictor",
    "QueryView",
    "Result",
    "Sources",
    "TiledPredictor",
    "as_record",
    "as_rgb",
    "find_images",
    "find_sources",
    "load_predictor",
    "predict_to_folder",
    "resize_as",
    "sample_of",
    "usable_device",
]
