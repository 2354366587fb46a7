# For `up` and `down`: sets name, tools, run and namespace.
set -euo pipefail
shopt -s inherit_errexit
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
name=${1:?the name of the cluster}
[[ $name =~ ^[a-z][a-z0-9-]{0,10}$ ]] || { echo "a cluster's name has at most 11 characters of a-z, 0-9 and -: $name" >&2; exit 2; }
tools=$root/target/tools/cluster
run=$root/target/clusters/$name
# Two work trees can have a cluster of one name: the path is a part of the namespace's name.
namespace=serin-$name-$(printf %s "$root" | cksum | cut -d' ' -f1)
[ "$(id -u)" = 0 ] || { echo "a cluster needs root: it has a network namespace and containers of its own" >&2; exit 1; }
