# Runs as root in a guest of the lab: sh dockerd.sh COMMAND... Runs it with a Docker daemon over the guest's disk.
set -e
log=/run/docker.log
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /var/lib/docker
mount /dev/ubda /var/lib/docker
# Docker calls iptables many times for each network and container, for ports and names that nothing here uses.
ln -sf /bin/true /usr/sbin/iptables
# What a container does with iptables loads no modules.
modprobe -a ip_tables iptable_nat
dockerd --bridge none --iptables=false --ip6tables=false >$log 2>&1 &
until docker version >/dev/null 2>&1; do
    kill -0 $! 2>/dev/null || { tail -3 $log >&2; exit 1; }
    sleep 0.2
done
# To start a process takes long in user mode: what does so at the same time waits for each other.
export COMPOSE_HTTP_TIMEOUT=600 PFKEYX_HEALTH_INTERVAL=600s
exec "$@"
