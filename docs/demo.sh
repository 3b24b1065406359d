#!/bin/sh
# layerctl's main job, on real layers and a real kernel: `make demo` runs this in a mount namespace
# of its own, in an empty directory. What it makes and mounts ends with that namespace.
set -u

failed=0
title() { printf '\n\n=== %s\n' "$*"; }
run() { # COMMAND: show it and run it; it has to succeed
    printf '\n$ %s\n' "$1"
    eval "$1" 2>&1 || { printf '(exit code %s, which should not be)\n' "$?"; failed=1; }
}
refused() { # COMMAND: show it and run it; it has to fail
    printf '\n$ %s\n' "$1"
    if eval "$1" 2>&1; then echo '(this should have failed)'; failed=1; else echo "(exit code $?)"; fi
}

walk() { # TYPE MOUNT-ARGUMENTS: the whole way through one layered mount
    type=$1 arguments=$2
    mkdir "$type" && cd "$type" || exit 1
    title "$type: three layers"
    run 'mkdir top middle bottom merged'
    run 'echo top > top/notes; echo middle > middle/config; echo bottom > bottom/readme'

    title "$type: mount them, topmost first, and read through the mount"
    run "layerctl mount $arguments merged"
    run 'head merged/*'

    title "$type: append to a file of the top layer: the layer's own file changes"
    run 'echo more >> merged/notes; cat top/notes'

    title "$type: append to a file of a lower layer: it is copied up, the lower one stays"
    run 'echo more >> merged/config; head top/config middle/config'

    title "$type: delete a file of a lower layer: a whiteout hides it, the file stays"
    run 'rm merged/readme; ls merged; cat bottom/readme; ls -lA top'

    title "$type: look inside"
    run 'layerctl inspect mount merged'
    run 'layerctl inspect merged merged'
    run 'layerctl inspect merged merged config'
    run 'layerctl inspect whiteouts merged'

    title "$type: unmount"
    run 'layerctl umount merged; ls merged'
    cd ..
}

fails() { # WHY MOUNT-ARGUMENTS: a mount that fails, and what doctor says of it
    title "$1"
    refused "layerctl mount $2"
    refused "layerctl doctor $2"
}

walk overlay '-u top -l middle -l bottom'
cd overlay || exit 1
fails 'A mount that fails: a layer that is not there' '-u top -l middle -l botom merged'
mkdir top/inside
fails 'A mount that fails: the work directory inside the upper one' \
    '-u top -w top/inside -l middle merged'
fails 'A mount that fails: one layer lies inside another' '-l middle -l middle/.. merged'
cd ..

if grep -qw aufs /proc/filesystems; then
    walk aufs '-b top=rw -b middle=ro -b bottom=ro'
    cd aufs || exit 1
    fails 'A mount that fails: the same branch twice' '-b top -b top merged'
    cd ..
else
    title 'This kernel has no aufs; with one, the same is shown for it'
    refused 'layerctl doctor -t aufs -b overlay/top -b overlay/middle overlay/merged'
fi
exit $failed
