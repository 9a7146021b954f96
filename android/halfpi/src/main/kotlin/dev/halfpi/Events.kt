package dev.halfpi

import com.sun.jna.Native
import dev.halfpi.ffi.GenerationListener
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.channels.SendChannel
import kotlinx.coroutines.channels.awaitClose
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.callbackFlow
import kotlinx.coroutines.flow.flowOn
import dev.halfpi.ffi.Answer as FfiAnswer
import dev.halfpi.ffi.Generation as FfiGeneration
import dev.halfpi.ffi.HalfpiException as FfiException
import dev.halfpi.ffi.ToolCall as FfiToolCall

/** The answers of one session, as flows. */
internal class Answers {
    /** Complete when the answer that its collector has left last is over. */
    @Volatile
    private var leaving: CompletableDeferred<Unit>? = null

    /** Waits until a cancelled answer is over: whoever has cancelled finds the session free, not busy with the rest. */
    suspend fun settle() {
        leaving?.await()
    }

    /** One generation for each collector, cancelled when the collector leaves. */
    fun stream(start: (GenerationListener) -> FfiGeneration): Flow<ChatEvent> = callbackFlow {
        settle()
        val listener = Listener(channel)
        val generation = native { NativeBridge.direct(listener).use(start) }
        awaitClose {
            leaving = listener.ended
            // Cancels it, if it is not over.
            generation.destroy()
        }
    }.buffer(Channel.UNLIMITED).flowOn(Dispatchers.Default)
}

/** Called on the engine's thread, which must never wait for a collector: the channel has no limit. */
private class Listener(private val events: SendChannel<ChatEvent>) : GenerationListener {
    val ended = CompletableDeferred<Unit>()
    private var isAttached = false

    override fun onText(text: String) {
        attach()
        events.trySend(ChatEvent.Text(text))
    }

    override fun onThinking(text: String) {
        attach()
        events.trySend(ChatEvent.Thinking(text))
    }

    override fun onToolCall(call: FfiToolCall) {
        events.trySend(ChatEvent.Call(call.toApi()))
    }

    override fun onFinished(answer: FfiAnswer) {
        events.trySend(ChatEvent.Finished(answer.toApi()))
        end(null)
    }

    override fun onFailed(error: FfiException) {
        end(error.toApi())
    }

    private fun end(error: HalfpiException?) {
        events.close(error)
        ended.complete(Unit)
    }

    /** Keeps the engine's thread attached to the virtual machine until it ends, instead of once for each token. */
    private fun attach() {
        if (isAttached) return
        isAttached = true
        Thread.currentThread().name = "halfpi"
        Native.detach(false)
    }
}
