#!/usr/bin/env bash
# Builds the programs and the manager's image twice, from copies of the source in two folders, the second time without Go's build cache.
# Fails unless the digests are the same. It takes as long as a build without a cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# digests builds in a new folder and prints the digests.
digests() {
  mkdir -p "$1"
  git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    if [[ -f $file || -L $file ]]; then printf '%s\0' "$file"; fi
  done | tar -c --null --files-from=- | tar -x -C "$1"
  (
    cd "$1"
    make --no-print-directory -s build image VERSION=v0.0.0 REVISION=none IMG=rolecredential:v0.0.0 PLATFORMS="linux/$(go env GOARCH)" >&2
    sha256sum bin/manager bin/kubectl-rolecred dist/image.tar
  )
}

first=$(digests "$scratch/one")
second=$(GOCACHE="$scratch/cache" digests "$scratch/another/and/deeper")
echo "$first"
if [[ $first != "$second" ]]; then
  printf 'a second build, from another folder, differs:\n%s\n' "$second" >&2
  exit 1
fi
echo "reproducible: two builds from two folders have the same digests"
