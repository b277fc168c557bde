#!/bin/sh
# Makes the secrets that compose.yaml hands out, a file each in the folder secrets. What is there stays: run it again at any time.
set -eu
cd "$(dirname "$0")"

random() {
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}
[ "$(random | wc -c)" -eq 48 ] || { echo "make-secrets.sh: no random values to be had; nothing was made" >&2; exit 1; }

umask 077
mkdir -p secrets
chmod 700 secrets # whoever is in a container reads the one file that is mounted there; on this machine nobody else comes in

put() { # put NAME VALUE
  [ -s "secrets/$1" ] && return
  printf '%s\n' "$2" > "secrets/$1.new"
  chmod 644 "secrets/$1.new"
  mv -f "secrets/$1.new" "secrets/$1"
}

put postgres_password "$(random)"
for service in users templates gateway email_worker push_worker; do
  put "${service}_password" "$(random)"
  put "${service}_database_url" "postgresql://$service:$(cat "secrets/${service}_password")@postgres:5432/$service"
done
put rabbitmq.conf "default_user = carillon
default_pass = $(random)"
put broker_url "amqp://carillon:$(sed -n 's/^default_pass = //p' secrets/rabbitmq.conf)@rabbitmq:5672/"
put grafana_password "$(random)"
put smtp_url 'smtp://mail_catcher:2525?tls=none'
