"""Climbs a hill: the nearer x and y come to the top, the higher the score."""

import json
import sys

# EVOLVE-BLOCK-START
x = 1.0
y = 5.0
# EVOLVE-BLOCK-END

sys.stdout.write(json.dumps({"height": -abs(x - 3.0 - json.loads(sys.argv[1])) - abs(y - 7.0), "x": x}))
