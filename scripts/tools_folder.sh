# Sourced by other scripts: the folder of tools that clones share, and Debian
# packages unpacked in it.
tools="${EMU_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/emu-professional-development}"
[[ $tools = /* ]] || tools="$PWD/$tools"

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# Clones share the tools, terminals share the clone: one set-up at a time. The
# lock goes with this process, however it ends.
wait_for_others() {
  mkdir -p "$tools"
  exec 9>"$tools/lock"
  python3 -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' 2>/dev/null || true
}

# Fetches Debian packages and unpacks them into a folder, without root and apart
# from the machine's own packages; apt checks their signatures. What to fetch is
# said in apt-get's own words. From the machine's own sources come what a package
# needs and the machine lacks, from others all that it needs.
unpack_packages() {
  local folder=$1 sources=$2 state="$tools/apt" package
  shift 2
  rm -rf "$state" "$folder"
  mkdir -p "$state"/{lists,archives}/partial "$folder"
  local apt=(apt-get -qq -y
    -o Dir::State="$state" -o Dir::State::status="$state/status" -o Dir::State::lists="$state/lists"
    -o Dir::Cache="$state" -o Dir::Cache::archives="$state/archives"
    -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o APT::Default-Release=
    -o APT::Sandbox::User= -o APT::Install-Recommends=false -o Acquire::Languages=none)
  if [ -n "$sources" ]; then
    : >"$state/status"
    echo "$sources" >"$state/sources.list"
    apt+=(-o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null)
  else
    cp /var/lib/dpkg/status "$state/status"
  fi
  "${apt[@]}" update >&2
  (cd "$state/archives" && "${apt[@]}" "$@" >&2)
  for package in "$state"/archives/*.deb; do
    dpkg -x "$package" "$folder"
  done
  rm -rf "$state"
}
