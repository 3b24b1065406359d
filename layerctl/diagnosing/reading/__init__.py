"""Any text that a user has, read for what it says of a layered mount. Pure but for one table.

`diagnose.read` finds the kernel's messages by their format strings, errnos in any language, the
mount that was tried, and what engines say around them; then it weighs the causes these point to.
Nothing is imported here: what renders findings must not pay for what reads texts.
"""
