"""Small charts as SVG: a bar for each minute of an hour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from restante.app.console.words import minute

WIDTH, HEIGHT = 320, 72
_GAP = 1.4


class Chart(NamedTuple):
    """What a page shows of an hour.

    title, value: what it is, and what it was in the hour, or is now. most: the highest bar, in
    words. since: when the first minute began, in seconds since 1970.
    """

    title: str
    value: str
    most: str
    since: float
    svg: Markup


def bars(
    title: str,
    numbers: Sequence[float],
    since: float,
    *,
    value: str,
    unit: str = "",
    per: str = "",
    bad: bool = False,
) -> Chart:
    """A bar for each minute, and what they say in words for those who can't see them.

    since: when the first minute began; the last one isn't over. value: of the whole hour, or now.
    per: what a bar is about, such as ` a minute`. bad: bars are in the colour of what is bad.
    """
    most = max(numbers, default=0.0)
    width = WIDTH / max(len(numbers), 1)
    drawn = Markup("").join(
        Markup(
            '<g><title>{time}: {number}{unit}</title><rect class="hit" x="{x:.1f}" y="0"'
            ' width="{w:.1f}" height="{all}"/><rect class="bar" x="{x:.1f}" y="{y:.1f}"'
            ' width="{bar:.1f}" height="{h:.1f}"/></g>'
        ).format(
            time=minute(since + 60 * at),
            number=shown(number),
            unit=unit,
            x=at * width,
            w=width,
            all=HEIGHT,
            bar=width - _GAP,
            y=HEIGHT - (height := max(2.0, number / most * (HEIGHT - 4))),
            h=height,
        )
        for at, number in enumerate(numbers)
        if number
    )
    words = f"{title}: {value}{unit}; at most {shown(most)}{unit}{per} in the last hour"
    svg = Markup(
        '<svg class="chart{kind}" viewBox="0 0 {w} {h}" role="img" aria-label="{words}"'
        ' preserveAspectRatio="none" focusable="false">{drawn}</svg>'
    ).format(kind=" bad" if bad else "", w=WIDTH, h=HEIGHT, words=words, drawn=drawn)
    said = f"at most {shown(most)}{unit}{per}" if most else "nothing in the last hour"
    return Chart(title, value + unit, said, since, svg)


def shown(number: float) -> str:
    """A number, short."""
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.2g}"
