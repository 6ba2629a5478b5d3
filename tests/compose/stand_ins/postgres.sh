#!/usr/bin/env bash
# What the real image's entrypoint does for an empty volume: initdb, the scripts, then the server.
set -euo pipefail
export POSTGRES_USER=${POSTGRES_USER:-postgres}
if ! [ -s "$PGDATA/PG_VERSION" ]; then
  # shellcheck disable=SC2086 # options, as the real image takes them
  initdb --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS >/dev/null
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  export PGPASSWORD; PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
  pg_ctl -w start -o "-c listen_addresses=''"
  for script in /docker-entrypoint-initdb.d/*.sh; do "$script"; done
  unset PGPASSWORD
  pg_ctl -w -m fast stop
fi
exec postgres -c listen_addresses='*'
