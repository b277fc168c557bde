#!/usr/bin/env bash
# Bring the schemas up to date, replace the services by the image CARILLON_IMAGE, and wait until each can serve.
set -euo pipefail
cd "$(dirname "$0")"

ready='import urllib.request; urllib.request.urlopen("http://127.0.0.1:8000/ready", timeout=4)'

docker compose pull --quiet
docker compose up --detach --no-build --remove-orphans # migrates first; stops here when that fails

for service in $(docker compose config --services); do
  case "$service" in postgres | rabbitmq | redis | migrate) continue ;; esac
  for attempt in $(seq 60); do
    if docker compose exec -T "$service" python -c "$ready" 2>/dev/null; then
      echo "$service is ready"
      continue 2
    fi
    sleep 2
  done
  echo "$service is not ready after $attempt tries; docker compose logs $service tells why" >&2
  exit 1
done
