package dev.halfpi.sample

import dev.halfpi.ChatEvent
import dev.halfpi.GenerationOptions
import dev.halfpi.HalfpiException
import dev.halfpi.Session
import dev.halfpi.Usage
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.launch

/** Joins a session to its view. [scope] is the screen's: when that ends, so does the answer. */
class Chat(
    private val session: Session,
    private val view: ChatView,
    private val scope: CoroutineScope,
    private val options: GenerationOptions = GenerationOptions(),
) {
    private var answering: Job? = null

    init {
        view.onSend = ::ask
        view.onStop = { answering?.cancel() }
    }

    private fun ask(question: String) {
        view.addBubble(question, isMine = true)
        val bubble = view.addBubble("", isMine = false)
        view.isAnswering = true
        view.say("Reading …")
        answering = scope.launch {
            try {
                session.stream(question, options).collect { event ->
                    when (event) {
                        is ChatEvent.Text -> {
                            bubble.append(event.text)
                            view.say("Answering …")
                            view.scrollDown()
                        }
                        is ChatEvent.Thinking -> view.say("Thinking …")
                        is ChatEvent.Call -> Unit
                        is ChatEvent.Finished -> view.say(event.answer.usage.text())
                    }
                }
            } catch (e: HalfpiException) {
                view.say(e.message.orEmpty())
            } finally {
                view.isAnswering = false
            }
        }
    }

    private fun Usage.text(): String = "%d tokens, %.0f tokens/s".format(generatedTokens, decodeTokensPerSecond)
}
