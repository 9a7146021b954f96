package dev.halfpi

import java.io.FileInputStream
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.launch
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.File
import java.nio.file.Path

/** Every kind of error that an app can cause, and that the engine goes on after it. */
class ErrorTest {
    private val tiny = ModelSource.file(TestModels.tiny)

    @Test
    fun `a missing file`() {
        val error = assertThrows<HalfpiException.Io> { load(ModelSource.file(File("/nowhere/model.gguf"))) }
        assertEquals("/nowhere/model.gguf", error.path)
    }

    @Test
    fun `a foreign and a damaged file`(@TempDir directory: Path) {
        val foreign = directory.resolve("foreign.gguf").toFile().apply { writeText("PK, but no model ".repeat(100)) }
        assertThrows<HalfpiException.ModelFile> { load(ModelSource.file(foreign)) }
        val cut = directory.resolve("cut.gguf").toFile().apply {
            writeBytes(TestModels.tiny.readBytes().copyOf((TestModels.tiny.length() / 2).toInt()))
        }
        assertThrows<HalfpiException.ModelFile> { load(ModelSource.file(cut)) }
        assertThrows<HalfpiException.ModelFile> { blocking { ModelInfo.inspect(ModelSource.file(foreign)) } }
    }

    @Test
    fun `an unknown backend`() {
        val error = assertThrows<HalfpiException.Backend> { load(tiny, EngineConfig(backend = "abacus")) }
        assertEquals("abacus", error.name)
        assertTrue("scalar" in error.available)
    }

    @Test
    fun `options without a meaning`() = withTiny { engine ->
        val session = engine.session()
        fun refused(name: String, options: GenerationOptions) {
            val error = assertThrows<HalfpiException.InvalidOption> { blocking { session.respond("Hi", options) } }
            assertEquals(name, error.option)
        }
        refused("temperature", GenerationOptions(temperature = -1f))
        refused("top_p", GenerationOptions(topP = 2f))
        refused("max_tokens", GenerationOptions(maxTokens = -1))
        assertThrows<HalfpiException.InvalidOption> { load(tiny, EngineConfig(threads = -1)) }
        session.respond("Hi", tokens(2))
    }

    @Test
    fun `a schema that is none or that nothing satisfies`() = withTiny { engine ->
        val session = engine.session()
        for (schema in listOf(
            "{ no json",
            "false",
            """{"type": "string", "minLength": 5, "maxLength": 3}""",
            """{"type": "integer", "minimum": 2, "maximum": 1}""",
            """{"allOf": [{"type": "string"}, {"type": "integer"}]}""",
            """{"type": "array", "uniqueItems": true}""",
        )) {
            val error = assertThrows<HalfpiException.Schema> {
                blocking { session.respond("Hi", tokens(4).copy(jsonSchema = schema)) }
            }
            assertTrue(error.detail.isNotEmpty())
        }
        assertEquals(0, session.messages().size)
        session.respond("Hi", tokens(2))
    }

    @Test
    fun `a prompt longer than the context`() = withTiny { engine ->
        val session = engine.session(SessionConfig(contextLength = 64, overflow = Overflow.Error))
        val error = assertThrows<HalfpiException.ContextOverflow> {
            blocking { session.respond("many words ".repeat(200), tokens(2)) }
        }
        assertEquals(64, error.contextLength)
        assertTrue(error.needed > 64)
        session.respond("Hi", tokens(2))
    }

    @Test
    fun `two answers at once`() = withTiny { engine ->
        val session = engine.longSession()
        val started = Channel<Unit>(Channel.CONFLATED)
        val first = launch(Dispatchers.Default) {
            session.stream("Hi", endless).collect { started.send(Unit) }
        }
        started.receive()
        assertThrows<HalfpiException.SessionBusy> { blocking { session.respond("Hi too") } }
        assertThrows<HalfpiException.SessionBusy> { blocking { session.reset() } }
        first.cancelAndJoin()
        session.respond("Now?", tokens(2))
    }

    @Test
    fun `a session after its end`() = withTiny { engine ->
        val session = engine.session()
        session.close()
        session.close()
        assertThrows<HalfpiException.Closed> { blocking { session.respond("Hi") } }
        assertThrows<HalfpiException.Closed> { blocking { session.messages() } }
        engine.session().respond("Hi", tokens(2))
    }

    @Test
    fun `a descriptor that is closed, foreign or shorter than claimed`() {
        val stream = FileInputStream(TestModels.tiny)
        val descriptor = stream.fd
        val number = stream.use { (ModelSource.descriptor(it.fd) as ModelSource.Descriptor).fd }
        assertThrows<IllegalArgumentException> { ModelSource.descriptor(descriptor) }
        assertThrows<HalfpiException.Io> { load(ModelSource.Descriptor(number)) }
        assertThrows<HalfpiException.Io> { load(ModelSource.Descriptor(-1)) }
        FileInputStream(TestModels.tiny).use {
            assertThrows<HalfpiException.ModelFile> {
                load(ModelSource.descriptor(it.fd, 0, TestModels.tiny.length() + 1))
            }
        }
    }

    @Test
    fun `a budget that is too small`() {
        val error = assertThrows<HalfpiException.MemoryBudget> { load(tiny, EngineConfig(memoryBudgetBytes = 1000)) }
        assertEquals(1000, error.budgetBytes)
        assertTrue(error.neededBytes > 1000)
    }

    @Test
    fun `a saved state that is missing, cut short or foreign`(@TempDir directory: Path) = withTiny { engine ->
        val session = engine.session()
        session.respond("Hi", tokens(4))
        val state = directory.resolve("state").toFile()
        session.save(state)
        val conversation = session.messages()
        fun restore(file: File) = blocking { session.restore(file) }

        assertThrows<HalfpiException> { restore(directory.resolve("nothing").toFile()) }
        val cut = directory.resolve("cut").toFile().apply { writeBytes(state.readBytes().copyOf(state.length().toInt() / 2)) }
        assertThrows<HalfpiException.SavedState> { restore(cut) }
        val foreign = directory.resolve("foreign").toFile().apply { writeBytes(TestModels.tiny.readBytes()) }
        assertThrows<HalfpiException.SavedState> { restore(foreign) }
        Engine.load(ModelSource.file(TestModels.toolCaller)).use { another ->
            val theirs = another.session()
            theirs.respond("Hi", tokens(4))
            theirs.save(foreign)
        }
        val error = assertThrows<HalfpiException.SavedState> { restore(foreign) }
        assertTrue("model" in error.detail, error.detail)
        assertEquals(conversation, session.messages())
        session.respond("Go on", tokens(2))
    }

    @Test
    fun `a log sink that throws is no error`() {
        Halfpi.setLogSink(LogLevel.Trace) { _, _, _ -> error("the disk is full") }
        try {
            withTiny { it.session().respond("Hi", tokens(2)) }
        } finally {
            Halfpi.setLogSink(LogLevel.Error, null)
        }
    }

    private fun load(source: ModelSource, config: EngineConfig = EngineConfig()) {
        blocking { Engine.load(source, config).close() }
    }
}
