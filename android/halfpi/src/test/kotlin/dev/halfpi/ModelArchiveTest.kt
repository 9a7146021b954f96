package dev.halfpi

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.job
import kotlinx.coroutines.launch
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.File
import java.nio.file.Path

/** The model comes back whole, or what was there stays and nothing else is there. */
class ModelArchiveTest {
    @TempDir
    lateinit var directory: Path

    private val model = TestModels.original.readBytes()
    private val archive: File get() = directory.resolve("model.hpar").toFile()
    private val target: File get() = directory.resolve("model.gguf").toFile()

    @BeforeEach
    fun `an older model is there`() {
        TestModels.archive.copyTo(archive)
        target.writeText("an older model")
    }

    @Test
    fun `the model comes back bit for bit`() = blocking {
        val told = mutableListOf<Double>()
        val unpacked = ModelArchive.unpack(archive, target, model.sha256().uppercase()) { told += it }
        assertEquals(UnpackedModel(model.size.toLong(), archive.length(), model.sha256()), unpacked)
        assertArrayEquals(model, target.readBytes())
        assertEquals(told.sorted(), told)
        assertEquals(listOf(0.0, 1.0), listOf(told.first(), told.last()))
        // Whatever it holds.
        target.delete()
        assertEquals(unpacked, ModelArchive.unpack(archive, target))
        Engine.load(ModelSource.file(target)).close()
    }

    @Test
    fun `cancelling leaves nothing`() {
        var last = 0.0
        blocking {
            launch(Dispatchers.Default) {
                val self = coroutineContext.job
                ModelArchive.unpack(archive, target) {
                    last = it
                    if (it > 0.3) self.cancel()
                }
            }.apply { join() }.let { assertTrue(it.isCancelled) }
        }
        assertTrue(last > 0.3, "$last")
        assertUntouched()
    }

    @Test
    fun `what onProgress throws is thrown`() {
        val error = assertThrows<IllegalStateException> {
            blocking { ModelArchive.unpack(archive, target) { if (it > 0.3) error("the screen is gone") } }
        }
        assertEquals("the screen is gone", error.message)
        assertUntouched()
    }

    @Test
    fun `a damaged archive changes nothing`() {
        val whole = archive.readBytes()
        fun refused(bytes: ByteArray) {
            archive.writeBytes(bytes)
            val error = assertThrows<HalfpiException.Archive> { blocking { ModelArchive.unpack(archive, target) } }
            assertEquals(archive.path, error.path)
            assertTrue(error.detail.isNotEmpty())
            assertUntouched()
        }
        refused(whole.copyOf(whole.size / 2))
        refused(whole.copyOf(whole.size + 1))
        refused(model)
        refused(whole.apply { this[size / 2] = (this[size / 2] + 1).toByte() })
    }

    @Test
    fun `an archive of another model or a larger one changes nothing`() {
        val another = "0123456789abcdef".repeat(4)
        val error = assertThrows<HalfpiException.Archive> {
            blocking { ModelArchive.unpack(archive, target, another) }
        }
        assertTrue(another in error.detail && model.sha256() in error.detail, error.detail)
        assertThrows<HalfpiException.InvalidOption> { blocking { ModelArchive.unpack(archive, target, "ab") } }
        assertThrows<HalfpiException.Archive> { blocking { ModelArchive.unpack(archive, target, maxBytes = 1000) } }
        assertThrows<HalfpiException.InvalidOption> { blocking { ModelArchive.unpack(archive, target, maxBytes = -1) } }
        assertUntouched()
    }

    @Test
    fun `files that cannot be read or written`() {
        val missing = assertThrows<HalfpiException.Io> {
            blocking { ModelArchive.unpack(File("/nowhere/model.hpar"), target) }
        }
        assertEquals("/nowhere/model.hpar", missing.path)
        assertThrows<HalfpiException.Io> { blocking { ModelArchive.unpack(archive, File("/nowhere/model.gguf")) } }
        assertUntouched()
    }

    private fun assertUntouched() {
        assertEquals("an older model", target.readText())
        assertEquals(listOf("model.gguf", "model.hpar"), directory.toFile().list().orEmpty().sorted())
    }
}
