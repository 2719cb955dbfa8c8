# Run once by the image of PostgreSQL, when it has made the database: lets the replicas in.
set -e

psql --variable=ON_ERROR_STOP=1 --variable=password="$REPLICATION_PASSWORD" \
    --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
create role replicator login replication password :'password';
SQL

echo "host replication replicator all scram-sha-256" >>"$PGDATA/pg_hba.conf"
