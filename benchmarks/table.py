"""Figures as plain tables."""

import statistics
from collections.abc import Sequence

__all__ = ["percentile", "print_table", "ratio_of"]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie, by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ratio_of(ones: Sequence[float], others: Sequence[float]) -> str:
    """Median, least and greatest of the ratios of pairs that were measured side by side."""
    ratios = [one / other for one, other in zip(ones, others, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table with columns as wide as they need to be."""
    texts = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    for position, row in enumerate(texts):
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
        if position == 0:
            print("  ".join("-" * width for width in widths))
