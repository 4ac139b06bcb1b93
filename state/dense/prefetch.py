"""The processor's prefetch instruction for a row of an array: a walk asks for rows before it needs them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_CACHE_LINE = 64
_READ, _KEEP, _DATA = 0, 3, 1


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typing_context: Any, array: Any, row: Any) -> Any:
    """`prefetch(array, row)` in compiled code: bring a row of a two-dimensional array nearer. No effect else."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        layout = signature.args[0]
        held = context.make_array(layout)(context, builder, arguments[0])
        zero = context.get_constant(types.intp, 0)
        first = cgutils.get_item_pointer(context, builder, layout, held, [arguments[1], zero])
        byte, number = ir.IntType(8), ir.IntType(32)
        address = builder.bitcast(first, byte.as_pointer())
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte.as_pointer(), number, number, number]),
            "llvm.prefetch.p0",
        )
        stride = cgutils.unpack_tuple(builder, held.strides)[0]
        with cgutils.for_range_slice(
            builder, zero, stride, context.get_constant(types.intp, _CACHE_LINE)
        ) as (offset, _):
            builder.call(
                function, [builder.gep(address, [offset]), number(_READ), number(_KEEP), number(_DATA)]
            )
        return context.get_dummy_value()

    return types.void(array, types.intp), generate
