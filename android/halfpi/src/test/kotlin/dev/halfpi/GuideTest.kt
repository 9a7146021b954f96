package dev.halfpi

import dev.halfpi.guide.conversation
import dev.halfpi.guide.errors
import dev.halfpi.guide.memory
import dev.halfpi.guide.quickStart
import dev.halfpi.guide.structured
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.PrintStream

/** Runs the code of docs/kotlin.md, as it stands there. */
class GuideTest {
    @Test
    fun `the quick start streams an answer`() {
        assertTrue(printed { quickStart(TestModels.tiny) }.isNotBlank())
    }

    @Test
    fun `a conversation, its options and its figures`() {
        assertTrue("tokens/s" in printed { withTiny { conversation(it) } })
    }

    @Test
    fun `errors are told apart`() {
        assertTrue("/nowhere" in printed { errors(File("/nowhere")) })
    }

    @Test
    fun `JSON of a schema`() {
        assertTrue(Regex("""\{\s*"city"\s*:.*""").containsMatchIn(printed { withTiny { structured(it) } }))
    }

    @Test
    fun `what memory is needed and used`() {
        assertTrue("MemoryReport" in printed { memory(TestModels.tiny) })
    }

    private fun printed(work: suspend () -> Unit): String {
        val (out, before) = ByteArrayOutputStream() to System.out
        System.setOut(PrintStream(out, true))
        try {
            blocking { work() }
        } finally {
            System.setOut(before)
        }
        return out.toString().also(::println)
    }
}
