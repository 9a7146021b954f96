//! The native library of halfpi's Kotlin package: `libhalfpi_android.so`.
//!
//! It holds all of `halfpi-ffi`, whose Kotlin side is generated and calls through JNA, and what only JNI can do, or does
//! faster.

mod listener;

use jni::errors::Result;
use jni::objects::{JClass, JObject};
use jni::sys::{jint, jlong};
use jni::{Env, NativeMethod, jni_sig, jni_str, native_method};

halfpi_ffi::uniffi_reexport_scaffolding!();

// Exported by its name, so that nothing has to be registered when the library is loaded.
const _: NativeMethod = native_method! {
    java_type = "dev.halfpi.NativeBridge",
    static extern fn descriptor_number(fd: java.io.FileDescriptor) -> jint,
};

const _: NativeMethod = native_method! {
    java_type = "dev.halfpi.NativeBridge",
    static extern fn direct_listener(handle: jlong, target: java.lang.Object) -> jlong,
};

/// Another handle of uniffi's for a listener that is called more cheaply; `target` is the listener itself.
fn direct_listener<'local>(
    env: &mut Env<'local>,
    _class: JClass<'local>,
    handle: jlong,
    target: JObject<'local>,
) -> Result<jlong> {
    Ok(listener::direct(env, handle as u64, &target)? as jlong)
}

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
