#!/usr/bin/env bash
# Debian packages that make the product better: used where present, installed where we are root,
# else named in one line each. With the arguments "browser" also Chromium, for the tests, "ceph" also
# Ceph's RADOS gateway, for the tests, "slurm" also Slurm and an ssh server, and "cluster" what a
# Kubernetes of the tests stands on; the last three in a container: ours are started as they are
# needed, Debian's stay down.
set -euo pipefail

postgis_here() { compgen -G '/usr/share/postgresql/*/extension/postgis.control' > /dev/null; }
fuse_here() { command -v fusermount3 > /dev/null; }
browser_here() { command -v chromium > /dev/null; }

slurm=(slurmctld slurmd slurmrestd slurm-client slurm-wlm-jwt-plugin munge openssh-server openssh-client)
slurm_here() {
  local program
  for program in slurmctld slurmd slurmrestd sbatch munged sshd ssh; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "$program" > /dev/null || return 1
  done
  compgen -G '/usr/lib/*/slurm-wlm/auth_jwt.so' > /dev/null
}

# Program by program: a kubectl that is here already has a file that Debian's package has too.
cluster_missing() {
  local pair
  for pair in etcd=etcd-server containerd=containerd runc=runc iptables=iptables ip=iproute2 \
    kubectl=kubernetes-client buildah=buildah debootstrap=debootstrap; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%=*}" > /dev/null || echo "${pair#*=}"
  done
  [ -x /usr/lib/cni/bridge ] || echo containernetworking-plugins
}
ceph=(radosgw ceph-mon ceph-osd ceph-common)
ceph_here() { command -v radosgw > /dev/null && command -v ceph-mon > /dev/null && command -v ceph-osd > /dev/null; }

missing=()
what=()
fuse_here || { missing+=(fuse3); what+=("buckets mounted as folders; else they are in JupyterLab's file browser only"); }
postgis_here || { missing+=(postgresql-postgis); what+=("the catalogue on pgstac; else it is on SQLite"); }
for group in "$@"; do
  case "$group" in
    browser) browser_here || { missing+=(chromium); what+=("the browser tests; else they are skipped"); } ;;
    ceph)
      if ceph_here; then
        continue
      elif [ -d /run/systemd/system ]; then
        # A machine with services of its own gets no storage cluster from a test.
        echo "[setup] there is no Ceph here, and its tests are skipped; for them: apt-get install --no-install-recommends ${ceph[*]}"
      else
        for name in "${ceph[@]}"; do
          missing+=("$name"); what+=("the tests of credentials at Ceph; else they are skipped")
        done
      fi ;;
    slurm)
      if slurm_here; then
        continue
      elif [ -d /run/systemd/system ]; then
        # A machine with services of its own gets no ssh server from a test.
        echo "[setup] there is no batch cluster here, and its tests are skipped; for them: apt-get install ${slurm[*]}"
      else
        for name in "${slurm[@]}"; do
          missing+=("$name"); what+=("the batch cluster of this machine and the tests of Slurm jobs; else there is none")
        done
      fi ;;
    cluster)
      mapfile -t cluster < <(cluster_missing)
      if [ ${#cluster[@]} -eq 0 ]; then
        continue
      elif [ -d /run/systemd/system ]; then
        # A machine with services of its own gets no container engine from a test.
        echo "[setup] there is no Kubernetes here; for its tests set KUBECONFIG, or: apt-get install ${cluster[*]}"
      else
        for name in "${cluster[@]}"; do
          missing+=("$name"); what+=("a Kubernetes for the tests; else they need KUBECONFIG")
        done
      fi ;;
    *) echo "[setup] unknown group of packages: $group" >&2; exit 2 ;;
  esac
done
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
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    # Debian asks this program before it starts the service of a package it installs.
    printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
  fi
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
