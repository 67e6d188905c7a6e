# Runs as root in a booted guest, before the command: sh guest.sh MODULES [RWDIR...]
#
# virtme mounts the host's files so that every step of every path asks the host, which costs an emulated guest most
# of its time. Here the same export is mounted again with a cache, and put over each folder as the lower layer of
# an overlay: reading is fast, and what is written is thrown away with the guest. The folders that may be written
# (RWDIR, exported at /run/lab/rw/0, 1, ...) and the kernel's modules (MODULES) go on top, and over their
# af_key the one that is in the shared folder, if there is one.
#
# To start a process takes an emulated guest up to a second, so there is one for all folders, not one for each.
set -e
lab=/run/lab
modules=$1
shift

export_tag=$(findmnt --noheadings --output SOURCE "$lab/root")
umount "$lab/root"
mount -t 9p -o "ro,trans=virtio,version=9p2000.L,msize=512000,access=any,cache=loose" "$export_tag" "$lab/root"
names=
for folder in "$lab"/root/*/; do
    folder=${folder%/}
    name=${folder##*/}
    # A link is no lower layer, nor is what the user who started the guest cannot read; and fstab takes no blanks.
    case $name in dev | lost+found | proc | run | sys | *[[:space:]\\]*) continue ;; esac
    if [ -L "$folder" ] || ! { true <"$folder"; } 2>/dev/null; then continue; fi
    names="$names $name"
    echo "lab /$name overlay lowerdir=$folder,upperdir=$lab/upper/$name,workdir=$lab/work/$name" >>"$lab/fstab"
done
mkdir "$lab/upper" "$lab/work"
cd "$lab/work" && mkdir $names
cd "$lab/upper" && mkdir $names
cd "$lab/root" && stat --format '%a %n' $names | while read -r mode name; do
    [ "$mode" = 755 ] || chmod "$mode" "$lab/upper/$name"
done
mount --all --fstab "$lab/fstab"

mkdir -p "/lib/modules/$(uname -r)"
mount --bind "$lab/root$modules" "/lib/modules/$(uname -r)"
if [ -e "$lab/shared/af_key.ko" ]; then
    # Whatever the name says: whether a module is compressed is seen from its first bytes.
    mount --bind "$lab/shared/af_key.ko" /lib/modules/"$(uname -r)"/kernel/net/key/af_key.ko*
    modprobe af_key
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
