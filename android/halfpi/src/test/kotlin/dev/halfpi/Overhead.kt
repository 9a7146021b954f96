package dev.halfpi

import java.io.File

/**
 * `MODEL THREADS TOKENS PROMPT ANSWERS`: prints the tokens per second of answers that are streamed through Kotlin, as
 * benches/kotlin.py wants them. The JVM compiles what it runs while the first are made.
 */
fun main(args: Array<String>) = blocking {
    val (model, threads, tokens, prompt) = args
    val options = GenerationOptions(maxTokens = tokens.toInt(), temperature = 0f, repetitionPenalty = 1f)
    Engine.load(ModelSource.file(File(model)), EngineConfig(threads = threads.toInt())).use { engine ->
        val session = engine.session()
        repeat(args[4].toInt()) {
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
