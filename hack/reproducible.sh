#!/usr/bin/env bash
# Makes a release twice, from copies of the source in two folders, the second time with an empty Go build cache, and fails unless
# all files are the same. Takes as long as a build of all programs for all platforms.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p .cache

# checksums makes a release in a new folder and prints its checksums.
checksums() {
  mkdir -p "$1"
  git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    if [[ -f $file || -L $file ]]; then printf '%s\0' "$file"; fi
  done | tar -c --null --files-from=- | tar -x -C "$1"
  ln -s "$PWD/.cache" "$1/.cache" # the tools and servers
  make --no-print-directory -s -C "$1" release RELEASE_ANY=1 VERSION=v0.0.0 REVISION=none >&2
  cat "$1/dist/checksums.txt"
}

first=$(checksums "$scratch/one")
second=$(GOCACHE="$scratch/cache" checksums "$scratch/another/and/deeper")
echo "$first"
if [[ $first != "$second" ]]; then
  printf 'a second release, from another folder, differs:\n%s\n' "$second" >&2
  exit 1
fi
echo "reproducible: two releases from two folders have the same files"
