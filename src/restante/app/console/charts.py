"""Small charts as SVG: numbers over an hour."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

WIDTH, HEIGHT = 320, 72
_TOP = 6


def line(title: str, numbers: Sequence[float], unit: str = "", *, of: int = 0) -> Markup:
    """A line over an hour, and what it says in words, for those who can't see it.

    of: how many numbers a whole hour has. Where there are fewer, the line begins later.
    """
    most = max(numbers, default=0.0)
    now = numbers[-1] if numbers else 0.0
    words = f"{title}: now {shown(now)}, at most {shown(most)}{unit} in the last hour"
    scale = (HEIGHT - _TOP - 2) / most if most else 0.0
    whole = max(of, len(numbers), 2)
    step, first = WIDTH / (whole - 1), whole - len(numbers)
    points = " ".join(
        f"{at * step:.1f},{HEIGHT - 1 - number * scale:.1f}"
        for at, number in enumerate(numbers, first)
    )
    area = f"{first * step:.1f},{HEIGHT} {points} {WIDTH},{HEIGHT}"
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{words}"'
        ' preserveAspectRatio="none" focusable="false">'
        '<polygon class="area" points="{area}"/>'
        '<polyline class="line" points="{points}" vector-effect="non-scaling-stroke"/></svg>'
    ).format(w=WIDTH, h=HEIGHT, words=words, area=area, points=points)


def shown(number: float) -> str:
    """A number, short."""
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.2g}"
