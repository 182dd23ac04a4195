"""A person's program: ``SOURCE OUTPUT END``. Executors count what they read, and write it down.

It ends when there is a file END, for which a task of an executor waits.
"""

import os
import socket
import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession

source, output, end = sys.argv[1:]
session = SparkSession.builder.getOrCreate()
context = session.sparkContext


def count(number, lines):
    found = list(lines)
    print(f"read {len(found)} lines", flush=True)
    folder = Path(output, "counts")
    folder.mkdir(parents=True, exist_ok=True)
    words = ",".join([socket.gethostname(), *found])
    (folder / f"{number}.csv").write_text(words, encoding="utf-8")
    return [len(found)]


def wait(name):
    while not Path(name).exists():
        time.sleep(0.2)


context.parallelize([""], 1).count()
counts = context.textFile(f"file://{source}", 2).mapPartitionsWithIndex(count).collect()
handed = Path(os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).read_text(encoding="utf-8")
print(f"{sum(counts)} lines in {len(counts)} parts, handed {len(handed)} letters", flush=True)
context.parallelize([end], 1).foreach(wait)
session.stop()
