package dev.halfpi

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.last
import kotlinx.coroutines.withContext
import java.io.File
import dev.halfpi.ffi.Session as FfiSession

/**
 * A conversation. It keeps what the model has read, so that every turn costs only what is new in it.
 *
 * Streams are cold: nothing happens before somebody collects. A collector that leaves cancels the answer, which ends
 * within a token or a chunk of the prompt; the session's next call waits for that. A slow collector loses nothing. One
 * answer at a time: a second one is [HalfpiException.SessionBusy].
 */
class Session internal constructor(private val ffi: FfiSession) : AutoCloseable {
    private val answers = Answers()

    /** The most tokens that it remembers. */
    val contextLength: Int get() = native { ffi.contextLength().toInt() }

    /** Says [prompt] and streams the answer; both become part of the conversation. */
    fun stream(prompt: String, options: GenerationOptions = GenerationOptions()): Flow<ChatEvent> =
        answers.stream { ffi.generate(prompt, options.toFfi(), it) }

    /** Streams the answer to a conversation that the app keeps. The session's own stays as it is. */
    fun stream(messages: List<ChatMessage>, options: GenerationOptions = GenerationOptions()): Flow<ChatEvent> =
        answers.stream { ffi.respond(messages.map(ChatMessage::toFfi), options.toFfi(), it) }

    /** Gives the model the [results] of its calls, one for each and in their order, and streams how it goes on. */
    fun streamToolResults(results: List<String>, options: GenerationOptions = GenerationOptions()): Flow<ChatEvent> =
        answers.stream { ffi.replyToolResults(results, options.toFfi(), it) }

    /** Says [prompt] and waits for the whole answer. */
    suspend fun respond(prompt: String, options: GenerationOptions = GenerationOptions()): Answer =
        stream(prompt, options).answer()

    /** Waits for the whole answer to a conversation that the app keeps. */
    suspend fun respond(messages: List<ChatMessage>, options: GenerationOptions = GenerationOptions()): Answer =
        stream(messages, options).answer()

    /** Gives the model the [results] of its calls and waits for the whole answer. */
    suspend fun respondToolResults(results: List<String>, options: GenerationOptions = GenerationOptions()): Answer =
        streamToolResults(results, options).answer()

    /** Reads the system message and the tools now, so that the first answer comes sooner. */
    suspend fun prewarm(): Unit = background { ffi.prewarm() }

    /** How many tokens [text] is, without a template. */
    suspend fun tokenCount(text: String): Int = background { ffi.tokenCount(text).toInt() }

    /** The conversation so far. */
    suspend fun messages(): List<ChatMessage> = background { ffi.messages().map { it.toApi() } }

    /** Takes another conversation; what it has in common with this one need not be read again. */
    suspend fun setMessages(messages: List<ChatMessage>): Unit =
        background { ffi.setMessages(messages.map(ChatMessage::toFfi)) }

    /** Forgets everything but the system message. */
    suspend fun reset(): Unit = background { ffi.reset() }

    /** Writes the conversation and what the model has read to [file], whole or not at all. Anybody can read it there. */
    suspend fun save(file: File): Unit = background { ffi.save(file.path) }

    /** Takes up what [save] has written with the same model; if that fails, the session is as it was. */
    suspend fun restore(file: File): Unit = background { ffi.restore(file.path) }

    /** A second conversation that begins where this one is. */
    suspend fun fork(): Session {
        answers.settle()
        return opening({ ffi.fork() }, { Session(it) }, { it.shutdown() })
    }

    /** Cancels its answer and frees its memory. Closing again does nothing. */
    override fun close() {
        ffi.shutdown()
    }

    private suspend fun <T> background(work: () -> T): T {
        answers.settle()
        return withContext(Dispatchers.IO) { native(work) }
    }
}

private suspend fun Flow<ChatEvent>.answer(): Answer = (last() as ChatEvent.Finished).answer
