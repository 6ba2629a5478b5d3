#!/usr/bin/env bash
# compose.sh ROOT TAG, on the host: start ROOT/releases/TAG. If it does not become healthy, what ran before is started
# again, and this ends with 1. ROOT/current names what runs, ROOT/previous what ran before it.
# ROOT/host.env, if it is there, has settings of this host (CAPSTONE_BIND=...); no release changes it.
set -euo pipefail
root=$1 tag=$2

compose() {
  local folder=$1 files=(--env-file .env --env-file images.env)
  shift
  [ ! -e "$root/host.env" ] || files+=(--env-file "$root/host.env")
  (cd "$root/$folder" && docker compose "${files[@]}" -f docker-compose.yml -f infra/deploy/compose.images.yml "$@")
}

start() {
  compose "$1" up -d --wait --wait-timeout 900 --no-build --remove-orphans
}

before=$(readlink "$root/current" || true)
after=releases/$tag
compose "$after" pull --quiet # while what runs still runs
if start "$after"; then
  [ "$before" = "$after" ] || [ -z "$before" ] || ln -sfn "$before" "$root/previous"
  ln -sfn "$after" "$root/current"
  echo "$tag runs"
  exit 0
fi
echo "$tag does not become healthy" >&2
if [ -n "$before" ] && [ "$before" != "$after" ]; then
  start "$before" && echo "${before#releases/} runs again" >&2
fi
exit 1
