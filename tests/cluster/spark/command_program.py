"""A notebook's program: opens a session, and lets executors run each command its input names."""

import json
import sys

from cscale_core import spark

session = spark.session("test", **json.loads(sys.argv[1]))
print("open", flush=True)
for line in sys.stdin:
    # By Java's side alone: the image of the tests' executors has no Spark for Python.
    one = session.sparkContext._jsc.parallelize([""], 1)
    said = one.pipe(["sh", "-c", f"{json.loads(line)} 2>&1; true"]).collect()
    print(json.dumps("\n".join(said)), flush=True)
session.stop()
print("stopped", flush=True)
