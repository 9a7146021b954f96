package dev.halfpi

import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assumptions
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import kotlin.time.Duration.Companion.minutes

/** Models to test with. */
object TestModels {
    /**
     * Two small layers of random weights: it says nonsense, quickly, and the same for the same seed.
     *
     * A copy with a context that takes seconds to fill, so that there is time to interrupt an answer.
     */
    val tiny: File by lazy {
        val bytes = original.readBytes()
        val key = "llama.context_length".toByteArray()
        val at = (0 until bytes.size - key.size).first { at -> key.indices.all { bytes[at + it] == key[it] } }
        // After the key: its value's type, which is u32, and the value.
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).putInt(at + key.size + Int.SIZE_BYTES, LONG_CONTEXT)
        File.createTempFile("halfpi-tiny", ".gguf").apply {
            deleteOnExit()
            writeBytes(bytes)
        }
    }

    /** [tiny] as it is committed. */
    val original: File get() = given("halfpi.tiny.model")

    /** The archive of [original]. */
    val archive: File get() = given("halfpi.archive")

    /** A LoRA adapter of [tiny]. */
    val adapter: File get() = given("halfpi.adapter")

    /** Thinks, calls the tool `weather` and tells of its result, in words that never change. */
    val toolCaller: File get() = given("halfpi.tool.model")

    /** A model that makes sense; the test is skipped, and says so, without it. */
    fun real(): File {
        val path = System.getenv("HALFPI_TEST_MODEL")
        if (path == null) println("skipped: HALFPI_TEST_MODEL is not set")
        Assumptions.assumeTrue(path != null, "HALFPI_TEST_MODEL is not set")
        return File(path)
    }

    private fun given(property: String): File {
        val path = System.getProperty(property).orEmpty()
        check(path.isNotEmpty()) { "$property is not set; Maven does that" }
        return File(path)
    }

    const val LONG_CONTEXT = 1 shl 17
}

/** The SHA-256 in hexadecimal. */
fun ByteArray.sha256(): String = MessageDigest.getInstance("SHA-256").digest(this).joinToString("") { "%02x".format(it) }

/** A test that hangs must fail. */
fun <T> blocking(work: suspend CoroutineScope.() -> T): T = runBlocking { withTimeout(2.minutes, work) }

/** An engine with the tiny model, for the length of [work]. */
fun withTiny(config: EngineConfig = EngineConfig(threads = 1), work: suspend CoroutineScope.(Engine) -> Unit) = blocking {
    Engine.load(ModelSource.file(TestModels.tiny), config).use { work(it) }
}

/** A session whose answers take longer than any test, if nobody ends them. */
suspend fun Engine.longSession(): Session = session(SessionConfig(contextLength = TestModels.LONG_CONTEXT))

/** An answer that ends only with the context: always the likeliest token goes round in circles. */
val endless = GenerationOptions(temperature = 0f, repetitionPenalty = 1f)

/** Answers of a fixed length: random weights seldom end a turn. */
fun tokens(count: Int, seed: Long = 1): GenerationOptions = GenerationOptions(maxTokens = count, seed = seed)
