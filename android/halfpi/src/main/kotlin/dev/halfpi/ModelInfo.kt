package dev.halfpi

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext

/**
 * What a model file says about itself.
 *
 * @property name its own name, if it has one.
 * @property architecture the family, such as `llama` or `qwen3`.
 * @property parameters how many weights it has.
 * @property contextLength the longest context that it was made for, in tokens.
 * @property vocabularySize how many tokens it knows.
 * @property layers how many transformer blocks it has.
 * @property fileBytes the size of the file.
 * @property bitsPerWeight the file's bits for each weight, scales and the rest included.
 * @property license what the file says of its licence.
 * @property hasChatTemplate whether it knows how to write down a conversation; without that, ChatML is used.
 * @property supportsTools whether its template has it call tools; without, sessions tell it of them in the system message.
 * @property supportsThinking whether it thinks before it answers, or can.
 */
data class ModelInfo(
    val name: String?,
    val architecture: String,
    val parameters: Long,
    val contextLength: Int,
    val vocabularySize: Int,
    val layers: Int,
    val fileBytes: Long,
    val bitsPerWeight: Double,
    val license: String?,
    val hasChatTemplate: Boolean,
    val supportsTools: Boolean,
    val supportsThinking: Boolean,
) {
    companion object {
        /**
         * Reads the header of a model file. Nothing is loaded, so this is cheap for a file of any size.
         *
         * @throws HalfpiException if the file cannot be read or is no model.
         */
        suspend fun inspect(source: ModelSource): ModelInfo = withContext(Dispatchers.IO) {
            native { dev.halfpi.ffi.inspectModel(source.toFfi()).toApi() }
        }
    }
}

/**
 * The memory that a model needs, in bytes.
 *
 * @property weights mapped from the file: the system can take them back and read them again.
 * @property heap weights brought into another layout, working memory and the vocabulary.
 * @property session one session's cache.
 * @property total all of it.
 */
data class MemoryNeeded(val weights: Long, val heap: Long, val session: Long, val total: Long) {
    companion object {
        /** What [source] would need with an engine and one session set up like this; nothing is loaded. */
        suspend fun of(
            source: ModelSource,
            engine: EngineConfig = EngineConfig(),
            session: SessionConfig = SessionConfig(),
        ): MemoryNeeded = withContext(Dispatchers.IO) {
            native { dev.halfpi.ffi.memoryNeeded(source.toFfi(), engine.toFfi(), session.toFfi()).toApi() }
        }
    }
}
