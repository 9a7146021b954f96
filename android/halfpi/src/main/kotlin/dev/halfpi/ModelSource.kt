package dev.halfpi

import java.io.File
import java.io.FileDescriptor

/** Where a model's bytes are. They are mapped into memory where they lie, never copied. */
sealed interface ModelSource {
    /** A GGUF file. */
    data class Path(val file: File) : ModelSource

    /**
     * Part of an open file: an asset inside an APK, or what a content provider has opened.
     *
     * The number [fd] is duplicated when the model is loaded; whoever opened it closes it, any time after that.
     *
     * @property offset where the model begins, in bytes.
     * @property length how long it is, in bytes; null is to the end of the file.
     */
    data class Descriptor(val fd: Int, val offset: Long = 0, val length: Long? = null) : ModelSource {
        init {
            require(offset >= 0) { "offset is $offset" }
            require(length == null || length >= 0) { "length is $length" }
        }
    }

    companion object {
        /** A GGUF file. */
        fun file(file: File): ModelSource = Path(file)

        /** Part of an open file; see [Descriptor]. */
        fun descriptor(fd: FileDescriptor, offset: Long = 0, length: Long? = null): ModelSource =
            Descriptor(NativeBridge.number(fd), offset, length)
    }
}
