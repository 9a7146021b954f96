#!/bin/sh
# A linker that exports only what the Kotlin and Swift sides call. The linker that does the work is in HALFPI_LINKER.
#
# rustc exports every C function of every crate, llguidance's interface for C too, and no flag of its leaves some out. It
# names them to the linker in a version script, one a line: those that are not ours are taken out of it here.
set -e
name='[A-Za-z_][A-Za-z0-9_]*'
for argument in "$@"; do
    case $argument in
        *--version-script=*)
            script=${argument#*--version-script=}
            sed "/^ *$name;\$/ { /^ *uniffi_halfpi_ffi_/b
                /^ *ffi_halfpi_ffi_/b
                /^ *Java_dev_halfpi_/b
                d
            }" "$script" >"$script.ours"
            mv "$script.ours" "$script"
            ;;
    esac
done
exec "$HALFPI_LINKER" "$@"
