# Runs as root in a mount namespace of its own: sh images.sh DISK PROJECT. Puts Docker's images onto the image of a
# disk.
#
# A daemon of its own builds them there; what has not changed since the last time it takes from that disk. The base is
# $BASE, or Debian's if it can be pulled, or else made of Debian's packages.
set -e
disk=$1
project=$2
work=$(mktemp -d)
clean_up() {
    set +e
    kill $daemon && wait $daemon
    umount "$work/data"
    umount "$work"/exec/netns/*
    rm -r --one-file-system "$work"
}
trap 'clean_up 2>/dev/null' EXIT
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
until docker version >/dev/null 2>&1; do
    kill -0 $daemon 2>/dev/null || { tail -3 "$work/log"; exit 1; }
    sleep 0.5
done
sh "$project/docker/build"
docker image prune --force >/dev/null
