"""Messages for any filesystem (fs/fs_parser.c, fs/fs_context.c, fs/namespace.c)."""

from __future__ import annotations

from layerctl.diagnosing.messages.row import Kind, rows

_F = Kind.FAILURE

MESSAGES = rows(
    "any",
    (_F, "unknown-mount-option-old-kernel comma-in-path",
     "an option that this filesystem does not know in this kernel", ("Unknown parameter '%s'",)),
    (_F, "bad-option-value", "an option has an invalid value",
     ("Bad value for '%s'", "Unexpected value for '%s'", "value required for '%s'")),
    (_F, "bad-option-value", "the source was given twice", ("VFS: Multiple sources",)),
    (_F, "mount-api-call-limit option-string-too-long",
     "a filesystem without support for the new mount API takes at most one page of options",
     ("VFS: Legacy: Cumulative options too large",)),
    (_F, "comma-in-path context-option-comma-split",
     "a filesystem without support for the new mount API accepts no comma in a value",
     ("VFS: Legacy: Option '%s' contained comma",)),
    (_F, "layers-by-descriptor-unsupported",
     "a filesystem without support for the new mount API accepts only strings",
     ("VFS: Legacy: Parameter type for '%s' not supported",)),
    (_F, "container-policy-denies-overlay-mount missing-cap-sys-admin",
     "a mount would reveal what the namespace must not see", ("VFS: Mount too revealing",)),
)  # fmt: skip
