#!/bin/sh
# Writes the secrets that compose.yaml uses: `make secrets`, or `deploy/secrets.sh FOLDER`. Every password is new, long
# and random. The script writes only files that are missing, and leaves the others alone; but it always writes
# logins.sql and users.acl again, from the other files.
#
# To change one password, remove its file and run this again; "Keys are rotated" in RUNBOOK.md has the steps.
# PostgreSQL's superuser and Grafana's admin are different: their volumes keep the password of the first start, and that
# section says how to change it. Never remove the whole folder.
#
# All users may read the files, because containers read them as other users; the folder is closed to others.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/secrets}
umask 022
mkdir -p "$folder"
chmod 700 "$folder"
made=

password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
missing() { [ ! -s "$folder/$1" ]; }
say() { printf '%s\n' "$2" > "$folder/$1"; made="$made $1"; }
stop() {
    echo "$folder/$1" >&2
    exit 1
}
read_url() { # file; sets name and secret
    secret=$(sed -n 's|^[a-z]*://\([a-z0-9_]*:[A-Za-z0-9._~-]*\)@.*|\1|p' "$folder/$1")
    name=${secret%%:*} secret=${secret#*:}
    [ -n "$secret" ] || stop "$1: has no name and password of letters, digits and . _ ~ - alone, as it needs"
}

# PostgreSQL: its superuser, and a login for each program and person; sql/roles.sql says what each may do.
if missing postgres_password; then
    for file in "$folder"/*_url; do # the database already has its password, and would refuse another
        [ ! -e "$file" ] || stop "postgres_password: is missing; put it back (migrate_database_url has it)"
    done
    say postgres_password "$(password)"
fi
superuser=$(cat "$folder/postgres_password")
missing migrate_database_url && say migrate_database_url "postgresql://postgres:$superuser@postgres/unmask"
logins=
login() { # file, login, role
    if missing "$1_database_url"; then say "$1_database_url" "postgresql://$2:$(password)@postgres/unmask"; fi
    read_url "$1_database_url"
    logins="$logins
DO \$\$ BEGIN CREATE ROLE $name LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END \$\$;
ALTER ROLE $name LOGIN PASSWORD '$secret';
GRANT $3 TO $name;"
}
login worker unmask_scorer unmask_worker
login uploader unmask_uploads unmask_uploader
login console unmask_desk unmask_console
login api unmask_door unmask_api
login policy unmask_lead unmask_policy
login owner unmask_keeper unmask_owner
login readonly unmask_dashboards unmask_readonly
printf '%s\n' "$logins" > "$folder/logins.sql"

# Redis: the users of redis/users.acl, each with the SHA-256 of its password.
users=$(cat "$here/redis/users.acl")
user() { # user, password
    digest=$(printf %s "$2" | sha256sum | cut -d' ' -f1)
    users=$(printf '%s\n' "$users" | sed "/^user $1 /s/CHANGE_ME/$digest/")
}
client() { # file, user
    if missing "$1"; then say "$1" "redis://$2:$(password)@valkey:6379/0"; fi
    read_url "$1"
    user "$2" "$secret"
}
client worker_broker_url unmask_worker
# Its exporter wants a map from address to password.
if missing redis_exporter.json; then
    say redis_exporter.json "{\"redis://unmask_metrics@valkey:6379\": \"$(password)\"}"
fi
user unmask_metrics "$(sed 's/.*: "\(.*\)"}/\1/' "$folder/redis_exporter.json")"
# For people who use valkey-cli: RUNBOOK.md says when.
missing admin_redis_password && say admin_redis_password "$(password)"
user unmask_admin "$(cat "$folder/admin_redis_password")"
printf '%s\n' "$users" > "$folder/users.acl"

# Webhooks: none are sent until webhook_url holds an address. Neither file ends with a newline, because Kubernetes turns
# them into variables.
[ -e "$folder/webhook_url" ] || : > "$folder/webhook_url"
if missing webhook_secret; then
    printf 'whsec_%s' "$(head -c 32 /dev/urandom | base64)" > "$folder/webhook_secret"
    made="$made webhook_secret"
fi

missing grafana_password && say grafana_password "$(password)"
echo "made in $folder:${made:- nothing, all is there}" >&2
