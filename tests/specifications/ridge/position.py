"""The position on the ridge."""

from lib.offset import offset

# EVOLVE-BLOCK-START
x = 1.0
# EVOLVE-BLOCK-END

position = x + offset()
