#!/usr/bin/env bash
# Runs tests under another kernel, or on another processor: boots a small Debian in qemu-system,
# with this checkout in it.
#
#   npm run test:machine -- arm64 test/api               the suite, or the parts given to vitest
#   npm run test:machine -- --smoke arm64                each engine once, restore, the heap, and
#                                                        the output of `stillframe doctor`; with
#                                                        --all after it, all engines must be usable
#   npm run test:machine -- --table x64-6.1 arm64        every engine as root and as a user: rows
#                                                        for docs/PLATFORMS.md
#   npm run test:machine -- --cpp arm64 --gtest_brief=1  the C++ tests, with these arguments
#   npm run test:machine -- --run 'uname -a' x64-6.1     any bash command, in the checkout, such as
#                                        'scripts/test-filesystems.sh --table vfat nfs 9p'
#
#   --user         as an ordinary user instead of root
#   --sysctl K=V   sets this first, as in sysctl(8); may be repeated
#   --minutes N    ends the run after N minutes (default: 60)
#   --memory MIB   memory of the machine (default: 3072)
#   --addons DIR   uses the binaries of a release (such as prebuilds/linux-arm64-glibc)
#                  instead of compiling
#
# Machines, all with the programs of Debian bookworm and the same major version of Node as here:
#
#   x64-5.10, x64-6.1, x64-6.12                the kernels of Debian bullseye, bookworm and trixie
#   arm64-6.1, arm64-6.12 (or arm64)           of bookworm and trixie, with pages of 4 KiB
#   arm64-6.12-16k                             of trixie, with pages of 16 KiB
#
# Debian's packages are only unpacked, without running their scripts, which requires neither root
# nor a processor of that kind. Kernel and programs are fetched when first needed, into
# build-aside/machine/, and reused until that directory is removed. Addons for arm64 are
# cross-compiled here. Changes that the machine makes to its disks are lost when it ends. x64 runs
# in KVM if KVM accepts a common kernel; everything else runs in qemu's emulator, 10 to 30 times
# slower than here.
#
# Needs x64, the Debian packages qemu-system-x86 qemu-system-arm mmdebstrap e2fsprogs kmod cpio
# xz-utils g++-aarch64-linux-gnu (for --cpp also googletest), and dist/ and build/Release of this
# checkout (`npm ci` makes both). The scripts that run in the machine are in scripts/machine/.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin"

fail() {
  echo "test-machine: $*" >&2
  exit 1
}

user=root
minutes=60
memory=3072
given=
sysctls=()
mode=vitest
command=
machines=()
arguments=()

release_of() {
  case "$1" in
    x64-5.10) echo bullseye linux-image-amd64 ;;
    x64-6.1) echo bookworm linux-image-amd64 ;;
    x64-6.12) echo trixie linux-image-amd64 ;;
    arm64-6.1) echo bookworm linux-image-arm64 ;;
    arm64-6.12) echo trixie linux-image-arm64 ;;
    arm64-6.12-16k) echo trixie linux-image-arm64-16k ;;
    *) return 1 ;;
  esac
}

while [ $# -gt 0 ]; do
  argument="$1"
  shift
  case "$argument" in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --smoke | --table | --cpp) mode="${argument#--}" ;;
    --run) mode=run command="$1"; shift ;;
    --user) user=tester ;;
    --sysctl) sysctls+=("$1"); shift ;;
    --minutes) minutes="$1"; shift ;;
    --memory) memory="$1"; shift ;;
    --addons) given="$1"; shift ;;
    --) arguments+=("$@"); break ;;
    arm64) machines+=(arm64-6.12) ;;
    *)
      if [ ${#arguments[@]} = 0 ] && release_of "$argument" > /dev/null; then
        machines+=("$argument")
      else
        arguments+=("$argument")
      fi
      ;;
  esac
done
[ ${#machines[@]} -gt 0 ] || fail 'which machine? -h lists them'
[ "$(uname -m)" = x86_64 ] || fail 'needs x64: the addons for arm64 are cross compiled'
needed=(mmdebstrap mkfs.ext4 depmod cpio xz)
[[ " ${machines[*]}" != *' x64'* ]] || needed+=(qemu-system-x86_64)
[[ " ${machines[*]}" != *' arm64'* ]] || needed+=(qemu-system-aarch64 aarch64-linux-gnu-g++)
for tool in "${needed[@]}"; do
  command -v "$tool" > /dev/null || fail "needs $tool (Debian's packages are named by -h)"
done
[ -f dist/index.js ] && [ -f build/Release/stillframe.node ] || fail 'needs dist/ and build/Release (npm ci)'

aside="$PWD/build-aside/machine"
mkdir -p "$aside"
work="$(mktemp -d "$aside/run.XXXXXX")"
qemu=
clean_up() {
  # Including the processes that `timeout` has started: they form a group.
  [ -z "$qemu" ] || kill -KILL -- "-$qemu" 2> /dev/null || true
  wait
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Tells node-gyp and make the cross compiler, through ccache if it is installed.
ccache=
! command -v ccache > /dev/null || ccache='ccache '
cross=(env CCACHE_NOHASHDIR=1 CC="${ccache}aarch64-linux-gnu-gcc" CXX="${ccache}aarch64-linux-gnu-g++"
  AR=aarch64-linux-gnu-ar LINK=aarch64-linux-gnu-g++)

node_major="$(node -p 'process.versions.node.split(".")[0]')"

debian_arch() {
  case "$1" in x64*) echo amd64 ;; arm64*) echo arm64 ;; esac
}

# unpack ARCH RELEASE DIRECTORY PACKAGES: unpacks Debian packages with all their dependencies.
unpack() {
  # With mmdebstrap's hook for a merged /usr, which packages of that release expect.
  mmdebstrap --quiet --variant=extract --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --architectures="$1" \
    --include="$4" "$2" "$3" > "$work/unpack.log" 2>&1 || {
    tail -n 20 "$work/unpack.log" >&2
    fail "mmdebstrap of $2, $1 failed"
  }
}

# disk FILE SIZE DIRECTORY: makes a disk image with the contents of the directory.
disk() {
  truncate -s "$2" "$1"
  mkfs.ext4 -q -F -m 0 -E root_owner=0:0 -d "$3" "$1"
}

# The drivers of the machine's disks, and the filesystems that scripts/test-filesystems.sh may need.
drivers=(virtio_pci virtio_mmio virtio_blk virtio_console virtio_rng ext4 loop fuse overlay
  vfat nls_cp437 nls_ascii nls_utf8 exfat f2fs nfsv4 nfsd 9p 9pnet_fd)

# Makes kernel/vmlinuz and the initrd of a machine. The initrd holds busybox, the drivers of the
# machine's disks, and scripts/machine/init.
make_kernel() {
  local machine="$1" release package tree version module
  kernel="$aside/kernel-$machine"
  [ "$(cat "$kernel/drivers" 2> /dev/null)" != "${drivers[*]}" ] || return 0
  read -r release package <<< "$(release_of "$machine")"
  echo "== fetching $package of Debian $release"
  tree="$work/kernel-tree"
  unpack "$(debian_arch "$machine")" "$release" "$tree" "$package,busybox-static"
  version="$(cd "$tree/lib/modules" && ls)"
  depmod -b "$tree" "$version"
  local initrd="$work/initrd"
  mkdir -p "$initrd"/{bin,modules,proc,sys,dev,root}
  cp "$tree/bin/busybox" "$initrd/bin/"
  # Built-in drivers have no file. A driver that this kernel lacks is not missed until something
  # needs it.
  for module in "${drivers[@]}"; do
    modprobe --dirname "$tree" --set-version "$version" --show-depends "$module" 2> /dev/null || true
  done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' > "$work/modules"
  while read -r module; do
    case "$module" in
      *.xz) xz -dc "$module" > "$initrd/modules/$(basename "$module" .xz)" ;;
      *) cp "$module" "$initrd/modules/" ;;
    esac
    basename "$module" .xz >> "$initrd/modules/order"
  done < "$work/modules"
  touch "$initrd/modules/order"
  mkdir "$work/kernel"
  cp "$initrd/modules/order" "$work/kernel/modules"
  cp "$tree/boot/vmlinuz-$version" "$work/kernel/vmlinuz"
  cp "$tree/boot/config-$version" "$work/kernel/config"
  mv "$initrd" "$work/kernel/initrd"
  echo "${drivers[*]}" > "$work/kernel/drivers"
  rm -rf "$kernel"
  mv "$work/kernel" "$kernel"
  rm -rf "$tree"
}

# Packed again each time, since scripts/machine/init may have changed.
make_initrd() {
  cp scripts/machine/init "$kernel/initrd/init"
  chmod 755 "$kernel/initrd/init"
  (cd "$kernel/initrd" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 | gzip -1) > "$work/initrd.gz"
}

# The programs: those of an essential Debian, and those that tests use.
programs=base-files,base-passwd,bash,bsdutils,coreutils,dash,debianutils,diffutils,findutils,grep,gzip,hostname,libc-bin,login
programs+=,mawk,ncurses-base,ncurses-bin,passwd,perl-base,sed,tar,util-linux,mount,iproute2,kmod,procps,libcap2-bin,e2fsprogs
programs+=,gcc,libc6-dev,binutils,gdb,strace,redis-server,util-linux-extra,git
programs+=,dosfstools,exfatprogs,f2fs-tools,nfs-kernel-server,diod

make_debian() {
  local arch="$1" tree="$work/debian" sum
  sum="$(sha256sum <<< "$programs" | cut -c1-12)"
  debian="$aside/debian-$arch-$sum.ext4"
  [ ! -e "$debian" ] || return 0
  echo "== fetching Debian bookworm, $arch"
  unpack "$(debian_arch "$arch")" bookworm "$tree" "$programs"
  # Does what the packages' scripts would have done, as far as anything here needs it.
  cp "$tree/usr/share/base-passwd/passwd.master" "$tree/etc/passwd"
  cp "$tree/usr/share/base-passwd/group.master" "$tree/etc/group"
  sed -i 's/^\([^:]*\):\*:/\1:x:/' "$tree/etc/passwd"
  echo 'tester:x:1000:1000::/home/tester:/bin/bash' >> "$tree/etc/passwd"
  echo 'tester:x:1000:' >> "$tree/etc/group"
  ln -sf gcc "$tree/usr/bin/cc"
  ln -sf mawk "$tree/usr/bin/awk"
  rm -f "$tree/etc/resolv.conf"
  echo machine > "$tree/etc/hostname"
  echo '127.0.0.1 localhost machine' > "$tree/etc/hosts"
  printf 'passwd: files\ngroup: files\nhosts: files\n' > "$tree/etc/nsswitch.conf"
  mkdir -p "$tree/srv" "$tree/opt" "$tree/home/tester" "$tree/dev/shm" "$tree/etc/ld.so.conf.d"
  rm -rf "$tree/usr/share/doc" "$tree/usr/share/man" "$tree/usr/share/locale" "$tree/var/lib/apt" "$tree/var/cache/apt"
  rm -f "$aside/debian-$arch"*.ext4
  disk "$work/debian.ext4" 8G "$tree"
  mv "$work/debian.ext4" "$debian"
  rm -rf "$tree"
}

# Node, and node_modules with the binaries for that processor.
make_modules() {
  local arch="$1" tree="$work/modules-tree" sum
  sum="$(cat package-lock.json <(node --version) | sha256sum | cut -c1-12)"
  modules="$aside/modules-$arch-$sum.ext4"
  headers="$aside/node-$arch-$node_major"
  [ ! -e "$modules" ] || return 0
  echo "== fetching Node $node_major and node_modules, $arch"
  mkdir -p "$tree" "$headers"
  # npm installs a package for another processor only with --force.
  npm install --prefix "$headers" --no-save --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error --force \
    "node-linux-$arch@$node_major"
  cp package.json package-lock.json "$tree/"
  npm ci --prefix "$tree" --cpu="$arch" --os=linux --libc=glibc --ignore-scripts --no-audit --no-fund --loglevel=error
  mkdir "$tree/bin"
  cp "$headers/node_modules/node-linux-$arch/bin/node" "$tree/bin/"
  rm -f "$aside/modules-$arch"-*.ext4
  disk "$work/modules.ext4" 2G "$tree"
  mv "$work/modules.ext4" "$modules"
  rm -rf "$tree"
}

# The addons for that processor, in $addons.
make_addons() {
  local arch="$1" log="$work/addons.log"
  addons=build/Release
  if [ -n "$given" ]; then
    addons="$work/given"
    mkdir -p "$addons"
    cp "$given/stillframe.node" "$addons/"
    cp "$given/stillframe_heap-node$node_major.node" "$addons/stillframe_heap.node"
    return 0
  fi
  [ "$arch" != x64 ] || return 0
  echo "== compiling the addons for $arch"
  local aside_name="machine-$arch-$node_major"
  "${cross[@]}" npm_config_nodedir="$headers/node_modules/node-linux-$arch" scripts/build-aside.sh "$aside_name" --arch="$arch" \
    --nodedir="$headers/node_modules/node-linux-$arch" > "$log" 2>&1 || { tail -n 40 "$log" >&2; fail 'the addons cannot be compiled'; }
  addons="build-aside/$aside_name/build/Release"
}

# The C++ tests for that processor, in $cpp. GoogleTest's sources are Debian's package googletest.
make_cpp() {
  local arch="$1" log="$work/cpp.log" compiler=()
  echo "== compiling the C++ tests for $arch"
  [ "$arch" = x64 ] || compiler=("${cross[@]}")
  "${compiler[@]}" make --no-print-directory -f native/test/Makefile FLAVOUR=plain OUT="$PWD/build-native/machine-$arch" \
    LDFLAGS=-static-libstdc++ -j "$(nproc)" > "$log" 2>&1 || { tail -n 40 "$log" >&2; fail 'the C++ tests cannot be compiled'; }
  cpp="build-native/machine-$arch/stillframe_test"
}

# The checkout as it is, including uncommitted files but without those that git ignores, and the
# settings of this run.
make_checkout() {
  local tree="$work/srv"
  mkdir -p "$tree/stillframe/build/Release" "$tree/stillframe/node_modules" "$tree/machine"
  git ls-files -co --exclude-standard -z | while IFS= read -r -d '' file; do
    [ ! -e "$file" ] || printf '%s\0' "$file"
  done | cpio --quiet -0 -pd "$tree/stillframe"
  cp -R dist "$tree/stillframe/"
  cp "$addons"/*.node "$tree/stillframe/build/Release/"
  [ "$mode" != cpp ] || cp "$cpp" "$tree/machine/stillframe_test"
  cp scripts/machine/run "$tree/machine/run"
  chmod 755 "$tree/machine/run"
  declare -p mode command arguments user sysctls seconds > "$tree/machine/settings"
  disk "$work/checkout.ext4" 2G "$tree"
  rm -rf "$tree"
}

# boot ACCELERATOR SECONDS [KERNEL ARGUMENTS]: the machine's output is in
# $work/{console,output,status}.
boot() {
  local accelerator="$1" limit="$2" accel=() console disks=() name
  shift 2
  case "$machine" in
    x64*)
      console=ttyS0
      accel=(qemu-system-x86_64 -machine pc)
      # When emulated, without the five-level page tables of `max`, which this version of qemu gets
      # wrong.
      case "$accelerator" in kvm) accel+=(-accel kvm -cpu host) ;; *) accel+=(-accel 'tcg,thread=multi' -cpu max,la57=off) ;; esac
      ;;
    arm64*)
      console=ttyAMA0
      # Has the atomic instructions of current servers, and pages of 4, 16 and 64 KiB.
      accel=(qemu-system-aarch64 -machine virt -accel 'tcg,thread=multi' -cpu neoverse-n1)
      ;;
  esac
  for name in "debian=$debian" "modules=$modules" "checkout=$work/checkout.ext4"; do
    # A machine that only probes whether it boots has no checkout yet.
    [ -e "${name#*=}" ] || continue
    disks+=(-drive "id=${name%%=*},file=${name#*=},format=raw,if=none,snapshot=on,cache=unsafe"
      -device "virtio-blk-pci,drive=${name%%=*},serial=${name%%=*}")
  done
  : > "$work/output"
  : > "$work/status"
  TMPDIR="$work" timeout --kill-after=5 "$limit" "${accel[@]}" -smp 2 -m "$memory" -nodefaults -display none -no-reboot \
    -serial "file:$work/console" -kernel "$kernel/vmlinuz" -initrd "$work/initrd.gz" \
    -append "console=$console panic=-1 $*" "${disks[@]}" \
    -device virtio-rng-pci -device virtio-serial-pci \
    -chardev "file,id=output,path=$work/output" -device virtserialport,chardev=output,name=output \
    -chardev "file,id=status,path=$work/status" -device virtserialport,chardev=status,name=status \
    < /dev/null > "$work/qemu.log" 2>&1 &
  qemu=$!
}

wait_for_machine() {
  local ended=0
  # The shell would print how it died.
  wait "$qemu" 2> /dev/null || ended=$?
  qemu=
  return "$ended"
}

# In some clouds KVM accepts only kernels made for it. Probed once per boot of this machine.
choose_accelerator() {
  accelerator=tcg
  [[ "$machine" == x64* ]] || return 0
  [ -r /dev/kvm ] && [ -w /dev/kvm ] || return 0
  local verdict="$aside/kvm-$machine"
  if [ "$(head -n 1 "$verdict" 2> /dev/null)" != "$(< /proc/sys/kernel/random/boot_id)" ]; then
    echo '== trying KVM'
    boot kvm 30 stillframe.probe
    wait_for_machine || true
    { cat /proc/sys/kernel/random/boot_id; grep -q 'machine: probe passed' "$work/console" && echo kvm || echo tcg; } > "$verdict"
  fi
  accelerator="$(tail -n 1 "$verdict")"
}

describe_accelerator() {
  case "$accelerator" in
    kvm) echo KVM ;;
    *) if [[ "$machine" == x64* ]] && [ -e /dev/kvm ]; then echo "qemu's emulator (KVM is there, but does not boot this kernel)"; else echo "qemu's emulator"; fi ;;
  esac
}

seconds=$((minutes * 60))
failed=()
for machine in "${machines[@]}"; do
  arch="${machine%%-*}"
  make_kernel "$machine"
  make_initrd
  make_debian "$arch"
  make_modules "$arch"
  make_addons "$arch"
  [ "$mode" != cpp ] || make_cpp "$arch"
  choose_accelerator
  make_checkout
  echo "== booting $machine, in $(describe_accelerator)"
  started=$SECONDS
  # The machine itself stops the command after this time; booting takes extra time.
  boot "$accelerator" $((seconds + 180))
  tail --pid="$qemu" --sleep-interval=0.2 -n +1 -f "$work/output" 2> /dev/null &
  follow=$!
  ended=0
  wait_for_machine || ended=$?
  wait "$follow" || true
  status="$(tail -n 1 "$work/status")"
  cp "$work/console" "$aside/console-$machine.log"
  if [ -z "$status" ]; then
    tail -n 30 "$work/console" "$work/qemu.log" >&2
    status="none: qemu ended with $ended; its console is $aside/console-$machine.log"
  fi
  echo "== $machine: status $status after $((SECONDS - started)) s"
  [ "$status" = 0 ] || failed+=("$machine")
done
[ ${#failed[@]} = 0 ] || fail "failed on ${failed[*]}"
