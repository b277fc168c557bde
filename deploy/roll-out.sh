#!/usr/bin/env bash
# Bring the schemas up to date, replace the services by the image CARILLON_IMAGE, wait until each can serve, and ask at the
# front door. What fails is rolled back to the image that ran before; the schemas stay, for a release can run on the next one's.
set -euo pipefail
cd "$(dirname "$0")"

ready='import urllib.request; urllib.request.urlopen("http://127.0.0.1:8000/ready", timeout=4)'
tries=${ROLL_OUT_TRIES:-60}   # how often a service is asked whether it is ready
pause=${ROLL_OUT_PAUSE:-2}    # seconds between two
door=${FRONT_DOOR:-}          # where the proxy answers; without it there is no smoke test
now=${CARILLON_IMAGE:-$(sed -n "s/^CARILLON_IMAGE=//p" .env 2>/dev/null || true)}
now=${now:-carillon}

ours() { # the services of Carillon that are enabled
  docker compose config --services | grep -xE 'users|templates|gateway|email_worker|push_worker'
}

running() { # the image of the gateway that runs, empty where none does
  local id
  id=$(docker compose ps --quiet gateway) && [ -n "$id" ] && docker inspect --format '{{.Config.Image}}' "$id" || true
}

all_ready() {
  local service attempt
  for service in $(ours); do
    for attempt in $(seq "$tries"); do
      if docker compose exec -T "$service" python -c "$ready" 2>/dev/null; then
        echo "$service is ready"
        continue 2
      fi
      sleep "$pause"
    done
    echo "$service is not ready after $attempt tries; docker compose logs $service tells why" >&2
    return 1
  done
}

smoke() {
  [ -z "$door" ] || docker compose run --rm --no-deps -T migrate carillon smoke "$door"
}

before=$(running)
export CARILLON_IMAGE=$now

# The migration has to end well before anything is replaced.
docker compose pull --quiet
if docker compose up --detach --no-build --remove-orphans && all_ready && smoke; then
  echo "$now serves"
  exit 0
fi

if [ -z "$before" ] || [ "$before" = "$now" ]; then
  echo "$now does not serve, and there is no other image to go back to" >&2
  exit 1
fi
echo "$now does not serve: back to $before" >&2
export CARILLON_IMAGE=$before
mapfile -t services < <(ours)
if docker compose up --detach --no-build --no-deps "${services[@]}" && all_ready; then
  echo "$before serves again" >&2
else
  echo "$before is not ready either; docker compose ps and logs tell why" >&2
fi
exit 1
