#!/usr/bin/env bash
# Debian packages that make the product better: used where present, installed where we are root,
# else named in one line each. With the argument "browser" also Chromium, for the browser tests.
set -euo pipefail

postgis_here() { compgen -G '/usr/share/postgresql/*/extension/postgis.control' > /dev/null; }
fuse_here() { command -v fusermount3 > /dev/null; }
browser_here() { command -v chromium > /dev/null; }

missing=()
what=()
fuse_here || { missing+=(fuse3); what+=("buckets mounted as folders; else they are in JupyterLab's file browser only"); }
postgis_here || { missing+=(postgresql-postgis); what+=("the catalogue on pgstac; else it is on SQLite"); }
if [ "${1:-}" = browser ]; then
  browser_here || { missing+=(chromium); what+=("the browser tests; else they are skipped"); }
fi
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  packages=()
  for name in "${missing[@]}"; do
    if [ "$name" = postgresql-postgis ]; then
      # The version is part of the name: take the one that goes with this release's PostgreSQL.
      apt-get update -qq || true
      name=$(apt-cache --names-only search '^postgresql-[0-9]+-postgis-3$' | awk '{print $1}' | sort -V | tail -n 1)
      [ -n "$name" ] || continue
      number=${name#postgresql-}; packages+=("postgresql-${number%%-*}")
    fi
    packages+=("$name")
  done
  echo "[setup] installing Debian packages: ${packages[*]}"
  if DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" > /dev/null 2>&1 ||
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" > /dev/null; }; then
    exit 0
  fi
  echo "[setup] the packages could not be installed; going on without them"
fi
for index in "${!missing[@]}"; do
  echo "[setup] optional Debian package not there: ${missing[index]} (it adds ${what[index]})"
done
if [ "$(id -u)" != 0 ]; then echo "[setup] to add: sudo apt-get install ${missing[*]}"; fi
