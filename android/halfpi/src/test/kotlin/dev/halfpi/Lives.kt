package dev.halfpi

import java.io.File

/**
 * `MODEL WARM COUNT`: prints by how many bytes the process grows while COUNT engines are loaded, answer and are closed,
 * after WARM that do not count. [MemoryTest] runs it in a JVM whose own memory does not change.
 */
fun main(args: Array<String>) = blocking {
    val (model, warm, count) = args
    suspend fun live() {
        Engine.load(ModelSource.file(File(model)), EngineConfig(threads = 2)).use { engine ->
            engine.session().use { session -> check(session.respond("Hello", tokens(4)).usage.generatedTokens == 4) }
        }
    }
    repeat(warm.toInt()) { live() }
    val before = residentBytes()
    repeat(count.toInt()) { live() }
    println("grown by ${residentBytes() - before} bytes")
}

/** What the process has in memory, when nothing waits to be collected. */
private fun residentBytes(): Long {
    repeat(3) {
        System.gc()
        // The last of the generated objects free what they stand for on a thread of their own.
        Thread.sleep(100)
    }
    return File("/proc/self/statm").readText().split(' ')[1].toLong() * 4096
}
