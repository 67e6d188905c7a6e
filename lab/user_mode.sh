# The first process of a kernel in user mode: sh user_mode.sh MODULES SHARED [RWDIR...]
#
# It sees the host's files as an overlay's lower layer: what is written is thrown away with the guest, but for the
# folder that both share (SHARED) and those that may be written (RWDIR). MODULES is the folder of the kernel's
# modules, or empty.
set -e
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
modules=$1
shared=$2
shift

if [ "$modules" ]; then insmod "$modules/kernel/fs/overlayfs/overlay.ko"; fi
mount -t tmpfs lab /run
mkdir /run/root /run/upper /run/work
mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work lab /run/root
cd /run/root
mount -t devtmpfs dev dev
mkdir -p dev/shm dev/pts
mount -t tmpfs shm dev/shm
mount -t devpts pts dev/pts
mount -t proc proc proc
mount -t sysfs sys sys
mount -t tmpfs run run
for folder; do
    mount -t hostfs -o "$folder" lab ".$folder"
done
if [ "$modules" ]; then
    mkdir -p "lib/modules/$(uname -r)"
    mount --bind ".$modules" "lib/modules/$(uname -r)"
fi
pivot_root . mnt
umount -l mnt
# Other kernels have IPv6 from the start, and XFRM does not ask for its module.
if [ "$modules" ]; then modprobe ipv6; fi
ip link set lo up

set +e
cd "$shared"
sh command </dev/null >stdout 2>stderr
echo $? >status.new
mv status.new status
busybox poweroff -f
