# SPDX-License-Identifier: Apache-2.0
"""Small networks as ONNX files, for runtimes that know no torch.

The format is a protocol buffer of a few messages (https://onnx.ai/onnx/repo-docs/IR.html and onnx.proto, whose field
numbers stand below), so what this house needs of it is written here, and no package is needed to make an avatar.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

OPSET = 20  # the first with Gelu
_IR_VERSION = 9  # of the release that brought it
_FLOAT = 1  # TensorProto.DataType
_INT, _INTS = 2, 7  # AttributeProto.AttributeType

Shape = Sequence[int | str]  # a length, or the name of one that may differ from call to call


class Graph:
    """A network in the making: `node` names what it puts out, and later nodes take it by that name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []

    def constant(self, values: np.ndarray) -> str:
        """Takes values into the file, as float32; returns their name."""
        name = f"c{len(self._constants)}"
        array = np.ascontiguousarray(values, "<f4")
        shape = [(1, length) for length in array.shape]
        self._constants.append(_message([*shape, (2, _FLOAT), (8, name), (9, array.tobytes())]))
        return name

    def node(self, kind: str, *inputs: str, **attributes: int | Sequence[int]) -> str:
        """Adds an operator of the set OPSET; returns the name of its output."""
        return self._add(kind, f"n{len(self._nodes)}", inputs, attributes)

    def result(self, kind: str, *inputs: str, name: str) -> None:
        """Adds the operator whose output is the network's, under `name`."""
        self._add(kind, name, inputs, {})

    def written(self, given: Mapping[str, Shape], made: Mapping[str, Shape], about: Mapping[str, str]) -> bytes:
        """The file.

        Args:
            given: inputs by name; made: outputs by name; all float32.
            about: the file's metadata.
        """
        graph = _message(
            [
                *((1, node) for node in self._nodes),
                (2, self._name),
                *((5, constant) for constant in self._constants),
                *((11, _value(name, shape)) for name, shape in given.items()),
                *((12, _value(name, shape)) for name, shape in made.items()),
            ]
        )
        metadata = [(14, _message([(1, key), (2, value)])) for key, value in about.items()]
        version = (8, _message([(2, OPSET)]))
        return _message([(1, _IR_VERSION), (2, "avatar3d"), (7, graph), version, *metadata])

    def _add(self, kind: str, name: str, inputs: Sequence[str], attributes: Mapping[str, int | Sequence[int]]) -> str:
        described = [(5, _attribute(key, value)) for key, value in attributes.items()]
        self._nodes.append(_message([*((1, each) for each in inputs), (2, name), (4, kind), *described]))
        return name


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return _message([(1, name), (3, value), (20, _INT)])
    return _message([(1, name), *((8, each) for each in value), (20, _INTS)])


def _value(name: str, shape: Shape) -> bytes:
    lengths = [(1, _message([(1 if isinstance(length, int) else 2, length)])) for length in shape]
    tensor = _message([(1, _FLOAT), (2, _message(lengths))])
    return _message([(1, name), (2, _message([(1, tensor)]))])


def _message(fields: Sequence[tuple[int, int | str | bytes]]) -> bytes:
    return b"".join(part for number, value in fields for part in _field(number, value))


def _field(number: int, value: int | str | bytes) -> Iterator[bytes]:
    if isinstance(value, int):
        yield _varint(number << 3)
        yield _varint(value)
        return
    content = value.encode() if isinstance(value, str) else value
    yield _varint(number << 3 | 2)
    yield _varint(len(content))
    yield content


def _varint(value: int) -> bytes:
    """A whole number >= 0, seven bits a byte, the lowest first."""
    low = bytearray()
    while value > 0x7F:
        low.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*low, value])
