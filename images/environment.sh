#!/bin/sh
# Builds the Python environment of an image, in the stage whose tools stay behind.
#   environment.sh dependencies EXTRA...   what these extras of the project need
#   environment.sh packages NAME...        these packages alone
#   environment.sh project                 the project itself, in a folder (and layer) of its own
#   environment.sh further LOCK            what a further lock names, likewise, for an image that
#                                          has the environment already
# Everything has the version and the hash that a lock says.
set -eu
cd /src
environment=/opt/cscale
project=/opt/cscale-hub
further=/opt/cscale-further
tools=/opt/tools
# Compiled here, as nobody may write in the image.
export UV_NO_PROGRESS=1 UV_CACHE_DIR=/tmp/uv UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1

installer() {
  python3 -m venv "$tools"
  # The installer comes first, at the version and hash of the lock.
  awk '/^uv==/{p=1} p{print} p && !/\\$/{exit}' requirements.lock > /tmp/uv.lock
  "$tools/bin/python" -m pip install --quiet --no-cache-dir --require-hashes --no-deps -r /tmp/uv.lock
}
begin() {
  installer
  python3 -m venv "$environment"
}
install() {
  "$tools/bin/uv" pip install --quiet --python "$environment/bin/python" "$@"
  # Everybody could write to what uv locks the environment with.
  rm -f "$environment/.lock" "$project/.lock" "$further/.lock"
}

task=$1
shift
case "$task" in
  dependencies)
    begin
    extras=""
    for extra in "$@"; do extras="$extras --extra $extra"; done
    # shellcheck disable=SC2086 # several words are meant
    install --constraints requirements.lock -r pyproject.toml $extras
    packages=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf '%s\n' "$project" "$further" > "$packages/cscale-hub.pth"
    ;;
  packages)
    begin
    install --constraints requirements.lock "$@"
    ;;
  project)
    "$tools/bin/uv" build --wheel --build-constraints requirements.lock --out-dir /tmp/wheels
    install --no-deps --target "$project" /tmp/wheels/*.whl
    ;;
  further)
    installer
    install --require-hashes --no-deps --target "$further" -r "$1"
    ;;
esac
