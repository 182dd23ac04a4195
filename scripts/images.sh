#!/usr/bin/env bash
# Builds the images: scripts/images.sh [IMAGE...], all of them when none is named, the one for
# graphics processors aside. With buildah, else with docker. Variables:
#   TAG         tag of the images; default: the project's version
#   PREFIX      what their names begin with; default: localhost/cscale
#   BASE        base image; default: Debian's; "debootstrap" makes one from Debian's packages, with
#               no registry
#   S3A=yes     Spark's own way to S3 too, 690 MB
#   SSL_CERT_FILE  certificate authorities of this machine, used while building (buildah)
set -euo pipefail
cd "$(dirname "$0")/.."
release=trixie
version=$(sed -nE 's/^version = "(.*)"/\1/p' pyproject.toml)
tag=${TAG:-$version}
prefix=${PREFIX:-localhost/cscale}
base=${BASE:-docker.io/library/debian:$release-slim}
revision=$(git rev-parse HEAD 2> /dev/null || echo unknown)
# In this order: the later ones stand on the earlier.
images=("$@")
[ ${#images[@]} -gt 0 ] || images=(mount hub singleuser-minimal singleuser spark)

say() { printf '\033[1m[images]\033[0m %s\n' "$*"; }

if command -v buildah > /dev/null; then
  build=(buildah bud --quiet --format docker --isolation "${BUILDAH_ISOLATION:-chroot}" --network host)
  if [ -f "${SSL_CERT_FILE:-}" ]; then
    build+=(--volume "$SSL_CERT_FILE:/run/certificates.pem:ro" --build-arg SSL_CERT_FILE=/run/certificates.pem)
  fi
elif command -v docker > /dev/null; then
  build=(docker build --quiet)
else
  echo "[images] neither buildah nor docker is here; on Debian: apt-get install buildah" >&2
  exit 1
fi

if [ "$base" = debootstrap ]; then
  base=localhost/debian:$release-slim
  if ! buildah inspect --type image "$base" > /dev/null 2>&1; then
    say "making $base from Debian's packages"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    debootstrap --variant=minbase "$release" "$folder/root" > "$folder/log" ||
      { tail "$folder/log" >&2; exit 1; }
    rm -rf "$folder"/root/var/cache/apt/archives/*.deb "$folder"/root/var/lib/apt/lists/* \
      "$folder"/root/usr/share/{doc,man,locale}/* "$folder"/root/var/log/*
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$folder/root" / > /dev/null
    buildah config --cmd bash "$container"
    buildah commit --quiet --rm "$container" "$base" > /dev/null
  fi
fi

for image in "${images[@]}"; do
  name=$prefix/$image:$tag
  options=(--build-arg "BASE=$base" --build-arg "VERSION=$version" --build-arg "REVISION=$revision")
  case "$image" in
    singleuser-gpu) options=(--build-arg "BASE=$prefix/singleuser:$tag" "${options[@]:2}") ;;
    spark) options+=(--build-arg "S3A=${S3A:-no}") ;;
  esac
  say "building $name"
  "${build[@]}" "${options[@]}" --file "images/$image/Dockerfile" --tag "$name" . > /dev/null
done
