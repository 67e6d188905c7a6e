# Runs as root in a guest of the lab: sh dockerd.sh PORT. A Docker daemon over the guest's disk, for the host alone.
set -e
modprobe -a bridge br_netfilter ext4 overlay veth virtio_blk virtio_net
device=$(basename /sys/class/net/e*)
ip link set "$device" up
ip address add 10.0.2.15/24 dev "$device"
mkdir /run/docker-data
mount /dev/vda /run/docker-data
# Where Docker finds AppArmor, it asks for its parser.
if mountpoint -q /sys/kernel/security; then umount /sys/kernel/security; fi
# Docker calls iptables eight times for each container, so that it can look up names, which nothing here does. Emulated,
# that takes longer than all the tests.
mount --bind /bin/true "$(readlink -f /usr/sbin/iptables)"
exec dockerd --data-root /run/docker-data --host "tcp://10.0.2.15:$1" --tls=false --iptables=false --ip6tables=false
