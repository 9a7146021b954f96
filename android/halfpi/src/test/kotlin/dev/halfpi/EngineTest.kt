package dev.halfpi

import java.io.FileInputStream
import java.io.RandomAccessFile
import java.nio.file.Path
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.async
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.job
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir

class EngineTest {
    private val tiny = ModelSource.file(TestModels.tiny)

    @Test
    fun `a file is inspected without being loaded`() = blocking {
        val info = ModelInfo.inspect(tiny)
        assertEquals("llama", info.architecture)
        assertEquals(TestModels.tiny.length(), info.fileBytes)
        assertTrue(info.hasChatTemplate)
        assertTrue(info.parameters > 0 && info.layers > 0 && info.vocabularySize > 256, "$info")
    }

    @Test
    fun `the memory needed is known before loading and grows with the context`() = blocking {
        val short = MemoryNeeded.of(tiny, session = SessionConfig(contextLength = 64))
        val long = MemoryNeeded.of(tiny, session = SessionConfig(contextLength = 128))
        assertEquals(short.weights, long.weights)
        assertTrue(long.session > short.session, "$short $long")
        assertTrue(short.total >= short.heap + short.session, "$short")
    }

    @Test
    fun `loading tells its progress`() = blocking {
        val told = mutableListOf<Double>()
        Engine.load(tiny, onProgress = told::add).use {
            assertEquals(TestModels.tiny.length(), it.info.fileBytes)
        }
        assertEquals(1.0, told.last())
        assertEquals(told.sorted(), told)
    }

    @Test
    fun `cancelling stops loading`() = blocking {
        val loading = async(Dispatchers.Default) {
            val self: Job = coroutineContext.job
            Engine.load(tiny, onProgress = { self.cancel() })
        }
        assertThrows<CancellationException> { blocking { loading.await() } }
        assertTrue(loading.isCancelled)
    }

    @Test
    fun `what the progress callback throws ends the loading`() {
        class Mine : Exception()
        assertThrows<Mine> { blocking { Engine.load(tiny, onProgress = { throw Mine() }) } }
    }

    @Test
    fun `threads and backend can be chosen`() = blocking {
        assertTrue("scalar" in Halfpi.backends)
        Engine.load(tiny, EngineConfig(threads = 2, backend = "scalar")).use {
            assertEquals("scalar", it.backend)
            assertEquals(2, it.threads)
            it.threads = 1
            assertEquals(1, it.threads)
            assertTrue(it.tokenCount("the way they look") > 0)
        }
    }

    @Test
    fun `a model lies anywhere in an open file`(@TempDir directory: Path) = blocking {
        val model = TestModels.tiny.readBytes()
        val container = directory.resolve("container").toFile()
        val offset = 12_345L
        RandomAccessFile(container, "rw").use {
            it.seek(offset)
            it.write(model)
            it.write(ByteArray(999))
        }
        val engine = FileInputStream(container).use {
            Engine.load(ModelSource.descriptor(it.fd, offset, model.size.toLong()))
        }
        // Ours is closed by now.
        engine.use { inside ->
            Engine.load(tiny).use { outside ->
                assertEquals(outside.session().respond("Hi", tokens(8)).text, inside.session().respond("Hi", tokens(8)).text)
            }
        }
    }

    @Test
    fun `an adapter changes the answers`(@TempDir directory: Path) = blocking {
        val state = directory.resolve("state").toFile()
        Engine.load(tiny).use { plain ->
            Engine.load(tiny, EngineConfig(adapter = ModelSource.file(TestModels.adapter))).use { adapted ->
                val (before, after) = plain.session() to adapted.session()
                assertNotEquals(before.respond("Hi", tokens(8)).text, after.respond("Hi", tokens(8)).text)
                after.save(state)
                assertThrows<HalfpiException.SavedState> { blocking { before.restore(state) } }
                adapted.session().restore(state)
            }
        }
        val error = assertThrows<HalfpiException.ModelFile> {
            blocking { Engine.load(tiny, EngineConfig(adapter = ModelSource.file(TestModels.toolCaller))) }
        }
        assertEquals(TestModels.toolCaller.path, error.path)
    }

    @Test
    fun `memory is reported and given back`() = withTiny { engine ->
        val before = engine.memory()
        assertEquals(TestModels.tiny.length(), before.file)
        engine.session().use { session ->
            session.respond("Hi", tokens(4))
            val full = engine.memory()
            assertTrue(full.sessions > before.sessions)
            assertEquals(full.sessions, full.eachSession.single().bytes)
            assertTrue(full.eachSession.single().cachedTokens > 4, "$full")
            engine.trim(TrimLevel.Critical)
            assertEquals(0, engine.memory().eachSession.single().cachedTokens)
            assertTrue(session.respond("Go on", tokens(4)).text.isNotEmpty())
        }
        assertEquals(before.sessions, engine.memory().sessions)
    }

    @Test
    fun `a paused engine waits and can be woken`() = withTiny { engine ->
        val session = engine.session()
        engine.powerMode = PowerMode.Paused
        coroutineScope {
            val answer = async(Dispatchers.Default) { session.respond("Hi", tokens(4)) }
            delay(200)
            assertTrue(answer.isActive)
            engine.powerMode = PowerMode.Full
            assertEquals(4, answer.await().usage.generatedTokens)
        }
    }

    @Test
    fun `a paused answer can be cancelled`() = withTiny { engine ->
        val session = engine.session()
        engine.powerMode = PowerMode.Paused
        val answer = async(Dispatchers.Default) { session.respond("Hi", tokens(4)) }
        delay(100)
        answer.cancel()
        answer.join()
    }

    @Test
    fun `messages of the library reach the log`() {
        val lines = mutableListOf<String>()
        Halfpi.setLogSink(LogLevel.Trace) { _, _, message -> synchronized(lines) { lines += message } }
        try {
            withTiny { it.session().respond("Hi", tokens(2)) }
        } finally {
            Halfpi.setLogSink(LogLevel.Error, null)
        }
        assertTrue(lines.isNotEmpty())
        assertTrue(Halfpi.version.matches(Regex("\\d+\\.\\d+\\.\\d+.*")), Halfpi.version)
    }

    @Test
    fun `an engine can be closed twice and while it answers`() = withTiny { engine ->
        val session = engine.longSession()
        val answer = async(Dispatchers.Default) { runCatching { session.respond("Hi", endless) } }
        delay(100)
        engine.close()
        engine.close()
        assertTrue(answer.await().exceptionOrNull() is HalfpiException.Closed || answer.await().isSuccess)
        assertThrows<HalfpiException.Closed> { blocking { session.respond("Hi") } }
        assertThrows<HalfpiException.Closed> { blocking { engine.session() } }
        session.close()
    }
}
