//! uniffi's own command, of the version that halfpi-ffi is built with.

fn main() {
    uniffi::uniffi_bindgen_main();
}
