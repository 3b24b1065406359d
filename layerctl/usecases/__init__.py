"""What commands do, without the command line: from parsed values to rows or a result."""
