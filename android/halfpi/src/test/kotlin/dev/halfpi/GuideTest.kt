package dev.halfpi

import dev.halfpi.guide.conversation
import dev.halfpi.guide.errors
import dev.halfpi.guide.keep
import dev.halfpi.guide.memory
import dev.halfpi.guide.quickStart
import dev.halfpi.guide.structured
import dev.halfpi.guide.tools
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.PrintStream
import java.nio.file.Path

/** Runs the code of docs/kotlin.md, as it stands there; what needs Android or a server is run where they are tested. */
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

    @Test
    fun `a tool is called`() {
        val said = printed { Engine.load(ModelSource.file(TestModels.toolCaller)).use { tools(it) } }
        assertEquals("Sunny in Rome, 24 °C.", said.trim())
    }

    @Test
    fun `a conversation is kept`(@TempDir directory: Path) {
        val cached = printed { withTiny { keep(it, directory.resolve("conversation").toFile()) } }
        assertTrue(cached.trim().toInt() > 10, cached)
    }

    private fun printed(work: suspend () -> Unit): String {
        val (out, before) = ByteArrayOutputStream() to System.out
        System.setOut(PrintStream(out, true, Charsets.UTF_8))
        try {
            blocking { work() }
        } finally {
            System.setOut(before)
        }
        return out.toString(Charsets.UTF_8).also(::println)
    }
}
