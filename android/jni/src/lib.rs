//! The native library of halfpi's Kotlin package: `libhalfpi_android.so`.
//!
//! It holds all of `halfpi-ffi`, whose Kotlin side is generated and calls through JNA, and one function that only JNI
//! can have.

use jni::errors::Result;
use jni::objects::{JClass, JObject};
use jni::sys::jint;
use jni::{Env, NativeMethod, jni_sig, jni_str, native_method};

halfpi_ffi::uniffi_reexport_scaffolding!();

// Exported by its name, so that nothing has to be registered when the library is loaded.
const _: NativeMethod = native_method! {
    java_type = "dev.halfpi.NativeBridge",
    static extern fn descriptor_number(fd: java.io.FileDescriptor) -> jint,
};

/// The number of an open file.
///
/// It is a private field, `descriptor` in Android's class library and `fd` in OpenJDK's; reflection may not read it in
/// either.
fn descriptor_number<'local>(env: &mut Env<'local>, _class: JClass<'local>, fd: JObject<'local>) -> Result<jint> {
    let name = if cfg!(target_os = "android") {
        jni_str!("descriptor")
    } else {
        jni_str!("fd")
    };
    env.get_field(&fd, name, jni_sig!("I"))?.i()
}
