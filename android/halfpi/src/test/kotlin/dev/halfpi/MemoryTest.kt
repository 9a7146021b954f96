package dev.halfpi

import java.io.File
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class MemoryTest {
    /**
     * Measured in a JVM of its own whose heap has its final size in memory from the start, and whose native memory is
     * one arena: how many more glibc opens depends on which threads happen to meet, and would hide what is looked for.
     */
    @Test
    fun `a thousand engines that load, chat and close leave nothing behind`() {
        val java = File(System.getProperty("java.home"), "bin/java").path
        val heap = listOf("-Xms48m", "-Xmx48m", "-XX:+AlwaysPreTouch", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        val paths = listOf("java.class.path", "jna.library.path").map { "-D$it=${System.getProperty(it)}" }
        val main = listOf("dev.halfpi.LivesKt", System.getProperty("halfpi.tiny.model"), "1000", "1000")
        val process = ProcessBuilder(listOf(java) + heap + paths + main).redirectErrorStream(true)
        process.environment()["MALLOC_ARENA_MAX"] = "1"
        val running = process.start()
        val told = running.inputStream.reader().readText()
        assertEquals(0, running.waitFor(), told)
        println(told)
        val grown = checkNotNull(Regex("grown by (-?\\d+) bytes").find(told)) { told }.groupValues[1].toLong()
        assertTrue(grown < 1 shl 20, told)
    }
}
