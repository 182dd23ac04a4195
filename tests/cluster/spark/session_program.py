"""A notebook's program: opens a session and reads each file that its input names."""

import json
import sys

from cscale_core import spark

session = spark.session("test", **json.loads(sys.argv[1]))
print("open", flush=True)
for line in sys.stdin:
    if place := line.strip():
        print(session.sparkContext.textFile(place, 2).collect(), flush=True)
session.stop()
print("stopped", flush=True)
