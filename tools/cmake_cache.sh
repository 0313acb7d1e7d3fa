# Sourced by tools/build and tools/test, which stand at the top of the tree.

# True when FOLDER/CMakeCache.txt serves this tree no more: it was made for a clone elsewhere (this one was copied or
# moved), or by tools that are gone.
cache_is_stale() {  # FOLDER
  local path
  cached() { sed -n "s/^$2:[A-Z]*=//p" "$1/CMakeCache.txt"; }
  path=$(cached "$1" CMAKE_CACHEFILE_DIR)
  [ "$path" -ef "$1" ] || return 0
  path=$(cached "$1" CMAKE_HOME_DIRECTORY)
  [ "$path" -ef . ] || return 0
  for path in "$(cached "$1" CMAKE_CXX_COMPILER)" "$(cached "$1" CMAKE_MAKE_PROGRAM)"; do
    command -v "$path" >/dev/null || return 0
  done
  return 1
}

# Sets `cache_options`: how to call cmake for FOLDER, anew where its cache does not serve, with Ninja where there is one.
choose_cache_options() {  # FOLDER
  cache_options=()
  if [ -f "$1/CMakeCache.txt" ]; then
    cache_is_stale "$1" || return 0
    echo "$1/ was made in another place or by tools that are gone: it is made again"
    cache_options+=(--fresh)
  fi
  if command -v ninja >/dev/null; then cache_options+=(-G Ninja); fi
}

# The end of a message about cmake's failure: how to install what cmake says (in LOG) is not installed.
install_hint() {  # LOG
  if grep -qiE 'could not find|no CMAKE_[A-Z]+_COMPILER could be found|CMAKE_MAKE_PROGRAM is not set' "$1"; then
    echo "; ./tools/install_deps installs what is missing"
  fi
}
