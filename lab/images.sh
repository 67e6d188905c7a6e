# Runs as root in mount and PID namespaces of its own: sh images.sh DISK PROJECT WORK. Puts Docker's images onto the
# image of a disk; WORK is an empty folder.
#
# A daemon of its own builds them there; what has not changed since the last time it takes from that disk. The base is
# $BASE, or Debian's if it can be pulled, or else made of Debian's packages.
set -e
disk=$1
project=$2
export TMPDIR=$3 work=$3
mkdir "$work/data"
# Nothing here has to survive the machine: what is unfinished is made anew.
if ! mount -o loop,barrier=0 "$disk" "$work/data" 2>/dev/null; then
    truncate --size 0 "$disk"
    truncate --size 8G "$disk"
    mkfs.ext4 -q -F -O ^has_journal "$disk"
    mount -o loop,barrier=0 "$disk" "$work/data"
fi
export DOCKER_HOST="unix://$work/docker.sock"
dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" --host "$DOCKER_HOST" \
    --bridge none --iptables=false --ip6tables=false 2>"$work/log" &
daemon=$!
trap 'kill $daemon; wait $daemon; umount "$work/data"' EXIT
until docker version >/dev/null 2>&1; do
    kill -0 $daemon 2>/dev/null || { tail -3 "$work/log"; exit 1; }
    sleep 0.5
done
sh "$project/docker/build"
docker image prune --force >/dev/null
