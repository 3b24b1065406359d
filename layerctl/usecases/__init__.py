"""What a command does, without the command line: parsed values in, rows or a result out."""
