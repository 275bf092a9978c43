#!/usr/bin/env bash
# Prints, as its last line, a folder that holds etcd, kube-apiserver and kube-controller-manager: the one that
# KUBEBUILDER_ASSETS names, or one built here from Go modules and kept under target/control-plane.
#
#   KUBEBUILDER_ASSETS   a folder of such programs to use as it is
#   KUBERNETES_VERSION   which of the versions in *.mod, for example 1.33; default: that of go.mod
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(cd "$here/../.." && pwd)/target/control-plane
programs=(etcd kube-apiserver kube-controller-manager)

main() {
  local wanted=${KUBERNETES_VERSION:-}
  if usable_assets "${wanted#v}"; then
    echo "$KUBEBUILDER_ASSETS"
    return
  fi

  local modfile version folder
  modfile=$(modfile_of "${wanted#v}")
  version=$(version_in "$modfile")
  folder=$cache/$version-$(fingerprint "$modfile")
  mkdir -p "$cache"
  # Two callers at once: the second waits and finds the work done. Without flock both build, each for itself.
  exec 9>"$cache/.lock"
  if command -v flock >/dev/null; then
    flock 9
  fi
  if [[ ! -e $folder ]]; then
    build "$modfile" "$version" "$folder"
  fi
  if [[ $modfile == go.mod ]]; then
    ln -sfn "${folder##*/}" "$cache/current"
  fi
  echo "$folder"
}

# Whether KUBEBUILDER_ASSETS names what is needed, in the wanted version ($1, may be empty).
usable_assets() {
  local assets=${KUBEBUILDER_ASSETS:-}
  if [[ -z $assets ]]; then
    return 1
  fi
  if [[ ! -x $assets/etcd || ! -x $assets/kube-apiserver ]]; then
    say "KUBEBUILDER_ASSETS=$assets holds no etcd or no kube-apiserver: not used"
    return 1
  fi
  if ! is_version "$("$assets/kube-apiserver" --version | sed 's/^Kubernetes v//')" "$1"; then
    say "KUBEBUILDER_ASSETS=$assets is not Kubernetes $1: not used"
    return 1
  fi
  if [[ ! -x $assets/kube-controller-manager ]]; then
    say "KUBEBUILDER_ASSETS=$assets holds no kube-controller-manager: nothing collects owned objects and deleted"
    say "namespaces there, and the tests that need it fail. Unset KUBEBUILDER_ASSETS to have all three built."
  fi
}

modfile_of() {
  local modfile
  cd "$here"
  for modfile in go.mod oldest.mod; do
    if is_version "$(version_in "$modfile")" "$1"; then
      echo "$modfile"
      return
    fi
  done
  say "KUBERNETES_VERSION=$1 is none of: $(version_in go.mod) $(version_in oldest.mod)"
  return 1
}

version_in() {
  sed -n 's|^[[:space:]]*k8s.io/kubernetes v||p' "$here/$1"
}

# Whether version $1 is what $2 asks for: nothing in particular, 1.36, or 1.36.3.
is_version() {
  [[ -z $2 || $1 == "$2" || $1 == "$2".* ]]
}

# What is built depends on these files and this script alone.
fingerprint() {
  cd "$here"
  cat main.go "$1" "${1%.mod}.sum" build.sh | git hash-object --stdin | cut -c 1-12
}

build() {
  local modfile=$1 version=$2 folder=$3 name
  local stamp=k8s.io/component-base/version major=${version%%.*} minor
  minor=${version#*.} minor=${minor%%.*}
  if ! command -v go >/dev/null; then
    say "needs Go (https://go.dev/dl) to build Kubernetes, or KUBEBUILDER_ASSETS to find it"
    return 1
  fi

  say "building etcd and Kubernetes $version from Go modules, once; this usually takes 3 to 8 minutes"
  # Beside its place until it is whole; what fails or is interrupted leaves nothing.
  part=$(mktemp -d "$folder.XXXXXX")
  trap 'rm -rf "$part"' EXIT
  chmod 755 "$part"
  cd "$here"
  # Static, so that the programs also run in a container without a C library.
  CGO_ENABLED=0 go build -v -modfile="$modfile" -trimpath -buildvcs=false -o "$part/control-plane" \
    -ldflags "-s -w -X $stamp.gitVersion=v$version -X $stamp.gitMajor=$major -X $stamp.gitMinor=$minor" . 2>&1 | progress
  for name in "${programs[@]}"; do
    ln -s control-plane "$part/$name"
  done
  if [[ ! -e $folder ]]; then
    mv "$part" "$folder"
  fi
  say "built in ${SECONDS} s: $folder"
}

# Counts what the compiler names, passes on everything else that it says.
progress() {
  local line downloads=0 packages=0
  while IFS= read -r line; do
    case $line in
      "go: downloading "*)
        downloads=$((downloads + 1))
        ((downloads % 50)) || say "$downloads modules downloaded"
        ;;
      *[\ \#]*)
        say "$line"
        ;;
      *)
        packages=$((packages + 1))
        ((packages % 200)) || say "$packages packages compiled"
        ;;
    esac
  done
}

say() {
  echo "control-plane: $*" >&2
}

main
