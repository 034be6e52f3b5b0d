#!/bin/sh
# Makes what compose.yaml takes for secrets: `make secrets`, or `deploy/secrets.sh FOLDER`. Every password is new, long and
# random; what is there already is left as it is. To change a password, remove the folder, run this again, then
# `docker compose up -d` (see "Keys are rotated" in RUNBOOK.md).
#
# Files are readable to all because containers read them as other users; the folder is not.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/secrets}
if [ -e "$folder" ]; then
    echo "$folder is there already: nothing was made" >&2
    exit 0
fi
umask 022
mkdir -p "$folder"
chmod 700 "$folder"

password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
say() { printf '%s\n' "$2" > "$folder/$1"; }

# PostgreSQL: its superuser, and a login for each program and person; what each may do is in sql/roles.sql.
superuser=$(password)
say postgres_password "$superuser"
say migrate_database_url "postgresql://postgres:$superuser@postgres/unmask"
login() { # file, login, role
    secret=$(password)
    say "$1_database_url" "postgresql://$2:$secret@postgres/unmask"
    cat >> "$folder/logins.sql" <<SQL
DO \$\$ BEGIN CREATE ROLE $2 LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END \$\$;
ALTER ROLE $2 LOGIN PASSWORD '$secret';
GRANT $3 TO $2;
SQL
}
login worker unmask_scorer unmask_worker
login uploader unmask_uploads unmask_uploader
login console unmask_desk unmask_reviewer
login policy unmask_lead unmask_policy
login owner unmask_keeper unmask_owner
login readonly unmask_dashboards unmask_readonly

# Redis: the users of redis/users.acl, each with the SHA-256 of its password.
cp "$here/redis/users.acl" "$folder/users.acl"
user() { # file, user
    secret=$(password)
    digest=$(printf %s "$secret" | sha256sum | cut -d' ' -f1)
    sed -i "/^user $2 /s/CHANGE_ME/$digest/" "$folder/users.acl"
    say "$1" "redis://$2:$secret@valkey:6379/0"
}
user worker_broker_url unmask_worker
user uploader_broker_url unmask_uploader
user metrics_broker_url unmask_metrics
# Its exporter wants a map from address to password.
printf '{"redis://unmask_metrics@valkey:6379": "%s"}\n' "$secret" > "$folder/redis_exporter.json"
rm "$folder/metrics_broker_url"

say grafana_password "$(password)"
echo "made $folder" >&2
