package dev.halfpi

import dev.halfpi.ffi.LogSink as FfiLogSink

/** How serious a message of the native library is. */
enum class LogLevel { Error, Warn, Info, Debug, Trace }

/** Takes the native library's messages, on whatever thread has one to give. */
fun interface LogSink {
    /** [target] names the part of the library. What this throws is dropped. */
    fun log(level: LogLevel, target: String, message: String)
}

/** The native library as a whole. */
object Halfpi {
    /** Its version. */
    val version: String get() = native { dev.halfpi.ffi.libraryVersion() }

    /** The kernels that this processor can run, the fastest first. */
    val backends: List<String> get() = native { dev.halfpi.ffi.availableBackends() }

    /** Sends messages of [level] and worse to [sink], for all engines of the process; null ends that. */
    fun setLogSink(level: LogLevel, sink: LogSink?): Unit = native {
        dev.halfpi.ffi.setLogSink(level.toFfi(), sink?.let(::Forward))
    }

    private class Forward(private val sink: LogSink) : FfiLogSink {
        override fun log(level: dev.halfpi.ffi.LogLevel, target: String, message: String) {
            // A log must not break what it tells of.
            runCatching { sink.log(level.toApi(), target, message) }
        }
    }
}
