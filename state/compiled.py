"""Functions compiled by numba. Compiled code is cached on disk, so only the first start ever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

Scalar: TypeAlias = Any
"""A number inside of compiled functions, where those of Python and of numpy are the same."""
F = TypeVar("F", bound=Callable[..., Any])

# Sums may be reordered (vector instructions), but infinities keep their meaning.
_FAST = {"reassoc", "contract", "nsz"}


def compiled(function: F) -> F:
    """Compile at the first call; the GIL is released while it runs."""
    try:
        return cast("F", numba.njit(cache=True, nogil=True, fastmath=_FAST)(function))
    except RuntimeError:  # no folder for the cache can be written, as on a read-only file system
        return cast("F", numba.njit(nogil=True, fastmath=_FAST)(function))


def inlined(function: F) -> F:
    """For innermost loops: written out in the compiled function that uses it. A call costs three times the sum."""
    return cast("F", numba.njit(inline="always", nogil=True, fastmath=_FAST)(function))


@intrinsic  # type: ignore[untyped-decorator]
def publish(context: Any, array: Any, index: Any, value: Any) -> Any:
    """`array[index] = value` for whole numbers; whoever `observe`s it also sees everything written before.

    `index`: a number, or (row, column).
    """
    return types.void(array, index, value), _publish


@intrinsic  # type: ignore[untyped-decorator]
def observe(context: Any, array: Any, index: Any) -> Any:
    """`array[index]` for whole numbers, the other half of `publish`."""
    return array.dtype(array, index), _observe


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(context: Any, array: Any, row: Any, column: Any) -> Any:
    """Ask for `array[row, column]` to be brought near; it is not waited for."""
    return types.void(array, row, column), _prefetch


def _prefetch(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array, row, column = arguments
    made = context.make_array(signature.args[0])(context, builder, array)
    at = [context.cast(builder, row, signature.args[1], types.intp)]
    at.append(context.cast(builder, column, signature.args[2], types.intp))
    pointer = cgutils.get_item_pointer(context, builder, signature.args[0], made, at, wraparound=False)
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    flags = [ir.Constant(number, flag) for flag in (0, 3, 1)]  # read, keep near, data
    builder.call(function, [builder.bitcast(pointer, byte), *flags])
    return context.get_dummy_value()


def _publish(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array, index, value = arguments
    stored = context.cast(builder, value, signature.args[2], signature.args[0].dtype)
    pointer, size = _place_of(context, builder, signature, array, index)
    builder.store_atomic(stored, pointer, "release", size)
    return context.get_dummy_value()


def _observe(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    pointer, size = _place_of(context, builder, signature, *arguments)
    return builder.load_atomic(pointer, "acquire", size)


def _place_of(context: Any, builder: Any, signature: Any, array: Any, index: Any) -> Any:
    """Pointer to a number, and its bytes."""
    of_type, index_type = signature.args[0], signature.args[1]
    kinds = getattr(index_type, "types", None)  # of a tuple
    parts = (
        [(index, index_type)]
        if kinds is None
        else zip(cgutils.unpack_tuple(builder, index), kinds, strict=True)
    )
    at = [context.cast(builder, part, kind, types.intp) for part, kind in parts]
    made = context.make_array(of_type)(context, builder, array)
    pointer = cgutils.get_item_pointer(context, builder, of_type, made, at, wraparound=False)
    return pointer, of_type.dtype.bitwidth // 8
