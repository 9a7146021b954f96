package dev.halfpi

import dev.halfpi.guide.conversation
import dev.halfpi.guide.errors
import dev.halfpi.guide.quickStart
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.PrintStream

/** Runs the code of docs/kotlin.md, as it stands there. */
class GuideTest {
    @Test
    fun `the quick start streams an answer`() {
        assertTrue(printed { quickStart(TestModels.tiny) }.lines().first().isNotBlank())
    }

    @Test
    fun `a conversation, its options and its figures`() {
        assertTrue("tokens/s" in printed { withTiny { conversation(it) } })
    }

    @Test
    fun `errors are told apart`() {
        assertTrue("/nowhere" in printed { errors(File("/nowhere")) })
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
