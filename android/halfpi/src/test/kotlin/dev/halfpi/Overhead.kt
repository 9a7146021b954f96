package dev.halfpi

import java.io.File

/**
 * `MODEL THREADS TOKENS PROMPT`: prints the tokens per second of an answer that is streamed through Kotlin, as
 * benches/kotlin.py wants it. A first answer, which does not count, lets the JVM compile what it will run.
 */
fun main(args: Array<String>) = blocking {
    val (model, threads, tokens, prompt) = args
    val options = GenerationOptions(maxTokens = tokens.toInt(), temperature = 0f, repetitionPenalty = 1f)
    Engine.load(ModelSource.file(File(model)), EngineConfig(threads = threads.toInt())).use { engine ->
        val session = engine.session()
        repeat(2) {
            session.reset()
            session.stream(prompt, options).collect { event ->
                if (event is ChatEvent.Finished) {
                    val speed = event.answer.usage.decodeTokensPerSecond
                    println("""{"text": ${quoted(event.answer.text)}, "decode_tokens_per_second": $speed}""")
                }
            }
        }
    }
}

private fun quoted(text: String): String =
    text.map { if (it < ' ' || it == '"' || it == '\\') "\\u%04x".format(it.code) else "$it" }.joinToString("", "\"", "\"")
