package dev.halfpi

import com.sun.jna.NativeLibrary
import com.sun.jna.Platform
import dev.halfpi.ffi.FfiConverterTypeGenerationListener
import dev.halfpi.ffi.GenerationListener
import dev.halfpi.ffi.GenerationListenerImpl
import dev.halfpi.ffi.UniffiWithHandle
import java.io.FileDescriptor

/** What the generated code cannot do; `android/jni` is the other side. */
internal object NativeBridge {
    private const val LIBRARY = "halfpi_android"

    init {
        // Before the generated code loads the same library through JNA, which would not run its JNI_OnLoad.
        if (Platform.isAndroid()) {
            System.loadLibrary(LIBRARY)
        } else {
            System.load(NativeLibrary.getInstance(LIBRARY).file.absolutePath)
        }
    }

    /** Makes sure that the library is there. */
    fun load() = Unit

    /** The number of an open file, which Android and Java keep in fields of different names. */
    fun number(fd: FileDescriptor): Int {
        require(fd.valid()) { "the file descriptor is closed" }
        return descriptorNumber(fd)
    }

    /** The same [listener], whose text comes through JNI: JNA takes a tenth of a millisecond for a call with a text. */
    fun direct(listener: GenerationListener): GenerationListenerImpl {
        val handle = FfiConverterTypeGenerationListener.lower(listener)
        return GenerationListenerImpl(UniffiWithHandle, directListener(handle, listener))
    }

    @JvmStatic
    private external fun descriptorNumber(fd: FileDescriptor): Int

    @JvmStatic
    private external fun directListener(handle: Long, target: Any): Long
}

/** Calls the generated code and throws its errors as the API's. */
internal inline fun <T> native(work: () -> T): T {
    NativeBridge.load()
    try {
        return work()
    } catch (e: dev.halfpi.ffi.HalfpiException) {
        throw e.toApi()
    } catch (e: dev.halfpi.ffi.InternalException) {
        // A panic in Rust.
        throw HalfpiException.Internal(e.message ?: "no message").apply { initCause(e) }
    }
}
