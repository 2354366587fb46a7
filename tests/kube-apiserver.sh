#!/bin/bash
# A real Kubernetes API server for tests, on a machine where no binary of it can be downloaded.
#
#   kube-apiserver.sh DIRECTORY     leaves kube-apiserver and etcd there, the layout that KUBEBUILDER_ASSETS expects
#
# It builds kube-apiserver 1.20.2 from the source package of Debian bookworm with the Go 1.15 of Debian bullseye, the Go that release was made
# for (built with 1.19 it crashes on custom objects), and takes etcd from bookworm. Nothing is installed; what it needs it gets through the
# machine's own apt sources. About five minutes on two cores. Where there are newer binaries none of this is needed: set KUBEBUILDER_ASSETS.
set -euo pipefail
shopt -s inherit_errexit

version=1.20.2
source_package="kubernetes=1.20.5+really$version-1.1+deb12u1"
etcd_package=etcd-server=3.4.23-4+b4

[ $# = 1 ] || { echo "usage: $0 DIRECTORY" >&2; exit 2; }
directory=$(realpath -m "$1")
[ -x "$directory/kube-apiserver" ] && [ -x "$directory/etcd" ] && exit

for tool in apt-get dpkg-source; do
  command -v $tool >/dev/null || { echo "$tool is missing: install dpkg-dev, or set KUBEBUILDER_ASSETS" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kubernetes=$work/go/src/k8s.io/kubernetes

# Fetches the sources and Go from the mirror that the machine uses, with package lists of our own: the machine's are left alone.
fetch() {
  local mirror from
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
    awk '$2 ~ /^(bookworm|oldstable|stable)$/ && $1 !~ /security/ { print $1; exit }')
  from="[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:?no mirror of Debian bookworm in the apt sources: run apt-get update}"
  printf '%s\n' "deb-src $from bookworm main" "deb $from bookworm main" "deb $from bullseye main" > "$work/sources.list"
  mkdir -p "$work/lists/partial" "$work/packages" "$work/root" "${kubernetes%/*}"
  local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$work/lists" -o APT::Sandbox::User=root)
  "${apt[@]}" update
  cd "$work/packages"
  "${apt[@]}" source --download-only "$source_package"
  "${apt[@]}" download golang-1.15-go golang-1.15-src "$etcd_package"
  for package in *.deb; do dpkg-deb -x "$package" "$work/root"; done
  dpkg-source --no-check -x kubernetes_*.dsc "$kubernetes" >/dev/null
}

# Debian's tarball lacks the generated OpenAPI definitions.
generate_openapi() {
  local packages
  packages=$(find pkg cmd plugin staging/src/k8s.io -name '*.go' -not -path '*/_examples/*' -print0 |
    xargs -0 grep -l '+k8s:openapi-gen=' | grep -v -e /code-generator/ -e /sample-apiserver/ | xargs -n1 dirname | sort -u |
    sed -e 's#^staging/src/#vendor/#' -e 's#^#k8s.io/kubernetes/#' | paste -sd,)
  go build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
  "$work/openapi-gen" -i "$packages" -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi \
    -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$work/violations"
}

build() {
  export GOROOT=$work/root/usr/lib/go-1.15 GOPATH=$work/go GOCACHE=$work/cache
  # The settings of a newer Go on the machine may have flags that this one does not know.
  export GOENV=off GO111MODULE=off GOFLAGS= GOPROXY=off CGO_ENABLED=0 PATH=$work/root/usr/lib/go-1.15/bin:$PATH
  cd "$kubernetes"
  generate_openapi
  local flags="-s -w" package
  for package in client-go/pkg/version component-base/version; do
    package=k8s.io/kubernetes/vendor/k8s.io/$package
    flags+=" -X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=20 -X $package.buildDate=2021-01-13T00:00:00Z"
  done
  go build -tags providerless -ldflags "$flags" -o "$work/kube-apiserver" ./cmd/kube-apiserver
}

fetch
build
# Not before: whoever finds the directory takes it for complete.
mkdir -p "$directory"
install -m 755 "$work/root/usr/bin/etcd" "$work/kube-apiserver" "$directory"
