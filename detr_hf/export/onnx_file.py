"""One graph to one ``model.onnx``, of any batch size, height and width."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from detr_hf.errors import UserError
from detr_hf.export.graph import DetectorGraph, SegmenterGraph
from detr_hf.inference.onnx import DETECTOR_OUTPUTS, INPUTS, SEGMENTER_OUTPUTS

EXAMPLE_HW = (96, 160)
"""Height and width of the traced images, in pixels: different, so that they cannot be confused."""


def write_onnx(graph: DetectorGraph | SegmenterGraph, file: Path, opset: int) -> dict[str, Any]:
    """Trace a graph and write it, weights and all; beyond 1.5 GB they go into a file beside it.

    Returns:
        ``inputs`` and ``outputs``: name, type and shape of each; sizes that may vary are named.

    Raises:
        UserError: the exporter of this torch cannot take the model.
    """
    import onnx_ir  # comes with the extra, which is asked for before

    has_masks = isinstance(graph, SegmenterGraph)
    pixels, mask = torch.randn(2, 3, *EXAMPLE_HW), torch.ones(2, *EXAMPLE_HW, dtype=torch.int64)
    mask[1, EXAMPLE_HW[0] // 2 :] = 0
    given, dynamic = [pixels, mask], [_dims(0, 2, 3), _dims(0, 1, 2)]
    if has_masks:
        given, dynamic = [*given, torch.tensor([0.0])], [*dynamic, {}]
    with torch.no_grad(), SizesOfTheGraph(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "# The axis name")  # sizes that two inputs share are named once
        try:
            program = torch.onnx.export(
                graph,
                tuple(given),
                input_names=list(INPUTS[: len(given)]),
                output_names=list(SEGMENTER_OUTPUTS if has_masks else DETECTOR_OUTPUTS),
                dynamic_shapes=tuple(dynamic),
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise UserError(
                f"torch {torch.__version__} could not export this model; another backbone or another "
                f"version of torch may do. It said:\n{error}"
            ) from error
    assert program is not None
    inputs, outputs = program.model.graph.inputs, program.model.graph.outputs
    if has_masks:  # their sizes have formulas for names
        outputs[2].shape = onnx_ir.Shape(["masks", "mask_height", "mask_width"])
        outputs[3].shape = onnx_ir.Shape(["masks", 2])
    _forget_this_machine(program.model)
    program.save(file)
    return {"inputs": _described(inputs), "outputs": _described(outputs)}


class SizesOfTheGraph(TorchFunctionMode):
    """Two functions that the exporter would compute for the traced image, made of those that it takes along.

    Deformable DETR lays its grids with ``linspace`` and makes a tensor of the sizes of its maps.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Any other function as it is."""
        given = kwargs or {}
        if function is torch.linspace:
            start, end, steps = args
            step = (end - start) / max(steps - 1, 1)
            return torch.arange(steps, **given) * step + start
        if function is torch.as_tensor and isinstance(args[0], list):
            one = torch.ones((), **given)
            return torch.stack([torch.stack([one * side for side in sides]) for sides in args[0]])
        return function(*args, **given)


def _dims(batch: int, height: int, width: int) -> dict[int, str]:
    return {batch: "batch", height: "height", width: "width"}


def _forget_this_machine(model: Any) -> None:
    """Every node carries the stack it was traced from, with the paths of the files; nobody needs that."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()


def _described(values: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": value.name,
            "type": str(value.dtype.numpy()),
            "shape": [side if isinstance(side, int) else str(side.value) for side in value.shape],
        }
        for value in values
    ]
