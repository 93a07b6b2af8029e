#!/usr/bin/env bash
#
# The whole API with nothing but curl.
#
# Shows:  a token; the POST whose answer is the stream; the same POST again, which starts nothing;
#         the rest of a stream; a cancel; the list of tasks; a clean stop.
# Run:    bash examples/04_curl.sh
# Expect: every step with its answer, then "The server is gone". It takes about three seconds and
#         leaves nothing behind: the server runs on a free port with a data folder of its own.

set -euo pipefail

# The command as installed, or as `make run` has installed it beside this folder.
PATH="$PATH:$(cd "$(dirname "$0")/.." && pwd)/.venv/bin"

say() { printf '\n# %s\n' "$*"; }

# --- a server, and what is left of it when this script ends, however it ends -----------------

folder=$(mktemp -d)
server=

clean_up() {
    if [[ -n $server ]]; then
        kill -TERM "$server" 2>/dev/null || true
        wait "$server" || true
    fi
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# None of your settings: no .env, no poststream.toml, no variable.
cd "$folder"
unset "${!POSTSTREAM_@}"
export POSTSTREAM_DATA_DIR=$folder/data
export POSTSTREAM_SCRIPTED_AGENTS=1  # agents that play what inputs.script says

mkfifo printed
poststream serve --port 0 >printed 2>log &
server=$!
exec 3<printed
read -r line <&3 || { cat log; exit 1; }  # its first line comes once it serves: "… on http://…"
url=${line##* }

say "The server is $url"

# --- who asks --------------------------------------------------------------------------------

token=$(poststream token --sub ann --scope "tasks:read tasks:execute" --ttl 5m)

api() {  # api PATH [MORE FOR CURL ...]
    curl --silent --show-error --no-buffer --noproxy '*' -H "Authorization: Bearer $token" \
        -H "Content-Type: application/json" "${@:2}" "$url$1"
}

say "Who can be selected"
api /api/agents | grep -o '"agentRole":"[^"]*"' | sed -n 1,3p

# --- the answer of the POST is the stream ----------------------------------------------------

body='{
  "description": "Read, then write",
  "selectedAgents": ["scripted-1", "scripted-2"],
  "inputs": {"script": [
    {"agent": "scripted-1", "texts": ["Reading", "Understanding"], "delay": 0.2},
    {"agent": "scripted-2", "texts": ["Once upon", " a time"], "delay": 0.2, "kind": "content"}
  ]}
}'

say "The answer of the POST is the stream"
api /api/agents/execute/stream -D headers -H "Idempotency-Key: my-first-task" -d "$body"

task=$(grep -i '^x-task-id:' headers | tr -d '\r' | cut -d ' ' -f 2)

say "The same POST again finds the same task and starts nothing"
api /api/agents/execute/stream -D headers -H "Idempotency-Key: my-first-task" -d "$body" \
    | grep -c '^id: ' | sed 's/$/ events, the same ones/'
grep -i '^idempotency-replayed:' headers | tr -d '\r'

say "Everything after event 8"
api "/api/tasks/$task/stream" -H "Last-Event-ID: 8"

# --- a task that would never end -------------------------------------------------------------

say "A task that hangs, submitted without watching it"
answer=$(api /api/tasks -d '{
  "description": "Wait for Godot",
  "selectedAgents": ["scripted-1"],
  "inputs": {"script": [{"agent": "scripted-1", "outcome": "hang"}]}
}')
echo "$answer"
[[ $answer =~ \"taskId\":\"([^\"]+)\" ]]
task=${BASH_REMATCH[1]}

say "Cancel it"
api "/api/tasks/$task/cancel" -X POST
echo
api "/api/tasks/$task/stream" | tail -3  # its stream ends with an error that says so

say "All my tasks"
api "/api/tasks?status=completed,cancelled" | grep -oE '"title":"[^"]*"[^{[]*"status":"[^"]*"'

# --- the end ---------------------------------------------------------------------------------

say "Stop the server"
kill -TERM "$server"
wait "$server"
server=
echo "The server is gone; its log has $(wc -l <log | tr -d ' ') lines."
