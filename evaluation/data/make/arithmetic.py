"""Works out sums written as text: numbers, + - * /, brackets, nothing else."""

import ast
from collections.abc import Callable

_OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
}


def worked_out(expression: str) -> float:
    """Return the value of a sum such as `(6.75 - 6.30) * 100 * 12`.

    Raises:
        ValueError: there is something else in it.
    """
    return _value(ast.parse(expression, mode="eval").body)


def literals(expression: str) -> tuple[float, ...]:
    """Return the numbers that a sum is made of, in order."""
    return tuple(
        float(node.value)
        for node in ast.walk(ast.parse(expression, mode="eval"))
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float)
    )


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError(f"cannot work out {ast.unparse(node)!r}")
