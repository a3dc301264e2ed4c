"""Score a position: the nearer to the top, the higher. Import both evolving files, and read those beside them."""

import json
import pathlib
import runpy
import sys

from lib.offset import offset

position = runpy.run_path(sys.argv[1])["position"]
assert pathlib.Path("lib/notes.txt").read_text().startswith("the part")
top = json.loads(pathlib.Path("scale.json").read_text())["top"]
height = -abs(position - top - json.loads(sys.argv[2]))
sys.stdout.write(json.dumps({"height": height, "offset": offset()}))
