package dev.halfpi.sample

import android.app.Activity
import android.os.Bundle
import dev.halfpi.Engine
import dev.halfpi.HalfpiException
import dev.halfpi.ModelSource
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.MainScope
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch
import java.io.File
import kotlin.concurrent.thread

/**
 * One screen, one conversation. The model is `model.gguf` in the app's files:
 * `adb push MODEL.gguf /data/local/tmp/model.gguf`, then
 * `adb shell run-as dev.halfpi.sample cp /data/local/tmp/model.gguf files/`.
 */
class ChatActivity : Activity() {
    private val scope = MainScope()
    private var engine: Engine? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        val view = ChatView(this)
        setContentView(view)
        scope.launch { open(view) }
    }

    private suspend fun open(view: ChatView) {
        val model = File(filesDir, "model.gguf")
        try {
            view.say("Loading …")
            val engine = Engine.load(ModelSource.file(model))
            this.engine = engine
            Chat(engine.session(), view, scope)
            view.say("${engine.info.name ?: model.name} is ready")
        } catch (e: CancellationException) {
            throw e
        } catch (e: HalfpiException) {
            view.say(e.message.orEmpty())
        }
    }

    override fun onDestroy() {
        scope.cancel()
        // Closing waits for the token at work, and this is the main thread.
        engine?.let { thread { it.close() } }
        super.onDestroy()
    }
}
