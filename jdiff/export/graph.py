"""A JAX function as an ONNX graph, primitive by primitive.

The function is written for one example; the graph has a batch axis. JAX traces it, and
each primitive of the trace becomes a node or two. What is known beforehand is computed
beforehand. The primitives here are those of perceptrons and their gradients; another
one raises.

jax2onnx would do this, too, but it needs an older orbax than `[train]` has, and brings
two more libraries of networks.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

OPSET = 18
_IR_VERSION = 10  # of the file format; older runtimes read no newer one
_MIN_SHARED = 128  # bytes that no other tensor holds by chance
_MIN_HALF = 64  # weights in a tensor that is worth a node to convert it

_SAME = {
    **{"add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"},
    "neg": "Neg",
    **{"max": "Max", "min": "Min", "pow": "Pow", "abs": "Abs", "sqrt": "Sqrt"},
    **{"exp": "Exp", "log": "Log", "sin": "Sin", "cos": "Cos", "tanh": "Tanh"},
    **{"logistic": "Sigmoid", "erf": "Erf", "sign": "Sign"},
    **{"eq": "Equal", "lt": "Less", "gt": "Greater", "le": "LessOrEqual"},
    **{"ge": "GreaterOrEqual", "and": "And", "or": "Or", "not": "Not"},
}
_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr"}
_CALLS |= {"custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}
_REDUCTIONS = {"reduce_sum": "ReduceSum", "reduce_max": "ReduceMax"}


class _Tensor(NamedTuple):
    """A tensor of the graph; where its shape has a 1, the traced one may have more."""

    name: str
    shape: tuple


def to_onnx(
    function: Callable[..., jax.Array],
    inputs: Mapping[str, jax.ShapeDtypeStruct],
    output: str,
) -> Any:
    """Returns the graph of a function of one example, with a batch axis.

    Weights that float16 holds exactly are stored in it, and computed with in float32.

    Args:
        function: one array for each input -> an array.
        inputs: names of the graph's inputs, and what one example of each is.
        output: name of the graph's output.

    Returns:
        An `onnx.ModelProto`, checked.

    Raises:
        ValueError: the function has a primitive that is not known here.
    """
    import onnx

    (batch,) = jax.export.symbolic_shape("batch")
    examples = [
        jax.ShapeDtypeStruct((batch, *example.shape), example.dtype)
        for example in inputs.values()
    ]
    traced = jax.make_jaxpr(jax.vmap(function))(*examples)
    shapes = [example.shape for example in examples]
    graph = _Graph(list(map(_Tensor, inputs, shapes)))
    (result,) = graph.trace(traced.jaxpr, traced.consts, graph.inputs)
    (last,) = traced.out_avals
    graph.add("Identity", [graph.dense(result, last.shape)], last.shape, output)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "network",
            [_describe(*pair) for pair in zip(inputs, examples, strict=True)],
            [_describe(output, last)],
            graph.initializers,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="jdiff",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def share_weights(graph: Any, other: bytes, name: str) -> None:
    """Takes the large tensors of a graph out of it, where another file holds them.

    Args:
        graph: an `onnx.ModelProto`; its tensors become external data, in ONNX's terms.
        other: the bytes of a file that will lie beside the graph's.
        name: of that file.
    """
    import onnx

    for tensor in graph.graph.initializer:
        size = len(tensor.raw_data)
        place = other.find(tensor.raw_data) if size >= _MIN_SHARED else -1
        if place >= 0:
            onnx.external_data_helper.set_external_data(tensor, name, place, size)
            tensor.ClearField("raw_data")


def _describe(name: str, example: Any) -> Any:
    """Returns what ONNX calls the type of an input or output."""
    import onnx

    dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(example.dtype))
    return onnx.helper.make_tensor_value_info(
        name, dtype, [n if isinstance(n, int) else str(n) for n in example.shape]
    )


class _Graph:
    """Nodes and constants, while a trace is turned into them.

    A value is a `_Tensor` of the graph, or a NumPy array that is known already.
    """

    def __init__(self, inputs: list[_Tensor]) -> None:
        self.inputs = inputs
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.known: dict[Any, _Tensor] = {}

    def add(
        self, op: str, inputs: Sequence[Any], shape: tuple, name: str = "", **attributes
    ) -> _Tensor:
        """Adds a node with one output of a shape, and returns that."""
        import onnx

        names = [self.tensor(value).name for value in inputs]
        name = name or f"v{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(op, names, [name], **attributes))
        return _Tensor(name, shape)

    def tensor(self, value: Any) -> _Tensor:
        """Returns a value as a tensor of the graph."""
        import onnx

        if isinstance(value, _Tensor):
            return value
        array = np.asarray(value)
        known = array.dtype.str, array.shape, array.tobytes()
        if known in self.known:
            return self.known[known]
        with np.errstate(over="ignore", invalid="ignore"):
            half = array.astype(np.float16) if array.dtype == np.float32 else array
        is_half = array.size >= _MIN_HALF and half.dtype != array.dtype
        is_half = is_half and np.array_equal(half.astype(array.dtype), array)
        name = f"c{len(self.initializers)}"
        stored = onnx.numpy_helper.from_array(half if is_half else array, name)
        self.initializers.append(stored)
        tensor = _Tensor(name, array.shape)
        if is_half:
            tensor = self.add("Cast", [tensor], array.shape, to=onnx.TensorProto.FLOAT)
        self.known[known] = tensor
        return tensor

    def trace(self, jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any]):
        """Returns the outputs of a trace; its equations become nodes."""
        values = dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
        values |= dict(zip(jaxpr.invars, arguments, strict=True))

        def read(var):
            return np.asarray(var.val) if hasattr(var, "val") else values[var]

        for equation in jaxpr.eqns:
            inputs = [read(var) for var in equation.invars]
            outputs = self.equation(equation, inputs)
            values |= dict(zip(equation.outvars, outputs, strict=True))
        return [read(var) for var in jaxpr.outvars]

    def equation(self, equation: Any, inputs: list[Any]) -> list[Any]:
        """Returns the outputs of one equation of a trace."""
        name, params = equation.primitive.name, equation.params
        if name in _CALLS:
            inner = params[_CALLS[name]]
            return self.trace(inner.jaxpr, inner.consts, inputs)
        out = equation.outvars[0].aval
        if not any(isinstance(value, _Tensor) for value in inputs) and _known(out):
            with jax.ensure_compile_time_eval():
                result = equation.primitive.bind(*inputs, **params)
            many = result if equation.primitive.multiple_results else [result]
            return list(map(np.asarray, many))
        if name in _SAME:
            return [self.elementwise(_SAME[name], inputs)]
        if name not in _NODES:
            raise ValueError(
                "a network must be made of what perceptrons are, to be exported, "
                f"got {name}."
            )
        dense = name not in _BROADCASTING
        if dense:
            shapes = [var.aval.shape for var in equation.invars]
            inputs = list(map(self.dense, inputs, shapes))
        result = _NODES[name](self, out, inputs, params)
        return result if equation.primitive.multiple_results else [result]

    def elementwise(self, op: str, inputs: Sequence[Any]) -> _Tensor:
        """Adds a node whose inputs are broadcast as NumPy does."""
        return self.add(op, inputs, _broadcast([value.shape for value in inputs]))

    def reshape(self, value: Any, shape: tuple) -> Any:
        """Returns a value in another shape."""
        if tuple(value.shape) == tuple(shape):
            return value
        if _is_static(shape) and not isinstance(value, _Tensor):
            return np.reshape(value, shape)
        sizes = [n if isinstance(n, int) else -1 for n in map(_int, shape)]
        return self.add("Reshape", [value, np.array(sizes, np.int64)], shape)

    def dense(self, value: Any, shape: tuple) -> Any:
        """Returns a value that has its traced shape indeed."""
        if tuple(value.shape) == tuple(shape):
            return value
        sizes = [
            np.array([n], np.int64) if isinstance(n, int) else self.batch()
            for n in map(_int, shape)
        ]
        size = self.add("Concat", sizes, (len(shape),), axis=0)
        return self.add("Expand", [value, size], shape)

    def batch(self) -> _Tensor:
        """Returns the size of the batch, int64[1]."""
        return self.add("Shape", [self.inputs[0]], (1,), start=0, end=1)


def _int(size: Any) -> Any:
    """Returns a size as an int, unless it is the batch's."""
    return int(size) if isinstance(size, int | np.integer) else size


def _is_static(shape: tuple) -> bool:
    return all(isinstance(size, int | np.integer) for size in shape)


def _known(aval: Any) -> bool:
    return _is_static(aval.shape)


def _broadcast(shapes: Sequence[tuple]) -> tuple:
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(
        next((n for n in sizes if not isinstance(n, int) or n != 1), 1)
        for sizes in zip(*padded, strict=True)
    )


def _broadcast_in_dim(graph, out, inputs, params):
    value = inputs[0]
    shape: list[Any] = [1] * len(out.shape)
    for size, place in zip(value.shape, params["broadcast_dimensions"], strict=True):
        shape[place] = size
    return graph.reshape(value, tuple(shape))


def _reshape(graph, out, inputs, params):
    return graph.reshape(inputs[0], out.shape)


def _select(graph, out, inputs, params):
    return graph.elementwise("Where", [inputs[0], inputs[2], inputs[1]])


def _not_equal(graph, out, inputs, params):
    return graph.elementwise("Not", [graph.elementwise("Equal", inputs)])


def _rsqrt(graph, out, inputs, params):
    return graph.elementwise("Reciprocal", [graph.elementwise("Sqrt", inputs)])


def _power(graph, out, inputs, params):
    (x,) = inputs
    power = params.get("y", 2)
    if power == 2:
        return graph.elementwise("Mul", [x, x])
    return graph.elementwise("Pow", [x, np.array(power, out.dtype)])


def _one_minus_square(graph, out, inputs, params):
    square = graph.elementwise("Mul", [inputs[0], inputs[0]])
    return graph.elementwise("Sub", [np.array(1, out.dtype), square])


def _cast(graph, out, inputs, params):
    import onnx

    dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(params["new_dtype"]))
    return graph.add("Cast", inputs, inputs[0].shape, to=dtype)


def _concatenate(graph, out, inputs, params):
    return graph.add("Concat", inputs, out.shape, axis=int(params["dimension"]))


def _split(graph, out, inputs, params):
    """Slices of equal rank along an axis."""
    axis, pieces, start = np.array([params["axis"]], np.int64), [], 0
    for size in params["sizes"]:
        shape = list(inputs[0].shape)
        shape[params["axis"]] = size
        ends = [np.array([start + end], np.int64) for end in (0, size)]
        pieces.append(graph.add("Slice", [inputs[0], *ends, axis], tuple(shape)))
        start += size
    return pieces


def _slice(graph, out, inputs, params):
    """A slice of some axes; of the batch's there is all."""
    axes = [k for k, size in enumerate(inputs[0].shape) if _is_static((size,))]
    numbers = params["start_indices"], params["limit_indices"]
    ends = [np.array([int(of[k]) for k in axes], np.int64) for of in numbers]
    steps = [int((params["strides"] or [1] * len(out.shape))[k]) for k in axes]
    more = [np.array(axes, np.int64), np.array(steps, np.int64)]
    return graph.add("Slice", [inputs[0], *ends, *more], out.shape)


def _pad(graph, out, inputs, params):
    """Borders of one value, as in older gradients of slices."""
    below, above, inside = zip(*params["padding_config"], strict=True)
    if min(below + above) < 0 or any(inside):
        raise ValueError(
            f"padding must be around an array, to be exported, got "
            f"{params['padding_config']}."
        )
    ends = np.array(below + above, np.int64)
    return graph.add("Pad", [inputs[0], ends, inputs[1]], out.shape)


def _reduce(op):
    def reduce(graph, out, inputs, params):
        axes = np.array(params["axes"], np.int64)
        return graph.add(op, [inputs[0], axes], out.shape, keepdims=0)

    return reduce


def _dot_general(graph, out, inputs, params):
    (left, right), batch = params["dimension_numbers"]
    ranks = [len(value.shape) for value in inputs]
    if left != (ranks[0] - 1,) or ranks[1] != 2 or any(batch):
        raise ValueError(
            "a product must be of an array and a matrix, to be exported, "
            f"got {params['dimension_numbers']}."
        )
    array, matrix = inputs
    if right == (1,):  # as in gradients; a node, for the matrix is stored once
        matrix = graph.add("Transpose", [matrix], matrix.shape[::-1], perm=[1, 0])
    return graph.add("MatMul", [array, matrix], out.shape)


def _gather(graph, out, inputs, params):
    """Rows of a table: the only gather that networks here have."""
    table, index = inputs
    numbers = params["dimension_numbers"]
    if numbers.start_index_map != (0,) or params["slice_sizes"][1:] != table.shape[1:]:
        raise ValueError(f"a gather must be of rows, to be exported, got {numbers}.")
    index = graph.reshape(index, index.shape[:-1])
    rows = graph.add("Gather", [table, index], index.shape + table.shape[1:], axis=0)
    return graph.reshape(rows, out.shape)


_BROADCASTING = {"select_n", "ne", "rsqrt", "integer_pow", "square", "copy"}
_BROADCASTING |= {"convert_element_type", "broadcast_in_dim", "one_minus_square"}
_NODES: dict[str, Callable[..., Any]] = {
    "broadcast_in_dim": _broadcast_in_dim,
    "concatenate": _concatenate,
    "convert_element_type": _cast,
    "copy": lambda graph, out, inputs, params: inputs[0],
    "dot_general": _dot_general,
    "gather": _gather,
    "integer_pow": _power,
    "ne": _not_equal,
    "pad": _pad,
    "one_minus_square": _one_minus_square,
    "reshape": _reshape,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "slice": _slice,
    "split": _split,
    "square": _power,
    "squeeze": _reshape,
    **{name: _reduce(op) for name, op in _REDUCTIONS.items()},
}
