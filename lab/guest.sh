# Runs as root in a booted guest, before the command: sh guest.sh MODULES [RWDIR...]
#
# virtme mounts the host's files so that every step of every path asks the host, which costs an emulated guest most
# of its time. Here the same export is mounted again with a cache, and put over each folder as the lower layer of
# an overlay: reading is fast, and what is written is thrown away with the guest. The folders that may be written
# (RWDIR, exported at /run/lab/rw/0, 1, ...) and the kernel's modules (MODULES) go on top, and over their
# af_key the one that is in the shared folder, if there is one.
set -e
lab=/run/lab
modules=$1
shift

export_tag=$(findmnt --noheadings --output SOURCE "$lab/root")
umount "$lab/root"
mount -t 9p -o "ro,trans=virtio,version=9p2000.L,msize=512000,access=any,cache=loose" "$export_tag" "$lab/root"
for folder in "$lab"/root/*/; do
    folder=${folder%/}
    name=${folder##*/}
    case $name in dev | lost+found | proc | run | sys) continue ;; esac
    # Neither a link, nor what the user who started the guest cannot read, can be a lower layer.
    if [ -L "$folder" ] || ! ls "$folder" >/dev/null 2>&1; then continue; fi
    mkdir -p "$lab/upper/$name" "$lab/work/$name"
    chmod "$(stat -c %a "$folder")" "$lab/upper/$name"
    mount -t overlay -o "lowerdir=$folder,upperdir=$lab/upper/$name,workdir=$lab/work/$name" lab "/$name"
done

mkdir -p "/lib/modules/$(uname -r)"
mount --bind "$lab/root$modules" "/lib/modules/$(uname -r)"
if [ -e "$lab/shared/af_key.ko" ]; then
    # Whatever the name says: whether a module is compressed is seen from its first bytes.
    mount --bind "$lab/shared/af_key.ko" /lib/modules/"$(uname -r)"/kernel/net/key/af_key.ko*
fi
number=0
for folder; do
    mount --bind "$lab/rw/$number" "$folder"
    number=$((number + 1))
done

set +e
cd "$lab/shared"
sh command </dev/null >stdout 2>stderr
echo $? >status.new
mv status.new status
