#!/bin/busybox sh
# First process of a guest, in the initramfs: modules, the host's root under a throw-away overlay, kernel file
# systems, cgroups and network; then the second stage (boot.sh) runs on the new root. Values come from /lab.conf.
# The first child cgroup is made here, while nothing else runs: made later under load it can oops an emulated guest.
set -u
export PATH=/bin
say() { echo "lab: $*" > /dev/kmsg; }
die() { echo "lab: init failed: $*" > /dev/kmsg; sleep 1; poweroff -f; }

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
. /lab.conf
while read -r module; do
  insmod "/modules/$module" || die "insmod $module"
done < /modules/order

# The host's root, read-only; whatever the guest writes goes to memory.
mount -t tmpfs -o mode=755,size=75% lab /rw
mkdir /rw/upper /rw/work
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host || die "mount 9p"
mount -t overlay -o lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work overlay /new || die "mount overlay"

mount --bind /new /all
for place in proc sys dev run tmp; do mkdir -p "/new/$place"; done
mount --move /proc /new/proc
mount --move /sys /new/sys
mount --move /dev /new/dev
mount -t tmpfs -o mode=755 run /new/run
mount -t tmpfs -o mode=1777 tmp /new/tmp
mkdir -p /new/run/lab/host /new/run/lock /new/dev/pts /new/dev/shm /new/dev/hugepages
mount --bind /host /new/run/lab/host
mount -t devpts -o mode=620,gid=5,ptmxmode=666 devpts /new/dev/pts
mount -t tmpfs -o mode=1777 shm /new/dev/shm
mount -t hugetlbfs hugetlbfs /new/dev/hugepages
mount -t tracefs tracefs /new/sys/kernel/tracing
ln -sf /proc/self/fd /new/dev/fd
ln -sf /proc/self/fd/0 /new/dev/stdin
ln -sf /proc/self/fd/1 /new/dev/stdout
ln -sf /proc/self/fd/2 /new/dev/stderr
# What the host keeps below a folder that was just covered is brought back to its place.
for place in $KEEP; do
  mkdir -p "/new$place" && mount --bind "/all$place" "/new$place" || die "keep $place"
done
# NUMA tools for those who test against them; libraries go where every program finds them.
cp "/host$TOOLS"/usr/bin/* /new/usr/local/bin/ || die "copy the tools"
for library in "/host$TOOLS"/usr/lib/x86_64-linux-gnu/*.so.*; do
  [ -e "/new/usr/lib/x86_64-linux-gnu/${library##*/}" ] || cp -a "$library" /new/usr/lib/x86_64-linux-gnu/
done
cp /bin/busybox /boot.sh /lab.conf /new/run/lab/

# A cgroup2 mount with every controller that is free, and a child that keeps them in use.
mount_cgroup2() {
  mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 "$1" || die "mount cgroup2"
  mkdir "$1/$keep"
  for group in "$1" "$1/$keep"; do
    for controller in $(cat "$1/cgroup.controllers"); do
      echo "+$controller" > "$group/cgroup.subtree_control"
    done
  done
}

cgroups=/new/sys/fs/cgroup
keep=numaplace-lab.keep
if [ "$CGROUP" = v2 ]; then
  mount_cgroup2 $cgroups
else
  # systemd's hybrid layout. Newer Debian kernels have no v1 cpuset and memory controllers: those are then in unified.
  mount -t tmpfs -o mode=755 cgroup $cgroups
  for set in cpuset cpu,cpuacct blkio memory devices freezer pids hugetlb perf_event; do
    mkdir $cgroups/$set
    if mount -t cgroup -o $set cgroup $cgroups/$set 2> /dev/null; then
      mkdir $cgroups/$set/$keep
    else
      rmdir $cgroups/$set
      say "this kernel has no v1 controller $set"
    fi
  done
  ln -s cpu,cpuacct $cgroups/cpu
  ln -s cpu,cpuacct $cgroups/cpuacct
  if [ -d $cgroups/cpuset ]; then
    for file in cpuset.cpus cpuset.mems; do
      cat $cgroups/cpuset/$file > $cgroups/cpuset/$keep/$file
    done
  fi
  mkdir $cgroups/unified
  mount_cgroup2 $cgroups/unified
fi

for pool in $HUGEPAGES_2M; do
  echo "${pool#*:}" > "/new/sys/devices/system/node/node${pool%:*}/hugepages/hugepages-2048kB/nr_hugepages"
done

hostname "$NAME"
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
say ready
exec switch_root /new /run/lab/busybox sh /run/lab/boot.sh
