"""Messages of aufs (fs/aufs of 6.1 and similar), each format with its meaning.

Each line starts with `aufs FUNCTION:LINE:PROCESS[PID]: `; the context log has only `aufs: `.
"""

from __future__ import annotations

from layerctl.diagnosing.messages.row import Kind, rows

_F, _W, _N = Kind.FAILURE, Kind.WARNING, Kind.NOISE
_XINO = "aufs-xino-fs-unsupported"
_IO = "aufs-io-error"
_BEHIND = "aufs-branch-changed-underneath"
_SYNTAX = "aufs-br-syntax"

_MOUNT = rows(
    "aufs",
    (_F, _XINO, "the xino file cannot lie on this filesystem", ("xino doesn't support %s(%s)",)),
    (_F, f"{_XINO} upper-enospc", "files on this filesystem cannot be large enough for xino",
     ("s_maxbytes(%llu) on %s is too small",)),
    (_F, "aufs-xino-exists aufs-xino-directory-missing",
     "the xino file could not be created (-17: it exists, -2: its directory does not exist)",
     ("open %s(%ld)",)),
    (_F, "aufs-xino-exists", "the xino file could not be unlinked after it was created",
     ("unlink %s(%d)",)),
    (_F, f"{_XINO} upper-enospc aufs-xino-exists",
     "a branch's xino file could not be set up or written",
     ("failed setting xino(%d).", "failed au_xino_write() %d")),
    (_F, "aufs-branch-duplicated", "a branch was named twice", ("%s duplicated",)),
    (_F, "aufs-branch-overlapping", "a branch is inside another", ("%s is overlapped",)),
    (_F, "mountpoint-overlaps-layer aufs-branch-overlapping",
     "a branch or the xino file would be inside the mount itself", ("%s must be outside",)),
    (_F, "aufs-branch-fs-unsupported", "a branch is on a filesystem that aufs does not support",
     ("unsupported filesystem, %s (%s)",)),
    (_F, "aufs-branch-fs-unsupported", "a branch is on a stacked filesystem",
     ("already stacked, %s (%s)",)),
    (_F, "aufs-branch-fs-unsupported", "names on a branch's filesystem are too short for whiteouts",
     ("%pd(%s), unsupported namelen %ld",)),
    (_F, "aufs-branch-readonly-fs", "a branch is rw but its filesystem is read-only",
     ("write permission for readonly mount or inode, %s",)),
    (_F, "aufs-branch-no-hard-links", "a writable branch's filesystem does not support hard links",
     ("%pd (%s) doesn't support link(2), use noplink and rw+nolwh",)),
    (_F, "aufs-branch-no-hard-links aufs-branch-readonly-fs aufs-io-error",
     "aufs could not set up its own files on a writable branch",
     ("an error(%d) on the writable branch %pd(%s)", "unknown %pd exists", "unknown %pd2 exists",
      "%pd Invalid whiteout entry type 0%o.")),
    (_F, "aufs-too-many-branches", "more branches than aufs supports",
     ("number of branches exceeded %s",)),
    (_F, "too-few-layers", "no branch was given", ("no branches",)),
    (_F, "missing-layer-directory layer-not-a-directory",
     "a branch's path does not exist (-2) or is not a directory (-20)", ("lookup failed %s (%d)",)),
    (_F, "missing-layer-directory", "a branch's directory was removed", ("no existence %s",)),
    (_F, "aufs-branch-no-hard-links aufs-br-syntax", "a branch could not be inserted into the list",
     ("bad index %d",)),
    (_W, "aufs-no-writable-branch", "the first branch is not writable",
     ("first branch should be rw",)),
    (_W, "aufs-branch-permission-unknown", "a permission or attribute is unknown and was dropped",
     ("ignored branch permission %s", "ignored branch attribute %s")),
    (_W, "aufs-udba-needs-xino", "notify works only with a xino file",
     ("udba=*notify requires xino",)),
    (_W, "aufs-shwh-writable", "whiteouts are shown on a mount that is writable",
     ("shwh should be used with ro",)),
    (_N, "aufs-dirperm1-info", "dirperm1 is on, so permissions of lower branches do not protect "
    "anything",
     ("dirperm1 breaks the protection by the permission bits on the lower branch",)),
    (_N, "aufs-branch-attributes-differ", "a branch's root has a different owner or mode",
     ("uid/gid/perm %s %u/%u/0%o, %u/%u/0%o",)),
    (_N, "benign-kernel-note", "files on a loop device below may need another patch",
     ("you may want to try another patch for loopback file on %s(0x%lx) branch",)),
    (_W, "benign-kernel-note", "the kernel has small stacks, which aufs may overflow",
     ("CONFIG_4KSTACKS is defined.",)),
)  # fmt: skip

_CONTEXT = rows(
    "aufs",
    (_F, _SYNTAX, "a word of the options is invalid",
     ("bad arg in %s", "failed in %s", "wrong value, %s")),
    (_F, "bad-option-value", "an option has an invalid value",
     ("bad value in %s", "bad integer in %s", "unknown value %s", "out of bounds %s",
      "out of bounds, %d", "out of bounds, %u", "rdblk must be larger than %d",
      "rdcache must be smaller than %d")),
    (_F, _SYNTAX, "a change does not name a branch of the mount",
     ("no such branch %s", "%s no such branch", "no index, %s", "no permission %s")),
    (_N, "aufs-branch-permission-unknown", "a word was ignored", ("ignored %s %s", "ignored %s")),
    (_N, "benign-kernel-note", "a name of the source, for debugging", ("%ps",)),
)  # fmt: skip

_LATER = rows(
    "aufs",
    (_W, "aufs-entry-and-whiteout-conflict", "a branch contains both a name and its whiteout",
     ("both of real entry and whiteout found, %pd, err %d",)),
    (_W, _BEHIND, "a branch's root, or the mount point, was moved or removed",
     ("branch root dir was changed", "mount-point %pd is removed or renamed", "wrong root branch")),
    (_W, _BEHIND, "an entry was changed directly in a branch",
     ("%pd should be negative on b%d.", "no dentry found for hi%lu on b%d",
      "failed refreshing %pd, %d", "%pd is moved, ignored", "refresh failed, ignored, %d")),
    (_W, "aufs-tools-missing", "pseudo-links were not flushed before the unmount",
     ("pseudo-link is not flushed",)),
    (_W, "aufs-tools-missing aufs-io-error", "a hard link is not known as a pseudo-link any more",
     ("i%lu exists on b%d but not pseudo-linked", "hi%lu(i%lu) exists on b%d but plink is disabled",
      "err %d, damaged pseudo link.")),
    (_W, _IO, "aufs could not recover from an error; the message says what it was doing",
     ("I/O Error,", "nested error %d (%d)", "revert failure:", "%pd revert failure(%d, %d)",
      "%pd reverting dir failed(%d, %d)", "%pd reverting diropq failed(%d, %d)",
      "%pd reverting failed(%d, %d)", "%pd reverting whiteout failed(%d, %d)",
      "failed removing broken entry(%d, %d)", "failed remove copied-up tmp file %pd(%d)",
      "failed removing %pd b%d (%d)", "failed removing diropq for %pd b%d (%d)",
      "rmdir %pd, b%d failed, %d. ignored", "unlink %pd after coo failed (%d), ignored",
      "Unknown file type 0%o", "Unknown inode type 0%o", "unexpected flags 0x%x",
      "%pd, failed hiding children, ignored %d", "fi_mmapped wrapped around")),
    (_W, _IO, "a bookkeeping file of aufs could not be read or written",
     ("%pd copy err %d", "%pd create err %d", "%pd lookup err %ld", "%pd open err %ld",
      "%pd unlink err %d", "%s[%d], err %d", "err b%d, (%d)", "write failed (%d)",
      "write failed (%zd)", "xino read error (%zd)", "xino(b%d-%d), err %d, ignored",
      "xi_writing %lu", "xigen error (%zd)")),
    (_W, "aufs-io-error layer-modified-while-mounted", "a renamed directory's record is broken",
     ("broken drinfo %pD2", "failed to remove dirren info", "ignored %d, %pd2", "ignored err %d, %pd2",
      "magic-num 0x%x, 0x%x, %pD2", "ssz %zd, %pD2", "ssz %zd, %u, %pD2")),
    (_W, _IO, "an extended attribute could not be copied up", ("%s, err %d",)),
    (_W, _IO, "aufs cannot watch a branch for changes",
     ("au_hn_alloc() %d", "fsnotify_alloc_group() failed, %d",
      "hnotify failed on br %d, %d, ignored")),
    (_W, "aufs-io-error nfs4-acl-copy-up", "an NFSv4 delegation prevents the operation; aufs tries "
    "once",
     ("cannot retry for NFSv4 delegation for an internal link",
      "cannot retry for NFSv4 delegation for an internal rename",
      "cannot retry for NFSv4 delegation for an internal unlink",
      "cannot handle this inode, please report to aufs-users ML")),
    (_W, "aufs-io-error", "a file handle or an inode number is out of range",
     ("too large i%lld", "hint %llu", "error %d, i%lu")),
    (_W, "bad-option-value", "a name is too long for a whiteout",
     ("whiteout name too long %.*s",)),
    (_N, "benign-kernel-note", "leftovers could not be removed; they are harmless",
     ("failed removing %pd (%d), ignored.", "failed removing %pd(%d), ignored",
      "failed removing whtmp dir %pd (%d), ignored.", "rmdir error %pd (%d), ignored",
      "failed re-creating base whiteout, %s. (%d)", "could not get random name",
      "restoring timestamps failed(%d). ignored", "failed creating %pd/%s, ignored.",
      "failed renaming %pd/%s, ignored.", "debugfs/aufs failed", "failed %s under sysfs(%d)",
      "err %d (ignored)")),
    (_N, "benign-kernel-note", "aufs truncates its xino file, or reports on itself",
     ("begin truncating xino(b%d-%d), ib%llu, %llu/%llu free blks",
      "end truncating xino(b%d-%d), ib%llu, %llu/%llu free blks",
      "reset to %ps and %ps", "n %u", "vd_deblk_sz %u", "%lu", "%d, %s", "")),
    (_W, _IO, "an operation inside aufs ended with this errno",
     ("err %d", "err %d, sysrq=%c", "wkq %d")),
)  # fmt: skip

#: Formats so short that they count only after the prefix of aufs.
_SHORT = frozenset(
    {
        "", "%d, %s", "%lu", "%ps", "%s, err %d", "%s[%d], err %d", "err %d", "err b%d, (%d)", "n %u",
        "wkq %d", "hint %llu", "error %d, i%lu", "ignored %s %s", "ignored %s", "ignored %d, %pd2",
        "ignored err %d, %pd2", "err %d, sysrq=%c", "err %d (ignored)", "open %s(%ld)",
        "unlink %s(%d)", "write failed (%d)", "write failed (%zd)", "too large i%lld",
        "%pd copy err %d", "%pd create err %d", "%pd lookup err %ld", "%pd open err %ld",
        "%pd unlink err %d", "failed in %s", "wrong value, %s", "bad arg in %s", "unknown value %s",
        "out of bounds %s", "out of bounds, %d", "out of bounds, %u", "%s duplicated",
        "%s must be outside", "no branches", "no existence %s", "bad index %d", "no index, %s",
        "no permission %s", "no such branch %s", "%s no such branch", "ssz %zd, %pD2",
        "ssz %zd, %u, %pD2", "I/O Error,", "revert failure:", "xi_writing %lu", "bad value in %s",
        "bad integer in %s", "unexpected flags 0x%x", "vd_deblk_sz %u", "wrong root branch",
        "unknown %pd exists", "unknown %pd2 exists", "failed %s under sysfs(%d)",
        "nested error %d (%d)", "lookup failed %s (%d)", "%pd is moved, ignored",
        "could not get random name", "failed creating %pd/%s, ignored.",
        "failed renaming %pd/%s, ignored.",
    }
)  # fmt: skip

MESSAGES = tuple(
    message._replace(bare=bare, formats=formats)
    for message in (*_MOUNT, *_CONTEXT, *_LATER)
    for bare, formats in (
        (True, tuple(text for text in message.formats if text not in _SHORT)),
        (False, tuple(text for text in message.formats if text in _SHORT)),
    )
    if formats
)
