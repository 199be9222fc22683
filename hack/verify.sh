#!/usr/bin/env bash
# Generates and formats everything, and runs the linters. Fails if that changes a file, or if a check finds something. It runs all checks
# before it fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/objects"

# git_aside runs git with its own index and object store, so that it does not change the repository.
git_aside() {
  GIT_INDEX_FILE="$scratch/index" GIT_OBJECT_DIRECTORY="$scratch/objects" git "$@"
}

# snapshot prints the ID of a git tree of all files that are not ignored.
snapshot() {
  rm -f "$scratch/index"
  git_aside add --all && git_aside write-tree
}

failed=()
check() {
  local name=$1
  shift
  echo "==> $name"
  "$@" || failed+=("$name")
}

unchanged() {
  local after
  after=$(snapshot)
  [[ $after == "$before" ]] && return
  echo
  echo "These files were not up to date. They are now: review and commit them."
  git_aside --no-pager diff --stat --patch "$before" "$after" | head -n 200
  return 1
}

before=$(snapshot)
make=${MAKE:-make}
check "generate" "$make" --no-print-directory generate manifests
check "format" "$make" --no-print-directory fmt
check "generated and formatted files are up to date" unchanged
check "lint" "$make" --no-print-directory lint
check "workflows" "$make" --no-print-directory lint-workflows
check "go vet" go vet ./...
for module in . hack/applyclient hack/controlplane hack/helm hack/node hack/oidcprovider hack/prometheus hack/seaweedfs hack/tools; do
  check "go.mod and go.sum are tidy in $module" go -C "$module" mod tidy -diff
done

if ((${#failed[@]})); then
  echo
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
echo "verified: everything is up to date"
