#!/usr/bin/env bash
# send.sh HOST ROOT TAG: put what this commit and images.env say into ROOT/releases/TAG on HOST, and start it there.
# shellcheck disable=SC2029 # what goes to the other side is expanded here, quoted by %q
set -euo pipefail
host=$1 root=$2 tag=$3
release=$(printf %q "$root/releases/$tag")
ssh "$host" "mkdir -p $release"
git archive HEAD docker-compose.yml .env infra | ssh "$host" "tar -x -C $release"
ssh "$host" "cat >$release/images.env" <images.env
ssh "$host" "bash -s -- $(printf '%q ' "$root" "$tag")" <infra/deploy/compose.sh
