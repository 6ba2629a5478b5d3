#!/usr/bin/env bash
# Run once by the image, on an empty volume: a role and a database for the catalog and one for the model registry.
# Neither role may do more, nor connect to the other's database.
set -euo pipefail
for name in capstone mlflow; do
  psql --set ON_ERROR_STOP=1 --set name="$name" --set password="$(cat "/run/secrets/${name}_password")" \
    --username "$POSTGRES_USER" --dbname postgres --no-psqlrc --quiet <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name" TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
