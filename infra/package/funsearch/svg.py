"""Pictures of what programs do, for functions that are marked `@funsearch.draw`."""

from __future__ import annotations

from overnight.tasks.evaluate.runner.svg import BLUE as BLUE
from overnight.tasks.evaluate.runner.svg import COLOURS as COLOURS
from overnight.tasks.evaluate.runner.svg import GREEN as GREEN
from overnight.tasks.evaluate.runner.svg import INK as INK
from overnight.tasks.evaluate.runner.svg import ORANGE as ORANGE
from overnight.tasks.evaluate.runner.svg import PURPLE as PURPLE
from overnight.tasks.evaluate.runner.svg import SOFT as SOFT
from overnight.tasks.evaluate.runner.svg import Picture as Picture
