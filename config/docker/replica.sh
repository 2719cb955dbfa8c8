# The entry point of a replica: copies the primary at its first start, and then is what the image always is.
set -euo pipefail

if [[ ! -s "$PGDATA/PG_VERSION" ]]; then
    install --directory --owner=postgres --group=postgres --mode=700 "$PGDATA"
    PGPASSWORD="$REPLICATION_PASSWORD" gosu postgres pg_basebackup --host=primary --username=replicator \
        --pgdata="$PGDATA" --write-recovery-conf --wal-method=stream --checkpoint=fast
fi

exec docker-entrypoint.sh "$@"
