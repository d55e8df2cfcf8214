# SPDX-License-Identifier: Apache-2.0
"""MediaPipe's selfie segmentation (Apache-2.0): the bare model of its web package, or one with more classes."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from avatar3d.data_prep._quiet import quiet
from avatar3d.errors import InputError

__all__ = ["Selfie"]

_GET = (
    "name selfie_segmentation.tflite out of the npm package @mediapipe/selfie_segmentation, or selfie_segmenter.tflite "
    "or selfie_multiclass_256x256.tflite from https://ai.google.dev/edge/mediapipe/solutions/vision/image_segmenter"
)
_METADATA = "TFLITE_METADATA"


class Selfie:
    """Chance of a person by MediaPipe's model."""

    def __init__(self, file: Path | None) -> None:
        if file is None or not file.is_file():
            raise InputError(f"{file or 'selfie segmentation'}: no such file", _GET)
        try:
            import mediapipe
        except ImportError as error:
            raise InputError("mediapipe is not installed", "pip install 'avatar3d[prep]'") from error
        tasks = mediapipe.tasks
        self._mediapipe, self._lock = mediapipe, Lock()
        with quiet():
            try:
                options = tasks.vision.ImageSegmenterOptions(
                    tasks.BaseOptions(model_asset_buffer=_described(file.read_bytes())),
                    output_confidence_masks=True,
                    output_category_mask=False,
                )
                self._task: Any = tasks.vision.ImageSegmenter.create_from_options(options)
            except (RuntimeError, ValueError, OSError) as error:
                raise InputError(f"{file}: not a selfie segmentation model ({str(error)[:120]})", _GET) from error
            # the graph goes on talking until its first picture is through
            self(np.zeros((64, 64, 3), np.uint8))

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        image = self._mediapipe.Image(self._mediapipe.ImageFormat.SRGB, np.ascontiguousarray(picture))
        with self._lock:  # the task is not made for several threads
            found = [np.squeeze(mask.numpy_view()).copy() for mask in self._task.segment(image).confidence_masks]
        # a model of several classes begins with the background
        return found[0] if len(found) == 1 else 1 - found[0]

    def close(self) -> None:
        """Frees the model; left to the interpreter's end it complains."""
        with quiet():
            self._task.close()


def _described(model: bytes) -> bytes:
    """The model with a note that its input runs from 0 to 1; the web package leaves it out and the task insists."""
    from mediapipe.tasks.metadata import metadata_schema_py_generated as notes
    from mediapipe.tasks.metadata import schema_py_generated as schema

    if model[4:8] != b"TFL3":
        raise ValueError("not a TFLite file")
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    if any(entry.name in (_METADATA, _METADATA.encode()) for entry in tree.metadata or ()):
        return model
    range_of, unit, content = notes.NormalizationOptionsT(), notes.ProcessUnitT(), notes.ContentT()
    range_of.mean, range_of.std = [0.0], [255.0]
    unit.optionsType, unit.options = notes.ProcessUnitOptions.NormalizationOptions, range_of
    content.contentPropertiesType = notes.ContentProperties.ImageProperties
    content.contentProperties = notes.ImagePropertiesT()
    content.contentProperties.colorSpace = notes.ColorSpaceType.RGB
    image, mask, graph, whole = (
        notes.TensorMetadataT(), notes.TensorMetadataT(), notes.SubGraphMetadataT(), notes.ModelMetadataT(),
    )  # fmt: skip
    image.content, image.processUnits = content, [unit]
    graph.inputTensorMetadata, graph.outputTensorMetadata = [image], [mask]
    whole.subgraphMetadata = [graph]
    note, entry = schema.BufferT(), schema.MetadataT()
    note.data = list(_packed(whole, b"M001"))
    tree.buffers.append(note)
    entry.name, entry.buffer = _METADATA, len(tree.buffers) - 1
    tree.metadata = [*(tree.metadata or []), entry]
    return bytes(_packed(tree, b"TFL3"))


def _packed(tree: Any, identifier: bytes) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), identifier)
    return bytes(builder.Output())
