//! A listener of Kotlin's whose text comes through JNI.
//!
//! JNA, through which all generated code goes, takes a tenth of a millisecond for a call with a text, more while the
//! virtual machine is cold: 3 to 10% of a token of a small model. JNI takes a few microseconds.

use halfpi_ffi::{Answer, CallbackError, GenerationListener, HalfpiError, ToolCall};
use jni::errors::{Error, Result};
use jni::objects::{JObject, JValue};
use jni::refs::Global;
use jni::strings::JNIStr;
use jni::{Env, JavaVM, jni_sig, jni_str};
use std::sync::Arc;
use uniffi::Handle;

/// One Kotlin object, called in two ways.
struct Direct {
    /// Through JNA, for the calls that an answer has few of.
    listener: Arc<dyn GenerationListener>,
    /// Through JNI.
    target: Global<JObject<'static>>,
    vm: JavaVM,
}

/// The handle of a new listener that hands everything on to the one with this handle, text to its object `target`.
pub(crate) fn direct(env: &mut Env<'_>, handle: u64, target: &JObject<'_>) -> Result<u64> {
    // The type arguments are uniffi's tags, which name a crate; converters of one's own types are the same for all.
    let listener =
        <dyn GenerationListener as uniffi::FfiConverterArc<()>>::try_lift(Handle::from_raw_unchecked(handle))
            .map_err(|error| Error::ParseFailed(error.to_string()))?;
    let direct: Arc<dyn GenerationListener> = Arc::new(Direct {
        listener,
        target: env.new_global_ref(target)?,
        vm: env.get_java_vm()?,
    });
    Ok(<dyn GenerationListener as uniffi::FfiConverterArc<()>>::lower(direct).as_raw())
}

impl Direct {
    /// A text through JNI, or `None` on a thread that the virtual machine does not know yet.
    fn tell(&self, method: &JNIStr, text: &str) -> Option<std::result::Result<(), CallbackError>> {
        // JNA attaches a thread as a daemon, which does not keep the virtual machine from ending; the jni crate cannot.
        if !self.vm.is_thread_attached().unwrap_or(false) {
            return None;
        }
        let told = self.vm.attach_current_thread(|env| -> Result<()> {
            let text = env.new_string(text)?;
            let args = [JValue::Object(&text)];
            env.call_method(&self.target, method, jni_sig!("(Ljava/lang/String;)V"), &args)?;
            Ok(())
        });
        Some(told.map_err(|error| CallbackError::Failed {
            detail: error.to_string(),
        }))
    }
}

impl GenerationListener for Direct {
    fn on_text(&self, text: String) -> std::result::Result<(), CallbackError> {
        let told = self.tell(jni_str!("onText"), &text);
        told.unwrap_or_else(|| self.listener.on_text(text))
    }

    fn on_thinking(&self, text: String) -> std::result::Result<(), CallbackError> {
        let told = self.tell(jni_str!("onThinking"), &text);
        told.unwrap_or_else(|| self.listener.on_thinking(text))
    }

    fn on_tool_call(&self, call: ToolCall) -> std::result::Result<(), CallbackError> {
        self.listener.on_tool_call(call)
    }

    fn on_finished(&self, answer: Answer) -> std::result::Result<(), CallbackError> {
        self.listener.on_finished(answer)
    }

    fn on_failed(&self, error: HalfpiError) -> std::result::Result<(), CallbackError> {
        self.listener.on_failed(error)
    }
}
