# Sourced by .ci/run and scripts/prove: stages whose output is kept in files, in
# lanes that go on side by side, and one table of them at the end.
logs=$(mktemp -d)
lanes=()
trap finish EXIT
trap 'exit 130' INT TERM

# Runs a command as a stage: stage NAME COMMAND...
stage() {
  local name=$1 status=0 real user system
  shift
  TIMEFORMAT='%R %U %S'
  { time "$@" >"$logs/$name.log" 2>&1 || status=$?; } 2>"$logs/$name.time"
  # Another lane has failed, and this one was ended.
  if [ -e "$logs/failed" ] && [ -z "${go_on:-}" ]; then exit 1; fi
  read -r real user system < <(tail -n 1 "$logs/$name.time")
  printf '%-14s %-6s %7.0f s %7.0f s CPU  %s\n' "$name" "$( ((status)) && echo FAILED || echo ok)" \
    "$real" "$(awk "BEGIN {print $user + $system}")" "$(last_line "$name")" >"$logs/$name.row"
  echo "$name: $( ((status)) && echo FAILED || echo ok) after $SECONDS s"
  if ((status)); then
    echo "$name" >>"$logs/failed"
    # What is still to come would only hide it.
    if [ -z "${go_on:-}" ]; then exit 1; fi
  fi
}

last_line() { grep -v '^\s*$' "$logs/$1.log" | tail -n 1 | tr -d '=' | cut -c 1-100; }

# Runs a function of stages beside what follows, in a process group of its own.
lane() {
  set -m
  ("$@") &
  lanes+=($!)
  set +m
}

# Waits for the lanes; the first that fails ends the others.
join_lanes() {
  while ((${#lanes[@]})); do
    local ended status=0 left=()
    wait -n -p ended "${lanes[@]}" || status=$?
    for one in "${lanes[@]}"; do [ "$one" = "$ended" ] || left+=("$one"); done
    lanes=("${left[@]}")
    if ((status)); then exit 1; fi
  done
}

# Ends a lane as Ctrl-C does, so that its processes clean up, or with more force.
end_lane() {
  local signal
  for signal in INT TERM KILL; do
    kill -"$signal" -- "-$1" 2>/dev/null || return 0
    for _ in {1..50}; do
      kill -0 -- "-$1" 2>/dev/null || return 0
      sleep 0.2
    done
  done
}

finish() {
  local status=$? name
  trap - EXIT
  for one in "${lanes[@]}"; do end_lane "$one"; done
  if [ -s "$logs/failed" ]; then
    status=1
    while read -r name; do
      printf '\n--- the end of what %s said\n' "$name"
      tail -n 40 "$logs/$name.log" | cut -c 1-300
    done <"$logs/failed"
  fi
  printf '\n'
  (cd "$logs" && ls -tr -- *.row 2>/dev/null | xargs -r cat)
  if ((status)); then
    echo "failed: $(paste -sd ' ' "$logs/failed" 2>/dev/null || echo 'before its end')"
  else
    echo "passed after $SECONDS s"
  fi
  rm -rf "$logs"
  exit "$status"
}
