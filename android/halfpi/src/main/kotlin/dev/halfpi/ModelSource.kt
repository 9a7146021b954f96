package dev.halfpi

import java.io.File

/** Where a model's bytes are. They are mapped into memory where they lie, never copied. */
sealed interface ModelSource {
    /** A GGUF file. */
    data class Path(val file: File) : ModelSource

    companion object {
        /** A GGUF file. */
        fun file(file: File): ModelSource = Path(file)
    }
}
